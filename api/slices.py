"""Cuts a file of events into request bodies, so that a file of any size needs little memory.

Text formats are cut between records, Parquet and Arrow by record batches sent as Arrow streams.
Each slice knows how many lines or records stand before it, so that what is reported about line 3 of
a slice can be told as line 50,003 of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.csv_records import text_lines
from ingest.errors import InvalidInput, UnreadableBody
from ingest.expand import expand

SLICE_RECORDS_MAX: Final = 50_000
SLICE_BYTES_MAX: Final = 32 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
_MEDIA_TYPES: Final = {
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file",
    ".arrows": ARROW_STREAM,
}
_ENCODINGS: Final = {"": "identity", ".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class Slice:
    """One request body. ``line_offset`` is added to the line numbers its report names.
    ``bytes_read`` is how far into the file (as it lies on disk) the reader has come."""

    body: bytes
    content_type: str
    line_offset: int
    bytes_read: int


def slices_of(path: Path) -> Iterator[Slice]:
    """The bodies of a file, in order; each is asked for when the one before it has been sent.

    Raises InvalidInput for a file name that says no known format, and UnreadableBody when the file is
    damaged or cut short: the message says how much of it was cut into bodies before. A record that
    the end of a compressed file cuts in two is in no body.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in _MEDIA_TYPES:
        raise InvalidInput(
            f"the format of {path.name} is not known by its name. Name it .ndjson, .jsonl, .json, .csv, "
            ".parquet, .arrow or .arrows; the first four may end in .gz or .zst as well.",
            reason_code="unknown_file_name",
        )
    if packed and kind in (".parquet", ".arrow", ".arrows"):
        raise InvalidInput(
            f"{path.name} is packed twice. Send the {kind} file itself, which is packed inside.",
            reason_code="unknown_file_name",
        )
    sent = 0
    try:
        with path.open("rb") as raw:
            for piece, end in _slices(raw, kind, packed):
                yield piece
                sent = end
    except UnreadableBody as error:
        raise _explain(path, str(error), sent, error.reason_code) from error
    except (pa.ArrowException, OSError) as error:
        detail = f"the {kind} data cannot be read: {str(error)[:300]}. Write the file again and resend it."
        raise _explain(path, detail, sent, UnreadableBody.reason_code) from error


def _explain(path: Path, detail: str, sent: int, reason_code: str) -> UnreadableBody:
    before = "Nothing of the file was sent."
    if sent:
        before = (
            f"Before that, the first {sent} lines or records were sent and what is right of them was taken. "
            "Repair the file and send all of it again: what was taken counts as duplicate."
        )
    return UnreadableBody(f"{path.name}: {detail} {before}", reason_code=reason_code)


def _slices(raw: IO[bytes], kind: str, packed: str) -> Iterator[tuple[Slice, int]]:
    """The slices, each with how many lines or records of the file end with it."""
    if kind == ".parquet":
        yield from _arrow_slices(pq.ParquetFile(raw).iter_batches(batch_size=SLICE_RECORDS_MAX), raw)
    elif kind == ".arrow":
        reader = pa.ipc.open_file(raw)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        yield from _arrow_slices(batches, raw)
    elif kind == ".arrows":
        yield from _arrow_slices(pa.ipc.open_stream(raw), raw)
    else:
        chunks = expand(iter(lambda: raw.read(_READ_BYTES), b""), _ENCODINGS[packed])
        yield from _text_slices(chunks, raw, kind)


def _text_slices(chunks: Iterable[bytes], raw: IO[bytes], kind: str) -> Iterator[tuple[Slice, int]]:
    media_type = _MEDIA_TYPES[kind]
    if kind == ".json":
        body = b"".join(chunks)
        yield Slice(body, media_type, 0, raw.tell()), body.count(b"\n") + 1
        return
    quoted = kind == ".csv"
    records = _csv_records(text_lines(chunks)) if quoted else _lines(chunks)
    header = next(records, b"") if quoted else b""
    header_lines = header.count(b"\n")
    parts: list[bytes] = [header]
    size, lines, offset = len(header), 0, 0
    sent = False
    for record in records:
        # Lines, not records, are counted: a quoted CSV field may hold line ends.
        parts.append(record)
        size += len(record)
        lines += record.count(b"\n") if quoted else 1
        if len(parts) > SLICE_RECORDS_MAX or size >= SLICE_BYTES_MAX:
            yield Slice(b"".join(parts), media_type, offset, raw.tell()), header_lines + offset + lines
            sent = True
            offset += lines
            parts, size, lines = [header], len(header), 0
    if len(parts) > 1 or not sent:
        yield Slice(b"".join(parts), media_type, offset, raw.tell()), header_lines + offset + lines


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def _csv_records(lines: Iterator[str]) -> Iterator[bytes]:
    """Whole records with their line ends; a line end inside quotes belongs to the record.

    Where a record ends is asked of the reader that the server reads it with, so that both agree on
    a quote inside an unquoted cell (``5" pipe``) and on where to go on after a malformed row.
    """
    for line in lines:
        record = line
        if '"' in line:
            taken: list[str] = []
            reader = csv.reader(_remembering(chain((line,), lines), taken), strict=True)
            with suppress(csv.Error):  # the server refuses this very record and says why
                next(reader)
            record = "".join(taken)
        yield record.encode("utf-8", "surrogateescape")


def _remembering(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _arrow_slices(batches: Iterator[Any], raw: IO[bytes]) -> Iterator[tuple[Slice, int]]:
    offset = 0
    for batch in batches:
        for start in range(0, batch.num_rows, SLICE_RECORDS_MAX):
            piece = batch.slice(start, SLICE_RECORDS_MAX)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, piece.schema) as writer:
                writer.write_batch(piece)
            body = sink.getvalue().to_pybytes()
            yield Slice(body, ARROW_STREAM, offset, raw.tell()), offset + piece.num_rows
            offset += piece.num_rows
