"""Tiers that begin again with each event (``tiers_count: event``): every event is priced by itself.

The first minute of every call whole, then by the second; a price by the size of each single record. In one
tier the price of an event is a constant and so much for each unit, so the sum over events needs no list of
them, only how many reached each tier and what they came to there, which usage counts exactly
(``rollup/banded_meter.py``) and a line keeps as inputs:

    events_tier_2, value_tier_2      events whose last unit lies in tier 2, and their value
    packages_tier_2                  instead of the value where the tier is sold in packages
    events_nothing, value_nothing    events of nothing, or of no more than the free units: they cost nothing

Free units are free in each event. An event below zero has no price, and its period waits for a person. The
units of a tier that is sold in packages are those of the packages. The minimum and the maximum of the charge
hold for the period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from rating.event_bounds import USAGE_CHANGED, above, unit_factor
from rating.price_plan import (
    GRADUATED_MODELS,
    Charge,
    GraduatedPercentagePrice,
    GraduatedPrice,
    PackagePrice,
    PercentTier,
    PerUnitPrice,
    SimplePrice,
    StairstepPrice,
    Tier,
    VolumePrice,
)
from rating.reference import MeasuredQuantity, PriceTerms, TierShare, cut, tier_amount
from rating.unrateable import Unrateable
from rollup.banded_meter import BandedMeter, BandPackages, banded_meter

EVENT_MODELS: Final = (
    GraduatedPrice,
    GraduatedPercentagePrice,
    VolumePrice,
    StairstepPrice,
    PackagePrice,
    PerUnitPrice,
)
"""The models that price an event by itself."""
_NEGATIVE: Final = "negative"
_NOTHING: Final = "nothing"
_SCALE: Final = 10**QUANTITY_SCALE
_WIDE: Final = Context(prec=80)
_ZERO: Final = Fraction(0)


def event_tiers(price: SimplePrice) -> tuple[Tier | PercentTier, ...]:
    """The tiers of a price for events; a price without tiers is one that holds all."""
    if isinstance(price, PerUnitPrice):
        return (Tier(unit_price=price.unit_price),)
    if isinstance(price, PackagePrice):
        return (Tier(package_size=price.package_size, package_price=price.package_price, round=price.round),)
    return price.tiers if isinstance(price, EVENT_MODELS) else ()


def tier_meter(charge: Charge, price: SimplePrice, meter: Meter) -> BandedMeter:
    """What counts the events of ``meter`` by the tier of the price that each reaches."""
    factor, free = unit_factor(charge.unit_conversion), Fraction(charge.free_units or 0)
    tiers = event_tiers(price)
    starts = [_start(price, tiers, place) for place in range(len(tiers))]
    bounds = [Fraction(tier.up_to) for tier in tiers[:-1] if tier.up_to is not None]
    thresholds = (Decimal(0), *(above((bound + free) / factor) for bound in (_ZERO, *bounds)))
    packages = tuple(
        BandPackages(
            band=place + 2,
            above=metered((starts[place] + free) / factor),
            size=metered(Fraction(tier.package_size) / factor),
            round=tier.round,
        )
        for place, tier in enumerate(tiers)
        if isinstance(tier, Tier) and tier.package_size is not None
    )
    return banded_meter(meter, thresholds=thresholds, packages=packages)


def metered(number: Fraction) -> Decimal:
    """A metered number as a decimal; the rules refuse one that has more than its digits."""
    return Decimal(int(number * _SCALE)).scaleb(-QUANTITY_SCALE, context=_WIDE)


def _start(price: SimplePrice, tiers: Sequence[Tier | PercentTier], place: int) -> Fraction:
    """What a tier's own units are counted above: graduated tiers begin where the one before ends."""
    if place == 0 or not isinstance(price, GRADUATED_MODELS):
        return _ZERO
    return Fraction(tiers[place - 1].up_to or 0)


