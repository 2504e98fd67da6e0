"""Files of any size, in slices: bounded memory, and every slice on disk before the next is read.

A file is one batch of several inserts. When it breaks off (a truncated download, a kill), what was
taken stays taken; loading the same file again counts those records as duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.columnar_records import decode_table
from ingest.csv_records import decode_csv, text_lines
from ingest.decode import decode_body
from ingest.errors import UnreadableBody
from ingest.expand import expand
from ingest.json_records import decode_ndjson, line_breaks
from ingest.load import IngestContext, IngestReport, ingest_slices, merge_reports
from ingest.media_type import ARROW_FILE, ARROW_STREAM, CSV, NDJSON, PARQUET, file_media_type
from ingest.raw import RawBatch
from ingest.settings import IngestSettings

Progress = Callable[[int, int], None]
"""Called after every slice with (bytes of the file read so far, bytes of the file)."""

_READ_BYTES: Final = 4 * 1024 * 1024


def ingest_file(
    path: Path, *, received_at: datetime, ingest: IngestContext, progress: Progress
) -> IngestReport:
    """Take in a file; its format is told by its name (see ``file_media_type``).

    Lines in the report count over the whole file. Raises UnreadableBody when the file as a whole
    cannot be read or breaks off; the message says how much was taken before.
    """
    media_type, encoding = file_media_type(path)
    batch_id = uuid4().hex
    reports: list[IngestReport] = []
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            slices = _slices(file, media_type, encoding, ingest.settings)
            for report in ingest_slices(slices, batch_id=batch_id, received_at=received_at, ingest=ingest):
                reports.append(report)
                progress(min(file.tell(), size), size)
    except UnreadableBody as error:
        taken = merge_reports(reports, batch_id=batch_id, settings=ingest.settings)
        raise _explain(path, error, taken) from error
    whole = merge_reports(reports, batch_id=batch_id, settings=ingest.settings)
    progress(size, size)
    return whole


def _slices(file: IO[bytes], media_type: str, encoding: str, settings: IngestSettings) -> Iterator[RawBatch]:
    if media_type in (PARQUET, ARROW_FILE, ARROW_STREAM) and encoding == "identity":
        return _columnar_slices(file, media_type, settings)
    chunks = expand(iter(lambda: file.read(_READ_BYTES), b""), encoding)
    if media_type == NDJSON:
        return _ndjson_slices(chunks, settings)
    if media_type == CSV:
        return decode_csv(text_lines(chunks), slice_records=settings.file_slice_records)
    return iter([_whole_file(chunks, media_type, settings)])


def _ndjson_slices(chunks: Iterable[bytes], settings: IngestSettings) -> Iterator[RawBatch]:
    lines_before = 0
    rest: list[bytes] = []
    rest_bytes = 0
    for chunk in chunks:
        rest.append(chunk)
        rest_bytes += len(chunk)
        if rest_bytes < settings.file_slice_bytes:
            continue
        whole, separator, after = b"".join(rest).rpartition(b"\n")
        if separator:
            yield from _ndjson_parts(whole, lines_before, settings)
            lines_before += whole.count(b"\n") + 1
        elif len(after) > settings.record_bytes_max + settings.file_slice_bytes:
            raise UnreadableBody(
                f"line {lines_before + 1} has more than {len(after)} bytes; NDJSON is one object a line.",
                reason_code="record_too_long",
            )
        rest, rest_bytes = [after], len(after)
    yield from _ndjson_parts(b"".join(rest), lines_before, settings)


def _ndjson_parts(body: bytes, lines_before: int, settings: IngestSettings) -> Iterator[RawBatch]:
    # Very short records may be more than one insert holds.
    breaks = line_breaks(body)
    start = 0
    for position in range(settings.file_slice_records - 1, len(breaks), settings.file_slice_records):
        end = int(breaks[position])
        yield decode_ndjson(
            body[start:end], record_bytes_max=settings.record_bytes_max, lines_before=lines_before
        )
        lines_before += settings.file_slice_records
        start = end + 1
    yield decode_ndjson(body[start:], record_bytes_max=settings.record_bytes_max, lines_before=lines_before)


def _columnar_slices(file: IO[bytes], media_type: str, settings: IngestSettings) -> Iterator[RawBatch]:
    records_before = 0
    try:
        for batch in _record_batches(file, media_type, settings):
            table = pa.Table.from_batches([batch])
            # Kernels walk these buffers without looking left or right, so they must be sound.
            table.validate(full=True)
            for start in range(0, table.num_rows, settings.file_slice_records):
                part = table.slice(start, settings.file_slice_records)
                first = records_before + 1
                records_before += part.num_rows
                yield decode_table(part, lines=np.arange(first, records_before + 1, dtype=np.uint64))
    except (pa.ArrowException, OSError) as error:
        raise UnreadableBody(f"the {media_type} data cannot be read: {str(error)[:300]}") from error


def _record_batches(file: IO[bytes], media_type: str, settings: IngestSettings) -> Iterator[Any]:
    if media_type == PARQUET:
        yield from pq.ParquetFile(file).iter_batches(batch_size=settings.file_slice_records)
    elif media_type == ARROW_STREAM:
        with pa.ipc.open_stream(file) as stream:
            yield from stream
    else:
        with pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def _whole_file(chunks: Iterable[bytes], media_type: str, settings: IngestSettings) -> RawBatch:
    pieces, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > settings.body_bytes_max:
            raise UnreadableBody(
                f"a file of this format is read whole and may have {settings.body_bytes_max} bytes. "
                "Convert it to NDJSON or Parquet, which are read in slices.",
                reason_code="body_too_large",
            )
        pieces.append(chunk)
    one_insert = replace(settings, batch_records_max=settings.insert_rows_max)
    return decode_body(b"".join(pieces), content_type=media_type, content_encoding=None, settings=one_insert)


def _explain(path: Path, error: UnreadableBody, taken: IngestReport) -> UnreadableBody:
    before = ""
    if taken.records:
        before = (
            f" Before that, {taken.records} records were read and {taken.accepted} accepted (batch "
            f"{taken.batch_id}); repair the file and load it again, they will count as duplicates."
        )
    return UnreadableBody(f"{path.name}: {error}{before}", reason_code=error.reason_code)
