"""Copies an event store into another one: from the folder to a server, part by part, compared at every part.

A part is some of a table's rows, found on both sides by the same condition. A part whose count and hash
agree is left alone, any other is taken away at the target and copied whole; so a copy that was
stopped goes on where it was, and doing it again copies nothing. Rows travel in the engine's own format
and are never turned into values here. Memory holds one part.

Stored usage is not copied: it is derived, and the first refresh at the target counts it from events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState, Conflict
from ingest.identity import IDENTITY_KEY_FACT
from ingest.store_url import shown_url

ROWS_PER_PART: Final = 200_000
"""About that many; a part is one insert, and one insert is one block."""

_RANGES: Final = {"events": "sequence", "superseded_events": "correction_sequence"}
"""Tables whose rows are numbered by arrival: a part is a range of numbers."""
_BUCKETS: Final = {
    "store_facts": "name",
    "refused_events": "batch_id, line",
    "settled_refusals": "batch_id, line",
    "rated_lines": "contract_id, billing_date, charge_id, line_id",
    "entitlement_checks": "check_id",
    "backfills": "backfill_id, batch_id",
    "archives": "archive_id, step",
    "archived_events": "archive_id, sequence",
}
"""Other tables: a part is what hashes of these columns share."""
_REPLACING: Final = frozenset({"rated_lines"})
"""Read with FINAL: rows that were replaced may still be there on one side."""
COPIED_TABLES: Final = (*_BUCKETS, *_RANGES)
DERIVED_TABLES: Final = frozenset(
    {
        "usage_rollups",
        "rollup_periods",
        "rollup_meters",
        "journal_postings",
        "revenue_parts",
        "event_identities",
    }
)


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """What became of a table. rows, hash: of all of it, the same on both sides. parts: how many there
    were; copied: how many of them had to be copied."""

    table: str
    rows: int
    hash: int
    parts: int
    copied: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a table, by a condition with its parameters."""

    table: str
    condition: str
    parameters: Mapping[str, int]


def copy_event_store(
    source: EventStore, target: EventStore, *, progress: Callable[[str, int, int], None]
) -> list[CopiedTable]:
    """Copy every table that is not derived. On disk at the target, and equal, when this returns.

    Nobody else may write to either side meanwhile. progress: called with the table, parts done, parts
    there are. Raises Conflict (``target_in_use``) when the target has data of another store, BrokenState
    when a table differs after all its parts were copied.
    """
    _refuse_another_store(source, target)
    return [_copy_table(table, source, target, progress) for table in COPIED_TABLES]


def _refuse_another_store(source: EventStore, target: EventStore) -> None:
    # The key is random, so it says which store it is; it is copied before everything else.
    keys = [_identity_key(store) for store in (source, target)]
    used = any(_count_all(target, table) for table in COPIED_TABLES)
    if used and keys[0] != keys[1]:
        raise Conflict(
            f"the event store at {shown_url(target.url)} has data of its own, which copying would destroy. "
            "Name a database that is empty or not there yet.",
            reason_code="target_in_use",
        )


def _copy_table(
    table: str, source: EventStore, target: EventStore, progress: Callable[[str, int, int], None]
) -> CopiedTable:
    parts = list(_parts(source, table))
    columns = _columns(source, table)
    copied = 0
    for number, part in enumerate(parts):
        progress(table, number, len(parts))
        wanted = _facts(source, part, columns)
        found = _facts(target, part, columns)
        if found == wanted:
            continue
        if found[0]:
            target.delete(table, _written_out(part), key=f"toString(tuple({', '.join(columns)}))")
        rows = source.export(f"SELECT {', '.join(columns)} FROM {_read(part)}", part.parameters)
        target.insert_exported(table, columns, rows)
        copied += 1
    progress(table, len(parts), len(parts))
    everything = _Rows(table, "1 = 1", {})
    here, there = _facts(source, everything, columns), _facts(target, everything, columns)
    if here != there:
        raise BrokenState(
            f"table {table} has {here[0]} rows at {shown_url(source.url)} and {there[0]} at "
            f"{shown_url(target.url)} after copying, or rows that differ. Does another process write to one "
            "of them? Stop it and copy again: what is equal stays."
        )
    return CopiedTable(table, *here, len(parts), copied)


def _parts(store: EventStore, table: str) -> Iterator[_Rows]:
    number = _RANGES.get(table)
    if number is None:
        buckets = _count_all(store, table) // ROWS_PER_PART + 1
        condition = f"cityHash64({_BUCKETS[table]}) % {{buckets:UInt64}} = {{bucket:UInt64}}"
        for bucket in range(buckets):
            yield _Rows(table, condition, {"buckets": buckets, "bucket": bucket})
        return
    last = int(store.query(f"SELECT max({number}) AS last FROM {table}")["last"][0].as_py())
    condition = f"{number} > {{after:UInt64}} AND {number} <= {{through:UInt64}}"
    for after in range(0, last, ROWS_PER_PART):
        yield _Rows(table, condition, {"after": after, "through": after + ROWS_PER_PART})


def _facts(store: EventStore, rows: _Rows, columns: list[str]) -> tuple[int, int]:
    """How many rows, and the sum of their hashes, modulo 2**64. As text: a hash of several values is
    NULL as soon as one of them is."""
    sql = f"SELECT count() AS rows, sum(cityHash64(toString(tuple({', '.join(columns)})))) AS hash"
    found = store.query(f"{sql} FROM {_read(rows)}", rows.parameters).to_pylist()[0]
    return int(found["rows"]), int(found["hash"])


def _read(rows: _Rows) -> str:
    return f"{rows.table}{' FINAL' if rows.table in _REPLACING else ''} WHERE {rows.condition}"


def _written_out(rows: _Rows) -> str:
    condition = rows.condition
    for name, value in rows.parameters.items():
        condition = condition.replace(f"{{{name}:UInt64}}", str(value))
    return condition


def _columns(store: EventStore, table: str) -> list[str]:
    sql = (
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
        "ORDER BY position"
    )
    return [str(name) for name in store.query(sql, {"table": table})["name"].to_pylist()]


def _count_all(store: EventStore, table: str) -> int:
    return int(store.command(f"SELECT count() FROM {table}"))


def _identity_key(store: EventStore) -> list[str]:
    sql = "SELECT value FROM store_facts WHERE name = {name:String} ORDER BY value"
    return [str(value) for value in store.query(sql, {"name": IDENTITY_KEY_FACT})["value"].to_pylist()]
