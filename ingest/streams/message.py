"""What a message of a broker holds, brought to records that can travel together with those of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from ingest.cloudevent_binary import Headers, binary_cloudevent, binary_prefix, cloudevents_json
from ingest.errors import UnreadableBody
from ingest.expand import expand_body
from ingest.json_records import BYTE_ORDER_MARK
from ingest.json_scan import split_array
from ingest.json_slow import read_cloudevent
from ingest.media_type import (
    CLOUDEVENT,
    CLOUDEVENTS_BATCH,
    JSON,
    NDJSON,
    known_content_encoding,
    known_media_type,
)
from ingest.refusal import Problem
from ingest.settings import IngestSettings

_WHITE: Final = b" \t\r\n"
_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. headers: lower-case names; ``content-type`` and ``content-encoding`` tell the format."""

    body: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a message, each by the way it can travel.

    lines: event objects, or what is left of a message nobody can read, each on one line.
    cloudevents: CloudEvents that are sound JSON, for an array.
    body: a whole body of another format, as (media type, bytes).
    """

    lines: tuple[bytes, ...] = ()
    cloudevents: tuple[bytes, ...] = ()
    body: tuple[str, bytes] | None = None


def records_of(message: Message, settings: IngestSettings) -> Records:
    """Read a message by its headers, and by its look where they say nothing that is known.

    Never raises for what was sent: a message that cannot be read is one line, which the rules of
    events then refuse and keep. An empty message, as brokers use for markers, has no records.
    """
    headers = dict(message.headers)
    try:
        encoding = known_content_encoding(headers.get("content-encoding"))
        body = expand_body(message.body, encoding, settings).removeprefix(BYTE_ORDER_MARK)
        prefix = binary_prefix(message.headers)
        if prefix is not None:
            event = binary_cloudevent(message.headers, body, prefix=prefix)
            return _cloudevents([cloudevents_json([event])[1:-1]])
        if not body.strip(_WHITE):
            return Records()
        media_type = _media_type(headers.get("content-type")) or _guessed(body)
        return _records(body, media_type)
    except UnreadableBody:
        return unreadable(message.body)


def unreadable(body: bytes) -> Records:
    """What cannot be read, as one line, so that it is refused and kept."""
    line = _one_line(body).strip()
    return Records(lines=(line,)) if line else Records()


def _records(body: bytes, media_type: str) -> Records:
    if media_type == NDJSON:
        return Records(lines=tuple(line for line in body.split(b"\n") if line.strip(_WHITE)))
    if media_type == JSON:
        return Records(lines=tuple(_one_line(part) for part in _elements(body)))
    if media_type in (CLOUDEVENT, CLOUDEVENTS_BATCH):
        return _cloudevents(_elements(body))
    return Records(body=(media_type, body))


def _cloudevents(parts: list[bytes]) -> Records:
    """Those that can be read may stand in one array; a broken one would break it for all."""
    if any(isinstance(read_cloudevent(part), Problem) for part in parts):
        return Records(body=(CLOUDEVENT, parts[0] if len(parts) == 1 else b"[" + b",".join(parts) + b"]"))
    return Records(cloudevents=tuple(parts))


def _elements(body: bytes) -> list[bytes]:
    """The elements of an array, or the one object there is. Raises UnreadableBody."""
    text = body.strip(_WHITE)
    if not text.startswith(b"["):
        return [text]
    room = text.count(b",") + 2
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    count, after = split_array(np.frombuffer(text, np.uint8), 0, starts, ends)
    if count < 0 or text[after:].strip(_WHITE):
        raise UnreadableBody(f"the JSON array is broken near byte {after}.", reason_code="malformed_json")
    return [
        text[start:end] for start, end in zip(starts[:count].tolist(), ends[:count].tolist(), strict=True)
    ]


def _one_line(record: bytes) -> bytes:
    # A line end inside a JSON text is white space: within its strings it would be written \n.
    return record.translate(_LINE_ENDS)


def _media_type(content_type: str | None) -> str | None:
    try:
        return known_media_type(content_type) if content_type else None
    except UnreadableBody:
        return None


def _guessed(body: bytes) -> str:
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return NDJSON
    first = found[0] if isinstance(found, list) and found else found
    return CLOUDEVENT if isinstance(first, dict) and "specversion" in first else JSON
