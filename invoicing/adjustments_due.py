"""Late usage as lines of the next invoice: touched dates are rated again, and every difference is one line.

The dates are rated by the function that billed them, from the earliest day that was touched to the last bill:
tiers that count over a year and levels carry a change on to later periods. What differs is what re-rating
shows, so after the adjustments it shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, select

from ingest.clickhouse import EventStore
from ingest.errors import Issue
from invoicing.adjusted_line import AdjustedLine
from invoicing.adjustment_shares import AdjustedMonths, adjusted_months
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.fee_return import FeeReturn
from invoicing.given_back_twice import given_back_twice
from invoicing.history import BillingDates
from invoicing.hold import Held
from invoicing.invoice import InvoiceAdjusts
from invoicing.late_usage import LateUsage
from invoicing.line_differences import LineDifference, line_differences
from invoicing.number import number_text
from invoicing.rated_again import RatedAgain, RatingInputs, rate_settled_dates
from invoicing.seat_changes import CutRow
from invoicing.tables import INVOICES
from invoicing.wider_periods import counts_with
from rating.adjustment_line import BILLED_AMOUNT, BILLED_QUANTITY, adjustment_line
from rating.line_item import RATED_LINE_SCHEMA
from rating.steps import FEE_CREDIT_KIND
from rating.store import line_to_python
from rollup.period import local_midnight
from rollup.stored_usage import StoredUsage


@dataclass(frozen=True, slots=True)
class AdjustmentsDue:
    """lines: RATED_LINE_SCHEMA, by contract and adjusted date. adjusted: what each adjusts, by line id in
    hex. held: contracts that cannot be adjusted now, by the date that would carry it. catalogue: with all
    prices that the lines name."""

    catalogue: BillingCatalogue
    lines: pa.Table = field(default_factory=RATED_LINE_SCHEMA.empty_table)
    adjusted: Mapping[str, AdjustedLine] = field(default_factory=dict)
    held: Sequence[Held] = ()


def adjustments_due(
    catalogue: BillingCatalogue,
    late: LateUsage,
    next_dates: Mapping[str, date],
    *,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    changed: Mapping[str, Sequence[Issue]],
    now: datetime,
    run_id: str,
    returns_now: Sequence[FeeReturn],
    cuts: Sequence[CutRow] = (),
) -> AdjustmentsDue:
    """What late usage adds to the next bills of touched contracts.

    late: what ``find_late_usage`` found. next_dates: the billing date that carries a contract's adjustments;
    contracts that are not named are left out. changed: what ``changed_behind_bill`` found; such a contract is
    held for that. returns_now, cuts: of ``AmendedCatalogue``. Nothing is written.
    """
    first = {key: day for key, day in late.touched.items() if key in next_dates and key not in changed}
    if not first:
        return AdjustmentsDue(catalogue)
    chosen = pa.array(sorted(first), pa.string())
    settled = catalogue.settled.filter(pc.is_in(catalogue.settled["contract_id"], value_set=chosen))
    last = date.fromisoformat(max(settled["billing_date"].to_pylist()))
    start = min(first.values()) + timedelta(days=1)  # a day is billed on a later one
    inputs = RatingInputs(
        event_store=event_store,
        stored_usage=stored_usage,
        ledger=ledger,
        catalogue=catalogue,
        changed=changed,
        dates=BillingDates(min(start, last), last + timedelta(days=1)),
        now=now,
        run_id=run_id,
        billed_now=late.seats.until,
        cuts=[cut for cut in cuts if cut.key[0] in first],
        returns=[one for one in returns_now if one.fee["contract_id"] in first],
    )
    contracts = catalogue.contracts.filter(pc.is_in(catalogue.contracts["contract_id"], value_set=chosen))
    again = rate_settled_dates(inputs, contracts)
    differences = [
        one for one in line_differences(event_store, again.lines, again.billed) if _is_put_right(one, late)
    ]
    twice = given_back_twice(differences, next_dates, ledger, again.catalogue.agreements)
    held = [
        *_held(again, next_dates),
        *_refused(differences, next_dates),
        *(entry for entry in twice if entry.contract_id not in late.ignoring),
    ]
    without = {entry.contract_id for entry in (*held, *twice)}
    kept = [one for one in differences if one.line["contract_id"] not in without]
    kept = _in_two(sorted(kept, key=_order), again.added)
    months = adjusted_months(
        kept, again.lines, catalogue=catalogue, ledger=ledger, roll_up=counts_with(event_store, stored_usage)
    )
    return AdjustmentsDue(*_made(again.catalogue, kept, months, next_dates, ledger, run_id), held)


def _is_put_right(one: LineDifference, late: LateUsage) -> bool:
    """Whether the next bill takes up the difference: all of it, but of contracts that let late usage be only
    what the last bill had in advance, and of that what an adjustment says rightly."""
    line = one.line
    contract_id = line["contract_id"]
    if contract_id not in late.seats_only:
        return True
    if _is_refused(one):
        return False
    begins = local_midnight(line["billing_date"], late.seats.zones[contract_id])
    return bool(line["billing_date"] > late.touched[contract_id] and line["period_end"] > begins)


def _in_two(differences: Sequence[LineDifference], added: pa.Table) -> list[LineDifference]:
    """A licence in advance of which some was added and some taken away is charged for the one and credited
    for the other: it is adjusted to what it would be with additions alone, and from there to what it is."""
    rows = {line_id: row for row, line_id in enumerate(added["line_id"].to_pylist())}
    found = []
    for one in differences:
        row = rows.get(one.now["line_id"]) if one.now is not None else None
        raised = None if row is None else line_to_python(added, row)
        if raised is not None and raised["amount_minor"] > max(one.billed_minor, one.now_minor):
            found.append(replace(one, now=raised))
            named = {**raised, "line_id": one.line["line_id"]}
            found.append(replace(one, was=named, billed_minor=raised["amount_minor"]))
        else:
            found.append(one)
    return found


def _held(again: RatedAgain, next_dates: Mapping[str, date]) -> list[Held]:
    first: dict[str, Held] = {}
    for entry in again.held:
        first.setdefault(entry.contract_id, entry)
    return [
        Held(
            key,
            next_dates[key],
            entry.reason_code,
            f"late usage changes the bill of {entry.billing_date}, which has no price now: {entry.message}",
        )
        for key, entry in first.items()
    ]


def _is_refused(one: LineDifference) -> bool:
    """Whether no adjustment can say the difference rightly."""
    return bool(one.line["charge_kind"] == FEE_CREDIT_KIND)


def _refused(differences: Iterable[LineDifference], next_dates: Mapping[str, date]) -> list[Held]:
    """Contracts with a difference that no adjustment can say rightly."""
    found: dict[str, Held] = {}
    for one in differences:
        contract_id, kind = one.line["contract_id"], one.line["charge_kind"]
        if _is_refused(one):
            found[contract_id] = Held(
                contract_id,
                next_dates[contract_id],
                "adjustment_refused",
                f"late usage changes what charge {one.line['charge_id']!r} was billed at on "
                f"{one.line['billing_date']} ({kind}), because a discount or rounded sum is shared out again."
                " `ratemill rerate` shows the difference; settle it outside, and say `late_usage: ignore`.",
            )
    return list(found.values())


def _made(
    catalogue: BillingCatalogue,
    differences: Sequence[LineDifference],
    months: Mapping[bytes, AdjustedMonths],
    next_dates: Mapping[str, date],
    ledger: Engine,
    run_id: str,
) -> tuple[BillingCatalogue, pa.Table, dict[str, AdjustedLine]]:
    invoices = _invoices(ledger, differences)
    rows, adjusted, seen = [], {}, set[bytes]()
    for one in differences:
        line = one.line
        row = adjustment_line(
            one.was,
            one.now,
            billed_minor=one.billed_minor,
            billing_date=next_dates[line["contract_id"]],
            run_id=run_id,
            second=line["line_id"] in seen,
        )
        seen.add(line["line_id"])
        rows.append(row)
        inputs = dict(row["inputs"])
        invoice_id, number = invoices.get((line["contract_id"], line["billing_date"]), (None, None))
        shown = InvoiceAdjusts(
            line_id=line["line_id"].hex(),
            billing_date=line["billing_date"],
            invoice_id=invoice_id,
            invoice_number=number,
            billed_quantity=inputs[BILLED_QUANTITY],
            billed_amount=inputs[BILLED_AMOUNT],
            rated_amount=inputs[BILLED_AMOUNT] + row["amount"],
        )
        adjusted[row["line_id"].hex()] = AdjustedLine(
            line["contract_id"], line["charge_kind"], shown, months.get(line["line_id"])
        )
    return catalogue, pa.Table.from_pylist(rows, schema=RATED_LINE_SCHEMA), adjusted


def _order(one: LineDifference) -> tuple[Any, ...]:
    names = ("contract_id", "billing_date", "charge_id", "period_start", "period_end", "line_id")
    return tuple(one.line[name] for name in names)


def _invoices(
    ledger: Engine, differences: Sequence[LineDifference]
) -> dict[tuple[str, date], tuple[str, str | None]]:
    """By contract and billing date of the adjusted lines, the id and number of the invoice; no number of a
    draft, no entry where nothing was billed."""
    table = INVOICES
    wanted = {(one.line["contract_id"], one.line["billing_date"]) for one in differences}
    names = ("invoice_id", "contract_id", "billing_date", "series", "number")
    dates = sorted({day.isoformat() for _, day in wanted})
    statement = select(*(table.c[name] for name in names)).where(table.c.billing_date.in_(dates))
    found: dict[tuple[str, date], tuple[str, str | None]] = {}
    with ledger.connect() as connection:
        for row in select_by_ids(connection, statement, table.c.contract_id, sorted({c for c, _ in wanted})):
            number = None
            if row.number is not None:
                number = number_text(series=row.series, number=int(row.number))
            found[row.contract_id, date.fromisoformat(row.billing_date)] = row.invoice_id, number
    return found
