"""Levels held over time (licence seats): what a ``time_weighted`` meter reads in each period.

An event of such a meter changes the level of its subject, per value of the meter's group keys:
``operation`` set (also when absent), add or remove. The level holds until the next event, so all
history before a period is read and its level carried in. Subjects of one period add up: their pooled
level is read.

Readings, of the level as a function of time on [period_start, period_end):
  average    integral / length of the period
  high_water the same of the highest level so far in the period: what is removed stays until its end
  peak       the highest level that held for any time; what is undone at the same instant is no peak
  end        the level just before period_end
  unit_days  integral / 86,400 s
Ten seats for 10 of 20 days and 14 for the rest: average and high water 12, peak 14, end 14, unit days 240.

An event that cannot be used (no value, unknown operation, a level below 0) makes its level unknown
until the next usable ``set``: every period it reaches that way reports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.errors import BrokenState
from ingest.event import QUANTITY_DIGITS, QUANTITY_SCALE, QUANTITY_TYPE
from ingest.meter import Meter
from rollup import level_kernels as kernels
from rollup.holding import CountedDays, Holding
from rollup.level_part import LevelPart
from rollup.usage_table import MeterUsage

DAY_MICROS: Final = 86_400_000_000
REASONS: Final = {
    kernels.VALUE_MISSING: "value_missing",
    kernels.UNKNOWN_OPERATION: "unknown_operation",
    kernels.LEVEL_BELOW_ZERO: "level_below_zero",
}

_OVER_TIME: Final = frozenset({"average", "high_water"})
"""The readings that may be counted by the day."""
_GIVES_BACK: Final = frozenset({"average", "unit_days"})
"""The readings that what is taken away lowers for the time it is gone."""
_WORD_BITS: Final = 64
_WIDE: Final = Context(prec=60)
_Whole = NDArray[np.int64]
_Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Spans:
    """A calendar row of one series each: it covers the time [start, stop), and the events of its
    series stand in [begin, end), those inside in [first, behind). ``group``: place of its usage row."""

    begin: _Whole
    end: _Whole
    start: _Whole
    stop: _Whole
    group: _Whole
    first: _Whole
    behind: _Whole
    usable: _Whole


@dataclass(frozen=True, slots=True)
class _Groups:
    """The usage rows: period_key and place of the dimensions among the distinct ones, sorted by
    both, with start and stop of the whole period."""

    period_key: _Whole
    dimension: _Whole
    start: _Whole
    stop: _Whole


def read_levels(
    *,
    meter: Meter,
    meter_number: int,
    events: pa.Table,
    calendar: pa.Table,
    subject_numbers: _Whole,
    holding: Holding | None = None,
) -> tuple[MeterUsage, pa.Table]:
    """The reading of ``meter`` in every period of ``calendar``, and the events that spoil one.

    events: answer of ``level_events_query``. calendar: checked CALENDAR_SCHEMA rows.
    subject_numbers: of each calendar row's subject, int64, as in ``events``. holding: up to when changes
    count, and periods that are counted by the day; None: all of them, by the microsecond.
    The second is a table (period_key uint32, reason_code text, event_count uint64, sequence uint64
    of the earliest such event). Raises BrokenState for a quantity beyond Decimal(38, 12).
    """
    subjects = events["subject_number"].to_numpy().astype(np.int64)
    names = [_array(events, f"dimension_{place}") for place in range(len(meter.group_by))]
    dimension, examples = _dimension_codes(names, events.num_rows)
    begins = _series_begins(subjects, dimension)
    times = events["time_micros"].to_numpy().astype(np.int64)
    operations = events["operation"].to_numpy().astype(np.int64)
    level_high, level_low, status = kernels.follow_levels(
        np.repeat(np.arange(len(begins)), np.diff(begins, append=len(times))),
        operations,
        events["value"].is_valid().to_numpy(),
        *_limbs(_array(events, "value")),
    )
    spans, groups = _lay_out(
        calendar,
        subject_numbers,
        begins,
        subjects[begins],
        dimension[begins],
        times,
        status,
        None if holding is None else holding.known_until,
    )
    group, time, high, low = kernels.list_changes(
        times,
        level_high,
        level_low,
        spans.begin,
        spans.first,
        spans.behind,
        spans.start,
        spans.stop,
        spans.group,
    )
    order = np.lexsort((time, group))
    group, time, high, low = group[order], time[order], high[order], low[order]
    counted = groups
    if holding is not None and holding.days and meter.reading in _OVER_TIME:
        time, counted = _by_day(holding.days, groups, group, time)
    high, low = _levels_that_count(meter, holding, group, time, high, low)
    quantity, peaks = _read(meter, counted, group, time, high, low)
    counts = np.zeros(len(groups.period_key), np.int64)
    np.add.at(counts, spans.group, spans.usable)
    held = pa.array(np.flatnonzero((counts > 0) | peaks))
    rows = pa.array(examples[groups.dimension]).take(held)
    usage = MeterUsage(
        meter_number=np.full(len(held), meter_number, np.int32),
        period_key=pa.array(groups.period_key.astype(np.uint32)).take(held),
        dimensions=[column.take(rows) for column in names],
        quantity=quantity.take(held),
        event_count=pa.array(counts.astype(np.uint64)).take(held),
    )
    sequences = events["sequence"].to_numpy()
    return usage, _unusable(times, sequences, operations, status, spans, groups)


def _levels_that_count(
    meter: Meter, holding: Holding | None, group: _Whole, time: _Whole, high: _Words, low: _Words
) -> tuple[_Words, _Words]:
    """The level after each change as the meter's reading takes it."""
    if holding is not None and holding.only_added and meter.reading in _GIVES_BACK:
        high, low = kernels.added_changes(group, time, high, low)
    if isinstance(meter, LevelPart):
        high, low = _clamped(meter, group, high, low)
    if meter.reading == "high_water":
        high, low = kernels.rising_changes(group, time, high, low)
    return high, low


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _series_begins(subjects: _Whole, dimension: _Whole) -> _Whole:
    """Where each (subject, dimensions) begins among the sorted events."""
    new = np.ones(len(subjects), dtype=np.bool_)
    new[1:] = (subjects[1:] != subjects[:-1]) | (dimension[1:] != dimension[:-1])
    return np.flatnonzero(new).astype(np.int64)


