"""Exact arithmetic on levels (seats held over time): flat arrays in, flat arrays out.

A level is a whole number of 10**-12 units held in two unsigned 64-bit limbs (high, low), two's
complement. Seats x microseconds pass 2**63 within a day (measured truth of the large case: 1.7e21),
so everything runs in 128 bits; a sum that does not fit 127 is flagged and its caller computes it
with Python integers (``rollup/levels.py``). Mixing int64 and uint64 makes numba fall to float64,
hence the explicit ``uint64`` everywhere.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

SET: Final = 0
ADD: Final = 1
REMOVE: Final = 2

USABLE: Final = 0
VALUE_MISSING: Final = 1
UNKNOWN_OPERATION: Final = 2
LEVEL_BELOW_ZERO: Final = 3

DIVISOR_MAX: Final = 2**53
"""Largest divisor of ``divide``: 285 years in microseconds."""

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_HALF_BITS: Final = np.uint64(32)
_SIGN_BIT: Final = np.uint64(63)
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_STEP_BITS: Final = np.uint64(8)
_STEP_MASK: Final = np.uint64(0xFF)

Limbs = NDArray[np.uint64]


@compiled
def _add(a_high: Any, a_low: Any, b_high: Any, b_low: Any) -> Any:
    low = a_low + b_low
    carry = _ONE if low < a_low else _ZERO
    return a_high + b_high + carry, low


@compiled
def _subtract(a_high: Any, a_low: Any, b_high: Any, b_low: Any) -> Any:
    borrow = _ONE if a_low < b_low else _ZERO
    return a_high - b_high - borrow, a_low - b_low


@compiled
def _is_negative(high: Any) -> Any:
    return (high >> _SIGN_BIT) == _ONE


@compiled
def _multiply_words(a: Any, b: Any) -> Any:
    """64 x 64 bits to 128."""
    a_high, a_low = a >> _HALF_BITS, a & _LOW_HALF
    b_high, b_low = b >> _HALF_BITS, b & _LOW_HALF
    low = a_low * b_low
    cross = a_high * b_low + (low >> _HALF_BITS)
    middle = (cross & _LOW_HALF) + a_low * b_high
    high = a_high * b_high + (cross >> _HALF_BITS) + (middle >> _HALF_BITS)
    return high, (middle << _HALF_BITS) | (low & _LOW_HALF)


@compiled
def _multiply(high: Any, low: Any, factor: Any) -> Any:
    """A level at or above 0 times a word; third: whether it left 127 bits."""
    product_high, product_low = _multiply_words(low, factor)
    over_high, over_low = _multiply_words(high, factor)
    total = product_high + over_low
    overflow = over_high != _ZERO or total < product_high or _is_negative(total)
    return total, product_low, overflow


@compiled
def _divide(high: Any, low: Any, divisor: Any, half_up: bool) -> Any:
    """A number at or above 0 by a divisor of at most DIVISOR_MAX, half-up or cut: schoolbook long
    division in steps of 8 bits."""
    quotient_high = high // divisor
    rest = high % divisor
    quotient_low = _ZERO
    for step in range(8):
        shift = np.uint64(56 - 8 * step)
        rest = (rest << _STEP_BITS) | ((low >> shift) & _STEP_MASK)
        quotient_low = (quotient_low << _STEP_BITS) | (rest // divisor)
        rest = rest % divisor
    if half_up and rest >= divisor - rest:
        return _add(quotient_high, quotient_low, _ZERO, _ONE)
    return quotient_high, quotient_low


@compiled
def divide(high: Limbs, low: Limbs, divisors: Limbs, half_up: bool) -> tuple[Limbs, Limbs]:
    """Element by element, rounded half-up or cut; numbers at or above 0, divisors 1 to DIVISOR_MAX."""
    quotient_high, quotient_low = np.empty_like(high), np.empty_like(low)
    for place in range(high.size):
        quotient_high[place], quotient_low[place] = _divide(high[place], low[place], divisors[place], half_up)
    return quotient_high, quotient_low


@compiled
def follow_levels(
    series: NDArray[np.int64],
    operation: NDArray[np.int64],
    has_value: NDArray[np.bool_],
    value_high: Limbs,
    value_low: Limbs,
) -> tuple[Limbs, Limbs, NDArray[np.int8]]:
    """The level after each event, and whether the event could be used.

    Events stand in order of (series, time, sequence); every series starts at level 0. An event
    that cannot be used leaves the level as it was.
    """
    count = series.size
    level_high, level_low = np.empty(count, np.uint64), np.empty(count, np.uint64)
    status = np.zeros(count, np.int8)
    high, low = _ZERO, _ZERO
    for place in range(count):
        if place == 0 or series[place] != series[place - 1]:
            high, low = _ZERO, _ZERO
        if not has_value[place]:
            status[place] = VALUE_MISSING
        elif operation[place] > REMOVE:
            status[place] = UNKNOWN_OPERATION
        else:
            if operation[place] == SET:
                new_high, new_low = value_high[place], value_low[place]
            elif operation[place] == ADD:
                new_high, new_low = _add(high, low, value_high[place], value_low[place])
            else:
                new_high, new_low = _subtract(high, low, value_high[place], value_low[place])
            if _is_negative(new_high):
                status[place] = LEVEL_BELOW_ZERO
            else:
                high, low = new_high, new_low
        level_high[place], level_low[place] = high, low
    return level_high, level_low, status


@compiled
def _first_at(times: NDArray[np.int64], begin: int, end: int, instant: int) -> Any:
    """First place in [begin, end) whose time is at or after ``instant``; ``end`` if none."""
    while begin < end:
        middle = (begin + end) // 2
        if times[middle] < instant:
            begin = middle + 1
        else:
            end = middle
    return begin


@compiled
def cut_spans(
    times: NDArray[np.int64],
    status: NDArray[np.int8],
    span_begin: NDArray[np.int64],
    span_end: NDArray[np.int64],
    span_start: NDArray[np.int64],
    span_stop: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where each span of time [start, stop) lies among the events [begin, end) of its series.

    Returns the first event at or after start, the first at or after stop, and the number of usable
    events between.
    """
    spans = span_begin.size
    first, behind = np.empty(spans, np.int64), np.empty(spans, np.int64)
    usable = np.zeros(spans, np.int64)
    for span in range(spans):
        first[span] = _first_at(times, span_begin[span], span_end[span], span_start[span])
        behind[span] = _first_at(times, first[span], span_end[span], span_stop[span])
        for place in range(first[span], behind[span]):
            if status[place] == USABLE:
                usable[span] += 1
    return first, behind, usable


