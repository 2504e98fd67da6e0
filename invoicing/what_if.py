"""What customers would have paid under other prices: variants of plans x contracts x billing dates.

Usage is rolled up once. Every variant then goes through the function that prices invoices, and a
variant's documents stand in for every version of their plans, through all of the time asked about. A
contract's own overrides, discounts and limits hold over a variant as over the plan. Nothing is stored.

A contract whose amount cannot be known, now or under a variant, is held with the reason and counts in no sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from ingest.meter_store import list_meters
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.due import without_plan
from invoicing.history import (
    CONTRACTS_AT_ONCE,
    BillingDates,
    late_subjects,
    periods_of_dates,
    refuse_unknown_contracts,
    roll_up_spans,
    spans_of,
    usage_of_periods,
)
from invoicing.hold import Held, hold_unrated, hold_unusable, hold_without_plan
from invoicing.plan_schedule import timings_of
from invoicing.pricing import PricedPeriods, Progress
from invoicing.seats_in_advance import seat_usage, seats_known, with_seats
from invoicing.true_up import add_true_ups
from invoicing.what_if_answer import (
    AMOUNT_MINOR_MAX,
    HELD,
    LEFT_OUT,
    PRICED,
    PRICES_NOW,
    WhatIf,
)
from invoicing.what_if_variant import PriceVariant
from invoicing.wider_periods import count_wider, counts_beyond, wider_periods
from rating.agreement import agreed_versions
from rating.compile import PriceBook, compile_price_book
from rating.line_item import RATED_LINE_SCHEMA
from rating.line_table import UNRATED_SCHEMA
from rating.minor_sums import sums_by_group
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.priced_meters import priced_meters
from rating.rate import rate_amounts, rate_usage
from rating.term_commitment import TRUE_UP_KIND
from rating.true_up import due_true_ups
from rating.wider_usage import WiderUsage
from rollup.roll_up import RolledUp
from rollup.stored_usage import StoredUsage


@dataclass(frozen=True, slots=True)
class _Prices:
    """Plan versions to price by. shape: equal for those under which the periods are the same."""

    versions: tuple[PlanVersion, ...]
    book: PriceBook
    plan_ids: frozenset[str]
    shape: tuple[Any, ...]

    def counts(self) -> tuple[Any, ...]:
        """Equal for those that have equal periods and count the same beyond them."""
        return (self.shape, counts_beyond(self.versions))


@dataclass(frozen=True, slots=True)
class _Amounts:
    """amount, dated: one entry a contract of the block; dated: some period of it is priced. held: why some
    have no amount."""

    amount: NDArray[np.int64]
    dated: NDArray[np.bool_]
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class _Block:
    """Some of the contracts. used: by shape of the prices, their periods and the usage of these. wider: by
    what prices count beyond periods (``_Prices.counts``), that, and all events that cannot be counted."""

    catalogue: BillingCatalogue
    contracts: pa.Table
    dates: BillingDates
    now: datetime
    event_store: EventStore
    ledger: Engine
    meters: Mapping[str, Meter]
    used: Mapping[tuple[Any, ...], tuple[pa.Table, RolledUp]] = field(default_factory=dict)
    wider: Mapping[tuple[Any, ...], tuple[WiderUsage | None, pa.Table]] = field(default_factory=dict)

    def on_plans(self, prices: _Prices) -> pa.Table:
        """The contracts that have one of the plans."""
        chosen = _is_on(self.contracts, self.catalogue, prices.plan_ids)
        return self.contracts if chosen.all() else self.contracts.filter(pa.array(chosen))

    def periods_under(self, prices: _Prices) -> pa.Table:
        """What the dates have to price under those plan versions."""
        return periods_of_dates(
            self.catalogue, self.on_plans(prices), prices.versions, self.dates, now=self.now
        )

    def amounts(self, prices: _Prices) -> _Amounts:
        """What each contract comes to, and who is held."""
        periods, rolled = self.used[prices.shape]
        wider, unusable = self.wider[prices.counts()]
        ahead = self._seats(prices, periods)
        rolled = with_seats(rolled, ahead)
        if ahead is not None:
            unusable = pa.concat_tables([unusable, ahead.unusable])
        priced = rate_amounts(periods=periods, usage=rolled.usage, price_book=prices.book, wider=wider)
        owners = periods["contract_id"].combine_chunks()
        places = pc.index_in(owners, value_set=self.contracts["contract_id"].combine_chunks())
        place = np.asarray(places.to_numpy(zero_copy_only=False), np.int64)
        amount, wrapped = sums_by_group(place, priced.amount_minor, self.contracts.num_rows)
        trued = self._true_ups(prices, periods, rolled, wider)
        owner = pc.index_in(
            trued.lines["contract_id"], value_set=self.contracts["contract_id"].combine_chunks()
        )
        np.add.at(amount, owner.to_numpy(), trued.lines["amount_minor"].to_numpy())
        wrapped[place[priced.too_large]] = True
        wrapped |= np.abs(amount) > AMOUNT_MINOR_MAX
        unplanned = without_plan(self.on_plans(prices), prices.versions)
        held = [
            *hold_without_plan(unplanned, as_of=self.dates.end - timedelta(days=1)),
            *hold_unusable(unusable, periods=periods, plan_versions=prices.versions),
            *hold_unrated(priced.unrated, periods=periods),
            *hold_unrated(trued.unrated, periods=periods),
            *(self._too_large(number) for number in np.flatnonzero(wrapped).tolist()),
        ]
        dated = np.zeros(self.contracts.num_rows, np.bool_)
        dated[place] = True
        return _Amounts(np.where(_is_held(self.contracts, held), 0, amount), dated, held)

    def _seats(self, prices: _Prices, periods: pa.Table) -> RolledUp | None:
        """What licences in advance count, known up to the last date of each contract that has come."""
        ids = self.contracts["contract_id"].combine_chunks()
        subjects, meters = self.catalogue.subjects, self.meters
        return seat_usage(
            self.event_store,
            periods=periods,
            subjects=subjects.filter(pc.is_in(subjects["contract_id"], value_set=ids)),
            price_book=prices.book,
            meters=priced_meters(prices.book.versions, meters),
            known=seats_known(replace(self.catalogue, plan_versions=list(prices.versions)), periods),
        )

    def _true_ups(
        self, prices: _Prices, periods: pa.Table, rolled: RolledUp, wider: WiderUsage | None
    ) -> PricedPeriods:
        """The lines that true up terms which end in the dates, under those prices."""
        agreements = self.catalogue.agreements
        due = due_true_ups(periods, agreements=agreements, contracts=self.contracts)
        nothing = PricedPeriods(
            RATED_LINE_SCHEMA.empty_table(), UNRATED_SCHEMA.empty_table(), rolled.unusable.slice(0, 0)
        )
        if not due:
            return nothing
        rated = rate_usage(
            periods=periods, usage=rolled.usage, price_book=prices.book, run_id="what-if", wider=wider
        )
        trued = add_true_ups(
            PricedPeriods(rated.lines, nothing.unrated, nothing.unusable),
            periods=periods,
            contracts=self.contracts,
            catalogue=self.catalogue,
            plan_versions=prices.versions,
            event_store=self.event_store,
            ledger=self.ledger,
            run_id="what-if",
        )
        kind = pc.equal(trued.lines["charge_kind"].cast(pa.string()), TRUE_UP_KIND)
        return replace(trued, lines=trued.lines.filter(kind))

    def _too_large(self, number: int) -> Held:
        return Held(
            self.contracts["contract_id"][number].as_py(),
            self.dates.first,
            "total_too_large",
            f"the dates come to more than {AMOUNT_MINOR_MAX} minor units. Ask for fewer dates, or correct "
            "the events or the price.",
        )


def what_if(
    *,
    variants: Sequence[PriceVariant],
    dates: BillingDates,
    contract_ids: Sequence[str] | None,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    now: datetime,
    progress: Progress,
) -> WhatIf:
    """Price every contract on a plan of some variant as it is now and under each variant.

    variants: checked by ``read_variants``. dates: those that have come by ``now`` count, billed or not.
    contract_ids: only these; None for all; those without such a date are left out. progress: told
    of contracts x variants. Raises NotFound for an unknown contract.
    """
    catalogue = load_billing_catalogue(ledger, contract_ids)
    refuse_unknown_contracts(catalogue, contract_ids)
    contracts = _contracts_on(catalogue, {plan.plan_id for variant in variants for plan in variant.plans})
    meters = {meter.meter_id: meter for meter in list_meters(ledger)}
    base = _prices_now(catalogue)
    alternatives = [_prices_under(catalogue, variant, meters) for variant in variants]
    size, count = len(variants), contracts.num_rows
    now_minor, minor = np.zeros(count, np.int64), np.zeros((size, count), np.int64)
    state = np.full((size, count), LEFT_OUT, np.int8)
    held: list[tuple[str, Held]] = []
    for first in range(0, count, CONTRACTS_AT_ONCE):
        part = contracts.slice(first, CONTRACTS_AT_ONCE)
        here = slice(first, first + part.num_rows)
        block = _roll_up(
            _Block(catalogue, part, dates, now, event_store, ledger, meters),
            [base, *alternatives],
            meters,
            event_store=event_store,
            stored_usage=stored_usage,
            ledger=ledger,
        )
        priced = block.amounts(base)
        now_minor[here] = priced.amount
        held += [(PRICES_NOW, entry) for entry in priced.held]
        unknown = _is_held(part, priced.held)
        for number, (variant, prices) in enumerate(zip(variants, alternatives, strict=True)):
            under = block.amounts(prices)
            held += [(variant.name, entry) for entry in under.held]
            minor[number, here] = under.amount
            without = unknown | _is_held(part, under.held)
            asked = _is_on(part, catalogue, prices.plan_ids) & (priced.dated | under.dated | without)
            state[number, here] = np.where(asked, np.where(without, HELD, PRICED), LEFT_OUT)
            progress("price variants", first * size + (number + 1) * part.num_rows, count * size)
    return WhatIf(
        dates=dates,
        variants=tuple(variant.name for variant in variants),
        contracts=_described(contracts, catalogue),
        now_minor=now_minor,
        minor=minor,
        state=state,
        held=tuple(held),
    )


def _roll_up(
    block: _Block,
    every: Sequence[_Prices],
    meters: Mapping[str, Meter],
    *,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
) -> _Block:
    """The block with the usage that any of the prices may ask for."""
    shapes = {prices.shape: prices for prices in every}
    periods = {shape: block.periods_under(prices) for shape, prices in shapes.items()}
    spans = spans_of(periods.values())
    versions = [entry for prices in every for entry in prices.book.versions]
    ids = block.contracts["contract_id"]
    subjects = block.catalogue.subjects
    with ledger.connect() as connection:
        late = late_subjects(connection, ids.to_pylist(), block.dates)
    rolled = roll_up_spans(
        event_store,
        spans=spans,
        subjects=subjects.filter(pc.is_in(subjects["contract_id"], value_set=ids.combine_chunks())),
        late=late,
        meters=priced_meters(versions, meters),
        stored_usage=stored_usage,
    )
    used = {shape: (table, usage_of_periods(table, spans, rolled)) for shape, table in periods.items()}
    wider = {}
    for counts, prices in {prices.counts(): prices for prices in every}.items():
        table, counted = used[prices.shape]
        found = wider_periods(
            ledger=ledger,
            catalogue=block.catalogue,
            versions=prices.versions,
            periods=table,
            meters=priced_meters(prices.book.versions, meters),
        )
        wider[counts] = count_wider(found, counted, event_store=event_store, stored_usage=stored_usage)
    return replace(block, used=used, wider=wider)


def _prices_now(catalogue: BillingCatalogue) -> _Prices:
    plan_ids = frozenset(entry.plan.plan_id for entry in catalogue.plan_versions)
    return _Prices(tuple(catalogue.plan_versions), catalogue.price_book, plan_ids, ("now",))


def _prices_under(catalogue: BillingCatalogue, variant: PriceVariant, meters: Mapping[str, Meter]) -> _Prices:
    """The variant's plans in the place of all their versions, beside other plans its contracts have."""
    plan_ids = frozenset(plan.plan_id for plan in variant.plans)
    tracks = [
        track for track in catalogue.segments.values() if plan_ids & {segment.plan_id for segment in track}
    ]
    segments = [segment for track in tracks for segment in track]
    others = {segment.plan_id for segment in segments} - plan_ids
    kept = [entry for entry in catalogue.plan_versions if entry.plan.plan_id in others]
    put = [PlanVersion(_from_the_first_day(catalogue, plan), 1) for plan in variant.plans]
    book = compile_price_book(agreed_versions([*kept, *put], segments, catalogue.agreements), meters)
    return _Prices((*kept, *put), book, plan_ids, tuple(sorted(_shape(plan) for plan in variant.plans)))


