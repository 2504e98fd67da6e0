"""Cuts a file of events into request bodies, so that a file of any size needs little memory.

Text formats are cut between records, Parquet and Arrow by record batches sent as Arrow streams.
Each slice knows how many lines or records stand before it, so that what is reported about line 3 of
a slice can be told as line 50,003 of the file.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from ingest.errors import InvalidInput

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


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Slice:
    """One request body. ``line_offset`` is added to the line numbers its report names.
    ``bytes_read`` is how far into the file (as it lies on disk) the reader has come."""

    body: bytes
    content_type: str
    line_offset: int
    bytes_read: int


def slices_of(path: Path) -> Iterator[Slice]:
    """The bodies of a file, in order. Raises InvalidInput for a file name that says no known format."""
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
    with path.open("rb") as raw:
        if kind == ".parquet":
            yield from _arrow_slices(pq.ParquetFile(raw).iter_batches(batch_size=SLICE_RECORDS_MAX), raw)
        elif kind == ".arrow":
            reader = pa.ipc.open_file(raw)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            yield from _arrow_slices(batches, raw)
        elif kind == ".arrows":
            yield from _arrow_slices(pa.ipc.open_stream(raw), raw)
        else:
            yield from _text_slices(_unpacked(raw, packed), raw, kind)


def _unpacked(raw: IO[bytes], packed: str) -> _Readable:
    if packed == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if packed == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return raw


def _text_slices(text: _Readable, raw: IO[bytes], kind: str) -> Iterator[Slice]:
    media_type = _MEDIA_TYPES[kind]
    if kind == ".json":
        yield Slice(text.read(), media_type, 0, raw.tell())
        return
    quoted = kind == ".csv"
    records = _records(text, quoted=quoted)
    header = next(records, b"") if quoted else b""
    parts: list[bytes] = [header]
    size, lines, offset = len(header), 0, 0
    sent = False
    for record in records:
        # Lines, not records, are counted: a quoted CSV field may hold line ends.
        parts.append(record)
        size += len(record)
        lines += record.count(b"\n") if quoted else 1
        if len(parts) > SLICE_RECORDS_MAX or size >= SLICE_BYTES_MAX:
            yield Slice(b"".join(parts), media_type, offset, raw.tell())
            sent = True
            offset += lines
            parts, size, lines = [header], len(header), 0
    if len(parts) > 1 or not sent:
        yield Slice(b"".join(parts), media_type, offset, raw.tell())


def _records(text: _Readable, *, quoted: bool) -> Iterator[bytes]:
    """Whole records with their line ends. In CSV a line end inside quotes belongs to the record."""
    kept: list[bytes] = []
    odd = False
    rest = b""
    while chunk := text.read(_READ_BYTES):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            odd ^= quoted and line.count(b'"') % 2 == 1
            kept.append(line + b"\n")
            if not odd:
                yield kept[0] if len(kept) == 1 else b"".join(kept)
                kept.clear()
    last = b"".join(kept) + rest
    if last:
        yield last


def _arrow_slices(batches: Iterator[Any], raw: IO[bytes]) -> Iterator[Slice]:
    offset = 0
    for batch in batches:
        for start in range(0, batch.num_rows, SLICE_RECORDS_MAX):
            piece = batch.slice(start, SLICE_RECORDS_MAX)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, piece.schema) as writer:
                writer.write_batch(piece)
            yield Slice(sink.getvalue().to_pybytes(), ARROW_STREAM, offset, raw.tell())
            offset += piece.num_rows