@compiled
def list_changes(
    times: NDArray[np.int64],
    level_high: Limbs,
    level_low: Limbs,
    span_begin: NDArray[np.int64],
    first: NDArray[np.int64],
    behind: NDArray[np.int64],
    span_start: NDArray[np.int64],
    span_stop: NDArray[np.int64],
    span_group: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], Limbs, Limbs]:
    """Every change of level inside the spans, as (group, time, difference high, difference low).

    A level carried in is a change at the start of its span, and each span ends at level 0, so that
    the changes of spans that share a group simply add up.
    """
    total = 0
    for span in range(first.size):
        total += behind[span] - first[span] + 2
    group, time = np.empty(total, np.int64), np.empty(total, np.int64)
    change_high, change_low = np.empty(total, np.uint64), np.empty(total, np.uint64)
    out = 0
    for span in range(first.size):
        high, low = _ZERO, _ZERO
        for place in range(first[span] - 1, behind[span] + 1):
            if place == behind[span]:
                instant, new_high, new_low = span_stop[span], _ZERO, _ZERO
            elif place < span_begin[span]:
                instant, new_high, new_low = span_start[span], _ZERO, _ZERO
            else:
                instant = max(times[place], span_start[span])
                new_high, new_low = level_high[place], level_low[place]
            group[out], time[out] = span_group[span], instant
            change_high[out], change_low[out] = _subtract(new_high, new_low, high, low)
            high, low = new_high, new_low
            out += 1
    return group, time, change_high, change_low


@compiled
def clamp_changes(
    group: NDArray[np.int64],
    change_high: Limbs,
    change_low: Limbs,
    above_high: Any,
    above_low: Any,
    width_high: Any,
    width_low: Any,
    bounded: bool,
) -> tuple[Limbs, Limbs]:
    """The changes of the part of each group's level above a bound, at most ``width`` of it if ``bounded``.
    Changes stand in order of (group, time); levels are never below 0."""
    part_high, part_low = np.empty_like(change_high), np.empty_like(change_low)
    high = low = was_high = was_low = _ZERO
    for place in range(group.size):
        if place == 0 or group[place - 1] != group[place]:
            high = low = was_high = was_low = _ZERO
        high, low = _add(high, low, change_high[place], change_low[place])
        now_high, now_low = _subtract(high, low, above_high, above_low)
        if _is_negative(now_high):
            now_high, now_low = _ZERO, _ZERO
        elif bounded and (now_high > width_high or (now_high == width_high and now_low > width_low)):
            now_high, now_low = width_high, width_low
        part_high[place], part_low[place] = _subtract(now_high, now_low, was_high, was_low)
        was_high, was_low = now_high, now_low
    return part_high, part_low


