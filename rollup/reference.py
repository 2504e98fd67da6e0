"""The same roll-up said plainly: one event at a time, in Python fractions. Slow and easy to believe.

Tests hold the SQL and the kernels to it, to the last digit. Levels are read here by replaying a
subject's whole history at every instant, not by sweeping changes, so that the two share no idea.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import pyarrow as pa

from ingest.event import OPERATION_PROPERTY, OPERATIONS, QUANTITY_SCALE, VALUE_INTEGER_DIGITS_MAX
from ingest.meter import Meter, MeterFilter
from rollup.banded_meter import BAND_KEY, BandedMeter, charged_by_band
from rollup.level_part import LevelPart
from rollup.period import find_time_zone
from rollup.roll_up import RolledUp
from rollup.schema import UNUSABLE_SCHEMA, USAGE_SCHEMA

_NUMBER = re.compile(rf"[+-]?[0-9]{{1,{VALUE_INTEGER_DIGITS_MAX}}}([.][0-9]{{1,{QUANTITY_SCALE}}})?")
_MICROSECOND = timedelta(microseconds=1)
_DAY_MICROS = Fraction(timedelta(days=1) // _MICROSECOND)


@dataclass(frozen=True, slots=True)
class _Event:
    """A stored event with its properties as a mapping."""

    source: str
    id: str
    subject: str
    time: datetime
    sequence: int
    value: Fraction | None
    properties: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Row:
    """A calendar row."""

    period_key: int
    subject: str
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True)
class PlainCorrection:
    """A correction that was accepted. kind: amend or cancel; changes: the fields of the event that are to
    be different, as STORED_EVENT_SCHEMA has them."""

    source: str
    id: str
    kind: str
    corrects: str
    changes: Mapping[str, Any]
    sequence: int
    corrected_at: datetime


def reference_events(
    *, events: pa.Table, corrections: Iterable[PlainCorrection], known_at: datetime | None
) -> pa.Table:
    """The events as they stood at ``known_at`` (None: now), one version each: corrections played one by
    one on a dictionary. events: STORED_EVENT_SCHEMA, as they were sent."""
    versions = {
        (one["source"], one["id"]): one
        for one in events.to_pylist()
        if known_at is None or one["ingested_at"] <= known_at
    }
    for correction in sorted(corrections, key=lambda one: one.sequence):
        if known_at is None or correction.corrected_at <= known_at:
            event = versions.pop((correction.source, correction.corrects))
            if correction.kind == "amend":
                own = {"id": correction.id, "sequence": correction.sequence}
                versions[correction.source, correction.corrects] = {**event, **correction.changes, **own}
    return pa.Table.from_pylist(list(versions.values()), schema=events.schema)


def reference_roll_up(*, events: pa.Table, calendar: pa.Table, meters: Sequence[Meter]) -> RolledUp:
    """What ``roll_up_usage`` must answer for a store in which exactly ``events`` are in force.

    events: STORED_EVENT_SCHEMA rows in any order, after ``reference_events`` if some were corrected.
    calendar: CALENDAR_SCHEMA rows that pass its checks.
    """
    stored = sorted(events.to_pylist(), key=lambda one: (one["time"], one["sequence"]))
    rows = [_Row(**row) for row in calendar.to_pylist()]
    usage: list[dict[str, Any]] = []
    unusable: list[dict[str, Any]] = []
    for period_key in sorted({row.period_key for row in rows}):
        period = [row for row in rows if row.period_key == period_key]
        for meter in meters:
            counted = [_as_event(one) for one in stored if _counts(meter, one)]
            if meter.aggregation == "time_weighted":
                found, spoiled = _level_usage(meter, period, counted)
            else:
                found, spoiled = _plain_usage(meter, period, counted)
            key = {"period_key": period_key, "meter_id": meter.meter_id}
            usage += [key | one for one in found]
            unusable += [key | one for one in _by_reason(spoiled)]
    return RolledUp(
        usage=pa.Table.from_pylist(usage, schema=USAGE_SCHEMA),
        unusable=pa.Table.from_pylist(unusable, schema=UNUSABLE_SCHEMA),
    )


def rounded(number: Fraction, fraction_digits: int) -> Decimal:
    """Half-up, away from zero, to so many digits; exact text, no context to lose digits in."""
    scaled = abs(number) * 10**fraction_digits
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(f"{'-' if number < 0 else ''}{whole}E-{fraction_digits}")


def _as_event(one: dict[str, Any]) -> _Event:
    return _Event(
        source=one["source"],
        id=one["id"],
        subject=one["subject"],
        time=one["time"],
        sequence=one["sequence"],
        value=None if one["value"] is None else Fraction(one["value"]),
        properties=dict(one["properties"]),
    )


def _counts(meter: Meter, one: dict[str, Any]) -> bool:
    properties = dict(one["properties"])
    return one["type"] == meter.event_type and all(_passes(test, properties) for test in meter.filters)


def _passes(test: MeterFilter, properties: dict[str, str]) -> bool:
    if test.present is not None:
        answer = (test.property in properties) == test.present
    else:
        answer = test.property in properties and properties[test.property] in test.values
    return answer != test.negate


def _plain_usage(
    meter: Meter, period: list[_Row], events: list[_Event]
) -> tuple[list[dict[str, Any]], list[tuple[_Event, str]]]:
    inside = [
        one
        for one in events
        if any(r.subject == one.subject and r.period_start <= one.time < r.period_end for r in period)
    ]
    spoiled = [(one, reason) for one in inside if (reason := _contribution(meter, one)[1])]
    groups: dict[tuple[str, ...], list[Any]] = {}
    parts: dict[tuple[str, ...], dict[Any, list[Fraction]]] = {}
    for one in inside:
        number, reason = _contribution(meter, one)
        if not reason:
            groups.setdefault(_dimensions(meter, one), []).append(number)
            own = parts.setdefault(_dimensions(meter, one), {})
            own.setdefault(_part(meter, one), []).append(number)
    if isinstance(meter, BandedMeter):
        groups = _bands(meter, groups)
    return [
        _usage_row(
            meter,
            key,
            _aggregate(meter, groups[key]) if meter.parts is None else _of_parts(meter, parts[key]),
            len(groups[key]),
        )
        for key in _in_order(groups)
    ], spoiled


def _part(meter: Meter, one: _Event) -> Any:
    """Which part of its period an event falls in, by the rules of the zone itself."""
    if meter.parts is None:
        return None
    if meter.parts.by == "hour":
        return one.time.replace(minute=0, second=0, microsecond=0)
    if meter.parts.by == "day":
        return one.time.astimezone(find_time_zone(meter.parts.time_zone or "")).date()
    return one.properties.get(meter.parts.by.removeprefix("properties."), "")


def _of_parts(meter: Meter, parts: dict[Any, list[Fraction]]) -> Fraction:
    if meter.aggregation == "highest_sum":
        return max(sum(numbers, Fraction(0)) for numbers in parts.values())
    if meter.aggregation == "highest_count":
        return Fraction(max(len(numbers) for numbers in parts.values()))
    return sum((max(numbers) for numbers in parts.values()), Fraction(0))


def _bands(meter: BandedMeter, groups: dict[tuple[str, ...], list[Any]]) -> dict[tuple[str, ...], list[Any]]:
    """What is charged of the events of each group, by band; ``groups`` in order of time and arrival."""
    return {
        (*key[:-1], band): charged
        for key, numbers in groups.items()
        for band, charged in charged_by_band(meter, numbers).items()
    }


def _contribution(meter: Meter, one: _Event) -> tuple[Any, str]:
    """The number (or the unique text) an event adds, or the reason why it cannot."""
    if meter.aggregation in ("count", "highest_count"):
        return Fraction(1), ""
    if meter.aggregation == "unique_count":
        text = one.properties.get(meter.unique_property or "")
        return text, "unique_property_missing" if text is None else ""
    numbers = []
    for factor in meter.factors:
        if factor == "value":
            if one.value is None:
                return None, "value_missing"
            numbers.append(one.value)
            continue
        text = one.properties.get(factor.removeprefix("properties."))
        if text is None:
            return None, "factor_missing"
        if not _NUMBER.fullmatch(text):
            return None, "factor_not_a_number"
        numbers.append(Fraction(text))
    product = numbers[0]
    for number in numbers[1:]:
        product *= number
        if (product * 10**QUANTITY_SCALE).denominator != 1:
            return None, "product_too_precise"
        if abs(product) >= 10**VALUE_INTEGER_DIGITS_MAX:
            return None, "product_too_large"
    return product, ""


def _aggregate(meter: Meter, numbers: list[Any]) -> Fraction:
    if meter.aggregation == "unique_count":
        return Fraction(len(set(numbers)))
    if meter.aggregation == "count":
        return Fraction(len(numbers))
    if meter.aggregation == "latest":
        return Fraction(numbers[-1])
    if meter.aggregation == "max":
        return Fraction(max(numbers))
    if meter.aggregation == "min":
        return Fraction(min(numbers))
    total = sum(numbers, Fraction(0))
    return total / len(numbers) if meter.aggregation == "avg" else total


def _level_usage(
    meter: Meter, period: list[_Row], events: list[_Event]
) -> tuple[list[dict[str, Any]], list[tuple[_Event, str]]]:
    reasons = _level_reasons(meter, events)
    start = min(row.period_start for row in period)
    stop = max(row.period_end for row in period)
    usage = []
    for key in _in_order({_dimensions(meter, one) for one in events}):
        mine = [one for one in events if _dimensions(meter, one) == key]
        usable = [one for one in mine if one not in _keys(reasons)]
        instants = sorted(
            {start, stop}
            | {edge for row in period for edge in (row.period_start, row.period_end)}
            | {one.time for one in usable if start <= one.time < stop}
        )
        pieces = [
            (sum((_level(row, usable, begin) for row in period), Fraction(0)), (end - begin) // _MICROSECOND)
            for begin, end in pairwise(instants)
        ]
        if isinstance(meter, LevelPart):
            pieces = [(meter.part_of(level), micros) for level, micros in pieces]
        changes = sum(
            any(r.subject == one.subject and r.period_start <= one.time < r.period_end for r in period)
            for one in usable
        )
        if changes or any(level for level, _ in pieces):
            quantity = _reading(meter, pieces)
            usage.append(_usage_row(meter, key, quantity, changes))
    reached = {
        index: (one, reason)
        for row in period
        for index, (one, reason) in enumerate(reasons)
        if _reaches(meter, row, one, events, _keys(reasons))
    }
    return usage, [reached[index] for index in sorted(reached)]


def _reading(meter: Meter, pieces: list[tuple[Fraction, int]]) -> Fraction:
    integral = sum((level * micros for level, micros in pieces), Fraction(0))
    if meter.reading == "peak":
        return max(level for level, _ in pieces)
    if meter.reading == "end":
        return pieces[-1][0]
    if meter.reading == "high_water":
        highest = list(accumulate((level for level, _ in pieces), max))
        integral = sum(
            (level * micros for level, (_, micros) in zip(highest, pieces, strict=True)), Fraction(0)
        )
    if meter.reading == "unit_days":
        return integral / _DAY_MICROS
    return integral / sum(micros for _, micros in pieces)


def _level(row: _Row, usable: list[_Event], instant: datetime) -> Fraction:
    """The level of the row's subject at an instant, replayed from its first event."""
    level = Fraction(0)
    if not row.period_start <= instant < row.period_end:
        return level
    for one in usable:
        if one.subject == row.subject and one.time <= instant:
            level = _after(level, one)
    return level


