"""Prices many rows at once, exactly: flat arrays in, flat arrays out, and no other knowledge.

Numbers are integers scaled by 10**12 in 64-bit words; an amount is built at scale 24 in 192 bits,
cut to 12 digits and rounded once from the full number. What does not fit is marked, never wrapped,
and goes to ``rating/reference.py``, with which these kernels agree digit for digit.

Two passes, because the number of tier rows is not known before: ``measure_rows`` converts units,
takes off free units and counts the tiers reached; ``price_rows`` prices and fills them in. Both work
on rows [first, last) and hold no lock, so a caller may run slices of one batch in several threads.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.compiled import compiled
from rating.wide import (
    ONE,
    ZERO,
    Flag,
    Wide,
    Word,
    add_192,
    divide_192,
    divide_by_unit,
    less_128,
    less_192,
    multiply_128,
    multiply_192,
    multiply_words,
    negate_128,
    subtract_128,
    subtract_192,
)

OK: Final = 0
NEGATIVE_QUANTITY: Final = 1
TOO_LARGE: Final = 2
"""Does not fit here: the reference decides whether it fits at all."""

PRICED: Final = 3
"""Priced already, by ``rating/short_kernel.py``."""

ROUND_HALF_UP: Final = 0
ROUND_HALF_EVEN: Final = 1
CONVERT_HALF_UP: Final = 0
CONVERT_UP: Final = 1
CONVERT_DOWN: Final = 2

_ONE_UNIT: Final = np.uint64(10**12)
_HUNDRED: Final = np.uint64(100)
_TWO: Final = np.uint64(2)
_SIGN: Final = np.uint64(1 << 63)
_LIMIT_LOW: Final = np.uint64(10**38 & (2**64 - 1))
_LIMIT_HIGH: Final = np.uint64(10**38 >> 64)


@compiled
def measure_rows(
    rows: Any, prices: Any, status: Any, rated_quantity: Any, tier_count: Any, first: int, last: int
) -> None:
    """Fill status, rated_quantity (rows, 2) and tier_count of the rows [first, last)."""
    tier_up_to = prices.tier_up_to
    for row in range(first, last):
        price = rows.price_row[row]
        tier_count[row] = 0
        if not prices.fits[price]:
            status[row] = TOO_LARGE
            continue
        low, high = rows.quantity[row, 0], rows.quantity[row, 1]
        negative = high >= _SIGN
        if negative:
            low, high = negate_128(low, high)
        fits = True
        if prices.convert_divide[price] != ZERO:
            low, high, fits = _convert(
                low, high, prices.convert_multiply[price], prices.convert_divide[price],
                prices.convert_step[price], prices.convert_round[price],
            )  # fmt: skip
        if not fits:
            status[row] = TOO_LARGE
            continue
        if low == ZERO and high == ZERO:
            negative = False
        if negative and not prices.takes_negative[price]:
            status[row] = NEGATIVE_QUANTITY
            continue
        if not negative:
            free_low, free_high = prices.free_units[price, 0], prices.free_units[price, 1]
            if less_128(low, high, free_low, free_high):
                low, high = ZERO, ZERO
            else:
                low, high = subtract_128(low, high, free_low, free_high)
        tier_count[row] = _tiers_reached(
            low, high, prices.graduated[price], prices.zero_reaches[price],
            tier_up_to, prices.tier_start[price], prices.tier_start[price + 1],
        )  # fmt: skip
        if negative:
            low, high = negate_128(low, high)
        rated_quantity[row, 0] = low
        rated_quantity[row, 1] = high
        status[row] = OK


@compiled
def _convert(
    low: Word, high: Word, multiply: Word, divide: Word, step: Word, rule: int
) -> tuple[Word, Word, Flag]:
    w0, w1, w2 = multiply_128(low, high, multiply)
    w0, w1, w2, rest = divide_192(w0, w1, w2, divide)
    if (rule == CONVERT_UP and rest > ZERO) or (rule == CONVERT_HALF_UP and rest * _TWO >= divide):
        w0, w1, w2 = add_192(w0, w1, w2, ONE, ZERO, ZERO)
    w0, w1, w2, over = multiply_192(w0, w1, w2, step)
    fits = over == ZERO and w2 == ZERO and less_128(w0, w1, _LIMIT_LOW, _LIMIT_HIGH)
    return w0, w1, fits


@compiled
def _tiers_reached(
    low: Word, high: Word, graduated: Flag, zero_reaches: Flag, tier_up_to: Any, first: int, end: int
) -> Any:
    if low == ZERO and high == ZERO:
        return 1 if zero_reaches else 0
    return _holding_tier(low, high, tier_up_to, first, end) - first + 1 if graduated else 1


@compiled
def _holding_tier(low: Word, high: Word, tier_up_to: Any, first: int, end: int) -> Any:
    # The first tier whose inclusive upper bound is not below the quantity; the last one is open.
    for tier in range(first, end - 1):
        if not less_128(tier_up_to[tier, 0], tier_up_to[tier, 1], low, high):
            return tier
    return end - 1


@compiled
def price_rows(rows: Any, prices: Any, results: Any, first: int, last: int) -> None:
    """Fill amount, amount_minor, status and the tier rows of the rows [first, last) that are OK."""
    # Helpers get numbers or single arrays, never the tuples: a call that passes a tuple counts a
    # reference up and down, atomically, for each of its arrays, which costs more than the pricing.
    tier_up_to, tier_price, tier_flat = prices.tier_up_to, prices.tier_price, prices.tier_flat
    tier_size, tier_up = prices.tier_size, prices.tier_up
    tier_number, tier_units, tier_amount = results.tier_number, results.tier_units, results.tier_amount
    for row in range(first, last):
        if results.status[row] != OK:
            continue
        price = rows.price_row[row]
        multiply, divide, bound = _shares(
            rows.days[row], rows.full_days[row], prices.prorated[price], prices.per_cent[price]
        )
        low, high = results.rated_quantity[row, 0], results.rated_quantity[row, 1]
        at, after = results.tier_start[row], results.tier_start[row + 1]
        tiers = prices.tier_start[price]
        if prices.graduated[price]:
            negative: Flag = False
            w0, w1, w2, fits = _graduated(
                low, high, tiers, at, after, multiply, divide,
                tier_up_to, tier_price, tier_flat, tier_size, tier_up, tier_number, tier_units, tier_amount,
            )  # fmt: skip
        else:
            w0, w1, w2, negative, fits = _one_tier(
                low, high, tiers, prices.tier_start[price + 1], at, after, multiply, divide,
                tier_up_to, tier_price, tier_flat, tier_size, tier_up, tier_number, tier_units, tier_amount,
                prices.fixed[price], prices.free_events[price], rows.event_count[row],
            )  # fmt: skip
        w0, w1, w2, negative = _bounded(
            w0, w1, w2, negative, bound,
            prices.has_minimum[price], prices.minimum[price, 0], prices.minimum[price, 1],
            prices.has_maximum[price], prices.maximum[price, 0], prices.maximum[price, 1],
        )  # fmt: skip
        w0, w1, minor, fits_minor = _rounded(
            w0, w1, w2, divide, prices.minor_unit[price], prices.rounding[price]
        )
        if not fits or not fits_minor:
            results.status[row] = TOO_LARGE
            continue
        results.amount[row, 0], results.amount[row, 1] = _signed(w0, w1, negative)
        results.amount_minor[row] = -np.int64(minor) if negative else np.int64(minor)


@compiled
def _shares(days: int, full_days: int, prorated: Flag, per_cent: Flag) -> tuple[Word, Word, Word]:
    """(what the model's price is multiplied by, what everything is divided by, what the bounds are
    multiplied by). Per cent is a division by 100 that the model's price alone takes part in."""
    multiply, divide, bound = ONE, ONE, ONE
    if days != full_days:
        bound, divide = np.uint64(days), np.uint64(full_days)
        multiply = bound if prorated else divide
    if per_cent:
        bound, divide = bound * _HUNDRED, divide * _HUNDRED
    return multiply, divide, bound