@compiled
def added_changes(
    group: NDArray[np.int64], time: NDArray[np.int64], change_high: Limbs, change_low: Limbs
) -> tuple[Limbs, Limbs]:
    """The changes that raise each group's level; all of one instant count together. Changes stand in order of
    (group, time)."""
    added_high, added_low = np.zeros_like(change_high), np.zeros_like(change_low)
    high = low = _ZERO
    for place in range(group.size):
        high, low = _add(high, low, change_high[place], change_low[place])
        if place + 1 < group.size and group[place + 1] == group[place] and time[place + 1] == time[place]:
            continue
        if not _is_negative(high):
            added_high[place], added_low[place] = high, low
        high = low = _ZERO
    return added_high, added_low


@compiled
def rising_changes(
    group: NDArray[np.int64], time: NDArray[np.int64], change_high: Limbs, change_low: Limbs
) -> tuple[Limbs, Limbs]:
    """The changes of the highest level so far in each group. Changes stand in order of (group, time); a level
    that held for no time is none."""
    risen_high, risen_low = np.zeros_like(change_high), np.zeros_like(change_low)
    high = low = top_high = top_low = _ZERO
    for place in range(group.size):
        if place == 0 or group[place - 1] != group[place]:
            high = low = top_high = top_low = _ZERO
        high, low = _add(high, low, change_high[place], change_low[place])
        if place + 1 < group.size and group[place + 1] == group[place] and time[place + 1] == time[place]:
            continue
        if high > top_high or (high == top_high and low > top_low):
            risen_high[place], risen_low[place] = _subtract(high, low, top_high, top_low)
            top_high, top_low = high, low
    return risen_high, risen_low


@compiled
def sweep_groups(
    group: NDArray[np.int64],
    time: NDArray[np.int64],
    change_high: Limbs,
    change_low: Limbs,
    group_stop: NDArray[np.int64],
) -> tuple[Limbs, Limbs, Limbs, Limbs, Limbs, Limbs, NDArray[np.bool_]]:
    """Walk the changes, sorted by (group, time), and read each group's pooled level.

    Returns integral (level x microseconds), peak and end level, two limbs each, and whether the
    integral left 127 bits. The level at an instant is the level after all changes at that instant,
    so a level that held for no time is no peak; changes at ``group_stop`` are past the period.
    """
    groups = group_stop.size
    integral_high, integral_low = np.zeros(groups, np.uint64), np.zeros(groups, np.uint64)
    peak_high, peak_low = np.zeros(groups, np.uint64), np.zeros(groups, np.uint64)
    end_high, end_low = np.zeros(groups, np.uint64), np.zeros(groups, np.uint64)
    overflow = np.zeros(groups, np.bool_)
    high, low = _ZERO, _ZERO
    for place in range(group.size):
        here = group[place]
        if place == 0 or group[place - 1] != here:
            high, low = _ZERO, _ZERO
        if time[place] >= group_stop[here]:
            continue
        high, low = _add(high, low, change_high[place], change_low[place])
        until = group_stop[here]
        if place + 1 < group.size and group[place + 1] == here:
            until = min(until, time[place + 1])
        if until == time[place]:
            continue
        part_high, part_low, over = _multiply(high, low, np.uint64(until - time[place]))
        integral_high[here], integral_low[here] = _add(
            integral_high[here], integral_low[here], part_high, part_low
        )
        if over or _is_negative(integral_high[here]):
            overflow[here] = True
        if high > peak_high[here] or (high == peak_high[here] and low > peak_low[here]):
            peak_high[here], peak_low[here] = high, low
        end_high[here], end_low[here] = high, low
    return integral_high, integral_low, peak_high, peak_low, end_high, end_low, overflow


@compiled
def reach_unusable(
    times: NDArray[np.int64],
    operation: NDArray[np.int64],
    status: NDArray[np.int8],
    span_begin: NDArray[np.int64],
    first: NDArray[np.int64],
    behind: NDArray[np.int64],
    span_start: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The unusable events that make a span's level unknown, as pairs (span, place of the event).

    Those inside the span, and those before it with no usable ``set`` between them and its start.
    """
    found = 0
    for fill in range(2):
        if fill == 1:
            spans, places = np.empty(found, np.int64), np.empty(found, np.int64)
        else:
            spans, places = np.empty(0, np.int64), np.empty(0, np.int64)
        found = 0
        for span in range(first.size):
            known = first[span]
            while known < behind[span] and times[known] == span_start[span]:
                known += 1
            known -= 1
            while known >= span_begin[span] and not (status[known] == USABLE and operation[known] == SET):
                known -= 1
            begin = min(first[span], max(known + 1, span_begin[span]))
            for place in range(begin, behind[span]):
                if status[place] != USABLE:
                    if fill == 1:
                        spans[found], places[found] = span, place
                    found += 1
    return spans, places
