"""Times, decimals and property lists checked in bulk: the strict fast path of ``ingest/validate.py``.

Each kernel says yes only to what it fully recognises; every other row goes to the plain Python in
``ingest/judge.py``, which alone words the refusals. So a kernel may be narrower than the rule, and
never wider; the tests compare the two.

Limits are arguments and never constants from other modules: numba's cache on disk does not notice
when another file changes, and a kernel would go on with the old limit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ingest.arrow_buffers import Bytes, Flags, Integers, Words
from ingest.compiled import compiled

_ZERO: Final = 48
_NINE: Final = 57
_MICROS_PER_SECOND: Final = 1_000_000
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_ONE: Final = np.uint64(1)


@compiled
def parse_times(offsets: Integers, data: Bytes, micros: Integers, recognised: Flags) -> None:
    """RFC 3339 texts to microseconds since 1970, digits past the sixth cut."""
    for row in range(len(micros)):
        start, end = offsets[row], offsets[row + 1]
        recognised[row] = False
        if end - start < 20:
            continue
        seconds = _date_time(data, start)
        if seconds < 0:
            continue
        at = start + 19
        fraction = 0
        if data[at] == 46:  # .
            at += 1
            first = at
            unit = 100_000
            while at < end and _ZERO <= data[at] <= _NINE:
                fraction += (data[at] - _ZERO) * unit
                unit //= 10
                at += 1
            if at == first:
                continue
        offset = _zone_seconds(data, at, end)
        if offset != _NO_ZONE:
            micros[row] = (seconds - offset) * _MICROS_PER_SECOND + fraction
            recognised[row] = True


_NO_ZONE: Final = 1_000_000


@compiled
def _digits(data: Bytes, at: int, count: int) -> int:
    number = 0
    for position in range(at, at + count):
        if data[position] < _ZERO or data[position] > _NINE:
            return -1
        number = number * 10 + (data[position] - _ZERO)
    return number


@compiled
def _date_time(data: Bytes, at: int) -> int:
    # Seconds since 1970 of the 19 characters YYYY-MM-DDThh:mm:ss; -1: not that, or before 1970.
    year, month, day = _digits(data, at, 4), _digits(data, at + 5, 2), _digits(data, at + 8, 2)
    hour, minute, second = _digits(data, at + 11, 2), _digits(data, at + 14, 2), _digits(data, at + 17, 2)
    if data[at + 4] != 45 or data[at + 7] != 45 or data[at + 13] != 58 or data[at + 16] != 58:
        return -1
    separator = data[at + 10]
    if separator not in (84, 116, 32):  # T, t, space
        return -1
    if year < 1971 or month < 1 or month > 12 or day < 1 or hour < 0 or minute < 0 or second < 0:
        return -1
    if hour > 23 or minute > 59 or second > 59 or day > _days_in_month(year, month):
        return -1
    # Days from civil, counted in years that start on 1 March.
    shifted = year - 1 if month <= 2 else year
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + day_of_year - 719_468
    return ((days * 24 + hour) * 60 + minute) * 60 + second


@compiled
def _days_in_month(year: int, month: int) -> int:
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


@compiled
def _zone_seconds(data: Bytes, at: int, end: int) -> int:
    if end - at == 1 and data[at] in (90, 122):  # Z, z
        return 0
    if end - at != 6 or data[at + 3] != 58 or data[at] not in (43, 45):  # +, -
        return _NO_ZONE
    hours, minutes = _digits(data, at + 1, 2), _digits(data, at + 4, 2)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return _NO_ZONE
    seconds = hours * 3600 + minutes * 60
    return -seconds if data[at] == 45 else seconds


@compiled
def parse_decimals(
    offsets: Integers,
    data: Bytes,
    whole_digits_max: int,
    scale: int,
    low: Words,
    high: Words,
    recognised: Flags,
) -> None:
    """Texts like ``-12.50`` to two's complement 128-bit words of value x 10**scale.

    At most ``whole_digits_max`` (15) digits before the point and ``scale`` (12) after it; no
    exponent, no plus.
    """
    scale_word = np.uint64(10**scale)
    for row in range(len(low)):
        recognised[row] = False
        at, end = offsets[row], offsets[row + 1]
        negative = at < end and data[at] == 45
        if negative:
            at += 1
        first = at
        whole = 0
        while at < end and _ZERO <= data[at] <= _NINE and at - first < whole_digits_max:
            whole = whole * 10 + (data[at] - _ZERO)
            at += 1
        if at == first:
            continue
        fraction = 0
        if at < end and data[at] == 46:
            at += 1
            first = at
            while at < end and _ZERO <= data[at] <= _NINE and at - first < scale:
                fraction = fraction * 10 + (data[at] - _ZERO)
                at += 1
            if at == first:
                continue
            for _ in range(scale - (at - first)):
                fraction *= 10
        if at == end:
            low[row], high[row] = _scaled(np.uint64(whole), np.uint64(fraction), scale_word, negative)
            recognised[row] = True


@compiled
def _scaled(
    whole: np.uint64, fraction: np.uint64, scale_word: np.uint64, negative: bool
) -> tuple[np.uint64, np.uint64]:
    # whole < 10**15 and 10**12 in 32-bit halves: every product fits 64 bits.
    whole_low, whole_high = whole & _LOW_HALF, whole >> _HALF
    scale_low, scale_high = scale_word & _LOW_HALF, scale_word >> _HALF
    middle = whole_low * scale_high + whole_high * scale_low
    low = whole_low * scale_low
    high = whole_high * scale_high + (middle >> _HALF)
    moved = low + (middle << _HALF)
    if moved < low:
        high += _ONE
    total = moved + fraction
    if total < moved:
        high += _ONE
    if negative:
        total = ~total + _ONE
        high = ~high
        if total == 0:
            high += _ONE
    return total, high


@compiled
def check_properties(
    list_offsets: Integers,
    name_offsets: Integers,
    name_data: Bytes,
    item_offsets: Integers,
    entries_max: int,
    name_bytes_max: int,
    item_bytes_max: int,
    fine: Flags,
) -> None:
    """True for rows whose properties keep every limit and are sorted by name without repeats."""
    for row in range(len(fine)):
        first, last = list_offsets[row], list_offsets[row + 1]
        good = last - first <= entries_max
        for entry in range(first, last):
            size = name_offsets[entry + 1] - name_offsets[entry]
            good = good and 0 < size <= name_bytes_max
            good = good and item_offsets[entry + 1] - item_offsets[entry] <= item_bytes_max
            if good and entry > first:
                good = compare_texts(name_data, name_offsets, entry - 1, entry) < 0
        fine[row] = good


@compiled
def compare_texts(data: Bytes, offsets: Integers, left: int, right: int) -> np.int64:
    """Below, at or above zero as the left text sorts before, with or after the right, by bytes."""
    left_start, right_start = offsets[left], offsets[right]
    left_size, right_size = offsets[left + 1] - left_start, offsets[right + 1] - right_start
    for position in range(min(left_size, right_size)):
        difference = np.int64(data[left_start + position]) - np.int64(data[right_start + position])
        if difference != 0:
            return difference
    return np.int64(left_size - right_size)


@compiled
def find_property(
    list_offsets: Integers, name_offsets: Integers, name_data: Bytes, wanted: Bytes, entries: Integers
) -> None:
    """The entry of each row whose name is ``wanted``, or -1."""
    for row in range(len(entries)):
        entries[row] = -1
        for entry in range(list_offsets[row], list_offsets[row + 1]):
            start = name_offsets[entry]
            if name_offsets[entry + 1] - start != len(wanted):
                continue
            same = True
            for position in range(len(wanted)):
                if name_data[start + position] != wanted[position]:
                    same = False
                    break
            if same:
                entries[row] = entry
                break