@compiled
def _signed(low: Word, high: Word, negative: Flag) -> tuple[Word, Word]:
    if negative:
        low, high = negate_128(low, high)
    return low, high


@compiled
def _bounded(
    w0: Word, w1: Word, w2: Word, negative: Flag, multiply: Word,
    has_minimum: Flag, minimum_low: Word, minimum_high: Word,
    has_maximum: Flag, maximum_low: Word, maximum_high: Word,
) -> tuple[Word, Word, Word, Flag]:  # fmt: skip
    if has_minimum:
        b0, b1, b2 = _bound(minimum_low, minimum_high, multiply)
        if negative or less_192(w0, w1, w2, b0, b1, b2):
            w0, w1, w2, negative = b0, b1, b2, False
    if has_maximum and not negative:
        b0, b1, b2 = _bound(maximum_low, maximum_high, multiply)
        if less_192(b0, b1, b2, w0, w1, w2):
            w0, w1, w2 = b0, b1, b2
    return w0, w1, w2, negative


@compiled
def _bound(low: Word, high: Word, multiply: Word) -> Wide:
    w0, w1, w2 = multiply_128(low, high, _ONE_UNIT)
    w0, w1, w2, _ = multiply_192(w0, w1, w2, multiply)
    return w0, w1, w2


@compiled
def _one_tier(
    low: Word, high: Word, tiers: int, tiers_end: int, at: int, after: int, multiply: Word, divide: Word,
    tier_up_to: Any, tier_price: Any, tier_flat: Any, tier_size: Any, tier_up: Any,
    tier_number: Any, tier_units: Any, tier_amount: Any,
    fixed: Word, free_events: Word, event_count: Word,
) -> tuple[Word, Word, Word, Flag, Flag]:  # fmt: skip
    """All units at the price of the tier that holds them: the amount at scale 24, its sign, whether
    it fits."""
    negative: Flag = high >= _SIGN
    units_low, units_high = _signed(low, high, negative)
    if at == after:
        return ZERO, ZERO, ZERO, False, True
    tier = tiers if negative else _holding_tier(low, high, tier_up_to, tiers, tiers_end)
    w0, w1, w2, fits = _priced_units(
        units_low, units_high, tier_price[tier], tier_flat[tier, 0], tier_flat[tier, 1],
        tier_size[tier], tier_up[tier],
    )  # fmt: skip
    if fixed != ZERO:
        w0, w1, w2, negative = _add_fixed(w0, w1, w2, negative, fixed, free_events, event_count)
    w0, w1, w2, over = multiply_192(w0, w1, w2, multiply)
    amount_low, amount_high, fits_amount = _to_amount(w0, w1, w2, divide)
    tier_number[at] = tier - tiers + 1
    tier_units[at, 0], tier_units[at, 1] = low, high
    tier_amount[at, 0], tier_amount[at, 1] = _signed(amount_low, amount_high, negative)
    return w0, w1, w2, negative, fits and over == ZERO and fits_amount


