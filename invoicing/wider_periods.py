"""Gathers what charges count beyond their period and contract, for every way periods are priced.

See ``earlier_periods.py`` for the time before a period, ``pools.py`` for the contracts beside one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.earlier_periods import EarlierTime, Version, earlier_time
from invoicing.pools import Pools, pools_of
from rating.plan_version import PlanVersion
from rating.price_plan import WIDER_SPANS, Charge, counts_before
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rating.wider_usage import EarlierUsage, WiderUsage
from rollup.roll_up import RolledUp, roll_up_usage
from rollup.schema import UNUSABLE_SCHEMA
from rollup.stored_usage import StoredUsage

RollUp = Callable[[pa.Table, Sequence[Meter]], RolledUp]
"""Counts a calendar by some meters, as the caller counts its own periods."""


@dataclass(frozen=True, slots=True)
class _Counting:
    """Plan versions with some kind of charge, and the meters of these charges."""

    versions: frozenset[Version]
    meter_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class WiderPeriods:
    """before: by ``tiers_count``. before_meters, pool_meters: what they are counted by."""

    before: Mapping[str, EarlierTime]
    before_meters: Mapping[str, Sequence[Meter]]
    pools: Pools
    pool_meters: Sequence[Meter]

    def count(self, roll_up: RollUp, unusable: pa.Table) -> tuple[WiderUsage, pa.Table]:
        """Roll it up. unusable: UNUSABLE_SCHEMA of the periods themselves; comes back with what makes them
        incomplete beyond that: events before them, or of their pool, that cannot be counted."""
        own = len(self.pools.pool) - self.pools.companions.num_rows
        earlier, spoiled, spreading = {}, [unusable], [unusable]
        for name, time in self.before.items():
            rolled = roll_up(time.calendar, self.before_meters[name])
            earlier[name] = EarlierUsage(rolled.usage, time.begun)
            spoiled.append(rolled.unusable.filter(pc.less(rolled.unusable["period_key"], own)))
            spreading.append(rolled.unusable)
        beside = roll_up(self.pools.calendar, self.pool_meters)
        spoiled.append(self._spread(pa.concat_tables([*spreading, beside.unusable])))
        wider = WiderUsage(earlier, self.pools.companions, beside.usage, self.pools.pool)
        return wider, pa.concat_tables(spoiled)

    def _spread(self, unusable: pa.Table) -> pa.Table:
        """What cannot be counted in one period of a pool, for every other one of it that is priced."""
        pool, meter_ids = self.pools.pool, {meter.meter_id for meter in self.pool_meters}
        own = len(pool) - self.pools.companions.num_rows
        rows = []
        for row in unusable.to_pylist():
            number = pool[row["period_key"]]
            if number >= 0 and row["meter_id"] in meter_ids:
                others = np.flatnonzero(pool[:own] == number).tolist()
                rows += [{**row, "period_key": key} for key in others if key != row["period_key"]]
        return pa.Table.from_pylist(rows, schema=UNUSABLE_SCHEMA)


def wider_periods(
    *,
    ledger: Engine,
    catalogue: BillingCatalogue,
    versions: Sequence[PlanVersion],
    periods: pa.Table,
    meters: Sequence[Meter],
) -> WiderPeriods | None:
    """What the charges of ``versions`` count beyond ``periods`` (SERVICE_PERIOD_SCHEMA). None when no charge
    counts beyond: that is found without looking at the periods.

    versions: the plan versions by which the periods were made, without those that come of agreements.
    meters: all that are priced.
    """
    spans = {name: _counting(versions, [name], pooled=False) for name in WIDER_SPANS}
    pooling = _counting(versions, [], pooled=True)
    if not pooling.versions and not any(counting.versions for counting in spans.values()):
        return None
    pools = pools_of(
        ledger=ledger, catalogue=catalogue, versions=versions, periods=periods, pooling=_pooled_over(versions)
    )
    every = periods
    if pools.companions.num_rows:
        both = pa.concat_tables([periods.cast(SERVICE_PERIOD_SCHEMA), pools.companions])
        every = both.unify_dictionaries().combine_chunks()
    found = {
        name: earlier_time(
            ledger=ledger,
            catalogue=catalogue,
            versions=versions,
            periods=every,
            counting=counting.versions,
            span=name,
        )
        for name, counting in spans.items()
    }
    return WiderPeriods(
        found,
        {name: _meters(meters, counting) for name, counting in spans.items()},
        pools,
        _meters(meters, pooling),
    )


def wider_in_force(ledger: Engine, catalogue: BillingCatalogue, periods: pa.Table) -> WiderPeriods | None:
    """``wider_periods`` by the plans and meters of the catalogue."""
    return wider_periods(
        ledger=ledger,
        catalogue=catalogue,
        versions=catalogue.plan_versions,
        periods=periods,
        meters=catalogue.meters,
    )


def counts_beyond(versions: Sequence[PlanVersion]) -> tuple[tuple[str, int, str, str, tuple[str, ...]], ...]:
    """All of the versions that decides what they count beyond their periods."""
    return tuple(
        (entry.plan.plan_id, entry.version, charge.tiers_count, charge.pooled_over, charge.meter_ids())
        for entry in versions
        for charge in entry.plan.charges
        if counts_before(charge) or is_pooled(charge)
    )


def is_pooled(charge: Charge) -> bool:
    """Whether the charge counts several contracts together."""
    return charge.pooled_over != "contract"


def _counting(versions: Sequence[PlanVersion], counts: Sequence[str], *, pooled: bool) -> _Counting:
    """The versions with charges whose tiers count one of these ways, or that are pooled."""
    found = [
        ((entry.plan.plan_id, entry.version), charge.meter_ids())
        for entry in versions
        for charge in entry.plan.charges
        if charge.tiers_count in counts or (pooled and is_pooled(charge))
    ]
    return _Counting(
        frozenset(version for version, _ in found),
        frozenset(meter_id for _, meter_ids in found for meter_id in meter_ids),
    )


def _pooled_over(versions: Sequence[PlanVersion]) -> dict[Version, str]:
    """What the pooled charges of each version are pooled over; the rules of plans keep it one thing."""
    return {
        (entry.plan.plan_id, entry.version): charge.pooled_over
        for entry in versions
        for charge in entry.plan.charges
        if is_pooled(charge)
    }


def _meters(meters: Sequence[Meter], counting: _Counting) -> list[Meter]:
    return [meter for meter in meters if meter.meter_id in counting.meter_ids]


def count_wider(
    wider: WiderPeriods | None,
    used: RolledUp,
    *,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
) -> tuple[WiderUsage | None, pa.Table]:
    """What ``wider`` comes to, and all events that cannot be counted; used: of the periods themselves."""
    if wider is None:
        return None, used.unusable

    return wider.count(counts_with(event_store, stored_usage), used.unusable)


def counts_with(event_store: EventStore, stored_usage: StoredUsage | None) -> RollUp:
    """Counts a calendar from what is stored of it, or from events; the figures are the same."""

    def roll_up(calendar: pa.Table, meters: Sequence[Meter]) -> RolledUp:
        return roll_up_usage(event_store, calendar=calendar, meters=meters, stored=stored_usage)

    return roll_up
