"""The rules of charges that count beyond the period or the contract (``rating/special_price.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ingest.errors import Issue
from ingest.meter import Meter
from rating.price_plan import (
    Charge,
    GraduatedPercentagePrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    PricePlan,
    SimplePrice,
    StairstepPrice,
    VolumePrice,
    counts_before,
    simple_prices,
)

_COUNTED_MODELS: Final = (
    GraduatedPrice,
    GraduatedPercentagePrice,
    VolumePrice,
    StairstepPrice,
    PackagePrice,
    PerUnitPrice,
    PercentagePrice,
)
"""The models that have a meaning for what was counted before."""


def wider_rules(charge: Charge, pointer: str, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    """Every rule the charge breaks; none for one that counts its own period. meters: by id."""
    if counts_before(charge):
        yield from _counted_rules(charge, pointer, meters)
    if charge.pooled_over != "contract":
        yield from _pooled_rules(charge, pointer)


def pool_rules(plan: PricePlan) -> Iterator[Issue]:
    """The pooled charges of a plan are pooled over the same contracts: a period is in one pool."""
    ways = list(
        dict.fromkeys(charge.pooled_over for charge in plan.charges if charge.pooled_over != "contract")
    )
    for position, charge in enumerate(plan.charges):
        if charge.pooled_over in ways[1:]:
            yield Issue(
                "pooled_two_ways",
                f"charges[{position}].pooled_over",
                f"Another charge of the plan is pooled over the {ways[0]}.",
                f"pooled_over: {ways[0]} on every pooled charge.",
            )


def _counted_rules(charge: Charge, pointer: str, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    at = f"{pointer}.tiers_count"
    meter = meters.get(charge.meter_id or "")
    if charge.meter_id is None or (meter is not None and not _adds_up(meter)):
        yield Issue(
            "tiers_count_meter",
            at,
            f"What was counted before a period can be gone on from only where periods add up to the "
            f"{charge.tiers_count.replace('_', ' ')}.",
            "a usage charge with a count or sum meter, or one that reads unit_days.",
        )
    unfit = [price.model for price in simple_prices(charge.price) if not goes_on(price)]
    if unfit:
        yield Issue(
            "tiers_count_model",
            at,
            f"A {unfit[0]} price has no use for what was counted before the period.",
            "graduated, graduated_percentage, volume, stairstep, package, per_unit or percentage; "
            "or no tiers_count.",
        )


def goes_on(price: SimplePrice) -> bool:
    """Whether what was counted before has a meaning for the price."""
    if isinstance(price, PercentagePrice) and price.is_by_event:
        return False
    return isinstance(price, _COUNTED_MODELS)


def _adds_up(meter: Meter) -> bool:
    return meter.aggregation in {"count", "sum"} or meter.reading == "unit_days"


def _pooled_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    at = f"{pointer}.pooled_over"
    if not charge.meter_ids() and charge.formula is None:
        yield Issue(
            "pooled_kind",
            at,
            f"A {charge.kind} charge has nothing to count together.",
            "a usage or licence charge.",
        )
    by_event = (
        isinstance(price, PercentagePrice) and price.is_by_event for price in simple_prices(charge.price)
    )
    if charge.tiers_count == "event" or any(by_event):
        yield Issue(
            "pooled_by_event",
            at,
            "An event that is priced by itself is not cheaper for others beside it.",
            "no pooled_over; or no tiers_count: event, minimum_per_event and maximum_per_event.",
        )
    if charge.zero_usage == "charge":
        yield Issue(
            "pooled_zero_usage",
            f"{pointer}.zero_usage",
            "A contract that used nothing has no share of its pool.",
            "no zero_usage on a pooled charge; use a recurring charge for what is due in any case.",
        )
