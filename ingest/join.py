"""Small JSON bodies of many requests decoded as one batch, with an account of whose records are whose.

What a record is and what is wrong with it does not depend on its neighbours, so it may stand beside
those of other requests; only its line number is raised, and lowered again in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ingest.arrow_buffers import Integers
from ingest.decode import refuse_empty
from ingest.json_records import (
    BYTE_ORDER_MARK,
    RecordPlaces,
    decode_json_records,
    json_places,
    ndjson_places,
)
from ingest.json_slow import read_cloudevent, read_event
from ingest.media_type import CLOUDEVENT, CLOUDEVENTS_BATCH, JSON, NDJSON, known_content_encoding
from ingest.raw import RawBatch
from ingest.settings import IngestSettings

JOINED_MEDIA_TYPES: Final = frozenset({NDJSON, JSON, CLOUDEVENT, CLOUDEVENTS_BATCH})


@dataclass(frozen=True, slots=True)
class SmallBody:
    """A body that may be decoded with others, and where its records stand in it; None for a record a line."""

    body: bytes
    places: RecordPlaces | None
    cloud_events: bool

    @property
    def line_count(self) -> int:
        """The last line number it uses."""
        if self.places is None:
            return self.body.count(b"\n") + 1
        return int(self.places.lines[-1]) if len(self.places.lines) else 0


def may_join(body: bytes, media_type: str, content_encoding: str | None, settings: IngestSettings) -> bool:
    """Whether a body can be decoded with others. Raises UnreadableBody for an unknown encoding.

    It has at most as many records as bytes, so one that small is within ``batch_records_max``.
    """
    return (
        len(body) <= min(settings.small_body_bytes_max, settings.batch_records_max)
        and media_type in JOINED_MEDIA_TYPES
        and known_content_encoding(content_encoding) == "identity"
    )


def small_body(body: bytes, media_type: str) -> SmallBody:
    """Find the records. Raises UnreadableBody: empty_body, malformed_json, not_an_array."""
    refuse_empty(body)
    places = None
    if media_type == NDJSON:
        if body.startswith(BYTE_ORDER_MARK):
            places = ndjson_places(body)
    else:
        places = json_places(body, array_required=media_type == CLOUDEVENTS_BATCH)
    return SmallBody(body, places, media_type in (CLOUDEVENT, CLOUDEVENTS_BATCH))


def decode_joined(bodies: Sequence[SmallBody], *, record_bytes_max: int) -> tuple[RawBatch, list[int]]:
    """All their records as one batch, and how much the line numbers of each body were raised.

    bodies: at least one; either all are CloudEvents or none is.
    """
    raised = np.cumsum([0, *(body.line_count for body in bodies[:-1])])
    if all(body.places is None for body in bodies):
        text = b"\n".join(body.body for body in bodies)
        starts, ends, lines = ndjson_places(text)
    else:
        text = b"".join(body.body for body in bodies)
        starts, ends, lines = _places_in_turn(bodies, raised)
    raw = decode_json_records(
        text,
        starts,
        ends,
        lines,
        record_bytes_max=record_bytes_max,
        reader=read_cloudevent if bodies[0].cloud_events else read_event,
    )
    return replace(raw, time_optional=bodies[0].cloud_events), raised.tolist()


def _places_in_turn(bodies: Sequence[SmallBody], raised: Integers) -> RecordPlaces:
    """Where the records stand when the bodies follow each other with nothing between."""
    places = [body.places or ndjson_places(body.body) for body in bodies]
    counts = [len(place.lines) for place in places]
    sizes = np.array([len(body.body) for body in bodies], np.int64)
    shifts = np.repeat(np.cumsum(sizes) - sizes, counts)
    return RecordPlaces(
        np.concatenate([place.starts for place in places]) + shifts,
        np.concatenate([place.ends for place in places]) + shifts,
        np.concatenate([place.lines for place in places]) + np.repeat(raised, counts).astype(np.uint64),
    )
