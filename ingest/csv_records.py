"""CSV with a header row (RFC 4180) to raw batches. Every cell is text; an empty cell is not there.

Columns source, id, type, subject, time and value are the event; every other column is a property
of its name (``properties.region`` or ``region``). Lines are counted as an editor shows them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import one_array
from ingest.columnar_records import properties_from_columns, property_name
from ingest.errors import UnreadableBody
from ingest.raw import EVENT_FIELDS, RAW_SCHEMA, RawBatch
from ingest.refusal import Problem, Refusal, refuse, shown

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CELL_FIELDS: Final = EVENT_FIELDS[:6]
_CHUNK_ROWS: Final = 2_000


def text_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines of text with their ends; bytes that are not UTF-8 become lone surrogates."""
    rest = b""
    first = True
    for chunk in chunks:
        joined = rest + chunk
        if first and len(joined) >= len(BYTE_ORDER_MARK):
            joined = joined.removeprefix(BYTE_ORDER_MARK)
            first = False
        whole, separator, rest = joined.rpartition(b"\n")
        if separator:
            yield from io.StringIO((whole + separator).decode("utf-8", "surrogateescape"), newline="\n")
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


def decode_csv(lines: Iterable[str], *, slice_records: int) -> Iterator[RawBatch]:
    """Raw batches of up to ``slice_records`` records. Raises UnreadableBody for a wrong header.

    lines: as ``text_lines`` gives them.
    """
    sent: list[str] = []
    reader = csv.reader(_remembering(lines, sent), strict=True)
    taken = _Slice(_header(reader))
    while True:
        sent.clear()
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            message = f"The row cannot be read: {error}."
            taken.refuse(number, Problem("csv_malformed", "", message, "quoting as in RFC 4180."), sent)
        else:
            if row is None:
                break
            taken.add(number, row, sent)
        if taken.record_count >= slice_records:
            yield taken.batch()
            taken = _Slice(taken.header)
    if taken.record_count:
        yield taken.batch()


class _Slice:
    """Rows on their way to a batch. Every two thousand become Arrow columns: keeping many
    small lists costs memory and a fifth of the time (5.3 us a row, 6.8 with all rows kept)."""

    def __init__(self, header: list[str]) -> None:
        self.header = header
        self.record_count = 0
        self._rows: list[list[str]] = []
        self._row_numbers: list[int] = []
        self._chunks: list[pa.Table] = []
        self._numbers: list[int] = []
        self._refused: list[Refusal] = []

    def refuse(self, number: int, problem: Problem, sent: Sequence[str]) -> None:
        self._refused.append(refuse(number, problem, _printable("".join(sent))))
        self.record_count += 1

    def add(self, number: int, row: list[str], sent: Sequence[str]) -> None:
        if not row:
            return  # an empty line is no record
        if len(row) != len(self.header):
            message = f"The row has {len(row)} cells."
            expected = f"{len(self.header)} cells, as in the header row."
            self.refuse(number, Problem("csv_ragged_row", "", message, expected), sent)
            return
        self._rows.append(row)
        self._row_numbers.append(number)
        self.record_count += 1
        if len(self._rows) >= _CHUNK_ROWS:
            self._flush()

    def batch(self) -> RawBatch:
        self._flush()
        cells = pa.concat_tables(self._chunks).combine_chunks()
        count = cells.num_rows
        columns = [
            one_array(cells[name]) if name in self.header else pa.nulls(count, pa.string())
            for name in _CELL_FIELDS
        ]
        names = [name for name in self.header if name not in _CELL_FIELDS]
        texts = [one_array(cells[name]) for name in names]
        columns.append(properties_from_columns([property_name(name) for name in names], texts, count))

        def record_text(row: int) -> str:
            return json.dumps(cells.slice(row, 1).to_pylist()[0], ensure_ascii=False)

        numbers = np.array(self._numbers, np.uint64)
        return RawBatch(pa.table(columns, schema=RAW_SCHEMA), numbers, record_text, tuple(self._refused))

    def _flush(self) -> None:
        try:
            chunk = self._cells()
        except UnicodeEncodeError:
            self._refuse_undecodable()
            chunk = self._cells()
        self._chunks.append(chunk)
        self._numbers += self._row_numbers
        self._rows, self._row_numbers = [], []

    def _cells(self) -> pa.Table:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self.header)
        arrays = [pa.array([cell or None for cell in column], pa.string()) for column in columns]
        return pa.table(arrays, names=self.header)

    def _refuse_undecodable(self) -> None:
        problem = Problem("not_utf8", "", "The row holds bytes that are not UTF-8.", "text in UTF-8.")
        kept = []
        for number, row in zip(self._row_numbers, self._rows, strict=True):
            if _is_text("".join(row)):
                kept.append((number, row))
            else:
                record = json.dumps(dict(zip(self.header, row, strict=True)), ensure_ascii=False)
                self._refused.append(refuse(number, problem, _printable(record)))
        self._row_numbers = [number for number, _ in kept]
        self._rows = [row for _, row in kept]


def _remembering(lines: Iterable[str], sent: list[str]) -> Iterator[str]:
    for line in lines:
        sent.append(line)
        yield line


def _header(reader: Any) -> list[str]:
    try:
        header: list[str] = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UnreadableBody(f"the CSV header row cannot be read: {error}.") from error
    if not any(header):
        raise UnreadableBody("the CSV has no header row.", reason_code="empty_body")
    names = [property_name(name) for name in header]
    if len(set(names)) != len(names) or not all(names) or not _is_text("".join(names)):
        raise UnreadableBody(
            f"the CSV header row is {shown(','.join(header))}. Every column needs a name of its own.",
            reason_code="csv_header",
        )
    missing = [name for name in _CELL_FIELDS[:5] if name not in header]
    if missing:
        raise UnreadableBody(
            f"the CSV header row lacks {', '.join(missing)}. It names the columns "
            f"{', '.join(_CELL_FIELDS)}; every other column is a property.",
            reason_code="csv_header",
        )
    return header


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").rstrip("\r\n")
