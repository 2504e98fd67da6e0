"""Percentages off many lines at once: the discounts of most contracts, compiled.

The same as ``apply_discounts`` of ``rating/discount_lines.py``, digit for digit, for invoices whose lines are
all of one plan that takes nothing off but percentages. An amount or units off, a maximum spend, percentages
that are rounded one by one, or lines under two versions of a plan go the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled
from rating.compile import PriceBook
from rating.discount import Discount, in_order
from rating.kernels import ROUND_HALF_UP
from rating.price_plan import PricePlan
from rating.wide import ONE, ZERO, Word, divide_192, less_128, multiply_128, negate_128, subtract_128
from rating.wide_columns import scaled_integer

_EPOCH: Final = date(1970, 1, 1)
_FAR: Final = 1 << 40
"""Past every day and every number of a period."""
_NOTHING: Final = Decimal(0)
_SIGN: Final = np.uint64(1 << 63)
_TWO: Final = np.uint64(2)
_WHOLE: Final = np.uint64(100 * 10**12)
"""100 percent at scale 12."""


class Percentages(NamedTuple):
    """The percentages of plans in the order they apply: of plan row p those from start[p] to start[p + 1].

    number: of the discount in its plan, from 1. percent: at scale 12. stacked: of what is left, not of the
    list amount. periods_max, first_day, end_day: when it applies. covers: entry e covers the charge of order
    k where covers[cover_start[e] + k].
    """

    start: NDArray[np.int64]
    number: NDArray[np.uint16]
    percent: NDArray[np.uint64]
    stacked: NDArray[np.bool_]
    periods_max: NDArray[np.int64]
    first_day: NDArray[np.int64]
    end_day: NDArray[np.int64]
    cover_start: NDArray[np.int64]
    covers: NDArray[np.bool_]


class LineColumns(NamedTuple):
    """What decides the percentages of each line. charge: its order in the plan."""

    plan_row: NDArray[np.int64]
    charge: NDArray[np.int64]
    period_number: NDArray[np.int64]
    first_day: NDArray[np.int64]
    minor_unit: NDArray[np.uint64]
    rounding: NDArray[np.int8]


def takes_percentages_only(plan: PricePlan) -> bool:
    """Whether all that can lower a line of the plan are percentages, rounded once when all are taken."""
    once = plan.maximum_spend is None and plan.discounting.rounding == "once"
    return once and all(one.percent is not None for one in plan.discounts)


def percentages_of(price_book: PriceBook, plan_rows: Sequence[int]) -> Percentages:
    """The percentages of some plan rows; the others have none."""
    entries: list[tuple[PricePlan, int, Discount]] = []
    counts = np.zeros(len(price_book.versions), np.int64)
    for plan_row in sorted(plan_rows):
        plan = price_book.versions[plan_row].plan
        ordered = in_order(plan.discounts, plan.discounting)
        counts[plan_row] = len(ordered)
        entries += [(plan, number, discount) for number, discount in ordered]
    covers = [
        discount.covers(charge.charge_id, charge.kind)
        for plan, _, discount in entries
        for charge in plan.charges
    ]
    sizes = [len(plan.charges) for plan, _, _ in entries]
    return Percentages(
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        number=np.array([number for _, number, _ in entries], np.uint16),
        percent=np.array([scaled_integer(one.percent or _NOTHING) for *_, one in entries], np.uint64),
        stacked=np.array([plan.discounting.mode == "stacked" for plan, _, _ in entries], np.bool_),
        periods_max=np.array([one.first_periods or _FAR for *_, one in entries], np.int64),
        first_day=np.array([_day(one.effective_from, -_FAR) for *_, one in entries], np.int64),
        end_day=np.array([_day(one.effective_until, _FAR) for *_, one in entries], np.int64),
        cover_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        covers=np.array(covers, np.bool_),
    )


def _day(day: date | None, otherwise: int) -> int:
    return otherwise if day is None else (day - _EPOCH).days


class Taken(NamedTuple):
    """Per line what is left (amount, minor units) and how many discounts took something; these, line
    after line, by number and amount."""

    amount: NDArray[np.uint64]
    amount_minor: NDArray[np.int64]
    counts: NDArray[np.int64]
    number: NDArray[np.uint16]
    part: NDArray[np.uint64]


def take_percentages(lines: LineColumns, amount: NDArray[np.uint64], table: Percentages) -> Taken:
    """Take the percentages off lines of these list amounts, (lines, 2) at scale 12."""
    count = len(lines.plan_row)
    room = int(np.sum(table.start[lines.plan_row + 1] - table.start[lines.plan_row]))
    left, minor = amount.copy(), np.zeros(count, np.int64)
    counts = np.zeros(count, np.int64)
    number, part = np.zeros(room, np.uint16), np.zeros((room, 2), np.uint64)
    used = _take(lines, table, left, minor, counts, number, part)
    return Taken(left, minor, counts, number[:used], part[:used])


@compiled
def _take(lines: Any, table: Any, left: Any, minor: Any, counts: Any, number: Any, part: Any) -> int:
    place = 0
    for row in range(len(lines.plan_row)):
        low, high = left[row, 0], left[row, 1]
        negative = high >= _SIGN
        if negative:
            low, high = negate_128(low, high)
        list_low, list_high = low, high
        for entry in range(table.start[lines.plan_row[row]], table.start[lines.plan_row[row] + 1]):
            day = lines.first_day[row]
            if lines.period_number[row] >= table.periods_max[entry]:
                continue
            if day < table.first_day[entry] or day >= table.end_day[entry]:
                continue
            if not table.covers[table.cover_start[entry] + lines.charge[row]]:
                continue
            if table.stacked[entry]:
                off_low, off_high = _share(low, high, table.percent[entry])
            else:
                off_low, off_high = _share(list_low, list_high, table.percent[entry])
            if less_128(low, high, off_low, off_high):
                off_low, off_high = low, high
            if off_low == ZERO and off_high == ZERO:
                continue
            low, high = subtract_128(low, high, off_low, off_high)
            if negative:
                off_low, off_high = negate_128(off_low, off_high)
            number[place] = table.number[entry]
            part[place, 0], part[place, 1] = off_low, off_high
            place += 1
            counts[row] += 1
        rounded = _minor(low, high, lines.minor_unit[row], lines.rounding[row])
        minor[row] = -rounded if negative else rounded
        if negative:
            low, high = negate_128(low, high)
        left[row, 0], left[row, 1] = low, high
    return place


@compiled
def _share(low: Word, high: Word, percent: Word) -> tuple[Word, Word]:
    w0, w1, w2 = multiply_128(low, high, percent)
    q0, q1, _, _ = divide_192(w0, w1, w2, _WHOLE)
    return q0, q1


@compiled
def _minor(low: Word, high: Word, minor_unit: Word, rounding: int) -> Any:
    # The list amount had minor units that fit, and what is left is no larger.
    minor, _, _, rest = divide_192(low, high, ZERO, minor_unit)
    twice = rest * _TWO
    up = twice >= minor_unit
    if rounding != ROUND_HALF_UP and twice == minor_unit:
        up = (minor & ONE) == ONE
    return np.int64(minor + ONE if up else minor)
