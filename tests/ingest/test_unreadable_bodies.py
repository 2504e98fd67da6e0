"""Goal: a body that cannot be read is refused as a whole with its reason, and limits hold."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta

import pytest
import zstandard

from ingest.clickhouse import EventStore
from ingest.errors import UnreadableBody
from ingest.settings import IngestSettings
from tests.ingest.support import NDJSON, context, counts, event, ndjson, send, stored
from tests.ingest.test_formats import CLOUDEVENTS, CSV, FILE, JSON, PARQUET, STREAM, cloudevent, encode


def gzip_bomb() -> bytes:
    return gzip.compress(bytes(64 * 1024 * 1024))


def zstd_bomb() -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(512 * 1024 * 1024))


BODY = ndjson(*(event(number) for number in range(200)))


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding", "reason_code"),
    [
        (BODY, "application/xml", None, "unknown_content_type"),
        (BODY, "", None, "unknown_content_type"),
        (BODY, "application/json; charset=latin-1", None, "unknown_content_type"),
        (BODY, NDJSON, "br", "unknown_content_encoding"),
        (BODY, NDJSON, "gzip", "damaged_compression"),
        (BODY, NDJSON, "zstd", "damaged_compression"),
        (gzip.compress(BODY, mtime=0)[:-10], NDJSON, "gzip", "truncated_body"),
        (gzip.compress(BODY, mtime=0)[:5], NDJSON, "gzip", "truncated_body"),
        (zstandard.compress(BODY)[:-10], NDJSON, "zstd", "truncated_body"),
        (gzip_bomb(), NDJSON, "gzip", "body_too_large"),
        (zstd_bomb(), NDJSON, "zstd", "body_too_large"),
        (bytes(11 * 1024 * 1024), NDJSON, None, "body_too_large"),
        (b"[" + BODY, JSON, None, "malformed_json"),
        (b"[1,]", JSON, None, "malformed_json"),
        (b'[{"a": "]', JSON, None, "malformed_json"),
        (b"[1] 2", JSON, None, "malformed_json"),
        (json.dumps(cloudevent(event(1))).encode(), CLOUDEVENTS, None, "not_an_array"),
        (BODY, PARQUET, None, "unreadable_body"),
        (BODY, STREAM, None, "unreadable_body"),
        (encode([event(1)], PARQUET)[:-5], PARQUET, None, "unreadable_body"),
        (encode([event(1)], FILE)[:-5], FILE, None, "unreadable_body"),
        (ndjson(*(event(number) for number in range(501))), NDJSON, None, "too_many_records"),
        (encode([event(number) for number in range(501)], CSV), CSV, None, "too_many_records"),
        (encode([event(number) for number in range(501)], PARQUET), PARQUET, None, "too_many_records"),
        (encode([event(number) for number in range(501)], STREAM), STREAM, None, "too_many_records"),
    ],
    ids=lambda part: part if isinstance(part, str) else None,
)
def test_bodies_that_cannot_be_read_are_not_taken(
    event_store: EventStore, body: bytes, content_type: str, content_encoding: str | None, reason_code: str
) -> None:
    small = IngestSettings(
        body_bytes_max=10 * 1024 * 1024, batch_records_max=500, expansion_free_bytes=4 * 1024 * 1024
    )
    with pytest.raises(UnreadableBody) as caught:
        send(
            context(event_store, settings=small),
            body,
            content_type=content_type,
            content_encoding=content_encoding,
        )
    assert caught.value.reason_code == reason_code
    assert stored(event_store) == []


def test_a_record_longer_than_the_limit_is_refused(event_store: EventStore) -> None:
    ingest = context(event_store, settings=IngestSettings(record_bytes_max=400))
    report = send(ingest, ndjson(event(1), event(2, properties={"a": "x" * 400}), event(3)))
    assert counts(report) == (2, 0, 0, 1)
    assert report.refusals[0].reason_code == "record_too_long"


def test_times_of_any_offset_are_one_instant(event_store: EventStore) -> None:
    noon = datetime.fromisoformat("2026-02-03T12:00:00+00:00")
    ingest = context(event_store)
    send(ingest, ndjson(event(1, time=noon.isoformat())))
    for hours in (-12, -1, 5, 14):
        local = (noon + timedelta(hours=hours)).replace(tzinfo=None).isoformat()
        sign = "+" if hours >= 0 else "-"
        report = send(ingest, ndjson(event(1, time=f"{local}{sign}{abs(hours):02d}:00")))
        assert counts(report) == (0, 1, 0, 0)
