"""Request bodies to raw batches: media type and content encoding in, one batch out."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.columnar_records import decode_table
from ingest.csv_records import decode_csv, text_lines
from ingest.errors import UnreadableBody
from ingest.expand import expand_body
from ingest.json_records import decode_json, decode_ndjson
from ingest.json_slow import read_cloudevent
from ingest.media_type import (
    ARROW_FILE,
    ARROW_STREAM,
    CLOUDEVENT,
    CLOUDEVENTS_BATCH,
    CSV,
    JSON,
    NDJSON,
    PARQUET,
    known_content_encoding,
    known_media_type,
)
from ingest.raw import RawBatch
from ingest.settings import IngestSettings


def decode_body(
    body: bytes, *, content_type: str, content_encoding: str | None, settings: IngestSettings
) -> RawBatch:
    """All records of a request body.

    Raises UnreadableBody, and then nothing of the body was looked at: unknown_content_type,
    unknown_content_encoding, damaged_compression, truncated_body, body_too_large, too_many_records,
    empty_body, malformed_json (a broken array), not_an_array, csv_header, wrong_column_type,
    unreadable_body (a broken Parquet or Arrow file).
    """
    media_type = known_media_type(content_type)
    expanded = expand_body(body, known_content_encoding(content_encoding), settings)
    refuse_empty(expanded)
    batch = _decode(expanded, media_type, settings)
    if batch.record_count > settings.batch_records_max:
        raise _too_many(settings)
    return batch


def refuse_empty(body: bytes) -> None:
    """Raises UnreadableBody for a body of white space only."""
    if not body.strip(b" \t\r\n"):
        raise UnreadableBody("the body is empty; it must hold at least one event.", reason_code="empty_body")


def _decode(body: bytes, media_type: str, settings: IngestSettings) -> RawBatch:
    limit = settings.record_bytes_max
    if media_type == NDJSON:
        if body.count(b"\n") > 2 * settings.batch_records_max:
            raise _too_many(settings)
        return decode_ndjson(body, record_bytes_max=limit)
    if media_type == JSON:
        return decode_json(body, record_bytes_max=limit)
    if media_type in (CLOUDEVENT, CLOUDEVENTS_BATCH):
        array_required = media_type == CLOUDEVENTS_BATCH
        batch = decode_json(
            body, record_bytes_max=limit, reader=read_cloudevent, array_required=array_required
        )
        return replace(batch, time_optional=True)
    if media_type == CSV:
        batches = list(decode_csv(text_lines([body]), slice_records=settings.batch_records_max + 1))
        if len(batches) > 1:
            raise _too_many(settings)
        return batches[0] if batches else decode_table(pa.table({}), lines=np.zeros(0, np.uint64))
    table = _read_columnar(body, media_type, settings)
    return decode_table(table, lines=np.arange(1, table.num_rows + 1, dtype=np.uint64))


def _read_columnar(body: bytes, media_type: str, settings: IngestSettings) -> pa.Table:
    try:
        if media_type == PARQUET:
            table = _read_parquet(body, settings)
        elif media_type in (ARROW_STREAM, ARROW_FILE):
            table = _read_arrow(body, media_type, settings)
        else:
            raise UnreadableBody(f"{media_type} has no reader.", reason_code="unknown_content_type")
        # Kernels walk these buffers without looking left or right, so they must be sound.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableBody(f"the {media_type} data cannot be read: {str(error)[:300]}") from error
    return table


def _read_parquet(body: bytes, settings: IngestSettings) -> pa.Table:
    file = pq.ParquetFile(io.BytesIO(body))
    if file.metadata.num_rows > settings.batch_records_max:
        raise _too_many(settings)
    return pa.Table.from_batches(
        _within_limits(file.iter_batches(batch_size=10_000), settings), file.schema_arrow
    )


def _read_arrow(body: bytes, media_type: str, settings: IngestSettings) -> pa.Table:
    buffer = pa.py_buffer(body)
    if media_type == ARROW_STREAM:
        with pa.ipc.open_stream(buffer) as stream:
            return pa.Table.from_batches(_within_limits(stream, settings), stream.schema)
    with pa.ipc.open_file(buffer) as file:
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
        return pa.Table.from_batches(_within_limits(batches, settings), file.schema)


def _within_limits(batches: Any, settings: IngestSettings) -> list[Any]:
    kept, records, size = [], 0, 0
    for batch in batches:
        records += batch.num_rows
        size += batch.nbytes
        if records > settings.batch_records_max:
            raise _too_many(settings)
        if size > settings.body_bytes_max:
            raise UnreadableBody(
                f"the body holds more than {settings.body_bytes_max} bytes once read. Send smaller batches.",
                reason_code="body_too_large",
            )
        kept.append(batch)
    return kept


def _too_many(settings: IngestSettings) -> UnreadableBody:
    return UnreadableBody(
        f"the body holds more than {settings.batch_records_max} records. Send smaller batches, or load "
        "it as a file with `ratemill ingest FILE`. Nothing of it was taken.",
        reason_code="too_many_records",
    )
