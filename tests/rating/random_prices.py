"""Random but reproducible prices and quantities: the hard ones on purpose, for twin tests."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

from rating.price_plan import (
    FlatPrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    SimplePrice,
    StairstepPrice,
    Tier,
    UnitConversion,
    VolumePrice,
)
from rating.reference import PriceTerms

SCALE = 10**12


def scaled(number: int) -> Decimal:
    """The decimal that many billionths of a thousandth: exact whatever its size."""
    with localcontext() as context:
        context.prec = 60
        return Decimal(number).scaleb(-12)


def random_number(source: random.Random, *, digits_max: int) -> Decimal:
    """Any count of digits up to ``digits_max`` at scale 12, often round or at a power of ten."""
    digits = source.randint(1, digits_max)
    number = source.randrange(10**digits)
    if source.random() < 0.3:
        number = number // SCALE * SCALE
    if source.random() < 0.1:
        number = 10**digits + source.choice((-1, 0, 1))
    return scaled(number)


def random_tiers(source: random.Random, *, digits_max: int, stairs: bool) -> tuple[Tier, ...]:
    bounds = sorted(
        {random_number(source, digits_max=24) for _ in range(source.randint(0, 6))} - {Decimal(0)}
    )
    tiers = []
    for up_to in [*bounds, None]:
        unit_price = None if stairs else random_number(source, digits_max=digits_max)
        flat = random_number(source, digits_max=digits_max) if stairs or source.random() < 0.4 else None
        tiers.append(Tier(up_to=up_to, unit_price=unit_price, flat_amount=flat))
    return tuple(tiers)


def random_price(source: random.Random, *, digits_max: int) -> SimplePrice:
    def number() -> Decimal:
        return random_number(source, digits_max=digits_max)

    model = source.randrange(7)
    if model == 0:
        return FlatPrice(model="flat", amount=number())
    if model == 1:
        return PerUnitPrice(model="per_unit", unit_price=number())
    if model == 2:
        return GraduatedPrice(
            model="graduated", tiers=random_tiers(source, digits_max=digits_max, stairs=False)
        )
    if model == 3:
        return VolumePrice(model="volume", tiers=random_tiers(source, digits_max=digits_max, stairs=False))
    if model == 4:
        return StairstepPrice(
            model="stairstep", tiers=random_tiers(source, digits_max=digits_max, stairs=True)
        )
    if model == 5:
        return PackagePrice(
            model="package",
            package_size=number() + scaled(1),
            package_price=number(),
            round=source.choice(("up", "down")),
        )
    fixed = number() if source.random() < 0.5 else None
    return PercentagePrice(model="percentage", percent=number(), fixed_per_event=fixed)


def random_terms(source: random.Random, *, digits_max: int) -> PriceTerms:
    """A price with any of the steps around it."""
    conversion = None
    if source.random() < 0.3:
        conversion = UnitConversion(
            operation=source.choice(("multiply", "divide")),
            factor=source.choice(
                (Decimal(1000), Decimal(1024), Decimal(2**30), Decimal("0.001"), Decimal(3), Decimal("0.7"))
            ),
            fraction_digits=source.choice((0, 2, 6, 12)),
            round=source.choice(("half_up", "up", "down")),
        )
    minimum = random_number(source, digits_max=18) if source.random() < 0.2 else None
    maximum = None
    if source.random() < 0.2:
        maximum = (minimum or Decimal(0)) + random_number(source, digits_max=18)
    return PriceTerms(
        price=random_price(source, digits_max=digits_max),
        unit_conversion=conversion,
        free_units=random_number(source, digits_max=16) if source.random() < 0.3 else None,
        minimum_amount=minimum,
        maximum_amount=maximum,
        prorated=source.random() < 0.3,
        minor_digits=source.choice((0, 2, 2, 2, 3, 4)),
        rounding=source.choice(("half_up", "half_even")),
    )
