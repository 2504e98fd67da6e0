"""Recognises what was delivered by the end of a month and is not invoiced yet.

Two things are not invoiced: drafts, whose lines are known, and service periods that have begun and are not
settled, which are priced with the usage up to the end of the month. Both go by the run's own functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, select

from ingest.clickhouse import EventStore
from ingest.errors import Conflict
from ingest.event import TIMESTAMP
from ingest.ledger import ledger_transaction
from ingest.meter import Meter
from invoicing.accrual import (
    AccrualKey,
    Accrued,
    NotAccrued,
    accrued_parts,
    check_month_end,
    first_day_of,
)
from invoicing.accrual_net import net_of_included_tax
from invoicing.accrual_store import (
    accrued_through,
    note_run,
    open_accruals,
    overtaken_accruals,
    post_accruals,
    release_accruals,
)
from invoicing.amendment_rows import with_credits
from invoicing.billable_due import items_due
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.bulk import select_by_ids
from invoicing.hold import hold_unrated, hold_unusable
from invoicing.invoice_id import invoice_id_of
from invoicing.journal_store import lock_journal
from invoicing.month_share_store import shares_of_lines
from invoicing.month_shares import month_shares
from invoicing.open_usage import begun_periods
from invoicing.posting import NO_REVENUE, TOP_UP_CHARGE_ID, document_lines
from invoicing.posting_rows import RecognisedDays
from invoicing.pricing import price_periods, roll_up_until
from invoicing.recognition import MonthShares
from invoicing.revenue_kind import adjusted_kinds, with_adjusted_kinds, with_corrected_kinds
from invoicing.run_blocks import billing_dates
from invoicing.seats_in_advance import seats_known
from invoicing.tables import INVOICES, contract_of
from invoicing.true_up import add_true_ups
from invoicing.wider_periods import wider_in_force
from rating.retainer import sells_credit
from rollup.period import find_time_zone
from rollup.roll_up import RolledUp

_RUN_ID: Final = "accrual"
_A_DAY: Final = timedelta(days=1)
_OVER_EVERYWHERE: Final = timedelta(hours=12)
"""After midnight in UTC, the day has ended in every time zone."""
_BATCH: Final = 20_000
"""Sums, and lines, held at once, and a document more."""
_DRAFTS: Final = 500


@dataclass(frozen=True, slots=True)
class AccrualReport:
    """What a run did. amounts: accrued now, by currency, in minor units, of how many documents to come.
    not_accrued: what could not be priced, which is left as it was before: taken back."""

    through: date
    entries: int
    documents: int
    amounts: Mapping[str, int]
    not_accrued: tuple[NotAccrued, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "through": self.through,
            "entries": self.entries,
            "documents": self.documents,
            "amounts": [
                {"currency": currency, "amount_minor": amount}
                for currency, amount in sorted(self.amounts.items())
            ],
            "not_accrued": [{name: getattr(one, name) for name in one.__slots__} for one in self.not_accrued],
        }


def recognise_unbilled(
    *, event_store: EventStore, ledger: Engine, through: date, now: datetime, actor: str
) -> AccrualReport:
    """Post what is delivered through the last day of a month and not invoiced, and take back what was accrued
    before and is not so any more. Again with nothing new: no entry.

    Raises InvalidInput for a day inside a month, Conflict for a month that is not over in every time zone.
    """
    check_month_end(through)
    over = datetime.combine(through + _A_DAY, time(), UTC) + _OVER_EVERYWHERE
    if now < over:
        raise Conflict(
            f"{through} is not over in every time zone before {over:%Y-%m-%d %H:%M} UTC. Recognise it then.",
            reason_code="month_not_over",
        )
    not_accrued: list[NotAccrued] = []
    entries, seen, amounts = 0, set[str](), defaultdict[str, int](int)
    for parts in (
        _of_open_periods(event_store, ledger, through, not_accrued),
        # Read last, so that no date which a run drafts meanwhile is missed; those in both are left out.
        _of_drafts(ledger, through, without=seen),
    ):
        for wanted, first_days in _batches(parts):
            ids = {key.document_id for key in wanted}
            entries += post_accruals(
                ledger, wanted, list(ids), first_days=first_days, through=through, now=now
            )
            seen |= ids
            for key, amount in wanted.items():
                amounts[key.currency] += amount
    gone = open_accruals(ledger) - seen
    entries += post_accruals(ledger, {}, list(gone), first_days={}, through=through, now=now)
    note_run(ledger, through=through, actor=actor, now=now)
    return AccrualReport(through, entries, len(seen), amounts, tuple(not_accrued))


def _batches(
    parts: Iterable[Accrued],
) -> Iterator[tuple[dict[AccrualKey, int], dict[AccrualKey, date]]]:
    """Sums of the parts, and the first day of each sum, in batches of whole documents; parts: those of a
    document one after the other."""
    wanted: dict[AccrualKey, int] = defaultdict(int)
    first_days: dict[AccrualKey, date] = {}
    last = ""
    for key, amount, first_day in parts:
        if len(wanted) >= _BATCH and key.document_id != last:
            yield wanted, first_days
            wanted, first_days = defaultdict(int), {}
        wanted[key] += amount
        first_days[key] = min(first_day, first_days.get(key, first_day))
        last = key.document_id
    if wanted:
        yield wanted, first_days


def recognise_last_month(
    *, event_store: EventStore, ledger: Engine, now: datetime, actor: str
) -> AccrualReport | None:
    """``recognise_unbilled`` through the last month that is over, once; None when that is done."""
    through = (now - _OVER_EVERYWHERE).astimezone(UTC).date().replace(day=1) - _A_DAY
    done = accrued_through(ledger)
    if done is not None and done >= through:
        return None
    return recognise_unbilled(event_store=event_store, ledger=ledger, through=through, now=now, actor=actor)


def take_back_overtaken(ledger: Engine, *, now: datetime) -> int:
    """Take back what was accrued under billing dates that have moved or came to nothing, once another date
    has billed its days; how many entries that were. What is still to come stays, so that nothing is missing
    between a change of a contract and its bill."""
    with ledger.connect() as connection:
        found = overtaken_accruals(connection)
    if not found:
        return 0
    catalogue = load_billing_catalogue(ledger, sorted(set(found.values())))
    to_come = {
        invoice_id_of(contract_id=contract_id, billing_date=billing_date)
        for begun in begun_periods(catalogue, settled=catalogue.settled, now=now)
        for contract_id, billing_date in billing_dates(begun)
    }
    gone = sorted(set(found) - to_come)
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        return release_accruals(connection, gone, description="billed otherwise", now=now)


def _of_drafts(ledger: Engine, through: date, *, without: Set[str]) -> Iterator[Accrued]:
    column = INVOICES.c.invoice_id
    drafts = select(column, INVOICES.c.customer_id, INVOICES.c.contract_id, INVOICES.c.document).where(
        INVOICES.c.state == "draft"
    )
    with ledger.connect() as connection:
        every = connection.execute(select(column).where(INVOICES.c.state == "draft")).scalars()
        ids = [invoice_id for invoice_id in every if invoice_id not in without]
    days = RecognisedDays()
    for start in range(0, len(ids), _DRAFTS):
        # Read and let go before anything is posted.
        with ledger.connect() as connection:
            rows = [
                (row.invoice_id, row.customer_id, contract_of(row.contract_id), orjson.loads(row.document))
                for row in select_by_ids(connection, drafts, column, ids[start : start + _DRAFTS])
            ]
            every_line = [line for row in rows for line in document_lines(row[3])]
            shares = shares_of_lines(connection, every_line, days)
            kinds = adjusted_kinds(connection, every_line)
        for invoice_id, customer_id, contract_id, document in rows:
            whose = (customer_id, contract_id)
            lines = with_adjusted_kinds(document_lines(document), kinds)
            for line in with_corrected_kinds(lines, lines):
                if not _is_revenue(line.charge_id, line.charge_kind):
                    continue
                own = shares.get(line.line_id)
                for day, part in accrued_parts(*line[2:], through=through, shares=own):
                    key = AccrualKey(invoice_id, day, *whose, line.charge_id, document["currency"])
                    yield Accrued(key, part, first_day_of(*line[2:5], day))


def _is_revenue(charge_id: str, charge_kind: str) -> bool:
    """What sells credit, and deposits, are revenue later or never."""
    return not (sells_credit(charge_id) or charge_id == TOP_UP_CHARGE_ID or charge_kind in NO_REVENUE)


def _of_open_periods(
    event_store: EventStore, ledger: Engine, through: date, not_accrued: list[NotAccrued]
) -> Iterator[Accrued]:
    catalogue = load_billing_catalogue(ledger)
    customers = dict(
        zip(*(catalogue.contracts[name].to_pylist() for name in ("contract_id", "customer_id")), strict=True)
    )
    for zone, until, periods in _begun_by_zone(catalogue, through):
        lines, shares, left_out = _priced(event_store, ledger, catalogue, periods, until)
        not_accrued += left_out
        skipped = {(one.contract_id, one.billing_date) for one in left_out}
        for row in _rows(lines):
            contract_id, billing_date = row["contract_id"], row["billing_date"]
            if (contract_id, billing_date) in skipped or not _is_revenue(
                row["charge_id"], row["charge_kind"]
            ):
                continue
            start, end = (row[name].astimezone(zone).date() for name in ("period_start", "period_end"))
            amount = row["amount_minor"]
            document_id = invoice_id_of(contract_id=contract_id, billing_date=billing_date)
            own = shares.get(row["line_id"].hex())
            for day, part in accrued_parts(row["charge_kind"], start, end, amount, through, own):
                whose = (customers[contract_id], contract_id, row["charge_id"], row["currency"])
                first_day = first_day_of(row["charge_kind"], start, end, day)
                yield Accrued(AccrualKey(document_id, day, *whose), part, first_day)


_COLUMNS: Final = [
    "line_id",
    "contract_id",
    "billing_date",
    "charge_id",
    "charge_kind",
    "meter_id",
    "period_start",
    "period_end",
    "amount_minor",
    "currency",
]


def _rows(lines: pa.Table) -> Iterator[dict[str, Any]]:
    """In their order, a batch of them in Python's memory at once."""
    for batch in lines.select(_COLUMNS).to_batches(max_chunksize=_BATCH):
        yield from batch.to_pylist()


