"""Reads ledger tables of contracts as columns: at 100,000 contracts a Python tuple a row costs more than the
read itself.

SQLite hands over each column of a window of rows as one JSON array, which holds any text exactly. An array
of plain texts is cut at the quotes between them, without a Python object for each (100,000 contracts: 14
milliseconds of processor time instead of 60, and other threads run meanwhile). Any other database hands over
rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Table, select

_ROWS_PER_WINDOW: Final = 1 << 14
"""Of texts of 512 characters, each escaped to six bytes: far below SQLite's gigabyte a value."""
_IDS_PER_QUERY: Final = 5_000
"""As in ``invoicing/bulk.py``."""


def read_columns(connection: Connection, table: Table, schema: pa.Schema) -> pa.Table:
    """The whole table as ``schema`` (the table's columns in order), sorted by its primary key, texts by
    their bytes. Dates stand in the ledger as ISO text."""
    if connection.dialect.name == "sqlite":
        with ThreadPoolExecutor(max_workers=1) as cutting:  # what was read, while more is read
            windows = _json_windows(connection, table)
            parts = list(cutting.map(partial(_from_json, schema=schema), windows))
    else:
        parts = [columns_table(_row_columns(connection, table), schema)]
    return _joined(parts, table, schema)


def read_columns_of(
    connection: Connection, table: Table, schema: pa.Schema, contract_ids: Sequence[str]
) -> pa.Table:
    """As ``read_columns``, of the rows of some contracts."""
    parts = []
    for first in range(0, len(contract_ids), _IDS_PER_QUERY):
        part = list(contract_ids[first : first + _IDS_PER_QUERY])
        if connection.dialect.name == "sqlite":
            listed = orjson.dumps(part).decode()
            of_these = "contract_id IN (SELECT value FROM json_each(?))"
            query = f"SELECT {_json_arrays(table)} FROM {table.name} WHERE {of_these}"
            parts.append(_from_json(connection.exec_driver_sql(query, (listed,)).one(), schema))
        else:
            rows = connection.execute(select(table).where(table.c.contract_id.in_(part))).all()
            parts.append(columns_table(_turned(rows, table), schema))
    return _joined(parts, table, schema)


def rows_of(
    connection: Connection, table: Table, contract_ids: Sequence[str] | None
) -> list[tuple[Any, ...]]:
    """The rows of some contracts, or of all, of a table of texts; also inside a transaction."""
    if contract_ids is None:
        return [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
    schema = pa.schema([(column.name, pa.string()) for column in table.columns])
    columns = read_columns_of(connection, table, schema, contract_ids)
    return list(zip(*(column.to_pylist() for column in columns.columns), strict=True))


def columns_table(columns: list[list[Any]], schema: pa.Schema) -> pa.Table:
    """Python values column by column, as ``schema``."""
    arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_date32(kind):
        return pc.cast(pa.array(values, pa.string()), kind)
    return pa.array(values, kind)


def json_array(text: str, kind: pa.DataType) -> pa.Array:
    """A JSON array of texts, whole numbers and nulls as ``kind``."""
    values = _plain_texts(text)
    return _array(orjson.loads(text), kind) if values is None else pc.cast(values, kind)


def _plain_texts(text: str) -> pa.Array | None:
    """The texts of a JSON array; None for one that holds anything else, or a text with an escape.

    Without escapes every quote begins or ends a text, so ``","`` stands between two texts and never in one.
    An array that begins and ends with a text, and has as many such places as it has texts but one, is all
    texts.
    """
    if not (text.startswith('["') and text.endswith('"]')) or "\\" in text:
        return None
    values = pc.list_flatten(pc.split_pattern(pa.array([text[2:-2]]), '","'))
    return values if text.count('"') == 2 * len(values) else None


def _from_json(window: Sequence[str], schema: pa.Schema) -> pa.Table:
    arrays = [json_array(text, field.type) for text, field in zip(window, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _json_windows(connection: Connection, table: Table) -> Iterator[Sequence[str]]:
    query = f"SELECT {_json_arrays(table)} FROM {table.name} WHERE rowid >= ? AND rowid < ?"
    with _snapshot(connection):
        # Asked for together in one SELECT, they are found by reading every row.
        ends = f"SELECT (SELECT min(rowid) FROM {table.name}), (SELECT max(rowid) FROM {table.name})"
        first, last = connection.exec_driver_sql(ends).one()
        while first is not None and first <= last:
            yield connection.exec_driver_sql(query, (first, first + _ROWS_PER_WINDOW)).one()
            first += _ROWS_PER_WINDOW


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    # All windows must be of one moment. SQLite connections are in autocommit (``ingest/ledger.py``), unless
    # the caller has begun to read already.
    if connection.connection.in_transaction:
        yield
        return
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        connection.exec_driver_sql("COMMIT")


def _row_columns(connection: Connection, table: Table) -> list[list[Any]]:
    names = ", ".join(column.name for column in table.columns)
    cursor = connection.exec_driver_sql(f"SELECT {names} FROM {table.name}").cursor
    rows = [] if cursor is None else cursor.fetchall()
    return _turned(rows, table)


def _turned(rows: Sequence[Sequence[Any]], table: Table) -> list[list[Any]]:
    return [list(values) for values in zip(*rows, strict=True)] or [[] for _ in table.columns]


def _json_arrays(table: Table) -> str:
    return ", ".join(f"json_group_array({column.name})" for column in table.columns)


def _joined(parts: Sequence[pa.Table], table: Table, schema: pa.Schema) -> pa.Table:
    return _sorted(pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table(), table)


def _sorted(columns: pa.Table, table: Table) -> pa.Table:
    keys = [column.name for column in table.primary_key.columns]
    if _in_order([columns[name] for name in keys]):
        return columns
    return columns.sort_by([(name, "ascending") for name in keys]).combine_chunks()


def _in_order(keys: list[Any]) -> bool:
    """Whether rows already ascend by the keys, the first one first."""
    ascends: Any = None
    for key in reversed(keys):
        before, after = key.slice(0, max(0, len(key) - 1)), key.slice(1)
        less = pc.less(before, after)
        ascends = less if ascends is None else pc.or_(less, pc.and_(pc.equal(before, after), ascends))
    return bool(pc.all(ascends, min_count=0).as_py())
