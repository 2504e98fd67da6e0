"""Late usage of contracts that have ended: what it changes is billed after the last billing date, by an
invoice, or a credit note, of its own.

It stands beside the contract's billing dates, at most one a contract and day: its lines are the adjustments
that the next bill would have carried, had there been one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import func, select

from invoicing.adjustments_due import AdjustmentsDue
from invoicing.billing_catalogue import load_terms
from invoicing.bulk import select_by_ids
from invoicing.customer_store import load_customer_texts
from invoicing.draft import Draft, DraftContext, draft_invoices
from invoicing.hold import Held, Key, hold_by_amount, hold_too_large, hold_unknown_customers
from invoicing.issue import Written, write_invoices
from invoicing.issue_policy import IssuePolicy
from invoicing.item_invoice_issue import forget_lines
from invoicing.price_due import DueWork, seller_text
from invoicing.run_context import BillingRun, issue_prefixes
from invoicing.tables import INVOICES, LATE_USAGE_SUFFIX, contract_of
from invoicing.tax_hold import TaxReady, prepare_tax
from rating.store import start_writing


@dataclass(frozen=True, slots=True)
class FinalBills:
    """drafts: what was written. held: why others were not. credit_expired: grants that lapsed."""

    drafts: Sequence[Draft] = ()
    held: Sequence[Held] = ()
    credit_expired: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FinalDue:
    """What is to be billed, by key of the bill. rows: of ``load_contracts``. dates, owners: all bills; those
    that nothing holds. held: why others are."""

    found: AdjustmentsDue
    lines: pa.Table
    rows: Mapping[str, Mapping[str, Any]]
    customers: Mapping[str, tuple[int, str]]
    dates: Sequence[Key]
    ready: TaxReady
    owners: Sequence[str]
    held: Sequence[Held]


def write_final_bills(
    run: BillingRun, found: AdjustmentsDue, *, totals_minor: Mapping[str, int]
) -> FinalBills:
    """Bill the adjustments found of ended contracts, on the day of the run. totals_minor: what the run has
    billed so far."""
    if not found.lines.num_rows:
        return FinalBills(held=found.held)
    due = final_bills_due(run.work, found, on=run.as_of, totals_minor=totals_minor)
    written = _write(run, due) if due.owners else Written([], [])
    return FinalBills(written.drafts, due.held, written.credit_expired)


def final_bills_due(
    work: DueWork, found: AdjustmentsDue, *, on: date, totals_minor: Mapping[str, int]
) -> FinalDue:
    """The bills of a day for the adjustments found of ended contracts, and why some are held: what runs,
    previews and demand share. Nothing is written."""
    lines, rows = _by_bill(found)
    dates = [(owner, on) for owner in rows]
    with work.ledger.connect() as connection:
        customers = load_customer_texts(connection, sorted({row["customer_id"] for row in rows.values()}))
    ready = prepare_tax(
        work.tax,
        dates,
        lines,
        [{**row, "contract_id": owner} for owner, row in rows.items()],
        customers,
        found.catalogue,
        work.ledger,
        {},
    )
    due = FinalDue(found, lines, rows, customers, dates, ready, [], [])
    held = _held(work, due, on, totals_minor)
    owners = [owner for owner in rows if owner not in held]
    return replace(due, owners=owners, held=[*found.held, *(held[owner] for owner in sorted(held))])


def final_drafts(work: DueWork, due: FinalDue) -> list[Draft]:
    """The bills that nothing holds."""
    return list(draft_invoices(lines=_lines_of(due), context=_context(work, due)))


def _lines_of(due: FinalDue) -> pa.Table:
    """RATED_LINE_SCHEMA of the bills that nothing holds."""
    owners = pa.array(due.owners, pa.string())
    return due.lines.filter(pc.is_in(due.lines["contract_id"], value_set=owners))


def _by_bill(found: AdjustmentsDue) -> tuple[pa.Table, dict[str, Mapping[str, Any]]]:
    """The lines with the key of their bill for the contract, and the row of its contract by that key."""
    place = found.lines.schema.get_field_index("contract_id")
    column = found.lines.column(place)
    keys = pa.array([f"{one}{LATE_USAGE_SUFFIX}" for one in column.to_pylist()], pa.string())
    lines = found.lines.set_column(place, found.lines.schema.field(place), keys.cast(column.type))
    by_id = {row["contract_id"]: row for row in found.catalogue.contracts.to_pylist()}
    return lines, {owner: by_id[contract_of(owner)] for owner in dict.fromkeys(keys.to_pylist())}


def _held(work: DueWork, due: FinalDue, on: date, totals_minor: Mapping[str, int]) -> dict[str, Held]:
    """By key of the bill, the first reason found."""
    customer_of = {owner: row["customer_id"] for owner, row in due.rows.items()}
    billed = select(INVOICES.c.contract_id).where(INVOICES.c.billing_date == on.isoformat())
    with work.ledger.connect() as connection:
        today = [
            row[0] for row in select_by_ids(connection, billed, INVOICES.c.contract_id, sorted(due.rows))
        ]
    reasons = [
        *(_billed_today(owner, on) for owner in today),
        *hold_unknown_customers(due.dates, customer_of=customer_of, known=due.customers),
        *due.ready.held,
        *hold_by_amount(due.lines, negative_total=work.negative_total),
        *hold_too_large(due.lines, totals_minor=totals_minor),
    ]
    found: dict[str, Held] = {}
    for entry in reasons:
        found.setdefault(entry.contract_id, replace(entry, contract_id=contract_of(entry.contract_id)))
    return found


def _billed_today(owner: str, on: date) -> Held:
    return Held(
        owner,
        on,
        "final_bill_today",
        f"late usage of the ended contract was billed on {on} already, and more came in since. A run "
        "as of a later day bills it.",
    )


def _write(run: BillingRun, due: FinalDue) -> Written:
    """Rated lines first, then numbers, invoices and lines in one transaction."""
    forget_lines(run.event_store, _billed_until(run, due.owners))
    with start_writing(run.event_store, _lines_of(due)) as writing:
        drafts = final_drafts(run.work, due)
        writing.wait()
    policy = IssuePolicy(
        prefixes=issue_prefixes(run),
        issue_date=run.as_of if run.settings.issue else None,
        run_id=run.run_id,
        contract_versions={},
        now=run.now,
        looked_through=run.late.looked_through,
        without_adjustments=(),
        adjusted=due.found.adjusted,
        actor=run.settings.actor,
    )
    return write_invoices(run.ledger, drafts=drafts, nothing_due=[], policy=policy)


def _billed_until(run: BillingRun, owners: Sequence[str]) -> dict[str, date | None]:
    """By key of the bill, the last day with such a bill of the contract."""
    last = func.max(INVOICES.c.billing_date)
    statement = select(INVOICES.c.contract_id, last).group_by(INVOICES.c.contract_id)
    with run.ledger.connect() as connection:
        found = dict(map(tuple, select_by_ids(connection, statement, INVOICES.c.contract_id, owners)))
    return {owner: date.fromisoformat(found[owner]) if owner in found else None for owner in owners}


def _context(work: DueWork, due: FinalDue) -> DraftContext:
    rows = {owner: due.rows[owner] for owner in due.owners}
    with work.ledger.connect() as connection:
        terms = load_terms(connection, {row["contract_id"]: row["version"] for row in rows.values()})
    return DraftContext(
        contracts=rows,
        customers=due.customers,
        terms={owner: terms[row["contract_id"]] for owner, row in rows.items()},
        seller=seller_text(work.seller),
        plan_versions=due.found.catalogue.agreed_versions,
        agreements=due.found.catalogue.agreements,
        adjusted=due.found.adjusted,
        tax=work.tax,
        taxes=due.ready.taxes,
    )
