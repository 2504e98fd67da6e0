"""NDJSON, JSON arrays, single JSON objects and CloudEvents, as bytes, to a raw batch.

White space lines are no records. Lines are counted as the sender counts them, from 1; elements of
an array are numbered from 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.arrow_buffers import Bytes, Flags, Integers, text_array
from ingest.errors import UnreadableBody
from ingest.json_scan import (
    FIELD_COUNT,
    PROPERTIES,
    RECOGNISED,
    UNRECOGNISED,
    copy_spans,
    count_lines,
    find_lines,
    scan_records,
    split_array,
)
from ingest.json_slow import RecordReader, read_event
from ingest.raw import RAW_SCHEMA, RawBatch, RawRow, table_of_rows
from ingest.refusal import Problem, Refusal, refuse

_FEW_LINES = 4
_FEW_LINES_BYTES = 16_384
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RecordPlaces(NamedTuple):
    """Where the records of a body stand: ``body[starts[i]:ends[i]]`` is the record of line ``lines[i]``."""

    starts: Integers
    ends: Integers
    lines: npt.NDArray[np.uint64]


def decode_ndjson(body: bytes, *, record_bytes_max: int, lines_before: int = 0) -> RawBatch:
    """One JSON object a line (https://github.com/ndjson/ndjson-spec), Unix or Windows line ends."""
    places = ndjson_places(body, lines_before=lines_before)
    return decode_json_records(body, *places, record_bytes_max=record_bytes_max)


def ndjson_places(body: bytes, *, lines_before: int = 0) -> RecordPlaces:
    """A record a line; blank lines are among them."""
    breaks = line_breaks(body)
    starts, ends = np.empty(len(breaks) + 1, np.int64), np.empty(len(breaks) + 1, np.int64)
    starts[0], starts[1:] = 0, breaks
    starts[1:] += 1
    ends[:-1], ends[-1] = breaks, len(body)
    if body.startswith(BYTE_ORDER_MARK) and lines_before == 0:
        starts[0] = len(BYTE_ORDER_MARK)
    lines = np.arange(lines_before + 1, lines_before + 1 + len(starts), dtype=np.uint64)
    return RecordPlaces(starts, ends, lines)


def line_breaks(body: bytes) -> Integers:
    """The positions of the line ends of a body."""
    if len(body) <= _FEW_LINES_BYTES and (few := body.count(b"\n")) < _FEW_LINES:
        return _few_breaks(body, few)
    data = np.frombuffer(body, np.uint8)
    breaks = np.empty(count_lines(data), np.int64)
    find_lines(data, breaks)
    return breaks


def _few_breaks(body: bytes, count: int) -> Integers:
    """As ``line_breaks``, for a body with that few: calling compiled code costs more than to look here."""
    breaks = np.empty(count, np.int64)
    at = -1
    for number in range(count):
        at = body.find(b"\n", at + 1)
        breaks[number] = at
    return breaks


def decode_json(
    body: bytes, *, record_bytes_max: int, reader: RecordReader = read_event, array_required: bool = False
) -> RawBatch:
    """A JSON array of objects, or one object. Raises UnreadableBody when an array is broken."""
    places = json_places(body, array_required=array_required)
    return decode_json_records(body, *places, record_bytes_max=record_bytes_max, reader=reader)


def json_places(body: bytes, *, array_required: bool) -> RecordPlaces:
    """The elements of an array, numbered from 1, or one object. Raises UnreadableBody."""
    first = len(BYTE_ORDER_MARK) if body.startswith(BYTE_ORDER_MARK) else 0
    while first < len(body) and body[first] in b" \t\r\n":
        first += 1
    is_array = body[first : first + 1] == b"["
    if array_required and not is_array:
        raise UnreadableBody("the body must be a JSON array of CloudEvents.", reason_code="not_an_array")
    if is_array:
        starts, ends = _array_elements(body, first)
    else:
        starts, ends = np.array([first], np.int64), np.array([len(body)], np.int64)
    return RecordPlaces(starts, ends, np.arange(1, len(starts) + 1, dtype=np.uint64))


def _array_elements(body: bytes, first: int) -> tuple[Integers, Integers]:
    data = np.frombuffer(body, np.uint8)
    room = int(np.count_nonzero(data == 44)) + 1
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    count, after = split_array(data, first, starts, ends)
    if count < 0 or body[after:].strip(b" \t\r\n"):
        raise UnreadableBody(
            f"the JSON array is broken near byte {after}: check for a missing bracket, quote or comma. "
            "Nothing of it was taken; NDJSON, one object a line, costs only the broken line.",
            reason_code="malformed_json",
        )
    return starts[:count], ends[:count]


def decode_json_records(
    body: bytes,
    starts: Integers,
    ends: Integers,
    lines: npt.NDArray[np.uint64],
    *,
    record_bytes_max: int,
    reader: RecordReader = read_event,
) -> RawBatch:
    """Records at known places in a body. CloudEvents have a ``reader`` of their own and no scanner."""
    data = np.frombuffer(body, np.uint8)
    spans = np.empty((len(starts), FIELD_COUNT, 2), np.int64)
    counts = np.empty(len(starts), np.int64)
    kinds = np.empty(len(starts), np.uint8)
    property_spans = np.empty((int(np.count_nonzero(data == 58)) + 1, 4), np.int64)
    allowed = _allowed(body, starts, ends, record_bytes_max, reader)
    found = scan_records(data, starts, ends, allowed, spans, counts, property_spans, kinds)
    fast = np.flatnonzero(kinds == RECOGNISED)
    if len(fast) < len(kinds):
        spans, counts = spans[fast], counts[fast]
    table = _table(data, spans, counts, property_spans[:found])

    def text_of(record: int) -> str:
        return body[starts[record] : ends[record]].decode("utf-8", errors="replace").rstrip("\r")

    slow_rows: list[RawRow] = []
    slow_records: list[int] = []
    refused: list[Refusal] = []
    for record in np.flatnonzero(kinds == UNRECOGNISED).tolist():
        read = _read_slow(body[starts[record] : ends[record]], reader, record_bytes_max)
        if isinstance(read, Problem):
            refused.append(refuse(int(lines[record]), read, text_of(record)))
        else:
            slow_rows.append(read)
            slow_records.append(record)
    records = fast
    if slow_rows:
        records = np.concatenate([fast, np.array(slow_records, np.int64)])
        order = np.argsort(records, kind="stable")
        table = pa.concat_tables([table, table_of_rows(slow_rows)]).combine_chunks().take(pa.array(order))
        records = records[order]
    return RawBatch(table, lines[records], lambda row: text_of(int(records[row])), tuple(refused))


def _allowed(
    body: bytes, starts: Integers, ends: Integers, record_bytes_max: int, reader: RecordReader
) -> Flags:
    # CloudEvents have fields the scanner does not know. Records with bytes beyond ASCII may be
    # scanned only when the whole body is known to be UTF-8.
    if reader is not read_event:
        return np.zeros(len(starts), np.bool_)
    allowed = ends - starts <= record_bytes_max
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            beyond = np.flatnonzero(np.frombuffer(body, np.uint8) > 127)
            allowed[np.maximum(np.searchsorted(starts, beyond, side="right") - 1, 0)] = False
    return np.asarray(allowed, np.bool_)


def _read_slow(text: bytes, reader: RecordReader, record_bytes_max: int) -> RawRow | Problem:
    if len(text) > record_bytes_max:
        message = f"The record has {len(text)} bytes."
        return Problem("record_too_long", "", message, f"at most {record_bytes_max} bytes a record.")
    read = reader(text)
    if isinstance(read, tuple) and not _encodes(read):
        message = "The record holds a lone surrogate escape, which is no Unicode text."
        return Problem("not_utf8", "", message, "pairs of surrogates, or the character itself.")
    return read


def _encodes(row: RawRow) -> bool:
    texts = [part for part in row[:6] if part is not None]
    texts += [part for pair in row[6] for part in pair if part is not None]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _table(data: Bytes, spans: Integers, counts: Integers, property_spans: Integers) -> pa.Table:
    columns = [_texts(data, spans[:, field, 0], spans[:, field, 1]) for field in range(PROPERTIES)]
    list_offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=list_offsets[1:])
    names = _texts(data, property_spans[:, 0], property_spans[:, 1])
    items = _texts(data, property_spans[:, 2], property_spans[:, 3])
    properties = pa.MapArray.from_arrays(pa.array(list_offsets), names, items)
    return pa.table([*columns, properties], schema=RAW_SCHEMA)


def _texts(data: Bytes, starts: Integers, sizes: Integers) -> Any:
    starts, sizes = np.ascontiguousarray(starts), np.ascontiguousarray(sizes)
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    gathered = np.empty(int(offsets[-1]), np.uint8)
    copy_spans(data, starts, sizes, offsets, gathered)
    return text_array(offsets, gathered, starts >= 0)
