"""Prices one quantity exactly and plainly: what the kernels must agree with, digit for digit.

Every number is a ``Fraction``; nothing is rounded but the unit conversion the plan asks for and
the amount at the end. This is the place to read how a line is priced; ``explain`` shows its steps,
and rows too large for the kernels come here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from ingest.event import QUANTITY_DIGITS, QUANTITY_SCALE
from rating.money import minor_digits, round_to_minor
from rating.price_plan import (
    GRADUATED_MODELS,
    NEGATIVE_MODELS,
    Charge,
    Direction,
    DynamicPrice,
    FlatPrice,
    MatrixPrice,
    PackagePrice,
    PercentagePrice,
    PercentTier,
    PerUnitPrice,
    PricePlan,
    RoundingMode,
    SimplePrice,
    Tier,
    TiersCount,
    UnitConversion,
)
from rating.unrateable import Unrateable

_SCALE: Final = 10**QUANTITY_SCALE
_LIMIT: Final = 10**QUANTITY_DIGITS
_MINOR_LIMIT: Final = 2**63
_WIDE: Final = Context(prec=60)
_ZERO: Final = Fraction(0)


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """One price with everything around it that decides the amount; nothing else does.

    prorated: whether the price is multiplied by the share of the period (see ``rating/steps.py``);
    the minimum and the maximum always are. zero_reaches: nothing used reaches the first tier. tiers_count,
    pooled: as the charge has them; ``price_quantity`` does not look at them.
    """

    price: SimplePrice
    unit_conversion: UnitConversion | None
    free_units: Decimal | None
    minimum_amount: Decimal | None
    maximum_amount: Decimal | None
    prorated: bool
    minor_digits: int
    rounding: RoundingMode
    zero_reaches: bool = False
    tiers_count: TiersCount = "period"
    pooled: bool = False

    @property
    def is_special(self) -> bool:
        """Whether more than the quantity of the period decides the amount: then ``rating/special_price.py``
        prices it."""
        by_event = isinstance(self.price, PercentagePrice) and self.price.is_by_event
        return by_event or self.pooled or self.tiers_count != "period"


def terms_of(
    charge: Charge, price: SimplePrice, *, prorated: bool, minor_digits: int, rounding: RoundingMode
) -> PriceTerms:
    """The terms of a charge priced by ``price``: its own, or that of one of its matrix cells."""
    return PriceTerms(
        price=price,
        unit_conversion=charge.unit_conversion,
        free_units=charge.free_units,
        minimum_amount=charge.minimum_amount,
        maximum_amount=charge.maximum_amount,
        prorated=prorated,
        minor_digits=minor_digits,
        rounding=rounding,
        zero_reaches=charge.zero_usage == "charge",
        tiers_count=charge.tiers_count,
        pooled=charge.pooled_over != "contract",
    )


def minimum_spend_terms(minimum_spend: Decimal, plan: PricePlan) -> PriceTerms:
    """A plan's minimum spend as a price: a flat amount for the days of the period."""
    return PriceTerms(
        price=FlatPrice(model="flat", amount=minimum_spend),
        unit_conversion=None,
        free_units=None,
        minimum_amount=None,
        maximum_amount=None,
        prorated=True,
        minor_digits=minor_digits(plan.currency),
        rounding=plan.rounding,
    )


def matching_cell(price: MatrixPrice, dimensions: Mapping[str, str]) -> int | None:
    """The place of the first cell all of whose values match; None when there is none. A dimension
    the usage does not carry is the empty text."""
    for position, cell in enumerate(price.cells):
        if all(dimensions.get(name, "") == value for name, value in cell.match.items()):
            return position
    return None


def applicable_price(charge: Charge, dimensions: Mapping[str, str]) -> SimplePrice:
    """The charge's price for these dimensions. Raises Unrateable when no cell matches."""
    if not isinstance(charge.price, MatrixPrice):
        return charge.price
    position = matching_cell(charge.price, dimensions)
    if position is not None:
        return charge.price.cells[position].price
    if charge.price.default is None:
        raise Unrateable(
            f"no cell of charge {charge.charge_id!r} matches {dict(dimensions)} and it has no default.",
            reason_code="no_matching_cell",
        )
    return charge.price.default