@compiled
def _graduated(
    low: Word, high: Word, tiers: int, at: int, after: int, multiply: Word, divide: Word,
    tier_up_to: Any, tier_price: Any, tier_flat: Any, tier_size: Any, tier_up: Any,
    tier_number: Any, tier_units: Any, tier_amount: Any,
) -> tuple[Word, Word, Word, Flag]:  # fmt: skip
    # Amounts of tiers are differences of the cut running total, so that they sum to the amount.
    s0, s1, s2 = ZERO, ZERO, ZERO
    below_low, below_high = ZERO, ZERO
    before_low, before_high = ZERO, ZERO
    fits: Flag = True
    for place in range(at, after):
        tier = tiers + place - at
        upper_low, upper_high = low, high
        if place < after - 1:
            upper_low, upper_high = tier_up_to[tier, 0], tier_up_to[tier, 1]
        units_low, units_high = subtract_128(upper_low, upper_high, below_low, below_high)
        below_low, below_high = upper_low, upper_high
        t0, t1, t2, fits_units = _priced_units(
            units_low, units_high, tier_price[tier], tier_flat[tier, 0], tier_flat[tier, 1],
            tier_size[tier], tier_up[tier],
        )  # fmt: skip
        t0, t1, t2, over = multiply_192(t0, t1, t2, multiply)
        fits = (
            fits and fits_units and over == ZERO and t2 < _SIGN and s2 < _SIGN
        )  # so that the sum cannot wrap
        s0, s1, s2 = add_192(s0, s1, s2, t0, t1, t2)
        running_low, running_high, fits_amount = _to_amount(s0, s1, s2, divide)
        fits = fits and fits_amount
        amount_low, amount_high = subtract_128(running_low, running_high, before_low, before_high)
        before_low, before_high = running_low, running_high
        tier_number[place] = place - at + 1
        tier_units[place, 0], tier_units[place, 1] = units_low, units_high
        tier_amount[place, 0], tier_amount[place, 1] = amount_low, amount_high
    return s0, s1, s2, fits


