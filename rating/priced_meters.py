"""The meters whose usage prices need: those on record, and those derived from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ingest.meter import Meter
from rating.event_bounds import event_meter
from rating.event_tiers import tier_meter
from rating.level_tiers import level_meters
from rating.plan_version import PlanVersion
from rating.price_plan import Charge, GraduatedPrice, PercentagePrice, SimplePrice, simple_prices
from rollup.banded_meter import BandedMeter
from rollup.level_part import LevelPart


def priced_meters(versions: Sequence[PlanVersion], meters: Mapping[str, Meter]) -> list[Meter]:
    """Every meter that a charge of the versions is priced by, each once, those on record first, by id.
    versions: with those that come of agreements. meters: all on record, by id."""
    charges = [charge for entry in versions for charge in entry.plan.charges]
    wanted = {meter_id for charge in charges for meter_id in charge.meter_ids()}
    derived = {meter.meter_id: meter for charge in charges for meter in _derived(charge, meters)}
    recorded = [meter for meter_id, meter in sorted(meters.items()) if meter_id in wanted]
    return [*recorded, *(derived[meter_id] for meter_id in sorted(derived))]


def _derived(charge: Charge, meters: Mapping[str, Meter]) -> Iterator[Meter]:
    for price in simple_prices(charge.price):
        found = banded_meter_of(charge, price, meters)
        if found is not None:
            yield found
        yield from level_parts_of(charge, price, meters)


def level_parts_of(charge: Charge, price: SimplePrice, meters: Mapping[str, Meter]) -> tuple[LevelPart, ...]:
    """What reads the level of the charge in each tier, when its tiers hold at each moment; else nothing."""
    meter = meters.get(charge.meter_id or "")
    if meter is None or charge.tiers_count != "moment" or not isinstance(price, GraduatedPrice):
        return ()
    return level_meters(charge, price, meter)


def banded_meter_of(charge: Charge, price: SimplePrice, meters: Mapping[str, Meter]) -> BandedMeter | None:
    """What counts the events of the charge by the bounds or the tiers of the price, when it prices each by
    itself."""
    meter = meters.get(charge.meter_id or "")
    if meter is not None and charge.tiers_count == "event":
        return tier_meter(charge, price, meter)
    if meter is None or not isinstance(price, PercentagePrice) or not price.is_by_event:
        return None
    return event_meter(charge, price, meter)
