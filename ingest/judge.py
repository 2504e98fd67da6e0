"""One record judged in plain Python: what an event must keep, and the words when it does not.

This is the rule. The kernels in ``ingest/parse_kernels.py`` only recognise the common records that
keep it, and hand every other record here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ingest.clock import to_micros
from ingest.event import (
    OPERATION_PROPERTY,
    OPERATIONS,
    PROPERTIES_MAX,
    PROPERTY_VALUE_BYTES_MAX,
    QUANTITY_SCALE,
    TEXT_BYTES_MAX,
    TIME_MAX,
    TIME_MIN,
    VALUE_INTEGER_DIGITS_MAX,
)
from ingest.meter_needs import MeterNeeds
from ingest.raw import TEXT_FIELDS, RawRow
from ingest.refusal import Problem, shown

_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
_TIME_EXPECTED: Final = "an RFC 3339 time with zone, like 2026-03-01T12:30:00Z."
_DECIMAL: Final = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", re.ASCII)
_DECIMAL_EXPECTED: Final = 'a decimal number, like 12.5 or "12.50".'
_PLAIN_DECIMAL: Final = re.compile(
    rf"[+-]?\d{{1,{VALUE_INTEGER_DIGITS_MAX}}}(\.\d{{1,{QUANTITY_SCALE}}})?", re.ASCII
)
"""Properties stay the text they were sent as, and this is what a meter can multiply by."""
_NOT_FINITE: Final = frozenset({"nan", "inf", "infinity"})
_EXPONENT_DIGITS_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """What the record says once read: ``scaled_value`` is the value times 10**12."""

    micros: int
    scaled_value: int | None
    properties: tuple[tuple[str, str], ...]


def judge_row(row: RawRow, *, received_micros: int | None, needs: MeterNeeds) -> JudgedRow | Problem:
    """Read one record, or say the first thing that is wrong with it.

    received_micros: stands in for a time that is not given; None where time is required.
    """
    *texts, time_text, value_text, raw_properties = row
    for name, text in zip(TEXT_FIELDS, texts, strict=True):
        problem = text_problem(name, text)
        if problem:
            return problem
    if time_text is None and received_micros is not None:
        micros: int | Problem = received_micros
    else:
        micros = read_time(time_text)
    if isinstance(micros, Problem):
        return micros
    value = None if value_text is None else read_decimal("value", value_text)
    if isinstance(value, Problem):
        return value
    properties = read_properties(raw_properties)
    if isinstance(properties, Problem):
        return properties
    problem = needs_problem(str(texts[2]), value, dict(properties), needs)
    return problem or JudgedRow(micros, value, properties)


def text_problem(name: str, text: str | None) -> Problem | None:
    """What is wrong with a required text."""
    expected = f"1 to {TEXT_BYTES_MAX} bytes of text."
    if text is None:
        return Problem("field_missing", name, f"{name} is not there.", expected)
    if not text:
        return Problem("text_empty", name, f"{name} is empty.", expected)
    if _utf8_size(text) < 0:
        return Problem("not_utf8", name, f"{name} is not Unicode text: {shown(text)}.", "text in UTF-8.")
    if _utf8_size(text) > TEXT_BYTES_MAX:
        return Problem(
            "text_too_long", name, f"{name} has {_utf8_size(text)} bytes: {shown(text)}.", expected
        )
    return None


def read_time(text: str | None) -> int | Problem:
    """Microseconds since 1970 of an RFC 3339 text; digits finer than a microsecond are cut."""
    if text is None or not text:
        return Problem("field_missing", "time", "time is not there.", _TIME_EXPECTED)
    match = _TIME.fullmatch(text)
    if match is None:
        return Problem("time_unreadable", "time", f"time is {shown(text)}.", _TIME_EXPECTED)
    *parts, fraction, zone = match.groups()
    if zone is None:
        message = f"time is {shown(text)}, which has no zone and so names no instant."
        return Problem("time_without_zone", "time", message, _TIME_EXPECTED)
    year, month, day, hour, minute, second = (int(part) for part in parts)
    if year == 0:
        return _out_of_range(text)
    try:
        local = datetime(year, month, day, hour, minute, second, int(((fraction or "") + "000000")[:6]), UTC)
        ahead = _zone_offset(zone)
    except ValueError as error:
        return Problem("time_unreadable", "time", f"time is {shown(text)}: {error}.", _TIME_EXPECTED)
    micros = to_micros(local) - ahead // timedelta(microseconds=1)
    if not to_micros(TIME_MIN) <= micros < to_micros(TIME_MAX):
        return _out_of_range(text)
    return micros


def _zone_offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(f"{zone} is no time zone offset")
    ahead = timedelta(hours=hours, minutes=minutes)
    return -ahead if zone[0] == "-" else ahead


def _out_of_range(text: str) -> Problem:
    expected = f"a time from {TIME_MIN.year} to {TIME_MAX.year - 1}."
    return Problem("time_out_of_range", "time", f"time is {shown(text)}.", expected)


def read_decimal(field: str, text: str) -> int | Problem:
    """A decimal text times 10**12, exactly. Leading plus, leading zeros and exponents are fine."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        if text.lstrip("+-").lower() in _NOT_FINITE:
            return Problem("value_not_finite", field, f"{field} is {shown(text)}.", _DECIMAL_EXPECTED)
        return Problem("value_not_a_number", field, f"{field} is {shown(text)}.", _DECIMAL_EXPECTED)
    sign, whole, fraction, exponent_text = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return 0
    exponent_digits = exponent_text.lstrip("+-").lstrip("0")
    too_long = len(exponent_digits) > _EXPONENT_DIGITS_MAX
    exponent = int(exponent_digits[:_EXPONENT_DIGITS_MAX] or "0") * (-1 if exponent_text[:1] == "-" else 1)
    places = len(fraction) - exponent  # the number is digits x 10**-places
    if (too_long and exponent > 0) or len(digits) - places > VALUE_INTEGER_DIGITS_MAX:
        expected = f"at most {VALUE_INTEGER_DIGITS_MAX} digits before the point."
        return Problem("value_out_of_range", field, f"{field} is {shown(text)}.", expected)
    kept = digits.rstrip("0")
    places -= len(digits) - len(kept)
    if too_long or places > QUANTITY_SCALE:
        expected = (
            f"at most {QUANTITY_SCALE} digits after the point; round it at the sender if that is right."
        )
        return Problem("value_too_precise", field, f"{field} is {shown(text)}.", expected)
    scaled = int(kept) * int(10 ** (QUANTITY_SCALE - places))
    return -scaled if sign == "-" else scaled