@compiled
def _priced_units(
    low: Word, high: Word, unit_price: Word, flat_low: Word, flat_high: Word, size: Word, up: Flag
) -> tuple[Word, Word, Word, Flag]:
    # Units x price, or packages of ``size`` x price, plus the flat amount, and whether it fits.
    fits: Flag = True
    if size == ZERO:
        w0, w1, w2 = multiply_128(low, high, unit_price)
    else:
        w0, w1, w2, fits = _packages(low, high, size, unit_price, up)
    if flat_low != ZERO or flat_high != ZERO:
        f0, f1, f2 = multiply_128(flat_low, flat_high, _ONE_UNIT)
        w0, w1, w2 = add_192(w0, w1, w2, f0, f1, f2)
    return w0, w1, w2, fits


@compiled
def _packages(low: Word, high: Word, size: Word, price: Word, up: Flag) -> tuple[Word, Word, Word, Flag]:
    p0, p1, _, rest = divide_192(low, high, ZERO, size)
    if rest > ZERO and up:
        p0, p1, _ = add_192(p0, p1, ZERO, ONE, ZERO, ZERO)
    t0, t1 = multiply_words(p0, price)
    w0, w1, w2 = multiply_128(t0, t1, _ONE_UNIT)
    return w0, w1, w2, p1 == ZERO


@compiled
def _add_fixed(
    w0: Word, w1: Word, w2: Word, negative: Flag, fixed: Word, free_events: Word, event_count: Word
) -> tuple[Word, Word, Word, Flag]:
    charged = event_count - free_events if event_count > free_events else ZERO
    f0, f1 = multiply_words(fixed, charged)
    f0, f1, f2 = multiply_128(f0, f1, _ONE_UNIT)
    f0, f1, f2, _ = multiply_192(f0, f1, f2, _HUNDRED)
    if not negative:
        w0, w1, w2 = add_192(w0, w1, w2, f0, f1, f2)
    elif less_192(f0, f1, f2, w0, w1, w2):
        w0, w1, w2 = subtract_192(w0, w1, w2, f0, f1, f2)
    else:
        w0, w1, w2 = subtract_192(f0, f1, f2, w0, w1, w2)
        negative = False
    return w0, w1, w2, negative


@compiled
def _to_amount(w0: Word, w1: Word, w2: Word, divide: Word) -> tuple[Word, Word, Flag]:
    if divide != ONE:
        w0, w1, w2, _ = divide_192(w0, w1, w2, divide)
    w0, w1, w2, _ = divide_by_unit(w0, w1, w2)
    return w0, w1, w2 == ZERO and less_128(w0, w1, _LIMIT_LOW, _LIMIT_HIGH)


@compiled
def _rounded(
    w0: Word, w1: Word, w2: Word, divide: Word, minor_unit: Word, rounding: int
) -> tuple[Word, Word, Word, Flag]:
    # The one rounding: of the full number, of which the amount keeps 12 digits and ``past`` says
    # whether anything follows them.
    past = ZERO
    if divide != ONE:
        w0, w1, w2, past = divide_192(w0, w1, w2, divide)
    w0, w1, w2, rest = divide_by_unit(w0, w1, w2)
    past = past | rest
    m0, m1, m2, rest = divide_192(w0, w1, w2, minor_unit)
    twice = rest * _TWO
    if rounding == ROUND_HALF_UP:
        up = twice >= minor_unit
    else:
        up = twice > minor_unit or (twice == minor_unit and (past != ZERO or (m0 & ONE) == ONE))
    fits = m2 == ZERO and m1 == ZERO and m0 < _SIGN and w2 == ZERO
    if up:
        m0 = m0 + ONE  # only what fits may be raised: 2**64 - 1 would wrap to nothing
    return w0, w1, m0, fits and m0 < _SIGN and less_128(w0, w1, _LIMIT_LOW, _LIMIT_HIGH)
