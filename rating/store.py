"""Rated lines in the event store: written in blocks, read with the newest computation of each line.

A line's id says what it is for, so writing a line again replaces it; reads use FINAL and see one
row a line whatever was repeated or interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ingest.clickhouse import EventStore
from ingest.errors import InvalidInput, NotFound
from ingest.inserts import Inserts
from rating.line_item import RATED_LINE_SCHEMA

LINES_PER_BLOCK_MAX: Final = 250_000
"""An insert is all or nothing only while it is one block. The ids inside a call are distinct, so the
store need not look for equal ones in a block (``optimize_on_insert``), which would double the time."""
_IDS_PER_QUERY: Final = 10_000
_SORT_TYPES: Final = {"charge_id": pa.string(), "line_id": pa.binary()}


def write_rated_lines(store: EventStore, lines: pa.Table) -> int:
    """Write the lines in blocks; returns how many. On disk when this returns.

    lines: RATED_LINE_SCHEMA, ids distinct. A call that was killed is repeated whole: lines written
    again replace themselves.
    """
    start_writing(store, lines).wait()
    return int(lines.num_rows)


def start_writing(store: EventStore, lines: pa.Table) -> Inserts:
    """Begin to write the lines; they are on disk when ``wait`` has returned. Meanwhile more can be priced."""
    if lines.schema.names != RATED_LINE_SCHEMA.names:
        raise InvalidInput(
            f"the line table has the columns {lines.schema.names}; the store keeps {RATED_LINE_SCHEMA.names}."
        )
    # Of equal size: two are written at a time, and the end of a run waits for the longest.
    blocks = max(-(-lines.num_rows // LINES_PER_BLOCK_MAX), 1)
    size = max(-(-lines.num_rows // blocks), 1)
    return store.start_inserts(
        "rated_lines",
        (lines.slice(start, size) for start in range(0, lines.num_rows, size)),
        settings={"optimize_on_insert": "0"},
    )


def read_rated_lines(
    store: EventStore,
    *,
    contract_id: str | None = None,
    line_ids: Sequence[bytes] | None = None,
    billing_date: date | None = None,
    run_id: str | None = None,
) -> pa.Table:
    """The lines that meet every condition given, as RATED_LINE_SCHEMA, sorted by contract, billing
    date, charge and line id. Unknown ids are left out."""
    conditions, parameters = ["1 = 1"], dict[str, Any]()
    if contract_id is not None:
        conditions.append("contract_id = {contract_id:String}")
        parameters["contract_id"] = contract_id
    if billing_date is not None:
        conditions.append("billing_date = {billing_date:Date32}")
        parameters["billing_date"] = billing_date
    if run_id is not None:
        conditions.append("run_id = {run_id:String}")
        parameters["run_id"] = run_id
    if line_ids is None:
        return _sorted([_query(store, conditions, parameters)])
    parts = []
    for start in range(0, len(line_ids), _IDS_PER_QUERY):
        parameters["line_ids"] = [line_id.hex() for line_id in line_ids[start : start + _IDS_PER_QUERY]]
        # As a String, an id that ends in a zero byte would equal no stored one.
        wanted = "line_id IN (SELECT toFixedString(unhex(arrayJoin({line_ids:Array(String)})), 16))"
        parts.append(_query(store, [*conditions, wanted], parameters))
    return _sorted(parts)


def get_rated_line(store: EventStore, line_id: str | bytes) -> dict[str, Any]:
    """One line as Python values; ``line_id`` as 16 bytes or 32 hex digits. Raises InvalidInput for
    what is no id, NotFound for an id that names no line."""
    try:
        key = bytes.fromhex(line_id) if isinstance(line_id, str) else line_id
    except ValueError:
        key = b""
    if len(key) != 16:
        raise InvalidInput(
            f"{line_id!r} is not a line id; it has 32 hex digits, as `ratemill invoice show` prints them.",
            reason_code="bad_line_id",
        )
    found = read_rated_lines(store, line_ids=[key])
    if found.num_rows == 0:
        raise NotFound(f"there is no rated line {key.hex()}; `ratemill invoice show` prints the ids.")
    return line_to_python(found)


def line_to_python(lines: pa.Table, row: int = 0) -> dict[str, Any]:
    """One row of RATED_LINE_SCHEMA as Python values; dimensions and inputs as dicts."""
    line: dict[str, Any] = lines.slice(row, 1).to_pylist()[0]
    line["dimensions"] = dict(line["dimensions"])
    line["inputs"] = dict(line["inputs"])
    return line


def _query(store: EventStore, conditions: Sequence[str], parameters: dict[str, Any]) -> pa.Table:
    columns = ", ".join(RATED_LINE_SCHEMA.names)
    sql = f"SELECT {columns} FROM rated_lines FINAL WHERE {' AND '.join(conditions)}"
    return _as_schema(store.query(sql, parameters))


def _as_schema(table: pa.Table) -> pa.Table:
    """The engine's Arrow types (binary ids, plain strings) back to those of the schema."""
    columns = []
    for field in RATED_LINE_SCHEMA:
        column = table[field.name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        columns.append(_as_type(column, field.type))
    return pa.Table.from_arrays(columns, schema=RATED_LINE_SCHEMA)


def _as_type(column: Any, kind: pa.DataType) -> Any:
    if column.type == kind:
        return column
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(
            column.offsets, column.keys.cast(kind.key_type), column.items.cast(kind.item_type)
        ).cast(kind)
    if pa.types.is_dictionary(kind):
        plain = column.cast(pa.string()) if not pa.types.is_string(column.type) else column
        return plain.dictionary_encode()
    return column.cast(kind)


def _sorted(parts: Sequence[pa.Table]) -> pa.Table:
    table = pa.concat_tables(parts) if parts else RATED_LINE_SCHEMA.empty_table()
    names = ("contract_id", "billing_date", "charge_id", "line_id")
    keys = pa.table({name: table[name].cast(_SORT_TYPES.get(name, table[name].type)) for name in names})
    return table.unify_dictionaries().take(
        pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in names])
    )
