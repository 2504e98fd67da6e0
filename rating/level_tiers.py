"""Tiers that hold at each moment (``tiers_count: moment``): each unit is priced in the tier it stands in, for
the time it stands there.

Ten seats for half a month and fourteen for the rest, at 10.00 up to ten and 8.00 above: ten at 10.00 and four
at 8.00 for half a month, 116.00. So an added seat is never cheaper for the days before it came. Usage reads
the part of the level that lies in each tier (``rollup/level_part.py``), and a line keeps these readings as
inputs, ``level_tier_1`` and so on. A tier's flat amount is due when the level reached it, for however short a
time (that shows in 12 digits).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ingest.errors import Issue
from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from rating.event_bounds import USAGE_CHANGED
from rating.price_plan import Charge, GraduatedPrice
from rating.reference import MeasuredQuantity, PriceTerms, TierShare, tier_amount
from rating.unrateable import Unrateable
from rollup.level_part import LevelPart, level_part

_ZERO: Final = Fraction(0)
_ULP: Final = Fraction(1, 10**QUANTITY_SCALE)


def input_name(number: int) -> str:
    """The input of a line that says what was read in tier ``number``, from 1."""
    return f"level_tier_{number}"


def level_meters(charge: Charge, price: GraduatedPrice, meter: Meter) -> tuple[LevelPart, ...]:
    """What reads the part of the level in each tier, above the free units."""
    free = charge.free_units or Decimal(0)
    bounds = [Decimal(0), *(tier.up_to for tier in price.tiers[:-1] if tier.up_to is not None)]
    ends = [*bounds[1:], None]
    return tuple(
        level_part(meter, above=free + below, up_to=None if end is None else free + end)
        for below, end in zip(bounds, ends, strict=True)
    )


def measure_level_tiers(
    terms: PriceTerms, *, quantity: Decimal, inputs: Mapping[str, Decimal]
) -> MeasuredQuantity:
    """What the level comes to. Raises Unrateable when the inputs are not of this level: it and its parts are
    read one after the other, and an event may come between."""
    tiers = terms.price.tiers if isinstance(terms.price, GraduatedPrice) else ()
    read = [Fraction(inputs.get(input_name(number), 0)) for number in range(1, len(tiers) + 1)]
    total = sum(read, _ZERO)
    # Each reading is rounded by itself. What the free units hold is in no part.
    off = Fraction(quantity) - total
    if off < -len(read) * _ULP or (not terms.free_units and off > len(read) * _ULP):
        raise Unrateable(
            f"a level of {quantity} is to be priced, and its parts by tier come to another.",
            reason_code=USAGE_CHANGED,
        )
    shares = tuple(
        TierShare(number, units, tier_amount(tier, units))
        for number, (tier, units) in enumerate(zip(tiers, read, strict=True), start=1)
        if units or (number == 1 and terms.zero_reaches)
    )
    return MeasuredQuantity(quantity, Fraction(quantity), total, shares)


def level_tier_rules(charge: Charge, pointer: str, meter: Meter | None) -> Iterator[Issue]:
    """Every rule that tiers of each moment break. meter: the charge's, None when it is unknown (said
    elsewhere)."""
    if charge.tiers_count != "moment":
        return
    tiers = charge.price.tiers if isinstance(charge.price, GraduatedPrice) else ()
    if not isinstance(charge.price, GraduatedPrice) or any(tier.package_size for tier in tiers):
        yield Issue(
            "tiers_count_model",
            f"{pointer}.tiers_count",
            f"A {charge.price.model} price has no tiers in which units could stand for a time.",
            "a graduated price without packages; or no tiers_count.",
        )
    if meter is not None and (meter.reading not in ("average", "unit_days") or meter.fraction_digits < 12):
        yield Issue(
            "tiers_count_meter",
            f"{pointer}.tiers_count",
            f"Meter {meter.meter_id!r} does not say how long each unit of a level stood.",
            "a time_weighted meter that reads average or unit_days, without fraction_digits.",
        )
    if charge.formula is not None or charge.unit_conversion is not None:
        yield Issue(
            "moment_converted",
            f"{pointer}.{'formula' if charge.formula is not None else 'unit_conversion'}",
            "The tiers hold for the level that the meter reads.",
            "no formula and no unit_conversion; write the bounds in what the meter counts.",
        )
    if charge.pooled_over != "contract":
        yield Issue(
            "pooled_moment",
            f"{pointer}.pooled_over",
            "Where a unit stands at a moment is told for each contract alone.",
            "tiers_count: moment or pooled_over.",
        )
