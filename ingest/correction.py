"""One correction as it is sent: an amendment or a cancellation of an event, read and judged.

``{"source", "id", "kind": "amend" | "cancel", "corrects", "reason"}`` and, for an amendment, what is to
be different: ``value``, ``time``, ``properties`` (all of them: they replace those of the event). What is
left out stays as it was. ``corrects`` is the id of the event, which has the same source.

A correction has an identity of its own, (source, id), in the same space as events: sent again it is a
duplicate, with another body a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import PROPERTIES_TYPE, Words, times_from_micros
from ingest.event import EVENT_SCHEMA, QUANTITY_SCALE, QUANTITY_TYPE, TEXT_BYTES_MAX
from ingest.identity import hash_events
from ingest.json_slow import property_pairs, read_object, wrong_type
from ingest.judge import read_decimal, read_properties, read_time, text_problem
from ingest.refusal import Problem, shown

AMEND: Final = "amend"
CANCEL: Final = "cancel"
REQUIRED_FIELDS: Final = ("source", "id", "kind", "corrects", "reason")
CHANGE_FIELDS: Final = ("time", "value", "properties")

_EXPECTED: Final = (
    f"an object with the fields {', '.join(REQUIRED_FIELDS)} and, to amend, some of "
    f"{', '.join(CHANGE_FIELDS)}."
)
_REASON_EXPECTED: Final = (
    f"1 to {TEXT_BYTES_MAX} bytes of text: why this is right, for those who read it later."
)

Properties = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """A readable correction. micros, scaled_value (times 10**12), properties (sorted by name): None
    where the event keeps its own."""

    source: str
    id: str
    kind: Literal["amend", "cancel"]
    corrects: str
    reason: str
    micros: int | None
    scaled_value: int | None
    properties: Properties | None

    @property
    def changes(self) -> bool:
        return not (self.micros is None and self.scaled_value is None and self.properties is None)


def read_correction(text: bytes) -> Correction | Problem:
    """One correction, or the first thing that is wrong with it. No event is looked up here."""
    record = read_object(text, expected=_EXPECTED)
    if isinstance(record, Problem):
        return record
    problem = _field_problem(record)
    if problem:
        return problem
    kind = record["kind"]
    if kind not in (AMEND, CANCEL):
        message = f"kind is {shown(kind)}."
        return Problem("unknown_correction", "kind", message, f"{AMEND} or {CANCEL}.")
    changes = _read_changes(record)
    if isinstance(changes, Problem):
        return changes
    source, event_id, _, corrects, reason = (record[name] for name in REQUIRED_FIELDS)
    read = Correction(source, event_id, kind, corrects, reason, *changes)
    if kind == AMEND and not read.changes:
        message = "the amendment changes nothing."
        return Problem("amends_nothing", "", message, f"at least one of {', '.join(CHANGE_FIELDS)}.")
    if kind == CANCEL and read.changes:
        message = "a cancelled event counts no more, so nothing of it can be changed."
        return Problem(
            "cancel_with_changes", "", message, f"no {', '.join(CHANGE_FIELDS)}, or kind: {AMEND}."
        )
    return read


def _field_problem(record: Mapping[str, Any]) -> Problem | None:
    for name in record:
        if name in ("type", "subject"):
            message = f"the {name} of an event cannot be amended."
            return Problem("unknown_field", name, message, "a cancellation, and a new event of another id.")
        if name not in (*REQUIRED_FIELDS, *CHANGE_FIELDS):
            return Problem("unknown_field", name, f"{shown(name)} is not a field of a correction.", _EXPECTED)
    problem = wrong_type(record, texts=(*REQUIRED_FIELDS, "time"), value=record.get("value"))
    if problem:
        return problem
    for name in REQUIRED_FIELDS:
        problem = text_problem(name, record.get(name))
        if problem:
            expected = _REASON_EXPECTED if name == "reason" else problem.expected
            return Problem(problem.reason_code, problem.field, problem.message, expected)
    return None


def _read_changes(record: Mapping[str, Any]) -> tuple[int | None, int | None, Properties | None] | Problem:
    micros = None if record.get("time") is None else read_time(record["time"])
    if isinstance(micros, Problem):
        return micros
    value = None if record.get("value") is None else read_decimal("value", record["value"])
    if isinstance(value, Problem):
        return value
    if record.get("properties") is None:
        return micros, value, None
    pairs = property_pairs(record["properties"])
    properties = pairs if isinstance(pairs, Problem) else read_properties(pairs)
    return properties if isinstance(properties, Problem) else (micros, value, properties)


def hash_corrections(corrections: Sequence[Correction], *, key: bytes) -> tuple[Words, Words, Words]:
    """(identities, body hashes, identities of the events corrected), shapes as in ``hash_events``.

    The body is hashed as that of an event with an empty type, which no event has, so a correction and
    an event of one identity always have different bodies.
    """
    rows = [
        {
            "source": one.source,
            "id": one.id,
            "type": "",
            "subject": one.corrects,
            "time": None,
            "value": None if one.scaled_value is None else as_decimal(one.scaled_value),
            "properties": [
                (one.kind if one.properties is None else f"{one.kind} properties", one.reason),
                *(one.properties or ()),
            ],
        }
        for one in corrections
    ]
    micros = np.array([0 if one.micros is None else one.micros for one in corrections], np.int64)
    given = np.array([one.micros is not None for one in corrections], np.bool_)
    identities, body_hashes = hash_events(_as_events(rows, micros), time_given=given, key=key)
    events = [row | {"id": row["subject"]} for row in rows]
    event_identities, _ = hash_events(_as_events(events, micros), time_given=given, key=key)
    return identities, body_hashes, event_identities


def as_decimal(scaled: int) -> Decimal:
    """A value of so many 10**-12, exactly."""
    return Decimal(f"{scaled}E-{QUANTITY_SCALE}")


def _as_events(rows: Sequence[Mapping[str, Any]], micros: Any) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array([row[name] for row in rows], pa.string())
        for name in ("source", "id", "type", "subject")
    }
    columns["time"] = times_from_micros(micros)
    columns["value"] = pa.array([row["value"] for row in rows], QUANTITY_TYPE)
    columns["properties"] = pa.array([row["properties"] for row in rows], PROPERTIES_TYPE)
    return pa.table([columns[name] for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA)
