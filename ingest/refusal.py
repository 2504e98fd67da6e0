"""What was sent and did not become an event: the words for it, and its rows in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from ingest.event import TIMESTAMP

RECORD_KEPT_CHARACTERS: Final = 65_536
_SHOWN_CHARACTERS: Final = 80

REASON_CODES: Final[dict[str, str]] = {
    "malformed_json": "The record is not JSON.",
    "not_utf8": "The record holds bytes or characters that are not Unicode text in UTF-8.",
    "not_an_object": "The record is JSON, but not an object of fields.",
    "record_too_long": "The record is longer than the limit of one record.",
    "field_missing": "A required field is not there.",
    "field_twice": "A field or property name is given twice in one record.",
    "unknown_field": "The record has a field that an event does not have.",
    "wrong_type": "A field has a JSON type it cannot have, such as a number for an id.",
    "text_empty": "A text that must say something is empty.",
    "text_too_long": "A text is longer than the limit.",
    "time_unreadable": "The time is not an RFC 3339 date and time.",
    "time_without_zone": "The time has no time zone, so it names no instant.",
    "time_out_of_range": "The time lies outside the years that are accepted.",
    "value_not_a_number": "The value is not a decimal number.",
    "value_not_finite": "The value is NaN or infinite.",
    "value_out_of_range": "The value has more integer digits than are accepted.",
    "value_too_precise": "The value has more fraction digits than are kept, and is never rounded.",
    "value_missing": "A meter counts the value of this event type, and there is none.",
    "property_not_text": "A property is null, a list or an object.",
    "property_name_twice": "A property is given twice in one event.",
    "property_not_a_number": "A meter multiplies by this property, and it is not a decimal number.",
    "too_many_properties": "The event has more properties than are accepted.",
    "operation_unknown": "A licence event has an operation other than set, add or remove.",
    "csv_ragged_row": "The row has more or fewer cells than the header row.",
    "csv_malformed": "The row breaks the quoting rules of CSV.",
    "cloudevents_version": "The CloudEvents specversion is not 1.0.",
    "identity_conflict": "An event with this source and id is on record with another body; it stays.",
    "unknown_correction": "The kind of a correction is not amend or cancel.",
    "amends_nothing": "An amendment says neither a time, a value nor properties.",
    "cancel_with_changes": "A cancellation says a time, a value or properties.",
    "no_such_event": "The event that is to be corrected is not on record.",
    "corrects_a_correction": "A correction names another correction; it must name the event itself.",
    "no_such_refusal": "The refused record that is to be sent again is not on record.",
    "refusal_twice": "A refused record is named twice in one request.",
    "record_not_kept": "The refused record was not kept as a JSON object, so it must be given.",
    "time_is_archived": "The correction is of time whose events are archived.",
    "outside_backfill": "The event is not of the type, the subjects or the time that the backfill replaces.",
    "event_twice": "An event is twice in one backfill, with different contents.",
    "already_cancelled": "The event is cancelled, and that cannot be corrected.",
}
"""Every reason a record is refused for, with its meaning. Programs may match on the code."""

REFUSED_EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("line", pa.uint64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason_code", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("expected", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("refused_at", TIMESTAMP, nullable=False),
    ]
)
"""The columns of the ``refused_events`` table."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record cannot be an event: a key of REASON_CODES, the field, and two sentences."""

    reason_code: str
    field: str
    message: str
    expected: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused record. outcome: ``rejected`` or ``conflict``; line: as the sender counts, from 1."""

    line: int
    outcome: str
    reason_code: str
    field: str
    message: str
    expected: str
    record: str


def refuse(line: int, problem: Problem, record: str, *, outcome: str = "rejected") -> Refusal:
    """The refusal of that record; a record longer than 65,536 characters is kept cut to them."""
    kept = record if len(record) <= RECORD_KEPT_CHARACTERS else record[:RECORD_KEPT_CHARACTERS]
    return Refusal(line, outcome, problem.reason_code, problem.field, problem.message, problem.expected, kept)


def refusals_table(refusals: Sequence[Refusal], *, batch_id: str, refused_at: datetime) -> pa.Table:
    """Those refusals as rows of REFUSED_EVENT_SCHEMA."""
    columns = [
        [batch_id] * len(refusals),
        [refusal.line for refusal in refusals],
        [refusal.outcome for refusal in refusals],
        [refusal.reason_code for refusal in refusals],
        [refusal.field for refusal in refusals],
        [refusal.message for refusal in refusals],
        [refusal.expected for refusal in refusals],
        [refusal.record for refusal in refusals],
        [refused_at] * len(refusals),
    ]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, REFUSED_EVENT_SCHEMA, strict=True)
    ]
    return pa.table(arrays, schema=REFUSED_EVENT_SCHEMA)


def shown(text: str) -> str:
    """A text from outside as it may appear in a message: quoted, printable and cut to 80 characters."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
