"""What a period adds to what came before it, for many rows: two pricings by the kernels, and their
difference.

The same as ``_measure_added`` of ``rating/special_price.py``, digit for digit. A row that does not fit words,
whose charge has a minimum or maximum, or that has no price on either side is left to it (TOO_LARGE).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled
from rating.kernel_types import Prices, Results, Rows
from rating.kernels import OK, PRICED, ROUND_HALF_UP, TOO_LARGE, measure_rows, price_rows
from rating.short_kernel import price_short_rows
from rating.slices import in_slices
from rating.wide import ONE, ZERO, Flag, Word, divide_192, less_128, negate_128, subtract_128

_SIGN: Final = np.uint64(1 << 63)
_TWO: Final = np.uint64(2)
_LIMIT_LOW: Final = np.uint64(10**38 & (2**64 - 1))
_LIMIT_HIGH: Final = np.uint64(10**38 >> 64)


def price_added(
    rows: Rows,
    before: NDArray[np.uint64],
    before_events: NDArray[np.uint64],
    prices: Prices,
    *,
    threads: int,
) -> Results:
    """Price ``rows`` as what each adds to ``before`` ((rows, 2), at scale 12). Status OK or TOO_LARGE."""
    count = len(rows.price_row)
    through = np.empty((count, 2), np.uint64)
    fits = np.empty(count, np.bool_)
    _add(rows.quantity, before, through, fits)
    fits &= ~(prices.has_minimum[rows.price_row] | prices.has_maximum[rows.price_row])
    whole = np.ones(count, np.int64)
    after = _by_kernels(
        Rows(rows.price_row, through, rows.event_count + before_events, whole, whole), prices, threads
    )
    first = _by_kernels(Rows(rows.price_row, before, before_events, whole, whole), prices, threads)
    status = np.where(fits & (after.status == OK) & (first.status == OK), OK, TOO_LARGE).astype(np.int8)
    tier_start = np.zeros(count + 1, np.int64)
    _count_tiers(status, after, first, tier_start[1:])
    np.cumsum(tier_start[1:], out=tier_start[1:])
    results = Results(
        status=status,
        rated_quantity=np.zeros((count, 2), np.uint64),
        amount=np.zeros((count, 2), np.uint64),
        amount_minor=np.zeros(count, np.int64),
        tier_start=tier_start,
        tier_number=np.zeros(tier_start[-1], np.uint16),
        tier_units=np.zeros((tier_start[-1], 2), np.uint64),
        tier_amount=np.zeros((tier_start[-1], 2), np.uint64),
    )
    _subtract(after, first, results, prices.minor_unit[rows.price_row], prices.rounding[rows.price_row])
    return results


def _by_kernels(rows: Rows, prices: Prices, threads: int) -> Results:
    """Whole periods without bounds; a status that is not OK means nothing else."""
    count = len(rows.price_row)
    status = np.empty(count, np.int8)
    rated = np.zeros((count, 2), np.uint64)
    tier_start = np.zeros(count + 1, np.int64)
    in_slices(
        lambda start, end: measure_rows(rows, prices, status, rated, tier_start[1:], start, end),
        count,
        threads,
    )
    np.cumsum(tier_start[1:], out=tier_start[1:])
    total = int(tier_start[-1])
    results = Results(
        status=status,
        rated_quantity=rated,
        amount=np.zeros((count, 2), np.uint64),
        amount_minor=np.zeros(count, np.int64),
        tier_start=tier_start,
        tier_number=np.zeros(total, np.uint16),
        tier_units=np.zeros((total, 2), np.uint64),
        tier_amount=np.zeros((total, 2), np.uint64),
    )

    def price(start: int, end: int) -> None:
        price_short_rows(rows, prices, results, start, end)
        price_rows(rows, prices, results, start, end)

    in_slices(price, count, threads)
    status[status == PRICED] = OK
    return results


@compiled
def _add(left: Any, right: Any, total: Any, fits: Any) -> None:
    for row in range(len(left)):
        low = left[row, 0] + right[row, 0]
        carry = ONE if low < left[row, 0] else ZERO
        high = left[row, 1] + right[row, 1] + carry
        same = (left[row, 1] >= _SIGN) == (right[row, 1] >= _SIGN)
        fits[row] = not same or (high >= _SIGN) == (left[row, 1] >= _SIGN)
        size_low, size_high = low, high
        if high >= _SIGN:
            size_low, size_high = negate_128(low, high)
        fits[row] = fits[row] and less_128(size_low, size_high, _LIMIT_LOW, _LIMIT_HIGH)
        total[row, 0], total[row, 1] = low, high


@compiled
def _differ(units: Any, amounts: Any, at: int, other_units: Any, other_amounts: Any, other: int) -> Flag:
    return (
        units[at, 0] != other_units[other, 0]
        or units[at, 1] != other_units[other, 1]
        or amounts[at, 0] != other_amounts[other, 0]
        or amounts[at, 1] != other_amounts[other, 1]
    )


@compiled
def _is_something(units: Any, amounts: Any, at: int) -> Flag:
    some = units[at, 0] | units[at, 1] | amounts[at, 0] | amounts[at, 1]
    return some != ZERO


@compiled
def _count_tiers(status: Any, after: Any, first: Any, counts: Any) -> None:
    # Tiers of both sides come in the order of their numbers: one walk over the two lists.
    for row in range(len(status)):
        counts[row] = 0
        if status[row] != OK:
            continue
        at, end = after.tier_start[row], after.tier_start[row + 1]
        other, other_end = first.tier_start[row], first.tier_start[row + 1]
        while at < end or other < other_end:
            if other >= other_end or (at < end and after.tier_number[at] < first.tier_number[other]):
                counts[row] += 1 if _is_something(after.tier_units, after.tier_amount, at) else 0
                at += 1
            elif at >= end or after.tier_number[at] > first.tier_number[other]:
                counts[row] += 1 if _is_something(first.tier_units, first.tier_amount, other) else 0
                other += 1
            else:
                changed = _differ(
                    after.tier_units, after.tier_amount, at, first.tier_units, first.tier_amount, other
                )
                counts[row] += 1 if changed else 0
                at += 1
                other += 1


@compiled
def _subtract(after: Any, first: Any, results: Any, minor_unit: Any, rounding: Any) -> None:
    for row in range(len(results.status)):
        if results.status[row] != OK:
            continue
        low, high = subtract_128(
            after.rated_quantity[row, 0], after.rated_quantity[row, 1],
            first.rated_quantity[row, 0], first.rated_quantity[row, 1],
        )  # fmt: skip
        fits = _kept(after.rated_quantity[row, 1], first.rated_quantity[row, 1], low, high)
        results.rated_quantity[row, 0], results.rated_quantity[row, 1] = low, high
        low, high = subtract_128(
            after.amount[row, 0], after.amount[row, 1], first.amount[row, 0], first.amount[row, 1]
        )
        fits = fits and _kept(after.amount[row, 1], first.amount[row, 1], low, high)
        results.amount[row, 0], results.amount[row, 1] = low, high
        minor, fits_minor = _minor(low, high, minor_unit[row], rounding[row])
        results.amount_minor[row] = minor
        if not fits or not fits_minor:
            results.status[row] = TOO_LARGE
        place = results.tier_start[row]
        at, end = after.tier_start[row], after.tier_start[row + 1]
        other, other_end = first.tier_start[row], first.tier_start[row + 1]
        while at < end or other < other_end:
            has = at < end and (other >= other_end or after.tier_number[at] <= first.tier_number[other])
            had = other < other_end and (at >= end or first.tier_number[other] <= after.tier_number[at])
            units_low, units_high, amount_low, amount_high = ZERO, ZERO, ZERO, ZERO
            number = after.tier_number[at] if has else first.tier_number[other]
            if has:
                units_low, units_high = after.tier_units[at, 0], after.tier_units[at, 1]
                amount_low, amount_high = after.tier_amount[at, 0], after.tier_amount[at, 1]
                at += 1
            if had:
                units_low, units_high = subtract_128(
                    units_low, units_high, first.tier_units[other, 0], first.tier_units[other, 1]
                )
                amount_low, amount_high = subtract_128(
                    amount_low, amount_high, first.tier_amount[other, 0], first.tier_amount[other, 1]
                )
                other += 1
            if (units_low | units_high | amount_low | amount_high) != ZERO:
                results.tier_number[place] = number
                results.tier_units[place, 0], results.tier_units[place, 1] = units_low, units_high
                results.tier_amount[place, 0], results.tier_amount[place, 1] = amount_low, amount_high
                place += 1


@compiled
def _kept(left_high: Word, right_high: Word, low: Word, high: Word) -> Flag:
    """Whether left - right neither wrapped nor left the digits of a quantity."""
    differ = (left_high >= _SIGN) != (right_high >= _SIGN)
    if differ and (high >= _SIGN) != (left_high >= _SIGN):
        return False
    if high >= _SIGN:
        low, high = negate_128(low, high)
    return less_128(low, high, _LIMIT_LOW, _LIMIT_HIGH)


@compiled
def _minor(low: Word, high: Word, minor_unit: Word, rounding: int) -> Any:
    negative = high >= _SIGN
    if negative:
        low, high = negate_128(low, high)
    minor, above, _, rest = divide_192(low, high, ZERO, minor_unit)
    twice = rest * _TWO
    up = twice >= minor_unit
    if rounding != ROUND_HALF_UP and twice == minor_unit:
        up = (minor & ONE) == ONE
    fits = above == ZERO and minor < _SIGN - ONE
    if up and fits:
        minor = minor + ONE
    return (-np.int64(minor) if negative else np.int64(minor)), fits
