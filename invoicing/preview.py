"""The bill at any moment: what the next invoice of a contract would be, before it is due.

It goes the billing run's own way (the same periods, pricing and drafting), so with no further
usage the invoice comes out the same, line ids included. Nothing is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.errors import Conflict, Issue, NotFound
from invoicing.amendments_due import with_amendments
from invoicing.billed_time import changed_behind_bill
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.credit_issue import settle_on_paper
from invoicing.draft import Draft, DraftContext, draft_invoices
from invoicing.due import due_service_periods, without_plan
from invoicing.final_bill import FinalDue, final_bills_due, final_drafts
from invoicing.hold import Held, hold_without_plan
from invoicing.invoice import Invoice, InvoiceCredit, parse_invoice
from invoicing.invoice_id import invoice_id_of
from invoicing.invoice_tax import InvoiceTax
from invoicing.late_usage import find_late_usage, newest_change
from invoicing.price_due import DueWork, adjustments_of, draft_context, price_due
from invoicing.pricing import Stages
from invoicing.settings import Seller
from invoicing.tax_desk import open_tax_desk
from rating.money import minor_digits
from rating.plan_version import version_in_force
from rollup.period import find_time_zone

_RUN_ID: Final = "preview"
_LOOK_AHEAD: Final = timedelta(days=800)
"""Longer than any cadence, so that the next billing date is always within it."""


def preview_contract(
    *,
    contract_id: str,
    at: datetime,
    event_store: EventStore,
    ledger: Engine,
    seller: Seller | None = None,
) -> Invoice:
    """The draft of the contract's next invoice as of ``at``, with usage before ``at``.

    It is dated the first billing date after ``at`` and covers the open period, whatever is billed
    in advance on that date, and every earlier billing date not settled yet, with what late usage
    adjusts of those that are. Fees count for their whole period, seats stay as they are. It shows
    the credit it would draw. Of a contract that is billed to its end it is the bill of late usage of its own.
    Without anything to bill it has no lines.

    Raises NotFound for an unknown contract, Conflict when the invoice would be held, with the reason.
    """
    catalogue = load_billing_catalogue(ledger, [contract_id])
    if not catalogue.contracts.num_rows:
        raise NotFound(f"contract {contract_id!r} is not on record. `ratemill contract list` shows what is.")
    contract = catalogue.contracts.to_pylist()[0]
    today = at.astimezone(find_time_zone(contract["time_zone"])).date()
    periods, last = _periods_to_next_date(catalogue, today)
    amended = with_amendments(
        catalogue, periods, event_store=event_store, ledger=ledger, as_of=last, now=None, run_id=_RUN_ID
    )
    catalogue, periods = amended.catalogue, amended.periods
    work = DueWork(
        run_id=_RUN_ID,
        event_store=event_store,
        stored_usage=None,
        ledger=ledger,
        catalogue=catalogue,
        changed=_changed(ledger, catalogue),
        credits=amended.credits,
        returns=amended.returns,
        late=find_late_usage(
            event_store,
            ledger,
            catalogue,
            periods,
            looked_through=newest_change(event_store),
            recounted=amended.recounted(),
        ),
        tax=open_tax_desk(ledger, provider=None),
        seller=seller,
        negative_total="credit_note",  # shown in any case: people look to see what it comes to
        now=at,
        cuts=amended.cuts,
        usage_until=at,
    )
    due = price_due(work, periods, catalogue.contracts, totals_minor=dict, stages=Stages())
    _refuse_held(due.held, catalogue)
    context = draft_context(work, due, [contract_id])
    parts = _on_paper(draft_invoices(lines=due.lines, context=context), contract, ledger)
    if contract_id in work.late.ended and contract_id in work.late.touched:
        parts = _on_paper(_after_its_end(work, contract_id, today), contract, ledger)
        if parts:
            return parts[0]
    billing_date = max(periods["billing_date"].to_pylist(), default=today)
    return _joined(parts, billing_date) if parts else _empty(context, contract_id, billing_date, today)


def _on_paper(drafts: Sequence[Draft], contract: Mapping[str, Any], ledger: Engine) -> list[Invoice]:
    """The invoices of drafts with the credit they would draw."""
    parts = [parse_invoice(draft.text(number=None, issue_date=None)) for draft in drafts]
    with ledger.connect() as connection:
        return list(settle_on_paper(connection, parts, customer_id=contract["customer_id"]))


def _after_its_end(work: DueWork, contract_id: str, today: date) -> list[Draft]:
    """What late usage adds to a contract that is billed to its end: the bill of a run today or, where there
    is one of today already, tomorrow."""
    due = _final_bill(work, contract_id, today)
    if any(entry.reason_code == "final_bill_today" for entry in due.held):
        due = _final_bill(work, contract_id, today + timedelta(days=1))
    _refuse_held(due.held, work.catalogue)
    return final_drafts(work, due)


def _final_bill(work: DueWork, contract_id: str, on: date) -> FinalDue:
    return final_bills_due(work, adjustments_of(work, {contract_id: on}), on=on, totals_minor={})


def _changed(ledger: Engine, catalogue: BillingCatalogue) -> Mapping[str, Sequence[Issue]]:
    with ledger.connect() as connection:
        return changed_behind_bill(
            connection,
            contracts=catalogue.contracts,
            settled=catalogue.settled,
            plan_versions=catalogue.plan_versions,
        )


def _periods_to_next_date(catalogue: BillingCatalogue, today: date) -> tuple[pa.Table, date]:
    """Rows of the unsettled dates up to today and of the first date after it, and the last of these days."""
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=today + _LOOK_AHEAD,
    )
    dates = sorted(set(periods["billing_date"].to_pylist()))
    coming = [day for day in dates if day > today][:1]
    last = max([today, *coming])
    chosen = periods.filter(pc.less_equal(periods["billing_date"], pa.scalar(last, pa.date32())))
    keys = pa.array(np.arange(chosen.num_rows, dtype=np.uint32))
    return chosen.set_column(0, chosen.schema.field("period_key"), keys).combine_chunks(), last


def _refuse_held(reasons: Sequence[Held], catalogue: BillingCatalogue) -> None:
    """The run's own reasons; the amounts of a run's other invoices are not known here."""
    unpriced = without_plan(catalogue.contracts, catalogue.plan_versions)
    held = [*hold_without_plan(unpriced, as_of=date.max), *reasons]
    if held:
        dates: dict[str, list[date]] = {}
        for entry in held:
            dates.setdefault(entry.message, []).append(entry.billing_date)
        texts = " ".join(f"{_dates_text(days)}: {message}" for message, days in dates.items())
        raise Conflict(
            f"contract {held[0].contract_id!r} would be held, not billed. {texts}",
            reason_code="invoice_held",
        )


def _dates_text(days: Sequence[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} dates, {days[0]} to {days[-1]}"


def _credit_of(parts: Sequence[Invoice]) -> tuple[InvoiceCredit, ...]:
    """What each grant pays on all of them."""
    found: dict[str, InvoiceCredit] = {}
    for entry in chain.from_iterable(part.drawn_credit for part in parts):
        before = found.get(entry.grant_id)
        paid = entry.amount_minor + (before.amount_minor if before else 0)
        found[entry.grant_id] = replace(entry, amount_minor=paid)
    return tuple(found.values())


def _tax_of(parts: Sequence[Invoice]) -> tuple[InvoiceTax, ...]:
    """The tax groups of all of them, each rounded where it is billed."""
    found: dict[tuple[str, Decimal], InvoiceTax] = {}
    for group in chain.from_iterable(part.tax for part in parts):
        key = (group.category, group.rate_percent)
        before = found.get(key)
        taxable, tax = (0, 0) if before is None else (before.taxable_minor, before.tax_minor)
        found[key] = replace(
            group, taxable_minor=taxable + group.taxable_minor, tax_minor=tax + group.tax_minor
        )
    return tuple(found[key] for key in sorted(found))


def _joined(parts: Sequence[Invoice], billing_date: date) -> Invoice:
    """One invoice of several billing dates; a single one stays as it is."""
    last = parts[-1]
    contract_id = str(last.contract["contract_id"])
    return replace(
        last,
        invoice_id=invoice_id_of(contract_id=contract_id, billing_date=billing_date),
        billing_date=billing_date,
        period_start=min(part.period_start for part in parts),
        period_end=max(part.period_end for part in parts),
        lines=tuple(chain.from_iterable(part.lines for part in parts)),
        total_minor=sum(part.total_minor for part in parts),
        drawn_credit=_credit_of(parts),
        tax=_tax_of(parts),
    )


def _empty(context: DraftContext, contract_id: str, billing_date: date, today: date) -> Invoice:
    contract = context.contracts[contract_id]
    plan = version_in_force(
        context.plan_versions, plan_id=contract["plan_id"], on=max(today, contract["start_date"])
    )
    if plan is None:
        raise Conflict(
            f"price plan {contract['plan_id']!r} has no version in force on {today}. Save one first.",
            reason_code="plan_not_in_force",
        )
    version, customer = context.customers[contract["customer_id"]]
    return Invoice(
        invoice_id=invoice_id_of(contract_id=contract_id, billing_date=billing_date),
        billing_date=billing_date,
        contract={
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in contract.items()
            if name not in {"customer_id", "plan_id", "anchor_date"}
        },
        customer=orjson.loads(customer),
        customer_version=version,
        seller=orjson.loads(context.taxes[contract_id].seller_text if context.taxes else context.seller),
        terms=orjson.loads(context.terms[contract_id]),
        currency=plan.plan.currency,
        minor_digits=minor_digits(plan.plan.currency),
        period_start=billing_date,
        period_end=billing_date,
        lines=(),
        total_minor=0,
        number=None,
        issue_date=None,
        due_date=None,
    )
