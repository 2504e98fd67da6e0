"""Percentages with a least and a most for each event: which events fall where, and what they come to.

An event of value v costs ``percent`` of v and ``fixed_per_event``, at least ``minimum_per_event`` and at most
``maximum_per_event``. Below one value all events cost the minimum, from another on all cost the maximum. So
the sum over events needs no list of them, only their number and value in three *bands*, which usage counts
exactly (``rollup/banded_meter.py``) and a line keeps as inputs:

    amount = events at the minimum x minimum
           + value between x percent / 100 + events between x fixed
           + events at the maximum x maximum

Free events are the first of the period by time, then arrival, and cost nothing. Free units are free value,
taken from events in that order: an event is free while all value up to it is less than the free units; the
event that reaches them is charged for what is past them, if only its fixed amount.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Final

from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from rating.price_plan import Charge, PercentagePrice, UnitConversion
from rating.reference import MeasuredQuantity, PriceTerms, TierShare, cut
from rating.unrateable import Unrateable
from rollup.banded_meter import FREE_BAND, BandedMeter, banded_meter

BANDS: Final = ("minimum", "between", "maximum")
"""The words of the bands in the inputs of a line; a line shows band k as tier k + 1."""
FREE: Final = "free"
"""The word of events that cost nothing; they are no tier."""
USAGE_CHANGED: Final = "usage_changed"
BETWEEN: Final = 2
"""The tier number of events between both bounds."""
_SCALE: Final = 10**QUANTITY_SCALE
_WIDE: Final = Context(prec=80)
_ALL: Final = Decimal(10) ** 20
"""Past every value an event can have, so that no event lies above it, and none below its opposite."""


def event_meter(charge: Charge, price: PercentagePrice, meter: Meter) -> BandedMeter:
    """What counts the events of ``meter`` by the bounds of the price."""
    factor = unit_factor(charge.unit_conversion)
    free = None if not charge.free_units else _at_least(Fraction(charge.free_units) / factor)
    return banded_meter(
        meter, thresholds=_thresholds(price, factor), free_events=price.free_events, free_value=free
    )


def unit_factor(conversion: UnitConversion | None) -> Fraction:
    """What a metered value is multiplied by; the rules refuse a conversion that rounds."""
    if conversion is None:
        return Fraction(1)
    factor = Fraction(conversion.factor)
    return factor if conversion.operation == "multiply" else 1 / factor


def _thresholds(price: PercentagePrice, factor: Fraction) -> tuple[Decimal, Decimal]:
    """The least metered values of the middle and of the upper band. Values have 12 digits, so to be
    below a bound of more digits is to be below the next value of 12."""
    per_unit, fixed = Fraction(price.percent) * factor / 100, Fraction(price.fixed_per_event or 0)
    lower, upper = -_ALL, _ALL
    if price.minimum_per_event is not None:
        lower = _at_least((Fraction(price.minimum_per_event) - fixed) / per_unit)
    if price.maximum_per_event is not None:
        upper = above((Fraction(price.maximum_per_event) - fixed) / per_unit)
    return _bounded(lower), max(_bounded(lower), _bounded(upper))


def _at_least(bound: Fraction) -> Decimal:
    return Decimal(ceil(bound * _SCALE)).scaleb(-QUANTITY_SCALE, context=_WIDE)


def above(bound: Fraction) -> Decimal:
    """The least metered value past the bound; values have 12 digits."""
    return Decimal(floor(bound * _SCALE) + 1).scaleb(-QUANTITY_SCALE, context=_WIDE)


def _bounded(threshold: Decimal) -> Decimal:
    return min(max(threshold, -_ALL), _ALL)


def band_inputs(bands: Mapping[str, tuple[Decimal, int]]) -> dict[str, Decimal]:
    """Band -> (value, events) as the inputs of a line."""
    found: dict[str, Decimal] = {}
    for band, word in zip(("0", "1", "2", FREE_BAND), (*BANDS, FREE), strict=True):
        if band in bands:
            value, events = bands[band]
            found[f"events_{word}"], found[f"value_{word}"] = Decimal(events), value
    return found


def measure_events(
    price: PercentagePrice,
    terms: PriceTerms,
    *,
    quantity: Decimal,
    event_count: int,
    inputs: Mapping[str, Decimal],
) -> MeasuredQuantity:
    """What the events of the bands come to; ``quantity`` is the value of all events, free ones too. price:
    that of the terms. Raises Unrateable when the bands are not of these events: sums and bands are counted
    one after the other, and an event may come between."""
    _check_whole(terms, quantity=quantity, event_count=event_count, inputs=inputs)
    factor = unit_factor(terms.unit_conversion)
    tiers = []
    for number, word in enumerate(BANDS):
        events = Fraction(inputs.get(f"events_{word}", 0))
        value = Fraction(inputs.get(f"value_{word}", 0)) * factor
        if not events:
            continue
        each = (price.minimum_per_event, price.fixed_per_event, price.maximum_per_event)[number]
        amount = events * Fraction(each or 0)
        if word == "between":
            amount += value * Fraction(price.percent) / 100
        tiers.append(TierShare(number + 1, cut(value), amount))  # as a line keeps units
    charged = sum((tier.units for tier in tiers), Fraction(0))
    return MeasuredQuantity(quantity, Fraction(quantity) * factor, charged, tuple(tiers))


def _check_whole(
    terms: PriceTerms, *, quantity: Decimal, event_count: int, inputs: Mapping[str, Decimal]
) -> None:
    events, value = (
        sum((Fraction(inputs.get(f"{name}_{word}", 0)) for word in (*BANDS, FREE)), Fraction(0))
        for name in ("events", "value")
    )
    # Of the event that reaches the free units, only what is past them stands in a band.
    if events != event_count or (not terms.free_units and value != Fraction(quantity)):
        raise Unrateable(
            f"{event_count} events of {quantity} are to be priced each by itself, and {int(events)} were "
            "counted by their size.",
            reason_code=USAGE_CHANGED,
        )
