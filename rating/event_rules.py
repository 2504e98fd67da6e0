"""The rules of prices that each event has by itself: with a least and a most (``rating/event_bounds.py``), or
in tiers of its own (``rating/event_tiers.py``)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ingest.document import decimal_text
from ingest.errors import Issue
from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from rating.event_bounds import unit_factor
from rating.event_tiers import EVENT_MODELS, event_tiers
from rating.price_plan import Charge, MatrixPrice, PercentagePrice, Tier, simple_prices


def event_price_rules(charge: Charge, pointer: str, meter: Meter | None) -> Iterator[Issue]:
    """Every rule the charge breaks if one of its prices is by the event. meter: the charge's, None when it
    is unknown (said elsewhere)."""
    prices = list(_by_event(charge, f"{pointer}.price"))
    for at, price in prices:
        yield from _price_rules(charge, price, at, pointer)
    if charge.tiers_count == "event":
        yield from _tier_rules(charge, pointer)
    elif not prices:
        return
    other = meter is not None and meter.aggregation != "sum"
    if charge.kind != "usage" or charge.formula is not None or other:
        yield Issue(
            "meter_of_events",
            f"{pointer}.meter_id",
            "Each event is priced by its value, and here nothing adds up values of events.",
            "a usage charge with a sum meter.",
        )
    elif meter is not None and meter.fraction_digits != QUANTITY_SCALE:
        yield Issue(
            "meter_rounds",
            f"{pointer}.meter_id",
            f"Meter {meter.meter_id!r} rounds its sum to {meter.fraction_digits} digits, and each event is "
            "priced by its exact value.",
            "a meter without fraction_digits.",
        )
    yield from _conversion_rules(charge, pointer)


def _by_event(charge: Charge, pointer: str) -> Iterator[tuple[str, PercentagePrice]]:
    named = [(pointer, charge.price)]
    if isinstance(charge.price, MatrixPrice):
        named = [(f"{pointer}.cells[{n}].price", cell.price) for n, cell in enumerate(charge.price.cells)]
        named += [] if charge.price.default is None else [(f"{pointer}.default", charge.price.default)]
    for at, price in named:
        if isinstance(price, PercentagePrice) and price.is_by_event:
            yield at, price


def _price_rules(charge: Charge, price: PercentagePrice, at: str, pointer: str) -> Iterator[Issue]:
    least, most = price.minimum_per_event, price.maximum_per_event
    if least is not None and most is not None and least > most:
        yield Issue(
            "minimum_above_maximum",
            f"{at}.minimum_per_event",
            f"The minimum {decimal_text(least)} is above the maximum {decimal_text(most)}.",
            "a minimum_per_event of at most maximum_per_event.",
        )
    if price.percent <= 0:
        yield Issue(
            "percent_not_positive",
            f"{at}.percent",
            "Without a percentage every event costs the same, so it needs no bounds.",
            "a percent above 0, or a count meter with a per_unit price.",
        )
    if price.free_events and charge.free_units:
        yield Issue(
            "free_events_and_units",
            f"{pointer}.free_units",
            "Free events and free value would be taken from the same first events.",
            "free_events or free_units.",
        )


def _tier_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    unfit = [price.model for price in simple_prices(charge.price) if not isinstance(price, EVENT_MODELS)]
    if unfit:
        yield Issue(
            "tiers_count_model",
            f"{pointer}.tiers_count",
            f"A {unfit[0]} price has no tiers that could begin again with each event.",
            "graduated, graduated_percentage, volume, stairstep, package or per_unit; or no tiers_count.",
        )
    if charge.zero_usage == "charge":
        yield Issue(
            "zero_usage_of_events",
            f"{pointer}.zero_usage",
            "Each event is priced by itself, and without one there is nothing to price.",
            "no zero_usage; use a recurring charge for what is due in any case.",
        )
    conversion = charge.unit_conversion
    if conversion is not None and conversion.factor <= 0:
        return  # said elsewhere
    factor, free = unit_factor(conversion), Fraction(charge.free_units or 0)
    for price in simple_prices(charge.price):
        for tier in event_tiers(price) if isinstance(price, EVENT_MODELS) else ():
            size = tier.package_size if isinstance(tier, Tier) else None
            if size is None or size <= 0:
                continue
            whole = [Fraction(size) / factor, free / factor, Fraction(tier.up_to or 0) / factor]
            if whole[0] < 1 or any((number * 10**QUANTITY_SCALE).denominator != 1 for number in whole):
                yield Issue(
                    "packages_of_events",
                    f"{pointer}.price",
                    f"Packages of {decimal_text(size)} are counted in each event, as {whole[0]} of what "
                    "the meter counts.",
                    f"packages of at least 1 of what the meter counts, and bounds and free units that are "
                    f"numbers of at most {QUANTITY_SCALE} digits there.",
                )
                return


def _conversion_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    conversion = charge.unit_conversion
    if conversion is None or conversion.factor <= 0:
        return
    if conversion.fraction_digits != QUANTITY_SCALE or conversion.round != "half_up":
        yield Issue(
            "conversion_rounds",
            f"{pointer}.unit_conversion",
            "Each event is priced by its exact value; a conversion that rounds would round the sum only.",
            "a unit_conversion without fraction_digits and round.",
        )
    if charge.free_units:
        metered = Fraction(charge.free_units) / unit_factor(conversion) * 10**QUANTITY_SCALE
        if metered.denominator != 1:
            yield Issue(
                "free_units_inexact",
                f"{pointer}.free_units",
                f"{decimal_text(charge.free_units)} are no exact number of what the meter counts.",
                f"free units that are, before conversion, a number of at most {QUANTITY_SCALE} digits.",
            )
