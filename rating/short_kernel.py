"""Prices the rows that single 64-bit words can hold, which are nearly all, several times as fast.

Same arrays, same arithmetic, same results as ``rating/kernels.py``; a row it cannot hold it leaves to
the long way, untouched but for tier rows, which that writes again. It is one loop that calls helpers with
plain numbers only: passing arrays to a helper would cost more than pricing the row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.compiled import compiled
from rating.kernels import OK, PRICED, ROUND_HALF_UP
from rating.wide import ONE, ZERO, Flag, Word, divide_short, multiply_words

SHORT: Final = 2**62
"""Amounts at scale 12 below this (4.6 million units of money) are added up in single words."""
_SHORT: Final = np.uint64(SHORT)
_TWO: Final = np.uint64(2)


@compiled
def price_short_rows(rows: Any, prices: Any, results: Any, first: int, last: int) -> None:
    """Fill amount, amount_minor and the tier rows of the rows [first, last) that are OK and fit: those
    of a ``plain`` price in a whole period. Their status becomes PRICED."""
    status, rated_quantity, row_tiers = results.status, results.rated_quantity, results.tier_start
    tier_number, tier_units, tier_amount = results.tier_number, results.tier_units, results.tier_amount
    plain, graduated, price_tiers = prices.plain, prices.graduated, prices.tier_start
    tier_up_to, tier_price, tier_flat = prices.tier_up_to, prices.tier_price, prices.tier_flat
    tier_size, tier_up = prices.tier_size, prices.tier_up
    for row in range(first, last):
        price, units = rows.price_row[row], rated_quantity[row, 0]
        if status[row] != OK or not plain[price] or rated_quantity[row, 1] != ZERO:
            continue
        if rows.days[row] != rows.full_days[row]:
            continue
        at, after = row_tiers[row], row_tiers[row + 1]
        first_tier, last_tier = price_tiers[price], price_tiers[price + 1] - 1
        tier = first_tier if graduated[price] else last_tier
        while tier > first_tier and _holds(tier_up_to[tier - 1, 0], tier_up_to[tier - 1, 1], units):
            tier -= 1  # to the first tier whose inclusive bound holds all units
        # What a product leaves past 12 digits is carried to the next tier: then each quotient is
        # already the difference of the cut running totals, and the last remainder decides ties.
        total, rest, below = ZERO, ZERO, ZERO
        fits: Flag = True
        for place in range(at, after):
            part = units - below
            if place < after - 1:
                part = tier_up_to[tier, 0] - below
                below = tier_up_to[tier, 0]
            amount, rest, fits_tier = _short_amount(
                part, tier_price[tier], tier_flat[tier, 0], tier_size[tier], tier_up[tier], rest
            )
            total = total + amount
            fits = fits and fits_tier and total < _SHORT
            tier_number[place] = tier - first_tier + 1
            tier_units[place, 0], tier_units[place, 1] = part, ZERO
            tier_amount[place, 0], tier_amount[place, 1] = amount, ZERO
            tier += 1
        if fits:
            total, rest = _bounded(
                total, rest, prices.has_minimum[price], prices.minimum[price, 0],
                prices.has_maximum[price], prices.maximum[price, 0],
            )  # fmt: skip
            results.amount[row, 0], results.amount[row, 1] = total, ZERO
            results.amount_minor[row] = _minor(total, rest, prices.minor_unit[price], prices.rounding[price])
            status[row] = PRICED


@compiled
def _holds(low: Word, high: Word, units: Word) -> Flag:
    return high != ZERO or low >= units


@compiled
def _short_amount(
    units: Word, unit_price: Word, flat: Word, size: Word, up: Flag, rest: Word
) -> tuple[Word, Word, Flag]:
    """(amount at scale 12, what is left past it at scale 24, whether it fits) of a tier; rest: what the
    tiers before have left."""
    if size == ZERO:
        low, high = multiply_words(units, unit_price)
        low = low + rest
        if low < rest:
            high = high + ONE
        amount, rest, fits = divide_short(low, high)
    else:
        packages = units // size
        if up and packages * size < units:
            packages = packages + ONE
        amount, high = multiply_words(packages, unit_price)
        fits = high == ZERO
    fits = fits and amount < _SHORT
    return amount + flat, rest, fits


@compiled
def _bounded(
    total: Word, rest: Word, has_minimum: Flag, minimum: Word, has_maximum: Flag, maximum: Word
) -> tuple[Word, Word]:
    if has_minimum and total < minimum:
        total, rest = minimum, ZERO
    if has_maximum and total >= maximum:
        total, rest = maximum, ZERO
    return total, rest


@compiled
def _minor(total: Word, rest: Word, minor_unit: Word, rounding: int) -> Any:
    minor = total // minor_unit
    twice = (total - minor * minor_unit) * _TWO
    if rounding == ROUND_HALF_UP:
        up = twice >= minor_unit
    else:
        up = twice > minor_unit or (twice == minor_unit and (rest != ZERO or (minor & ONE) == ONE))
    return np.int64(minor + ONE if up else minor)
