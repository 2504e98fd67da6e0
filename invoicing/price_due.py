"""Due periods to lines, and which of their dates are held: the one way for billing runs, previews and demand.

Adjustments of late usage, usage and fees, items, credits of amendments, true-ups, tax: everything that a bill
is made of, in the order that makes it. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.document import canonical_json
from ingest.errors import Issue
from invoicing.adjustments_due import AdjustmentsDue, adjustments_due
from invoicing.amendment_rows import with_credits
from invoicing.billable_due import ItemsDue, items_due
from invoicing.billing_catalogue import BillingCatalogue, load_terms
from invoicing.collector import collector_paused
from invoicing.customer_store import load_customer_texts
from invoicing.draft import DraftContext
from invoicing.fee_return import FeeReturn
from invoicing.hold import Held, Key
from invoicing.holding import held_dates
from invoicing.late_usage import LateUsage
from invoicing.pricing import Stages, price_periods
from invoicing.run_blocks import billing_dates, first_dates
from invoicing.seat_changes import CutRow
from invoicing.seats_in_advance import seats_known
from invoicing.settings import NegativeTotal, Seller
from invoicing.tax_desk import TaxDesk
from invoicing.tax_hold import TaxReady, prepare_tax
from invoicing.true_up import add_true_ups
from invoicing.wider_periods import wider_in_force
from rollup.stored_usage import StoredUsage


@dataclass(frozen=True, slots=True)
class DueWork:
    """What due periods are priced from. catalogue: with what amendments brought. changed: what
    ``changed_behind_bill`` found. credits (RATED_LINE_SCHEMA), returns, cuts: of amendments. usage_until:
    count only usage before that instant; None: whole periods."""

    run_id: str
    event_store: EventStore
    stored_usage: StoredUsage | None
    ledger: Engine
    catalogue: BillingCatalogue
    changed: Mapping[str, Sequence[Issue]]
    credits: pa.Table
    returns: Sequence[FeeReturn]
    cuts: Sequence[CutRow]
    late: LateUsage
    tax: TaxDesk | None
    seller: Seller | None
    negative_total: NegativeTotal
    now: datetime
    usage_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PricedDue:
    """What due dates come to. contracts: rows of ``load_contracts`` by contract_id. customers: version
    and text by customer_id. lines: RATED_LINE_SCHEMA, those of held dates among them."""

    dates: Sequence[Key]
    contracts: Mapping[str, Mapping[str, Any]]
    customers: Mapping[str, tuple[int, str]]
    adjustments: AdjustmentsDue
    items: ItemsDue
    ready: TaxReady
    lines: pa.Table
    held: Sequence[Held]


def price_due(
    work: DueWork,
    periods: pa.Table,
    contracts: pa.Table,
    *,
    totals_minor: Callable[[], Mapping[str, int]],
    stages: Stages,
) -> PricedDue:
    """Price whatever is due on the dates of ``periods``, with the first reason of each date that is held.

    periods: SERVICE_PERIOD_SCHEMA. contracts: rows of the catalogue; those whose periods these are.
    totals_minor: asked when all is priced for what is billed by the same run already, by currency.
    """
    dates = billing_dates(periods)
    with stages.stage("adjust"):
        adjustments = adjustments_of(work, first_dates(dates))
    catalogue = adjustments.catalogue
    ids = contracts["contract_id"]
    priced = price_periods(
        event_store=work.event_store,
        stored_usage=work.stored_usage,
        periods=periods,
        subjects=catalogue.subjects.filter(pc.is_in(catalogue.subjects["contract_id"], value_set=ids)),
        meters=catalogue.meters,
        price_book=catalogue.price_book,
        run_id=work.run_id,
        usage_until=work.usage_until,
        wider=wider_in_force(work.ledger, catalogue, periods),
        seats=seats_known(catalogue, periods),
        stages=stages,
    )
    own = work.credits.filter(pc.is_in(work.credits["contract_id"], value_set=ids))
    items = items_due(work.ledger, catalogue, dates, run_id=work.run_id)
    priced = add_true_ups(
        replace(priced, lines=with_credits(priced.lines, own, adjustments.lines, items.lines)),
        periods=periods,
        contracts=contracts,
        catalogue=catalogue,
        event_store=work.event_store,
        ledger=work.ledger,
        run_id=work.run_id,
    )
    with stages.stage("hold"), collector_paused():
        by_id = {row["contract_id"]: row for row in contracts.to_pylist()}
        with work.ledger.connect() as connection:
            customers = load_customer_texts(connection, pc.unique(contracts["customer_id"]).to_pylist())
        ready = prepare_tax(
            work.tax,
            dates,
            priced.lines,
            tuple(by_id.values()),
            customers,
            catalogue,
            work.ledger,
            items.tax_classes,
        )
        held = held_dates(
            dates,
            periods=periods,
            priced=priced,
            contracts=contracts,
            catalogue=catalogue,
            customers=customers,
            changed=work.changed,
            totals_minor=totals_minor(),
            negative_total=work.negative_total,
            late=[*adjustments.held, *items.held, *ready.held],
        )
    return PricedDue(dates, by_id, customers, adjustments, items, ready, priced.lines, held)


def draft_context(work: DueWork, due: PricedDue, contract_ids: Iterable[str]) -> DraftContext:
    """What the drafts of these contracts copy in."""
    contracts, adjustments, items = due.contracts, due.adjustments, due.items
    ids = list(dict.fromkeys(contract_ids))
    with work.ledger.connect() as connection:
        terms = load_terms(connection, {key: contracts[key]["version"] for key in ids})
    return DraftContext(
        contracts={contract_id: contracts[contract_id] for contract_id in ids},
        customers=due.customers,
        terms=terms,
        seller=seller_text(work.seller),
        plan_versions=adjustments.catalogue.agreed_versions,
        agreements=adjustments.catalogue.agreements,
        adjusted=adjustments.adjusted,
        descriptions=items.descriptions,
        tax_classes=items.tax_classes,
        tax=work.tax,
        taxes={key: due.ready.taxes[key] for key in ids if key in due.ready.taxes},
    )


def seller_text(seller: Seller | None) -> str:
    """The seller of the settings as canonical text."""
    return "null" if seller is None else canonical_json(seller)


def due_contracts(catalogue: BillingCatalogue, periods: pa.Table) -> pa.Table:
    """The catalogue's rows of the contracts whose periods these are."""
    ids = pc.unique(periods["contract_id"])
    return catalogue.contracts.filter(pc.is_in(catalogue.contracts["contract_id"], value_set=ids))


def adjustments_of(work: DueWork, next_dates: Mapping[str, date]) -> AdjustmentsDue:
    """What late usage adds to the next bills of these contracts, by the dates that carry it."""
    return adjustments_due(
        work.catalogue,
        work.late,
        next_dates,
        event_store=work.event_store,
        stored_usage=work.stored_usage,
        ledger=work.ledger,
        changed=work.changed,
        now=work.now,
        run_id=work.run_id,
        returns_now=work.returns,
        cuts=work.cuts,
    )