def _dimension_codes(columns: Sequence[pa.Array], rows: int) -> tuple[_Whole, _Whole]:
    """Number of each event's dimensions, numbered in their sort order, and for each number an event
    that has them."""
    codes = np.zeros(rows, np.int64)
    for column in columns:
        words = column.dictionary_encode()
        rank = np.empty(len(words.dictionary), np.int64)
        rank[pc.sort_indices(words.dictionary).to_numpy()] = np.arange(len(rank))
        packed = codes * max(len(rank), 1) + rank[words.indices.to_numpy()]
        codes = np.unique(packed, return_inverse=True)[1].astype(np.int64)
    return codes, np.unique(codes, return_index=True)[1].astype(np.int64)


def _lay_out(
    calendar: pa.Table,
    subject_numbers: _Whole,
    begins: _Whole,
    series_subject: _Whole,
    series_dimension: _Whole,
    times: _Whole,
    status: NDArray[np.int8],
    known_until: _Whole | None,
) -> tuple[_Spans, _Groups]:
    """Pair every calendar row with every series of its subject, in the order of their usage rows.
    known_until: of each calendar row, where events count up to before its end; None: all of them count."""
    starts = calendar["period_start"].cast(pa.int64()).to_numpy()
    stops = calendar["period_end"].cast(pa.int64()).to_numpy()
    keys = calendar["period_key"].to_numpy().astype(np.int64)
    rows, series = _pairs(subject_numbers, series_subject)
    width = int(series_dimension.max(initial=0)) + 1
    packed, group = np.unique(keys[rows] * width + series_dimension[series], return_inverse=True)
    order = np.argsort(group, kind="stable")
    rows, series, group = rows[order], series[order], group[order].astype(np.int64)
    begin, end = begins[series], np.append(begins[1:], len(times))[series]
    counted = stops if known_until is None else np.minimum(stops, known_until)
    first, behind, usable = kernels.cut_spans(times, status, begin, end, starts[rows], counted[rows])
    spans = _Spans(begin, end, starts[rows], stops[rows], group, first, behind, usable)
    periods, period = np.unique(keys, return_inverse=True)
    earliest = np.full(len(periods), np.iinfo(np.int64).max)
    latest = np.full(len(periods), np.iinfo(np.int64).min)
    np.minimum.at(earliest, period, starts)
    np.maximum.at(latest, period, stops)
    place = np.searchsorted(periods, packed // width)
    return spans, _Groups(packed // width, packed % width, earliest[place], latest[place])


def _pairs(row_subject: _Whole, series_subject: _Whole) -> tuple[_Whole, _Whole]:
    """All (row, series) of the same subject, as two columns of places."""
    by_subject = np.argsort(series_subject, kind="stable")
    ordered = series_subject[by_subject]
    low = np.searchsorted(ordered, row_subject, side="left")
    counts = np.searchsorted(ordered, row_subject, side="right") - low
    rows = np.repeat(np.arange(len(row_subject)), counts)
    inside = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, by_subject[np.repeat(low, counts) + inside]


def _read(
    meter: Meter, groups: _Groups, group: _Whole, time: _Whole, high: _Words, low: _Words
) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The quantity of each group, and whether any level above 0 held in it."""
    swept = kernels.sweep_groups(group, time, high, low, groups.stop)
    integral, peak, end, overflow = swept[0:2], swept[2:4], swept[4:6], swept[6]
    held = (peak[0] | peak[1]) != 0
    if meter.reading == "peak":
        return _decimals(*peak), held
    if meter.reading == "end":
        return _decimals(*end), held
    divisors = groups.stop - groups.start
    if meter.reading == "unit_days":
        divisors = np.full_like(divisors, DAY_MICROS)
    slow = overflow | (divisors > kernels.DIVISOR_MAX)
    safe = np.where(slow, 1, divisors).astype(np.uint64)
    # Cut when the meter rounds to fewer digits later: rounding twice could go up where once would not.
    half_up = meter.fraction_digits == QUANTITY_SCALE
    quotient_high, quotient_low = kernels.divide(*integral, safe, half_up)
    for place in np.flatnonzero(slow).tolist():
        begin, behind = np.searchsorted(group, [place, place + 1]).tolist()
        whole = _exact_integral(
            time[begin:behind], high[begin:behind], low[begin:behind], int(groups.stop[place])
        )
        divisor = int(divisors[place])
        quotient = (2 * whole + divisor * half_up) // (2 * divisor)
        if quotient >= 10**QUANTITY_DIGITS:
            raise BrokenState(
                f"meter {meter.meter_id!r}: its {meter.reading} in period {groups.period_key[place]} is "
                "beyond 26 integer digits. Check the levels sent; no real level is that high."
            )
        quotient_high[place], quotient_low[place] = divmod(quotient, 1 << _WORD_BITS)
    return _decimals(quotient_high, quotient_low), held


def _by_day(
    days: Mapping[int, CountedDays], groups: _Groups, group: _Whole, time: _Whole
) -> tuple[_Whole, _Groups]:
    """Instants as the units that lie before the day they are in, for the groups that are counted by the day.
    A stretch without any unit stays in microseconds."""
    time, start, stop = time.copy(), groups.start.copy(), groups.stop.copy()
    begins = np.searchsorted(group, np.arange(len(start) + 1))
    for place, key in enumerate(groups.period_key.tolist()):
        found = days.get(key)
        if found is None or found.units[-1] == found.units[0]:
            continue
        mine = slice(begins[place], begins[place + 1])
        time[mine] = found.units[np.searchsorted(found.starts, time[mine], "right") - 1]
        start[place], stop[place] = found.units[0], found.units[-1]
    return time, replace(groups, start=start, stop=stop)


def _clamped(meter: LevelPart, group: _Whole, high: _Words, low: _Words) -> tuple[_Words, _Words]:
    width = Decimal(0) if meter.up_to is None else meter.up_to - meter.above
    above_high, above_low = _words(meter.above)
    width_high, width_low = _words(width)
    return kernels.clamp_changes(
        group, high, low, above_high, above_low, width_high, width_low, meter.up_to is not None
    )


def _words(bound: Decimal) -> tuple[np.uint64, np.uint64]:
    high, low = divmod(int(bound.scaleb(QUANTITY_SCALE, context=_WIDE)), 1 << _WORD_BITS)
    return np.uint64(high), np.uint64(low)


def _exact_integral(time: _Whole, high: _Words, low: _Words, stop: int) -> int:
    """Level x microseconds up to ``stop`` in Python integers, which have no size."""
    total = 0
    for instant, top, bottom in zip(time.tolist(), high.tolist(), low.tolist(), strict=True):
        change = (top << _WORD_BITS) + bottom
        if change >= 1 << (2 * _WORD_BITS - 1):
            change -= 1 << (2 * _WORD_BITS)
        total += change * (stop - min(instant, stop))
    return total


def _limbs(values: pa.Array) -> tuple[_Words, _Words]:
    """High and low words of a Decimal(38, 12) column; whatever stands in empty fields."""
    words = np.frombuffer(values.buffers()[1], dtype=np.uint64)
    words = words[2 * values.offset : 2 * (values.offset + len(values))]
    return words[1::2].copy(), words[0::2].copy()


def _decimals(high: _Words, low: _Words) -> pa.Array:
    words = np.empty(2 * len(high), np.uint64)
    words[0::2], words[1::2] = low, high
    return pa.Array.from_buffers(QUANTITY_TYPE, len(high), [None, pa.py_buffer(words)])


def _unusable(
    times: _Whole,
    sequences: _Words,
    operations: _Whole,
    status: NDArray[np.int8],
    spans: _Spans,
    groups: _Groups,
) -> pa.Table:
    """Per period and reason: how many events make a level unknown, and which is the earliest."""
    if status.any():
        span, place = kernels.reach_unusable(
            times, operations, status, spans.begin, spans.first, spans.behind, spans.start
        )
    else:
        span = place = np.empty(0, np.int64)
    keys = groups.period_key[spans.group[span]]
    # A subject with two rows in one period meets an early event twice: it is still one event.
    once = np.unique(np.stack([keys, place]), axis=1)
    keys, place = once[0], once[1]
    reasons = status[place]
    order = np.lexsort((sequences[place], times[place], reasons, keys))
    keys, place, reasons = keys[order], place[order], reasons[order]
    new = np.ones(len(keys), dtype=np.bool_)
    new[1:] = (keys[1:] != keys[:-1]) | (reasons[1:] != reasons[:-1])
    begins = np.flatnonzero(new)
    return pa.table(
        {
            "period_key": pa.array(keys[begins].astype(np.uint32)),
            "reason_code": pa.array([REASONS[code] for code in reasons[begins].tolist()], pa.string()),
            "event_count": pa.array(np.diff(begins, append=len(keys)).astype(np.uint64)),
            "sequence": pa.array(sequences[place[begins]].astype(np.uint64)),
        }
    )