def tier_inputs(price: SimplePrice, bands: Mapping[str, tuple[Decimal, int]]) -> dict[str, Decimal]:
    """Band -> (value or packages, events) as the inputs of a line."""
    tiers = event_tiers(price)
    found: dict[str, Decimal] = {}
    for band, (counted, events) in sorted(bands.items(), key=lambda entry: int(entry[0])):
        place = int(band) - 2
        word = (_NEGATIVE, _NOTHING)[int(band)] if place < 0 else f"tier_{place + 1}"
        found[f"events_{word}"] = Decimal(events)
        found[f"{'packages' if place >= 0 and _size(tiers[place]) else 'value'}_{word}"] = counted
    return found


def _size(tier: Tier | PercentTier) -> Decimal | None:
    return tier.package_size if isinstance(tier, Tier) else None


def measure_event_tiers(
    terms: PriceTerms, *, quantity: Decimal, event_count: int, inputs: Mapping[str, Decimal]
) -> MeasuredQuantity:
    """What the events come to. Raises Unrateable for events below zero, and when the inputs are not of these
    events: sums and tiers are counted one after the other, and an event may come between."""
    if inputs.get(f"events_{_NEGATIVE}"):
        raise Unrateable(
            f"{inputs[f'events_{_NEGATIVE}']} events are below zero, and no tier holds them.",
            reason_code="negative_quantity",
        )
    tiers = event_tiers(terms.price)
    _check_whole(tiers, quantity=quantity, event_count=event_count, inputs=inputs)
    counts = [Fraction(inputs.get(f"events_tier_{number}", 0)) for number in range(1, len(tiers) + 1)]
    shares = []
    for place, tier in enumerate(tiers):
        units, amount = _last_tier(terms, tiers, place, counts[place], inputs)
        passing = sum(counts[place + 1 :], _ZERO)
        if passing and isinstance(terms.price, GRADUATED_MODELS):
            width = Fraction(tier.up_to or 0) - _start(terms.price, tiers, place)
            units, amount = units + passing * width, amount + passing * tier_amount(tier, width)
        if units or amount:
            shares.append(TierShare(place + 1, cut(units), amount))  # as a line keeps units
    rated = sum((share.units for share in shares), _ZERO)
    converted = Fraction(quantity) * unit_factor(terms.unit_conversion)
    return MeasuredQuantity(quantity, converted, rated, tuple(shares))


def _last_tier(
    terms: PriceTerms,
    tiers: Sequence[Tier | PercentTier],
    place: int,
    events: Fraction,
    inputs: Mapping[str, Decimal],
) -> tuple[Fraction, Fraction]:
    """Units and amount, in the tier, of the events whose last unit lies there."""
    tier, size = tiers[place], _size(tiers[place])
    flat = events * Fraction(tier.flat_amount or 0)
    if size is not None and isinstance(tier, Tier):
        packages = Fraction(inputs.get(f"packages_tier_{place + 1}", 0))
        return packages * Fraction(size), flat + packages * Fraction(tier.package_price or 0)
    value = Fraction(inputs.get(f"value_tier_{place + 1}", 0)) * unit_factor(terms.unit_conversion)
    units = value - events * (Fraction(terms.free_units or 0) + _start(terms.price, tiers, place))
    return units, flat + tier_amount(tier, units) - Fraction(tier.flat_amount or 0)


def _check_whole(
    tiers: Sequence[Tier | PercentTier],
    *,
    quantity: Decimal,
    event_count: int,
    inputs: Mapping[str, Decimal],
) -> None:
    events, value = (
        sum((Fraction(number) for name, number in inputs.items() if name.startswith(word)), _ZERO)
        for word in ("events_", "value_")
    )
    in_packages = any(_size(tier) for tier in tiers)  # then values of these tiers are not known
    if events != event_count or (not in_packages and value != Fraction(quantity)):
        raise Unrateable(
            f"{event_count} events of {quantity} are to be priced each by itself, and {int(events)} were "
            "counted by their tier.",
            reason_code=USAGE_CHANGED,
        )
