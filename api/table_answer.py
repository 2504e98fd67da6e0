"""Answers of many rows: JSON while they are few, Arrow, Parquet or CSV for any number."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as arrow_csv
from fastapi import Response
from fastapi.responses import StreamingResponse
from pyarrow import parquet

from api.json import ExactJSON, rows_of
from api.slices import ARROW_STREAM
from ingest.errors import InvalidInput

CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
ROWS_IN_JSON_MAX: Final = 100_000
TABLE_MEDIA: Final[dict[str, Any]] = {ARROW_STREAM: "ARROW1 ...", CSV: "contract_id,...\n"}
"""How a route describes the other forms of its answer."""
TABLE_MEDIA_WITH_PARQUET: Final[dict[str, Any]] = {**TABLE_MEDIA, PARQUET: "PAR1 ..."}


def is_table(accept: str) -> bool:
    """Whether ``accept`` asks for a table rather than JSON."""
    return any(media in accept for media in (ARROW_STREAM, PARQUET, CSV))


def table_answer(
    accept: str,
    *,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    summary: Callable[[], Mapping[str, Any]],
    row_count: int | None = None,
) -> Response:
    """What ``accept`` asks for: the tables as an Arrow stream, as Parquet or as CSV, else ``summary``
    with the rows as ``items``. row_count: of all tables, where that is known. Raises InvalidInput for more
    rows than JSON is written for."""
    if ARROW_STREAM in accept:
        return StreamingResponse(_arrow_parts(tables, schema), media_type=ARROW_STREAM)
    if PARQUET in accept:
        return Response(_parquet(tables, schema), media_type=PARQUET)
    if CSV in accept:
        return StreamingResponse(_csv_parts(tables, schema), media_type=CSV)
    return ExactJSON({**summary(), "items": _items(tables, row_count)})


def _items(tables: Iterable[pa.Table], row_count: int | None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    known = row_count or 0
    for table in tables:
        known = max(known, len(items) + table.num_rows)
        if known > ROWS_IN_JSON_MAX:
            whole = f"{known:,}" if row_count is not None else f"more than {ROWS_IN_JSON_MAX:,}"
            raise InvalidInput(
                f"the answer has {whole} rows, and JSON is written for up to {ROWS_IN_JSON_MAX:,}. Ask "
                f"with Accept: {ARROW_STREAM} or {CSV} (`--out FILE.arrow`, `FILE.csv`), or for fewer.",
                reason_code="answer_too_large",
            )
        items += rows_of(table)
    return items


def _arrow_parts(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[bytes]:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
            yield _taken(sink)
    yield _taken(sink)


def _parquet(tables: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    with parquet.ParquetWriter(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def _csv_parts(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[bytes]:
    plain = pa.schema([(field.name, _csv_type(field.type)) for field in schema])
    sink = io.BytesIO()
    with arrow_csv.CSVWriter(sink, plain) as writer:
        for table in tables:
            writer.write_table(pa.table([_csv_column(column) for column in table.columns], schema=plain))
            yield _taken(sink)
    yield _taken(sink)


def _taken(sink: io.BytesIO) -> bytes:
    content = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return content


def _csv_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind) or pa.types.is_dictionary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.string()
    return kind


def _csv_column(column: pa.ChunkedArray) -> Any:
    """Dimensions as ``region=eu class=gold``, ids as hex."""
    if pa.types.is_map(column.type):
        rows = (" ".join(f"{key}={value}" for key, value in row) for row in column.to_pylist())
        return pa.array(list(rows), pa.string())
    if pa.types.is_fixed_size_binary(column.type):
        return pa.array([key.hex() for key in column.to_pylist()], pa.string())
    return column.cast(_csv_type(column.type))
