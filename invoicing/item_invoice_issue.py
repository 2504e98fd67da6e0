"""Issues the invoices for items whose day has come: priced, written and locked as those of billing dates are.

Their lines stand under a key of their own beside the contract, so that no billing date takes them for its
own and a repeated or killed look finds the invoice there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.document import canonical_json
from ingest.ledger import ledger_transaction
from invoicing.billable_due import VersionsByDay, items_of_invoice, placed_item
from invoicing.billable_price import ItemLines, PlacedItem, price_items
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue, load_terms
from invoicing.customer_store import load_customer_texts
from invoicing.draft import DraftContext, draft_invoices
from invoicing.hold import Held, hold_by_amount, hold_unknown_customers
from invoicing.issue import write_invoices
from invoicing.issue_policy import IssuePolicy
from invoicing.item_invoice import ItemInvoice, release, scheduled_up_to
from invoicing.numbering import load_prefixes
from invoicing.review.open import needed_reviews, open_review_desk
from invoicing.settings import BillingSettings, NegativeTotal
from invoicing.tables import contract_of
from invoicing.tax_desk import ContractTax, TaxDesk, open_tax_desk
from invoicing.tax_hold import TaxReady, prepare_tax
from rating.store import start_writing
from rating.unfinished_lines import BILLED_UNTIL_SCHEMA, delete_unsettled_lines
from rollup.period import local_midnight


@dataclass(frozen=True, slots=True)
class IssuedItemInvoices:
    """invoices: how many were written. held: why others were not. credit_expired: grants that lapsed with
    them. in_review: of ``invoices``, those that people look at first."""

    invoices: int = 0
    in_review: int = 0
    held: tuple[Held, ...] = ()
    credit_expired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is due, by key of the invoice."""

    due: Mapping[str, ItemInvoice]
    catalogue: BillingCatalogue
    rows: Mapping[str, Mapping[str, Any]]
    customers: Mapping[str, tuple[int, str]]
    run_id: str


@dataclass(frozen=True, slots=True)
class _Taxed:
    """Who answers tax questions, and who sends to whom by key of the invoice."""

    desk: TaxDesk | None
    taxes: Mapping[str, ContractTax]


def issue_item_invoices(
    *, event_store: EventStore, ledger: Engine, settings: BillingSettings, as_of: date, now: datetime
) -> IssuedItemInvoices:
    """Write every invoice for items that is due by ``as_of``, which is their issue date. The caller holds the
    billing lock."""
    with ledger.connect() as connection:
        waiting = scheduled_up_to(connection, as_of)
    if not waiting:
        return IssuedItemInvoices()
    catalogue = load_billing_catalogue(ledger, sorted({one.contract_id for one in waiting}))
    by_id = {row["contract_id"]: row for row in catalogue.contracts.to_pylist()}
    due = {
        one.owner: one
        for one in waiting
        if local_midnight(one.invoice_on, by_id[one.contract_id]["time_zone"]) <= now
    }
    rows = {owner: by_id[one.contract_id] for owner, one in due.items()}
    with ledger.connect() as connection:
        customers = load_customer_texts(connection, sorted({row["customer_id"] for row in rows.values()}))
    batch = _Batch(due, catalogue, rows, customers, f"items-{as_of.isoformat()}")
    placed, held = _placed(ledger, batch, now=now)
    priced = price_items(placed, run_id=batch.run_id)
    desk = open_tax_desk(ledger, provider=settings.tax_provider)
    ready = prepare_tax(
        desk,
        sorted({(one.owner, one.billing_date) for one in placed}),
        priced.lines,
        [{**row, "contract_id": owner} for owner, row in rows.items()],
        customers,
        catalogue,
        ledger,
        priced.tax_classes,
    )
    held |= _held(batch, priced, placed, ready, settings.negative_total)
    kept = {one.owner for one in placed} - set(held)
    written = IssuedItemInvoices()
    for as_draft in (False, True):
        chosen = sorted(owner for owner in kept if due[owner].as_draft == as_draft)
        wanted = settings if not as_draft else replace(settings, issue=False)
        taxed = _Taxed(desk, ready.taxes)
        done, reviewed = _write(
            event_store, ledger, batch, priced, taxed, chosen, wanted, as_of=as_of, now=now
        )
        written = replace(
            written,
            invoices=written.invoices + len(chosen),
            in_review=written.in_review + reviewed,
            credit_expired=(*written.credit_expired, *done),
        )
    return replace(written, held=tuple(held[owner] for owner in sorted(held)))