def read_properties(
    raw: Sequence[tuple[str, str | None]],
) -> tuple[tuple[str, str], ...] | Problem:
    """The properties sorted by name."""
    if len(raw) > PROPERTIES_MAX:
        message = f"The event has {len(raw)} properties."
        return Problem("too_many_properties", "properties", message, f"at most {PROPERTIES_MAX}.")
    properties: dict[str, str] = {}
    for name, text in raw:
        problem = text_problem("property name", name) or _property_problem(name, text, properties)
        if problem:
            return problem
        properties[name] = str(text)
    return tuple(sorted(properties.items()))


def _property_problem(name: str, text: str | None, before: dict[str, str]) -> Problem | None:
    field = f"properties.{name}"
    if name in before:
        return Problem("property_name_twice", field, f"{field} is given twice.", "each name once.")
    if text is None:
        return Problem("property_not_text", field, f"{field} is null.", "text, or leave the property out.")
    if _utf8_size(text) < 0:
        return Problem("not_utf8", field, f"{field} is not Unicode text: {shown(text)}.", "text in UTF-8.")
    if _utf8_size(text) > PROPERTY_VALUE_BYTES_MAX:
        message = f"{field} has {_utf8_size(text)} bytes: {shown(text)}."
        return Problem("text_too_long", field, message, f"at most {PROPERTY_VALUE_BYTES_MAX} bytes.")
    return None


def needs_problem(
    event_type: str, value: int | None, properties: dict[str, str], needs: MeterNeeds
) -> Problem | None:
    """What a meter of this type needs and the record lacks."""
    if value is None and event_type in needs.value:
        message = f"value is not there, and meter {needs.value[event_type]!r} counts it."
        return Problem("value_missing", "value", message, _DECIMAL_EXPECTED)
    operation = properties.get(OPERATION_PROPERTY)
    if operation is not None and operation not in OPERATIONS and event_type in needs.operation:
        field = f"properties.{OPERATION_PROPERTY}"
        message = f"{field} is {shown(operation)}, and meter {needs.operation[event_type]!r} reads it."
        return Problem("operation_unknown", field, message, f"one of {', '.join(OPERATIONS)}, or none (set).")
    for name, meter_id in needs.numbers.get(event_type, {}).items():
        text = properties.get(name)
        if text is not None and not _PLAIN_DECIMAL.fullmatch(text):
            message = f"properties.{name} is {shown(text)}, and meter {meter_id!r} multiplies by it."
            expected = (
                f"digits, at most {VALUE_INTEGER_DIGITS_MAX} before and {QUANTITY_SCALE} after the point, "
                "without an exponent."
            )
            return Problem("property_not_a_number", f"properties.{name}", message, expected)
    return None


def _utf8_size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1