def _after(level: Fraction, one: _Event) -> Fraction:
    value = one.value or Fraction(0)
    operation = one.properties.get(OPERATION_PROPERTY, "set")
    return {"set": value, "add": level + value, "remove": level - value}[operation]


def _level_reasons(meter: Meter, events: list[_Event]) -> list[tuple[_Event, str]]:
    levels: dict[tuple[str, tuple[str, ...]], Fraction] = {}
    reasons = []
    for one in events:
        series = (one.subject, _dimensions(meter, one))
        level = levels.get(series, Fraction(0))
        if one.value is None:
            reasons.append((one, "value_missing"))
        elif one.properties.get(OPERATION_PROPERTY, "set") not in OPERATIONS:
            reasons.append((one, "unknown_operation"))
        elif _after(level, one) < 0:
            reasons.append((one, "level_below_zero"))
        else:
            levels[series] = _after(level, one)
    return reasons


def _reaches(meter: Meter, row: _Row, bad: _Event, events: list[_Event], unusable: list[_Event]) -> bool:
    """Whether an unusable event makes the level of a row unknown."""
    if bad.subject != row.subject or bad.time >= row.period_end:
        return False
    return bad.time >= row.period_start or not any(
        one.subject == bad.subject
        and _dimensions(meter, one) == _dimensions(meter, bad)
        and (one.time, one.sequence) > (bad.time, bad.sequence)
        and one.time <= row.period_start
        and one.properties.get(OPERATION_PROPERTY, "set") == "set"
        for one in events
        if one not in unusable
    )