def _begun_by_zone(catalogue: BillingCatalogue, through: date) -> Iterator[tuple[Any, datetime, pa.Table]]:
    """The unsettled periods begun by the end of ``through``, a table for each time zone and cadence:
    (zone, the end of that day there, SERVICE_PERIOD_SCHEMA)."""
    zones = catalogue.contracts["time_zone"]
    for name in pc.unique(zones).to_pylist():
        zone = find_time_zone(name)
        until = datetime.combine(through + _A_DAY, time(), zone).astimezone(UTC)
        contracts = catalogue.contracts.filter(pc.equal(zones, name))
        for begun in begun_periods(catalogue, settled=catalogue.settled, now=until, contracts=contracts):
            rows = begun.filter(pc.less(begun["period_start"], pa.scalar(until, TIMESTAMP)))
            if rows.num_rows:
                keys = pa.array(np.arange(rows.num_rows, dtype=np.uint32))
                yield zone, until, rows.set_column(0, rows.schema.field(0), keys).combine_chunks()


def _priced(
    event_store: EventStore, ledger: Engine, catalogue: BillingCatalogue, periods: pa.Table, until: datetime
) -> tuple[pa.Table, Mapping[str, MonthShares], list[NotAccrued]]:
    """The lines of the periods with usage before ``until``, their month shares by then, and the dates that
    cannot be priced."""
    items = items_due(ledger, catalogue, billing_dates(periods), run_id=_RUN_ID)
    priced = price_periods(
        event_store=event_store,
        periods=periods,
        subjects=catalogue.subjects,
        meters=catalogue.meters,
        price_book=catalogue.price_book,
        run_id=_RUN_ID,
        usage_until=until,
        wider=wider_in_force(ledger, catalogue, periods),
        seats=seats_known(catalogue, periods),
    )
    priced = add_true_ups(
        priced,
        periods=periods,
        contracts=catalogue.contracts,
        catalogue=catalogue,
        event_store=event_store,
        ledger=ledger,
        run_id=_RUN_ID,
    )
    held = [
        *hold_unusable(priced.unusable, periods=periods, plan_versions=catalogue.plan_versions),
        *hold_unrated(priced.unrated, periods=periods),
        *items.held,
    ]
    left_out = [NotAccrued(one.contract_id, one.billing_date, one.reason_code, one.message) for one in held]

    def roll_up(calendar: pa.Table, meters: Sequence[Meter]) -> RolledUp:
        return roll_up_until(event_store, calendar, meters, until)

    shares = month_shares(priced.lines, catalogue=catalogue, ledger=ledger, roll_up=roll_up)
    lines, unknown = net_of_included_tax(
        with_credits(priced.lines, items.lines), catalogue, ledger, tax_classes=items.tax_classes
    )
    return lines, shares, [*left_out, *unknown]
