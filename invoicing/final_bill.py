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
from invoicing.price_due import seller_text
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
class _Ended:
    """What is to be billed, by key of the bill. rows: of ``load_contracts``."""

    found: AdjustmentsDue
    lines: pa.Table
    rows: Mapping[str, Mapping[str, Any]]
    customers: Mapping[str, tuple[int, str]]
    dates: Sequence[Key]


def write_final_bills(
    run: BillingRun, found: AdjustmentsDue, *, totals_minor: Mapping[str, int]
) -> FinalBills:
    """Bill the adjustments found of ended contracts, on the day of the run. totals_minor: what the run has
    billed so far."""
    if not found.lines.num_rows:
        return FinalBills(held=found.held)
    ended = _ended(run, found)
    ready = prepare_tax(
        run.tax,
        ended.dates,
        ended.lines,
        [{**row, "contract_id": owner} for owner, row in ended.rows.items()],
        ended.customers,
        found.catalogue,
        run.ledger,
        {},
    )
    held = _held(run, ended, ready, totals_minor)
    chosen = [owner for owner, _ in ended.dates if owner not in held]
    written = _write(run, ended, ready, chosen) if chosen else Written([], [])
    reasons = [*found.held, *(held[owner] for owner in sorted(held))]
    return FinalBills(written.drafts, reasons, written.credit_expired)


def _ended(run: BillingRun, found: AdjustmentsDue) -> _Ended:
    place = found.lines.schema.get_field_index("contract_id")
    column = found.lines.column(place)
    keys = pa.array([f"{one}{LATE_USAGE_SUFFIX}" for one in column.to_pylist()], pa.string())
    lines = found.lines.set_column(place, found.lines.schema.field(place), keys.cast(column.type))
    owners = list(dict.fromkeys(keys.to_pylist()))
    by_id = {row["contract_id"]: row for row in found.catalogue.contracts.to_pylist()}
    rows = {owner: by_id[contract_of(owner)] for owner in owners}
    with run.ledger.connect() as connection:
        customers = load_customer_texts(connection, sorted({row["customer_id"] for row in rows.values()}))
    return _Ended(found, lines, rows, customers, [(owner, run.as_of) for owner in owners])


def _held(
    run: BillingRun, ended: _Ended, ready: TaxReady, totals_minor: Mapping[str, int]
) -> dict[str, Held]:
    """By key of the bill, the first reason found."""
    customer_of = {owner: row["customer_id"] for owner, row in ended.rows.items()}
    billed = select(INVOICES.c.contract_id).where(INVOICES.c.billing_date == run.as_of.isoformat())
    with run.ledger.connect() as connection:
        today = [
            row[0] for row in select_by_ids(connection, billed, INVOICES.c.contract_id, sorted(ended.rows))
        ]
    reasons = [
        *(_billed_today(owner, run) for owner in today),
        *hold_unknown_customers(ended.dates, customer_of=customer_of, known=ended.customers),
        *ready.held,
        *hold_by_amount(ended.lines, negative_total=run.settings.negative_total),
        *hold_too_large(ended.lines, totals_minor=totals_minor),
    ]
    found: dict[str, Held] = {}
    for entry in reasons:
        found.setdefault(entry.contract_id, replace(entry, contract_id=contract_of(entry.contract_id)))
    return found


def _billed_today(owner: str, run: BillingRun) -> Held:
    return Held(
        owner,
        run.as_of,
        "final_bill_today",
        f"late usage of the ended contract was billed on {run.as_of} already, and more came in since. A run "
        "as of a later day bills it.",
    )


def _write(run: BillingRun, ended: _Ended, ready: TaxReady, owners: Sequence[str]) -> Written:
    """Rated lines first, then numbers, invoices and lines in one transaction."""
    lines = ended.lines.filter(pc.is_in(ended.lines["contract_id"], value_set=pa.array(owners, pa.string())))
    forget_lines(run.event_store, _billed_until(run, owners))
    with start_writing(run.event_store, lines) as writing:
        drafts = draft_invoices(lines=lines, context=_context(run, ended, ready, owners))
        writing.wait()
    policy = IssuePolicy(
        prefixes=issue_prefixes(run),
        issue_date=run.as_of if run.settings.issue else None,
        run_id=run.run_id,
        contract_versions={},
        now=run.now,
        looked_through=run.late.looked_through,
        without_adjustments=(),
        adjusted=ended.found.adjusted,
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


def _context(run: BillingRun, ended: _Ended, ready: TaxReady, owners: Sequence[str]) -> DraftContext:
    rows = {owner: ended.rows[owner] for owner in owners}
    with run.ledger.connect() as connection:
        terms = load_terms(connection, {row["contract_id"]: row["version"] for row in rows.values()})
    return DraftContext(
        contracts=rows,
        customers=ended.customers,
        terms={owner: terms[row["contract_id"]] for owner, row in rows.items()},
        seller=seller_text(run.settings.seller),
        plan_versions=ended.found.catalogue.agreed_versions,
        agreements=ended.found.catalogue.agreements,
        adjusted=ended.found.adjusted,
        tax=run.tax,
        taxes=ready.taxes,
    )
