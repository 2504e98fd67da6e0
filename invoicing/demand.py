"""Invoice demand: everything that is not billed yet, from every source, in one queue.

What a billing run of a day would bill is worked out as the run does it, and nothing is written: usage,
licences, fees, adjustments and items alike. Beside it stand items that wait, with the reason. So running
billing takes away what was ``ready``, and only what is held or waits is left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import pyarrow as pa
from sqlalchemy import Connection, Engine

from ingest.clickhouse import EventStore
from ingest.errors import Issue
from invoicing.amendments_due import with_amendments
from invoicing.billable_due import ItemsDue, OwnedItem, VersionsByDay, open_items_of, placed_item
from invoicing.billable_item import StoredItem
from invoicing.billable_price import price_items
from invoicing.billable_read import count_by_state, count_conflicts
from invoicing.billed_time import changed_behind_bill
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.due import due_service_periods, without_plan
from invoicing.final_bill import final_bills_due
from invoicing.hold import Held, Key, hold_without_plan
from invoicing.late_usage import find_late_usage, newest_change
from invoicing.price_due import DueWork, adjustments_of, due_contracts, price_due
from invoicing.pricing import Stages
from invoicing.settings import BillingSettings
from invoicing.tax_desk import open_tax_desk
from rating.item_line import ITEM_KIND
from rating.money import allocate
from rollup.stored_usage import StoredUsage

DemandState = Literal["ready", "held", "waiting"]
_RUN_ID: Final = "demand"
_A_DAY: Final = timedelta(days=1)
_SCALE: Final = 10**12


@dataclass(frozen=True, slots=True)
class DemandEntry:
    """What one source wants of one contract. source: of an item, or the kind of a charge. count: of items,
    or of lines. amount_minor: None where there is no price. billing_date: that bills it; None while it waits.
    reason_code, message: why it is held or waits."""

    source: str
    customer_id: str
    contract_id: str
    billing_date: date | None
    state: DemandState
    reason_code: str
    message: str
    count: int
    currency: str
    amount_minor: int | None

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Demand:
    """entries: by contract, date and source. items: how many items are in each state, all that ever came in.
    conflicts: bodies of items that contradict what is on record. held: dates with nothing to show are among
    them."""

    as_of: date
    entries: Sequence[DemandEntry]
    items: Mapping[str, int]
    conflicts: int
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class _Due:
    """What a run would bill: lines, the items behind them, and the dates that are held."""

    catalogue: BillingCatalogue
    dates: Sequence[Key]
    lines: pa.Table
    items: ItemsDue
    held: Sequence[Held]


def demand_of(
    *,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    as_of: date,
    now: datetime,
    settings: BillingSettings,
) -> Demand:
    """Everything unbilled as of a day. settings: a run's. Nothing is written."""
    due = _due(event_store, stored_usage, ledger, as_of, now, settings)
    with ledger.connect() as connection:
        owned = open_items_of(connection, None)
        states, conflicts = count_by_state(connection), count_conflicts(connection)
    by_id = {one.stored.item_id: one for one in owned}
    entries = [*_line_entries(due, by_id), *_waiting_entries(due, owned)]
    entries.sort(key=lambda one: (one.contract_id, one.billing_date or date.max, one.source, one.reason_code))
    return Demand(as_of, entries, states, conflicts, due.held)


def _due(
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    as_of: date,
    now: datetime,
    settings: BillingSettings,
) -> _Due:
    """What the run of that day would do up to where it would write."""
    catalogue = load_billing_catalogue(ledger)
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=as_of,
        now=now,
        invoice_days=catalogue.invoice_days,
    )
    amended = with_amendments(
        catalogue, periods, event_store=event_store, ledger=ledger, as_of=as_of, now=now, run_id=_RUN_ID
    )
    catalogue, periods = amended.catalogue, amended.periods
    contracts = due_contracts(catalogue, periods)
    with ledger.connect() as connection:
        changed = _changed(connection, catalogue)
    work = DueWork(
        run_id=_RUN_ID,
        event_store=event_store,
        stored_usage=stored_usage,
        ledger=ledger,
        catalogue=catalogue,
        changed=changed,
        credits=amended.credits,
        returns=amended.returns,
        cuts=amended.cuts,
        late=find_late_usage(
            event_store,
            ledger,
            catalogue,
            periods,
            looked_through=newest_change(event_store),
            recounted=amended.recounted(),
        ),
        tax=open_tax_desk(ledger, provider=settings.tax_provider),
        seller=settings.seller,
        negative_total=settings.negative_total,
        now=now,
    )
    due = price_due(work, periods, contracts, totals_minor=dict, stages=Stages())
    unpriced = hold_without_plan(without_plan(catalogue.contracts, catalogue.plan_versions), as_of=as_of)
    ended = adjustments_of(work, dict.fromkeys(work.late.ended, as_of))
    lines, held = due.lines, [*unpriced, *due.held, *ended.held]
    if ended.lines.num_rows:
        lines = pa.concat_tables([lines, ended.lines]).unify_dictionaries()
        held = [*unpriced, *due.held, *final_bills_due(work, ended, on=as_of, totals_minor={}).held]
    return _Due(due.adjustments.catalogue, due.dates, lines, due.items, held)


def _changed(connection: Connection, catalogue: BillingCatalogue) -> Mapping[str, Sequence[Issue]]:
    return changed_behind_bill(
        connection,
        contracts=catalogue.contracts,
        settled=catalogue.settled,
        plan_versions=catalogue.plan_versions,
    )


