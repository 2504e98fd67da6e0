"""Random but reproducible prices and quantities: the hard ones on purpose, for twin tests."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

from rating.price_plan import (
    CapacityPrice,
    Direction,
    DynamicPrice,
    FlatPrice,
    GraduatedPercentagePrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PercentTier,
    PerUnitPrice,
    SimplePrice,
    StairstepPrice,
    Tier,
    UnitConversion,
    VolumePrice,
)
from rating.reference import PriceTerms

SCALE = 10**12
ROUNDS: tuple[Direction, ...] = ("up", "down")
MODELS = (
    "flat", "per_unit", "dynamic", "package", "percentage",
    "graduated", "volume", "capacity", "stairstep", "graduated_percentage",
)  # fmt: skip


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


def random_bounds(source: random.Random) -> list[Decimal | None]:
    """Growing upper bounds of tiers, the last one open."""
    bounds = {random_number(source, digits_max=24) for _ in range(source.randint(0, 6))} - {Decimal(0)}
    return [*sorted(bounds), None]


def random_tier(source: random.Random, up_to: Decimal | None, *, digits_max: int, stairs: bool) -> Tier:
    def number() -> Decimal:
        return random_number(source, digits_max=digits_max)

    flat = number() if stairs or source.random() < 0.4 else None
    if stairs:
        return Tier(up_to=up_to, flat_amount=flat)
    if source.random() < 0.2:
        size, rounding = number() + scaled(1), source.choice(ROUNDS)
        return Tier(up_to=up_to, flat_amount=flat, package_size=size, package_price=number(), round=rounding)
    return Tier(up_to=up_to, unit_price=number(), flat_amount=flat)


def random_tiered_price(source: random.Random, model: str, *, digits_max: int) -> SimplePrice:
    def number() -> Decimal:
        return random_number(source, digits_max=digits_max)

    bounds = random_bounds(source)
    if model == "graduated_percentage":
        shares = [
            PercentTier(
                up_to=up_to, percent=number(), flat_amount=number() if source.random() < 0.4 else None
            )
            for up_to in bounds
        ]
        return GraduatedPercentagePrice(model="graduated_percentage", tiers=tuple(shares))
    stairs = model == "stairstep"
    tiers = tuple(random_tier(source, up_to, digits_max=digits_max, stairs=stairs) for up_to in bounds)
    if model == "graduated":
        return GraduatedPrice(model="graduated", tiers=tiers)
    if model == "volume":
        return VolumePrice(model="volume", tiers=tiers)
    if model == "capacity":
        return CapacityPrice(model="capacity", tiers=tiers)
    return StairstepPrice(model="stairstep", tiers=tiers)


def random_price(source: random.Random, *, digits_max: int) -> SimplePrice:
    def number() -> Decimal:
        return random_number(source, digits_max=digits_max)

    model = source.choice(MODELS)
    if model == "flat":
        return FlatPrice(model="flat", amount=number())
    if model == "per_unit":
        return PerUnitPrice(model="per_unit", unit_price=number())
    if model == "dynamic":
        return DynamicPrice(model="dynamic", currency="EUR", multiplier=number())
    if model == "package":
        return PackagePrice(
            model="package",
            package_size=number() + scaled(1),
            package_price=number(),
            round=source.choice(ROUNDS),
        )
    if model == "percentage":
        fixed = number() if source.random() < 0.5 else None
        free = source.choice((0, 3, 10**5)) if fixed is not None else 0
        return PercentagePrice(model="percentage", percent=number(), fixed_per_event=fixed, free_events=free)
    return random_tiered_price(source, model, digits_max=digits_max)


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
        zero_reaches=source.random() < 0.3,
    )
