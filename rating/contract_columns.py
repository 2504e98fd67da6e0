"""Reads ledger tables of contracts as columns: at 100,000 contracts a Python tuple a row costs more than the
read itself.

SQLite hands over each column of a window of rows as one JSON array, which holds any text exactly. Any
other database hands over rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Table, select

_ROWS_PER_WINDOW: Final = 1 << 16
"""Of texts of 512 characters, each escaped to six bytes: far below SQLite's gigabyte a value."""
_IDS_PER_QUERY: Final = 5_000
"""As in ``invoicing/bulk.py``."""


def read_columns(connection: Connection, table: Table, schema: pa.Schema) -> pa.Table:
    """The whole table as ``schema`` (the table's columns in order), sorted by its primary key, texts by
    their bytes. Dates stand in the ledger as ISO text."""
    if connection.dialect.name == "sqlite":
        windows = list(_json_windows(connection, table))
    else:
        windows = [_row_columns(connection, table)]
    return _joined(windows, table, schema)


def read_columns_of(
    connection: Connection, table: Table, schema: pa.Schema, contract_ids: Sequence[str]
) -> pa.Table:
    """As ``read_columns``, of the rows of some contracts."""
    windows = []
    for first in range(0, len(contract_ids), _IDS_PER_QUERY):
        part = list(contract_ids[first : first + _IDS_PER_QUERY])
        if connection.dialect.name == "sqlite":
            listed = orjson.dumps(part).decode()
            of_these = "contract_id IN (SELECT value FROM json_each(?))"
            query = f"SELECT {_json_arrays(table)} FROM {table.name} WHERE {of_these}"
            windows.append(_json_columns(connection.exec_driver_sql(query, (listed,)).one()))
        else:
            rows = connection.execute(select(table).where(table.c.contract_id.in_(part))).all()
            windows.append(_turned(rows, table))
    return _joined(windows, table, schema)


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


def _json_windows(connection: Connection, table: Table) -> Iterator[list[list[Any]]]:
    query = f"SELECT {_json_arrays(table)} FROM {table.name} WHERE rowid >= ? AND rowid < ?"
    with _snapshot(connection):
        first, last = connection.exec_driver_sql(f"SELECT min(rowid), max(rowid) FROM {table.name}").one()
        while first is not None and first <= last:
            yield _json_columns(connection.exec_driver_sql(query, (first, first + _ROWS_PER_WINDOW)).one())
            first += _ROWS_PER_WINDOW


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    # All windows must be of one moment. SQLite connections are in autocommit (``ingest/ledger.py``).
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


def _json_columns(row: Sequence[Any]) -> list[list[Any]]:
    return [orjson.loads(text) for text in row]


def _joined(windows: Sequence[list[list[Any]]], table: Table, schema: pa.Schema) -> pa.Table:
    parts = [columns_table(columns, schema) for columns in windows]
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
