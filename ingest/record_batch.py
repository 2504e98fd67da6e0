"""Bodies of small JSON records that are read one by one: corrections, and replays of refused records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ingest.errors import UnreadableBody
from ingest.expand import expand_body
from ingest.json_records import json_places, ndjson_places
from ingest.media_type import JSON, NDJSON, known_content_encoding, known_media_type
from ingest.refusal import Problem
from ingest.settings import IngestSettings

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class SentRecord(Generic[Read]):
    """A record of a batch: its line from 1, its text as sent, and what it says or why it says nothing."""

    line: int
    text: str
    read: Read | Problem


def read_records(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str | None,
    settings: IngestSettings,
    records_max: int,
    read: Callable[[bytes], Read | Problem],
) -> list[SentRecord[Read]]:
    """All records of a body of NDJSON, a JSON array or one JSON object, in the order sent.

    Raises UnreadableBody, and then nothing of the body was looked at: unknown_content_type,
    unknown_content_encoding, damaged_compression, truncated_body, body_too_large, too_many_records,
    empty_body, malformed_json (a broken array).
    """
    media_type = known_media_type(content_type)
    if media_type not in (NDJSON, JSON):
        raise UnreadableBody(
            f"these records are read from {NDJSON} and {JSON}, not from {media_type}.",
            reason_code="unknown_content_type",
        )
    expanded = expand_body(body, known_content_encoding(content_encoding), settings)
    if not expanded.strip(b" \t\r\n"):
        raise UnreadableBody("the body is empty; it must hold at least one record.", reason_code="empty_body")
    places = ndjson_places(expanded) if media_type == NDJSON else json_places(expanded, array_required=False)
    spans = zip(places.starts.tolist(), places.ends.tolist(), strict=True)
    pieces = [expanded[start:end] for start, end in spans]
    records = [(line, piece) for line, piece in enumerate(pieces, 1) if piece.strip(b" \t\r\n")]
    if len(records) > records_max:
        raise UnreadableBody(
            f"the body holds more than {records_max} records. Send smaller batches. Nothing of it was taken.",
            reason_code="too_many_records",
        )
    return [_sent(line, piece, settings.record_bytes_max, read) for line, piece in records]


def _sent(
    line: int, piece: bytes, bytes_max: int, read: Callable[[bytes], Read | Problem]
) -> SentRecord[Read]:
    text = piece.decode("utf-8", errors="replace").rstrip("\r")
    if len(piece) > bytes_max:
        message = f"The record has {len(piece)} bytes."
        problem = Problem("record_too_long", "", message, f"at most {bytes_max} bytes a record.")
        return SentRecord(line, text, problem)
    return SentRecord(line, text, read(piece))