def _dimensions(meter: Meter, one: _Event) -> tuple[str, ...]:
    """By the group keys; the band is put in later (``_bands``)."""
    banded = isinstance(meter, BandedMeter)
    return tuple("" if banded and key == BAND_KEY else one.properties.get(key, "") for key in meter.group_by)


def _in_order(keys: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Sorted by the bytes of the text, as both stores sort."""
    return sorted(keys, key=lambda key: [part.encode() for part in key])


def _keys(reasons: list[tuple[_Event, str]]) -> list[_Event]:
    return [one for one, _ in reasons]


def _usage_row(meter: Meter, key: tuple[str, ...], quantity: Fraction, count: int) -> dict[str, Any]:
    return {
        "dimensions": list(zip(meter.group_by, key, strict=True)),
        "quantity": rounded(quantity, meter.fraction_digits),
        "event_count": count,
    }


def _by_reason(spoiled: list[tuple[_Event, str]]) -> list[dict[str, Any]]:
    rows = []
    for reason in sorted({reason for _, reason in spoiled}):
        ones = sorted((e for e, why in spoiled if why == reason), key=lambda e: (e.time, e.sequence))
        rows.append(
            {
                "event_count": len(ones),
                "example_source": ones[0].source,
                "example_id": ones[0].id,
                "reason_code": reason,
            }
        )
    return rows