def _placed(ledger: Engine, batch: _Batch, *, now: datetime) -> tuple[list[PlacedItem], dict[str, Held]]:
    """The items of each invoice. One that has none left is let go."""
    versions = VersionsByDay(batch.catalogue)
    placed: list[PlacedItem] = []
    held: dict[str, Held] = {}
    for owner, one in batch.due.items():
        with ledger_transaction(ledger) as connection:
            items = items_of_invoice(connection, one.item_invoice_id)
            if not items:
                release(connection, one.item_invoice_id, reason="none of its items is open any more", now=now)
        for owned in items:
            contract = owned.contract
            if contract is None or contract.contract_id != one.contract_id:
                said = owned.message or "it is another contract's now."
                reason = owned.reason_code or "item_owner"
                held.setdefault(owner, _why(one, reason, owned.stored.item.external_id, said))
                continue
            placed.append(
                placed_item(owned.stored, contract, versions, owner=owner, billing_date=one.invoice_on)
            )
    return placed, held


def _held(
    batch: _Batch,
    priced: ItemLines,
    placed: Sequence[PlacedItem],
    ready: TaxReady,
    negative_total: NegativeTotal,
) -> dict[str, Held]:
    """By key of the invoice: items without a price, no customer, less than nothing, tax that is not clear."""
    found: dict[str, Held] = {}
    for problem in priced.problems:
        owner = problem.placed.owner
        external_id = problem.placed.stored.item.external_id
        found.setdefault(owner, _why(batch.due[owner], problem.reason_code, external_id, problem.message))
    dates = sorted({(one.owner, one.billing_date) for one in placed})
    customer_of = {owner: row["customer_id"] for owner, row in batch.rows.items()}
    for entry in (
        *hold_unknown_customers(dates, customer_of=customer_of, known=batch.customers),
        *hold_by_amount(priced.lines, negative_total=negative_total),
        *ready.held,
    ):
        found.setdefault(entry.contract_id, replace(entry, contract_id=contract_of(entry.contract_id)))
    return found


def _why(one: ItemInvoice, reason_code: str, external_id: str, message: str) -> Held:
    said = f"item {external_id!r} cannot be billed: {message} Amend or close it, or add what is missing."
    return Held(one.contract_id, one.invoice_on, reason_code, said)


def _write(
    event_store: EventStore,
    ledger: Engine,
    batch: _Batch,
    priced: ItemLines,
    taxed: _Taxed,
    owners: Sequence[str],
    settings: BillingSettings,
    *,
    as_of: date,
    now: datetime,
) -> tuple[Sequence[str], int]:
    """Rated lines first, then numbers, invoices, lines and locked items in one transaction. Gives the grants
    that lapsed, and how many of the invoices wait for a review."""
    if not owners:
        return [], 0
    chosen = pa.array(owners, pa.string())
    lines = priced.lines.filter(pc.is_in(priced.lines["contract_id"], value_set=chosen))
    forget_lines(event_store, dict.fromkeys(owners))
    with start_writing(event_store, lines) as writing:
        drafts = draft_invoices(lines=lines, context=_context(ledger, batch, priced, taxed, owners, settings))
        writing.wait()
    desk = open_review_desk(event_store, ledger)
    versions = batch.catalogue.agreed_versions
    reviews = needed_reviews(desk, drafts, lines, versions, issue=settings.issue)
    with ledger.connect() as connection:
        prefixes = load_prefixes(connection, invoice=settings.series, credit_note=settings.credit_note_series)
    policy = IssuePolicy(
        prefixes=prefixes,
        issue_date=as_of if settings.issue else None,
        run_id=batch.run_id,
        contract_versions={},
        now=now,
        looked_through=None,
        without_adjustments=(),
        adjusted={},
        actor=settings.actor,
        items=priced.items,
        reviews=reviews,
    )
    written = write_invoices(ledger, drafts=drafts, nothing_due=[], policy=policy)
    return written.credit_expired, len(reviews)


def forget_lines(event_store: EventStore, billed: Mapping[str, date | None]) -> None:
    """Delete the lines that a killed look wrote for invoices that are not there. billed: by key of the
    invoices, the last date that one stands on."""
    columns = {"contract_id": list(billed), "settled": list(billed.values())}
    delete_unsettled_lines(event_store, pa.table(columns, schema=BILLED_UNTIL_SCHEMA))


def _context(
    ledger: Engine,
    batch: _Batch,
    priced: ItemLines,
    taxed: _Taxed,
    owners: Sequence[str],
    settings: BillingSettings,
) -> DraftContext:
    rows = {owner: batch.rows[owner] for owner in owners}
    with ledger.connect() as connection:
        terms = load_terms(connection, {row["contract_id"]: row["version"] for row in rows.values()})
    return DraftContext(
        contracts=rows,
        customers=batch.customers,
        terms={owner: terms[row["contract_id"]] for owner, row in rows.items()},
        seller="null" if settings.seller is None else canonical_json(settings.seller),
        plan_versions=batch.catalogue.agreed_versions,
        agreements=batch.catalogue.agreements,
        descriptions=priced.descriptions,
        tax_classes=priced.tax_classes,
        tax=taxed.desk,
        taxes=taxed.taxes,
    )