@dataclass(frozen=True, slots=True)
class TierShare:
    """Part of the price: ``units`` in tier ``number`` (from 1) came to ``amount``, exactly."""

    number: int
    units: Fraction
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Priced:
    """The result, with the amount after each step.

    rated_quantity: after unit conversion and free units. model_amount: what the price model came
    to, after proration; bounded_amount: after minimum and maximum; amount: cut to 12 digits.
    """

    converted_quantity: Fraction
    rated_quantity: Fraction
    tiers: tuple[TierShare, ...]
    model_amount: Fraction
    bounded_amount: Fraction
    amount: Fraction
    amount_minor: int

    def tier_amounts(self) -> list[Fraction]:
        """Amounts of the tiers cut to 12 digits so that they sum to the cut model amount."""
        return cut_tiers(self.tiers)


def price_quantity(terms: PriceTerms, *, quantity: Decimal, event_count: int, share: Fraction) -> Priced:
    """Carry out the steps of ``rating/steps.py``. Raises Unrateable.

    quantity: as metered. share: days / full days of the service period, in (0, 1].
    """
    measured = measure(terms, quantity=quantity, event_count=event_count)
    return finish(terms, measured, share=share)


@dataclass(frozen=True, slots=True)
class MeasuredQuantity:
    """A quantity after unit conversion (``converted``) and free units (``rated``), and the tiers it reaches,
    at the price of a whole period. said: the quantity as metered, for messages."""

    said: Decimal
    converted: Fraction
    rated: Fraction
    tiers: tuple[TierShare, ...]


def measure(terms: PriceTerms, *, quantity: Decimal, event_count: int) -> MeasuredQuantity:
    """The steps up to the price model. Raises Unrateable."""
    converted = convert_units(Fraction(quantity), terms.unit_conversion)
    rated = converted
    if terms.free_units is not None and converted > 0:
        rated = max(_ZERO, converted - Fraction(terms.free_units))
    if rated < 0 and not isinstance(terms.price, NEGATIVE_MODELS):
        raise Unrateable(
            f"the quantity {quantity} is negative and a {terms.price.model} price has no meaning for it.",
            reason_code="negative_quantity",
        )
    tiers = model_tiers(terms.price, rated, event_count, zero_reaches=terms.zero_reaches)
    return MeasuredQuantity(quantity, converted, rated, tuple(tiers))


def finish(terms: PriceTerms, measured: MeasuredQuantity, *, share: Fraction) -> Priced:
    """The steps after the price model. Raises Unrateable."""
    quantity, converted, rated, tiers = measured.said, measured.converted, measured.rated, measured.tiers
    if terms.prorated:
        tiers = tuple(TierShare(tier.number, tier.units, tier.amount * share) for tier in tiers)
    model_amount = sum((tier.amount for tier in tiers), _ZERO)
    bounded = model_amount
    if terms.minimum_amount is not None:
        bounded = max(bounded, Fraction(terms.minimum_amount) * share)
    if terms.maximum_amount is not None:
        bounded = min(bounded, Fraction(terms.maximum_amount) * share)
    amount_minor = round_to_minor(bounded, digits=terms.minor_digits, mode=terms.rounding)
    priced = Priced(converted, rated, tiers, model_amount, bounded, cut(bounded), amount_minor)
    if (
        max(abs(rated), abs(bounded), abs(model_amount)) * _SCALE >= _LIMIT
        or abs(amount_minor) >= _MINOR_LIMIT
    ):
        raise Unrateable(
            f"the quantity {quantity} comes to an amount too large to keep exactly.",
            reason_code="amount_too_large",
        )
    return priced


def cut_tiers(tiers: Sequence[TierShare]) -> list[Fraction]:
    """Amounts of the tiers cut to 12 digits so that they sum to the cut sum."""
    amounts, running, before = [], _ZERO, _ZERO
    for tier in tiers:
        running += tier.amount
        amounts.append(cut(running) - before)
        before = cut(running)
    return amounts