def _line_entries(due: _Due, by_id: Mapping[str, OwnedItem]) -> Iterable[DemandEntry]:
    """What the run would bill, and what it would hold, by contract, date, source and currency."""
    customers = _customers(due.catalogue)
    reasons = {(one.contract_id, one.billing_date): one for one in due.held}
    sums: dict[tuple[str, date, str, str], list[int]] = defaultdict(lambda: [0, 0])
    columns = ["line_id", "contract_id", "billing_date", "charge_kind", "currency", "amount_minor"]
    for row in due.lines.select(columns).to_pylist():
        parts: Iterable[tuple[str, int, int]] = [(row["charge_kind"], 1, row["amount_minor"])]
        if row["charge_kind"] == ITEM_KIND:
            behind = [by_id[item_id].stored for item_id, _ in due.items.items[row["line_id"].hex()]]
            parts = _shares(row["amount_minor"], behind)
        for source, count, amount in parts:
            known = sums[row["contract_id"], row["billing_date"], source, row["currency"]]
            known[0], known[1] = known[0] + count, known[1] + amount
    for (contract_id, day, source, currency), (count, amount) in sums.items():
        why = reasons.get((contract_id, day))
        yield DemandEntry(
            source=source,
            customer_id=customers.get(contract_id, ""),
            contract_id=contract_id,
            billing_date=day,
            state="ready" if why is None else "held",
            reason_code="" if why is None else why.reason_code,
            message="" if why is None else why.message,
            count=count,
            currency=currency,
            amount_minor=amount,
        )


def _shares(amount_minor: int, items: Sequence[StoredItem]) -> list[tuple[str, int, int]]:
    """A line's amount shared out over the sources of its items by quantity; (source, items, minor units)."""
    counts = Counter(one.item.source for one in items)
    weights: Counter[str] = Counter()
    for one in items:
        quantity, _ = one.item.stated if one.item.is_stated else (one.item.quantity, Decimal(1))
        weights[one.item.source] += abs(int(quantity * _SCALE))
    parts = allocate(amount_minor, [weights[source] for source in counts])
    return [(source, counts[source], part) for source, part in zip(counts, parts, strict=True)]


def _waiting_entries(due: _Due, owned: Sequence[OwnedItem]) -> list[DemandEntry]:
    """Open items that no due date bills: not due yet, planned for an invoice of their own, or without an
    owner, a price or a further invoice."""
    billed = {item_id for items in due.items.items.values() for item_id, _ in items}
    waiting = [one for one in owned if one.stored.item_id not in billed]
    amounts, problems = _priced_alone(due.catalogue, waiting)
    ended = _ended(due.catalogue)
    last_date: dict[str, date] = {}
    for contract_id, day in due.dates:
        last_date[contract_id] = max(day, last_date.get(contract_id, day))
    sums: dict[tuple[str, str, str, DemandState, str, str, str], list[int | None]] = {}
    for one in waiting:
        item, contract = one.stored.item, one.contract
        reason, message = one.reason_code, one.message
        state: DemandState = "waiting"
        if contract is None:
            state = "held"
        elif one.stored.item_id in problems:
            state, (reason, message) = "held", problems[one.stored.item_id]
        elif one.stored.item_invoice_id is not None:
            reason, message = "invoice_scheduled", "an invoice of its own is planned for it."
        elif contract.contract_id in ended:
            reason, state = "contract_billed_to_its_end", "held"
            message = "no billing date is to come; `ratemill items invoice` bills it."
        elif last_date.get(contract.contract_id, date.min) <= item.date:
            reason, message = "not_due", "it is billed with the first billing date after its day."
        customer_id = (contract.customer_id if contract else item.customer_id) or ""
        contract_id = (contract.contract_id if contract else item.contract_id) or ""
        currency, amount = amounts.get(one.stored.item_id, (item.currency or "", None))
        known = sums.setdefault(
            (item.source, customer_id, contract_id, state, reason, message, currency), [0, 0]
        )
        known[0] = (known[0] or 0) + 1
        known[1] = None if amount is None or known[1] is None else known[1] + amount
    return [
        DemandEntry(source, customer, contract, None, state, reason, message, count or 0, currency, amount)
        for (source, customer, contract, state, reason, message, currency), (count, amount) in sums.items()
    ]


def _priced_alone(
    catalogue: BillingCatalogue, waiting: Sequence[OwnedItem]
) -> tuple[dict[str, tuple[str, int]], dict[str, tuple[str, str]]]:
    """(currency, minor units) of each waiting item, priced by itself; and why others have no price."""
    versions = VersionsByDay(catalogue)
    placed = [
        placed_item(
            one.stored,
            one.contract,
            versions,
            owner=one.stored.item_id,
            billing_date=one.stored.item.date + _A_DAY,
        )
        for one in waiting
        if one.contract is not None
    ]
    priced = price_items(placed, run_id=_RUN_ID)
    rows = priced.lines.select(["contract_id", "currency", "amount_minor"]).to_pylist()
    amounts = {row["contract_id"]: (row["currency"], row["amount_minor"]) for row in rows}
    problems = {one.placed.stored.item_id: (one.reason_code, one.message) for one in priced.problems}
    return amounts, problems


def _customers(catalogue: BillingCatalogue) -> dict[str, str]:
    columns = (catalogue.contracts[name].to_pylist() for name in ("contract_id", "customer_id"))
    return dict(zip(*columns, strict=True))


def _ended(catalogue: BillingCatalogue) -> set[str]:
    """Contracts whose end is settled: no billing date is to come."""
    settled = dict(
        zip(
            catalogue.settled["contract_id"].to_pylist(),
            catalogue.settled["billing_date"].to_pylist(),
            strict=True,
        )
    )
    return {
        row["contract_id"]
        for row in catalogue.contracts.select(["contract_id", "end_date"]).to_pylist()
        if row["end_date"] is not None and settled.get(row["contract_id"], "") >= str(row["end_date"])
    }
