"""Prices that need more than the quantity of a period: what the kernels do not know.

A line keeps what it was priced from beside its quantity, by name, in ``inputs``, so that it can be priced,
explained and verified again by itself. This file gives every price the one way in.

**Tiers that count over a year or the contract** (``before_quantity``, ``before_events``: what was counted
before the period). The line is for what the period adds: the price of everything up to its end minus the
price of everything before it, both by the version in force. Both are exact amounts kept to 12 digits, so the
lines of a year sum to the price of the year's quantity, to the last digit. The tier rows are differences
too. The minimum and the maximum of the charge hold for the period.

**Pools** (``pool_quantity``, ``pool_events``, ``pool_contracts``: of all contracts together; ``pool_part``:
what this one pays). The pool is priced as one, and its rounded amount shared out in whole minor units in
proportion to quantity, by largest remainder, so that the parts sum to it. Where its tiers count over a year
or the contract too, ``before_quantity`` is what its contracts counted before, each in its own year, and the
pool goes on from their sum. A part cannot be told from one line alone, so it is an input; that it is its
share, up to one minor unit, can. Tier rows are the pool's, in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from ingest.event import QUANTITY_DIGITS, QUANTITY_SCALE
from rating.event_bounds import measure_events
from rating.event_tiers import measure_event_tiers
from rating.level_tiers import measure_level_tiers
from rating.money import allocate
from rating.price_plan import PercentagePrice
from rating.reference import (
    MeasuredQuantity,
    Priced,
    PriceTerms,
    TierShare,
    cut,
    cut_tiers,
    finish,
    measure,
    price_quantity,
)
from rating.unrateable import Unrateable

Inputs = Mapping[str, Decimal]
NO_INPUTS: Final[Inputs] = {}
BEFORE_QUANTITY: Final = "before_quantity"
BEFORE_EVENTS: Final = "before_events"
POOL_QUANTITY: Final = "pool_quantity"
POOL_EVENTS: Final = "pool_events"
POOL_CONTRACTS: Final = "pool_contracts"
POOL_PART: Final = "pool_part"
_ZERO: Final = Fraction(0)
_SCALE: Final = 10**QUANTITY_SCALE
_WIDE: Final = Context(prec=80)


def price_line(
    terms: PriceTerms, *, quantity: Decimal, event_count: int, share: Fraction, inputs: Inputs
) -> Priced:
    """``price_quantity`` for every price. inputs: what the amount is computed from beside the quantity; of
    an ordinary price nothing. Raises Unrateable."""
    if isinstance(terms.price, PercentagePrice) and terms.price.is_by_event:
        measured = measure_events(
            terms.price, terms, quantity=quantity, event_count=event_count, inputs=inputs
        )
        return finish(terms, measured, share=share)
    if terms.tiers_count == "event":
        measured = measure_event_tiers(terms, quantity=quantity, event_count=event_count, inputs=inputs)
        return finish(terms, measured, share=share)
    if terms.tiers_count == "moment":
        return finish(terms, measure_level_tiers(terms, quantity=quantity, inputs=inputs), share=share)
    if POOL_QUANTITY in inputs:
        return _price_part(terms, quantity=quantity, share=share, inputs=inputs)
    if BEFORE_QUANTITY in inputs:
        added = _measure_added(terms, quantity=quantity, event_count=event_count, inputs=inputs)
        return finish(terms, added, share=share)
    return price_quantity(terms, quantity=quantity, event_count=event_count, share=share)


def _measure_added(
    terms: PriceTerms, *, quantity: Decimal, event_count: int, inputs: Inputs
) -> MeasuredQuantity:
    """What the period adds to what came before it."""
    before_quantity, before_events = inputs[BEFORE_QUANTITY], int(inputs[BEFORE_EVENTS])
    before = measure(terms, quantity=before_quantity, event_count=before_events)
    through = measure(
        terms, quantity=added_exactly(quantity, before_quantity), event_count=event_count + before_events
    )
    return MeasuredQuantity(
        quantity,
        through.converted - before.converted,
        through.rated - before.rated,
        _difference(through, before),
    )


def added_exactly(one: Decimal, other: Decimal) -> Decimal:
    """The sum of two quantities, whatever precision decimals have at the moment."""
    return Decimal(int((Fraction(one) + Fraction(other)) * _SCALE)).scaleb(-QUANTITY_SCALE, context=_WIDE)


def _difference(through: MeasuredQuantity, before: MeasuredQuantity) -> tuple[TierShare, ...]:
    """Units and amount of each tier that the period changed; amounts kept to 12 digits."""
    found: dict[int, tuple[Fraction, Fraction]] = {}
    for measured, sign in ((through, 1), (before, -1)):
        for tier, amount in zip(measured.tiers, cut_tiers(measured.tiers), strict=True):
            units, known = found.get(tier.number, (_ZERO, _ZERO))
            found[tier.number] = (units + sign * tier.units, known + sign * amount)
    return tuple(
        TierShare(number, units, amount)
        for number, (units, amount) in sorted(found.items())
        if units or amount
    )


def pool_amount(
    terms: PriceTerms,
    *,
    quantity: Decimal,
    event_count: int,
    share: Fraction,
    before: Inputs = NO_INPUTS,
) -> Priced:
    """What a pool comes to as one. before: what its tiers go on from, if they do. Raises Unrateable, also for
    a quantity that no line could keep."""
    if abs(Fraction(quantity)) * _SCALE >= 10**QUANTITY_DIGITS:
        raise Unrateable(f"{quantity} is too much to count together.", reason_code="amount_too_large")
    if BEFORE_QUANTITY in before:
        added = _measure_added(terms, quantity=quantity, event_count=event_count, inputs=before)
        return finish(terms, added, share=share)
    return price_quantity(terms, quantity=quantity, event_count=event_count, share=share)


def pool_inputs(
    terms: PriceTerms,
    quantities: Sequence[Decimal],
    *,
    event_count: int,
    share: Fraction,
    before: Inputs = NO_INPUTS,
) -> list[Inputs]:
    """The inputs of each contract of a pool, in their order; ties of remainders go to the earlier one.
    event_count: of all of them. before: BEFORE_QUANTITY and BEFORE_EVENTS of all of them, if tiers go on."""
    weights = [int(Fraction(quantity) * _SCALE) for quantity in quantities]
    total = Decimal(sum(weights)).scaleb(-QUANTITY_SCALE, context=_WIDE)
    try:
        pool = pool_amount(terms, quantity=total, event_count=event_count, share=share, before=before)
        parts = allocate(pool.amount_minor, weights if sum(weights) else [1] * len(weights))
    except Unrateable:
        parts = [0] * len(weights)  # no contract has a price then, and each will say why
    return [
        {
            **before,
            POOL_QUANTITY: total,
            POOL_EVENTS: Decimal(event_count),
            POOL_CONTRACTS: Decimal(len(weights)),
            POOL_PART: Decimal(part).scaleb(-terms.minor_digits),
        }
        for part in parts
    ]


def _price_part(terms: PriceTerms, *, quantity: Decimal, share: Fraction, inputs: Inputs) -> Priced:
    """This contract's part of its pool."""
    pool = pool_amount(
        terms,
        quantity=inputs[POOL_QUANTITY],
        event_count=int(inputs[POOL_EVENTS]),
        share=share,
        before=inputs,
    )
    whole, own, total = Fraction(pool.amount_minor), Fraction(quantity), Fraction(inputs[POOL_QUANTITY])
    part_minor = Fraction(inputs[POOL_PART]) * 10**terms.minor_digits
    weight = own / total if total else 1 / Fraction(inputs[POOL_CONTRACTS])
    if part_minor.denominator != 1 or abs(part_minor - whole * weight) >= 1:
        raise Unrateable(
            f"{inputs[POOL_PART]} is not the share of {quantity} in a pool of {inputs[POOL_QUANTITY]}.",
            reason_code="not_the_share",
        )
    amount = Fraction(inputs[POOL_PART])
    return Priced(
        converted_quantity=pool.converted_quantity * weight,
        rated_quantity=cut(pool.rated_quantity * weight),
        tiers=_tiers_of_part(pool, weight, amount),
        model_amount=amount,
        bounded_amount=amount,
        amount=amount,
        amount_minor=int(part_minor),
    )


def _tiers_of_part(pool: Priced, weight: Fraction, amount: Fraction) -> tuple[TierShare, ...]:
    """The tiers of the pool in proportion, as differences of cut running totals, so that they sum up."""
    factor = amount / pool.amount if pool.amount else _ZERO
    shares = []
    units = amounts = units_before = amounts_before = _ZERO
    for tier, tier_amount in zip(pool.tiers, pool.tier_amounts(), strict=True):
        units, amounts = units + tier.units * weight, amounts + tier_amount * factor
        shares.append(TierShare(tier.number, cut(units) - units_before, cut(amounts) - amounts_before))
        units_before, amounts_before = cut(units), cut(amounts)
    return tuple(shares)