def cut(number: Fraction) -> Fraction:
    """The number without its digits past the twelfth (towards zero)."""
    magnitude = abs(number.numerator) * _SCALE // number.denominator
    return Fraction(magnitude if number >= 0 else -magnitude, _SCALE)


def cut_decimal(number: Fraction) -> Decimal:
    """``cut`` as a decimal."""
    return Decimal(int(cut(number) * _SCALE)).scaleb(-QUANTITY_SCALE, context=_WIDE)


def convert_units(quantity: Fraction, conversion: UnitConversion | None) -> Fraction:
    """Metered to priced units; the rounding treats a credit like the debit it cancels."""
    if conversion is None:
        return quantity
    factor = Fraction(conversion.factor)
    exact = quantity * factor if conversion.operation == "multiply" else quantity / factor
    step = Fraction(1, 10**conversion.fraction_digits)
    steps, rest = divmod(abs(exact), step)
    if (conversion.round == "up" and rest > 0) or (conversion.round == "half_up" and 2 * rest >= step):
        steps += 1
    rounded = steps * step
    return rounded if exact >= 0 else -rounded


def model_tiers(
    price: SimplePrice, units: Fraction, event_count: int, *, zero_reaches: bool
) -> list[TierShare]:
    """What the price model gives for so many priced units, tier by tier, of a whole period. zero_reaches:
    as in PriceTerms. Raises Unrateable past a bounded last tier."""
    if isinstance(price, FlatPrice):
        return [TierShare(1, units, Fraction(price.amount))]
    if isinstance(price, PerUnitPrice):
        return [TierShare(1, units, units * Fraction(price.unit_price))]
    if isinstance(price, DynamicPrice):
        return [TierShare(1, units, units * Fraction(price.multiplier))]
    if isinstance(price, PackagePrice):
        packages = _packages(units, price.package_size, price.round)
        return [TierShare(1, units, packages * Fraction(price.package_price))]
    if isinstance(price, PercentagePrice):
        charged_events = max(0, event_count - price.free_events)
        fixed = Fraction(price.fixed_per_event or 0) * charged_events
        return [TierShare(1, units, units * Fraction(price.percent) / 100 + fixed)]
    if units == 0 and not zero_reaches:
        return []  # nothing used reaches no tier
    if isinstance(price, GRADUATED_MODELS):
        return _graduated(price.tiers, units)
    return _whole_tier(price.tiers, units)


def _packages(units: Fraction, size: Decimal, rounding: Direction) -> int:
    whole, rest = divmod(units, Fraction(size))
    return whole + 1 if rest > 0 and rounding == "up" else whole


def _graduated(tiers: Sequence[Tier | PercentTier], units: Fraction) -> list[TierShare]:
    """Each unit at the price of its tier; a tier is reached when a part of a unit lies in it, so
    10.5 units over a bound of 10 put 0.5 in the second tier."""
    shares: list[TierShare] = []
    below = _ZERO
    for number, tier in enumerate(tiers, start=1):
        if units <= below and shares:
            break
        upper = units if tier.up_to is None else min(units, Fraction(tier.up_to))
        shares.append(TierShare(number, upper - below, tier_amount(tier, upper - below)))
        below = upper
    if units > below:
        raise Unrateable(f"the quantity {units} lies past the last tier.", reason_code="past_last_tier")
    return shares


def _whole_tier(tiers: Sequence[Tier], units: Fraction) -> list[TierShare]:
    """The tier whose inclusive upper bound first holds the total."""
    for number, tier in enumerate(tiers, start=1):
        if tier.up_to is None or units <= Fraction(tier.up_to):
            return [TierShare(number, units, tier_amount(tier, units))]
    raise Unrateable(f"the quantity {units} lies past the last tier.", reason_code="past_last_tier")


def tier_amount(tier: Tier | PercentTier, units: Fraction) -> Fraction:
    """So many units of one tier, and its flat amount."""
    flat = Fraction(tier.flat_amount or 0)
    if isinstance(tier, PercentTier):
        return units * Fraction(tier.percent or 0) / 100 + flat
    if tier.package_size is not None:
        return _packages(units, tier.package_size, tier.round) * Fraction(tier.package_price or 0) + flat
    return units * Fraction(tier.unit_price or 0) + flat
