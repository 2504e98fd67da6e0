"""What a billing run carries from step to step, and what the drafts and invoices of a block copy in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.document import canonical_json
from ingest.errors import Issue
from invoicing.adjustments_due import AdjustmentsDue
from invoicing.billable_due import ItemsDue
from invoicing.billing_catalogue import BillingCatalogue, load_terms
from invoicing.draft import DraftContext
from invoicing.hold import Key
from invoicing.issue import IssuePolicy
from invoicing.late_usage import LateUsage
from invoicing.number import last_issue_date, refuse_earlier_issue_date
from invoicing.numbering import NumberPrefixes, load_prefixes
from invoicing.pricing import Stages
from invoicing.review.open import ReviewDesk
from invoicing.seat_changes import CutRow
from invoicing.settings import BillingSettings
from invoicing.tax_desk import TaxDesk
from invoicing.tax_hold import TaxReady
from rollup.stored_usage import StoredUsage


@dataclass(frozen=True, slots=True)
class BillingRun:
    """changed: what ``changed_behind_bill`` found. credits, cuts: of amendments. totals_before:
    what the run billed before it was taken up, minor units by currency."""

    run_id: str
    as_of: date
    event_store: EventStore
    stored_usage: StoredUsage | None
    ledger: Engine
    settings: BillingSettings
    catalogue: BillingCatalogue
    changed: Mapping[str, Sequence[Issue]]
    credits: pa.Table
    cuts: Sequence[CutRow]
    late: LateUsage
    totals_before: Mapping[str, int]
    stages: Stages
    now: datetime
    tax: TaxDesk | None
    reviews: ReviewDesk


@dataclass(frozen=True, slots=True)
class Block:
    """What a block of contracts is billed from, beside its lines. contracts: rows of ``load_contracts`` by
    contract_id. customers: version and text by customer_id."""

    contracts: Mapping[str, Mapping[str, Any]]
    customers: Mapping[str, tuple[int, str]]
    adjustments: AdjustmentsDue
    items: ItemsDue
    ready: TaxReady


def draft_context(run: BillingRun, block: Block, dates: Sequence[Key]) -> DraftContext:
    """What the drafts of these dates copy in."""
    contracts, adjustments, items = block.contracts, block.adjustments, block.items
    ids = list(dict.fromkeys(contract_id for contract_id, _ in dates))
    with run.ledger.connect() as connection:
        terms = load_terms(connection, {key: contracts[key]["version"] for key in ids})
    return DraftContext(
        contracts={contract_id: contracts[contract_id] for contract_id in ids},
        customers=block.customers,
        terms=terms,
        seller=seller_text(run),
        plan_versions=adjustments.catalogue.agreed_versions,
        agreements=adjustments.catalogue.agreements,
        adjusted=adjustments.adjusted,
        descriptions=items.descriptions,
        tax_classes=items.tax_classes,
        tax=run.tax,
        taxes={key: block.ready.taxes[key] for key in ids if key in block.ready.taxes},
    )


def issue_policy(run: BillingRun, block: Block) -> IssuePolicy:
    """How the invoices of a block are issued."""
    return IssuePolicy(
        prefixes=issue_prefixes(run),
        issue_date=run.as_of if run.settings.issue else None,
        run_id=run.run_id,
        contract_versions={contract_id: row["version"] for contract_id, row in block.contracts.items()},
        now=run.now,
        looked_through=run.late.looked_through,
        without_adjustments=run.late.ignoring,
        adjusted=block.adjustments.adjusted,
        actor=run.settings.actor,
        items=block.items.items,
    )


def issue_prefixes(run: BillingRun) -> NumberPrefixes:
    """What documents of the run are numbered by."""
    settings = run.settings
    with run.ledger.connect() as connection:
        return load_prefixes(connection, invoice=settings.series, credit_note=settings.credit_note_series)


def seller_text(run: BillingRun) -> str:
    """The seller of the settings as canonical text."""
    return "null" if run.settings.seller is None else canonical_json(run.settings.seller)


def numbered_as_of(ledger: Engine, settings: BillingSettings, as_of: date) -> BillingSettings:
    """Before any work: numbers rise with dates, so an earlier date could not be issued at the end. Credit
    notes are rare, so where a later one is out only they are held."""
    if not settings.issue:
        return settings
    with ledger.connect() as connection:
        prefixes = load_prefixes(connection, invoice=settings.series, credit_note=settings.credit_note_series)
        for prefix in prefixes.all_of("invoice"):
            refuse_earlier_issue_date(connection, prefix=prefix, issue_date=as_of)
        last = [last_issue_date(connection, prefix=prefix) for prefix in prefixes.all_of("credit_note")]
    later = any(day is not None and day > as_of for day in last)
    return replace(settings, negative_total="hold") if later else settings