def _from_the_first_day(catalogue: BillingCatalogue, plan: PricePlan) -> PricePlan:
    days = [
        entry.plan.effective_from for entry in catalogue.plan_versions if entry.plan.plan_id == plan.plan_id
    ]
    return plan.model_copy(update={"effective_from": min(days)})


def _shape(plan: PricePlan) -> tuple[Any, ...]:
    """All of a plan that decides which rows its contracts have, and what part of a period each is."""
    timings = {timing for charge in plan.charges for timing in timings_of(charge)}
    proration = (plan.proration, plan.proration_divisor)
    return (plan.plan_id, tuple(sorted(timings)), plan.minimum_spend is not None, *proration)


def _contracts_on(catalogue: BillingCatalogue, plan_ids: Collection[str]) -> pa.Table:
    return catalogue.contracts.filter(pa.array(_is_on(catalogue.contracts, catalogue, plan_ids)))


def _is_on(contracts: pa.Table, catalogue: BillingCatalogue, plan_ids: Collection[str]) -> NDArray[np.bool_]:
    """Which of the contracts are, or at some time were, on one of the plans."""
    changing = [
        contract_id
        for contract_id, track in catalogue.segments.items()
        if any(segment.plan_id in plan_ids for segment in track)
    ]
    on_plan = pc.or_(
        pc.is_in(contracts["plan_id"], value_set=pa.array(sorted(plan_ids), pa.string())),
        pc.is_in(contracts["contract_id"], value_set=pa.array(changing, pa.string())),
    )
    return np.asarray(on_plan.to_numpy(), np.bool_)


def _is_held(contracts: pa.Table, held: Sequence[Held]) -> NDArray[np.bool_]:
    ids = pa.array({entry.contract_id for entry in held}, pa.string())
    return np.asarray(pc.is_in(contracts["contract_id"], value_set=ids).to_numpy(), np.bool_)


def _described(contracts: pa.Table, catalogue: BillingCatalogue) -> pa.Table:
    """contract_id, customer_id, plan_id and the currency of the plan."""
    currencies = {entry.plan.plan_id: entry.plan.currency for entry in catalogue.plan_versions}
    names = contracts.select(["contract_id", "customer_id", "plan_id"]).combine_chunks()
    currency = [currencies[plan_id] for plan_id in names["plan_id"].to_pylist()]
    return names.append_column("currency", pa.array(currency, pa.string()))
