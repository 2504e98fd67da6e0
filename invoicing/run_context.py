"""What a billing run carries from step to step, and what the drafts and invoices of a block copy in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.errors import Issue
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.issue_policy import IssuePolicy
from invoicing.late_usage import LateUsage
from invoicing.month_shares import month_shares
from invoicing.number import last_issue_date, refuse_earlier_issue_date
from invoicing.numbering import NumberPrefixes, load_prefixes
from invoicing.price_due import DueWork, PricedDue
from invoicing.pricing import Stages
from invoicing.review.open import ReviewDesk
from invoicing.settings import BillingSettings
from invoicing.tax_desk import TaxDesk
from invoicing.wider_periods import counts_with
from rollup.stored_usage import StoredUsage


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run is told, and what it reads once, before its first contract. looked_through: the last event
    or correction by then. changed: what ``changed_behind_bill`` found among all contracts. invoiced_before,
    totals_before: what the run billed before it was taken up, minor units by currency."""

    run_id: str
    as_of: date
    event_store: EventStore
    stored_usage: StoredUsage | None
    ledger: Engine
    now: datetime
    settings: BillingSettings
    stages: Stages
    looked_through: int
    changed: Mapping[str, Sequence[Issue]]
    invoiced_before: int
    totals_before: Mapping[str, int]
    reviews: ReviewDesk


@dataclass(frozen=True, slots=True)
class BillingRun:
    """The run at some of its contracts. work: what their periods are priced from."""

    start: RunStart
    work: DueWork
    late: LateUsage

    @property
    def as_of(self) -> date:
        return self.start.as_of

    @property
    def settings(self) -> BillingSettings:
        return self.start.settings

    @property
    def stages(self) -> Stages:
        return self.start.stages

    @property
    def reviews(self) -> ReviewDesk:
        return self.start.reviews

    @property
    def run_id(self) -> str:
        return self.work.run_id

    @property
    def event_store(self) -> EventStore:
        return self.work.event_store

    @property
    def ledger(self) -> Engine:
        return self.work.ledger

    @property
    def catalogue(self) -> BillingCatalogue:
        return self.work.catalogue

    @property
    def tax(self) -> TaxDesk | None:
        return self.work.tax

    @property
    def now(self) -> datetime:
        return self.work.now


def issue_policy(run: BillingRun, due: PricedDue) -> IssuePolicy:
    """How the invoices of a block are issued."""
    with run.stages.stage("roll up"):
        shares = month_shares(
            due.lines,
            catalogue=run.catalogue,
            ledger=run.ledger,
            roll_up=counts_with(run.event_store, run.work.stored_usage),
        )
    return IssuePolicy(
        prefixes=issue_prefixes(run),
        issue_date=run.as_of if run.settings.issue else None,
        run_id=run.run_id,
        contract_versions={contract_id: row["version"] for contract_id, row in due.contracts.items()},
        now=run.now,
        looked_through=run.late.looked_through,
        without_adjustments=run.late.ignoring,
        adjusted=due.adjustments.adjusted,
        actor=run.settings.actor,
        items=due.items.items,
        month_shares=shares,
    )


def issue_prefixes(run: BillingRun) -> NumberPrefixes:
    """What documents of the run are numbered by."""
    settings = run.settings
    with run.ledger.connect() as connection:
        return load_prefixes(connection, invoice=settings.series, credit_note=settings.credit_note_series)


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
