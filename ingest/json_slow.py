"""One JSON record read by Python's own parser: all of JSON, every defect named, numbers kept as text.

Reads the same records as the scanner in ``ingest/json_scan.py`` and all those it does not
recognise: escapes, unusual numbers, CloudEvents, and what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ingest.raw import EVENT_FIELDS, TEXT_FIELDS, RawRow
from ingest.refusal import Problem, shown

RecordReader = Callable[[bytes], RawRow | Problem]

EVENT_EXPECTED: Final = f"an object with the fields {', '.join(EVENT_FIELDS)}."
_CLOUDEVENT_NOT_STORED: Final = frozenset({"specversion", "datacontenttype", "dataschema"})
"""CloudEvents attributes that describe the message and not the usage: read, checked, not kept."""


class _Number(str):
    """A JSON number as the sender wrote it, so that no digit is lost on the way."""

    __slots__ = ()


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def read_event(text: bytes) -> RawRow | Problem:
    """One event object, in the fields of ``ingest/event.py``."""
    record = read_object(text, expected=EVENT_EXPECTED)
    if isinstance(record, Problem):
        return record
    for name in record:
        if name not in EVENT_FIELDS:
            message = f"{shown(name)} is not a field of an event."
            return Problem("unknown_field", name, message, EVENT_EXPECTED + " Other facts are properties.")
    return _row(record, value=record.get("value"), properties=record.get("properties"))


def read_cloudevent(text: bytes) -> RawRow | Problem:
    """One CloudEvents 1.0 object in structured mode (https://github.com/cloudevents/spec, JSON format).

    ``data`` must be an object: its ``value`` is the value, all else in it becomes properties, and so
    do extension attributes. ``time`` may be left out.
    """
    record = read_object(text, expected=EVENT_EXPECTED)
    if isinstance(record, Problem):
        return record
    if record.get("specversion") != "1.0":
        message = f"specversion is {shown(str(record.get('specversion')))}."
        return Problem("cloudevents_version", "specversion", message, '"1.0".')
    if "data_base64" in record:
        message = "data_base64 holds binary data, which has no fields."
        return Problem("wrong_type", "data_base64", message, "a JSON object in data.")
    data = record.get("data")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        message = f"data is {_kind(data)}."
        return Problem("wrong_type", "data", message, "an object with value and properties.")
    properties = {name: part for name, part in data.items() if name != "value"}
    for name, part in record.items():
        if name in _CLOUDEVENT_NOT_STORED or name in EVENT_FIELDS[:5] or name == "data":
            continue
        if name in properties:
            message = f"{shown(name)} is both an extension attribute and a member of data."
            return Problem("property_name_twice", f"data.{name}", message, "each name once.")
        properties[name] = part
    return _row(record, value=data.get("value"), properties=properties)


def read_object(text: bytes, *, expected: str) -> dict[str, Any] | Problem:
    """One JSON object; numbers stay the text they were sent as. expected: what would be right."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} of the record is not UTF-8."
        return Problem("not_utf8", "", message, "text in UTF-8.")
    try:
        record = _DECODER.decode(decoded)
    except _Twice as error:
        return Problem("field_twice", error.name, f"{shown(error.name)} is given twice.", "each name once.")
    except json.JSONDecodeError as error:
        message = f"The record is not JSON: {error.msg} at character {error.pos + 1}."
        return Problem("malformed_json", "", message, expected)
    except RecursionError:
        message = "The record is nested too deeply to be read."
        return Problem("malformed_json", "", message, expected)
    if not isinstance(record, dict):
        return Problem("not_an_object", "", f"The record is {_kind(record)}.", expected)
    return record


def write_object(part: Any) -> str:
    """What ``read_object`` gave, as JSON on one line; numbers as they were sent."""
    if isinstance(part, _Number):
        return str(part)
    if isinstance(part, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {write_object(one)}" for name, one in part.items()) + "}"
    if isinstance(part, list):
        return "[" + ", ".join(map(write_object, part)) + "]"
    return json.dumps(part)


def _row(record: Mapping[str, Any], *, value: Any, properties: Any) -> RawRow | Problem:
    problem = wrong_type(record, texts=(*TEXT_FIELDS, "time"), value=value)
    if problem:
        return problem
    pairs = property_pairs({} if properties is None else properties)
    if isinstance(pairs, Problem):
        return pairs
    texts = [record.get(name) for name in (*TEXT_FIELDS, "time")]
    return texts[0], texts[1], texts[2], texts[3], texts[4], value, pairs


def wrong_type(record: Mapping[str, Any], *, texts: Sequence[str], value: Any) -> Problem | None:
    """The first of these fields that is there and no text, or that the value is no number."""
    for name in texts:
        found = record.get(name)
        if found is not None and (not isinstance(found, str) or isinstance(found, _Number)):
            return Problem(
                "wrong_type", name, f"{name} is {_kind(found)}.", _TEXT_EXPECTED.get(name, "text.")
            )
    if value is not None and not isinstance(value, str):
        message = f"value is {_kind(value)}."
        return Problem("wrong_type", "value", message, 'a number, or a number in text like "12.50".')
    return None


def property_pairs(properties: Any) -> list[tuple[str, str]] | Problem:
    """An object of properties as (name, text), in the order sent; true and false become text."""
    if not isinstance(properties, dict):
        message = f"properties is {_kind(properties)}."
        return Problem("wrong_type", "properties", message, "an object of names and texts.")
    pairs = []
    for name, part in properties.items():
        text = {True: "true", False: "false"}[part] if isinstance(part, bool) else part
        if not isinstance(text, str):
            message = f"properties.{name} is {_kind(part)}."
            expected = "text, a number, true or false; give nested facts names of their own."
            return Problem("property_not_text", f"properties.{name}", message, expected)
        pairs.append((name, str(text)))
    return pairs


_TEXT_EXPECTED: Final = {"time": 'RFC 3339 text with zone, like "2026-03-01T12:30:00Z".'}


def _kind(part: Any) -> str:
    if isinstance(part, _Number):
        return f"the number {shown(part)}"
    if isinstance(part, str):
        return f"the text {shown(part)}"
    if isinstance(part, bool):
        return "true" if part else "false"
    if part is None:
        return "null"
    return "a list" if isinstance(part, list) else "an object"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_Number, parse_int=_Number, parse_constant=_Number
)
