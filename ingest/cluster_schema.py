"""The event store's tables on a ClickHouse cluster, made from the same migrations as everywhere.

Every table ``name`` becomes two on every machine: ``name_local``, replicated inside its shard, and
``name``, which holds nothing and spreads rows and questions over the shards. So the SQL of all rooms
stays as it is. ``{shard}`` and ``{replica}`` are macros that each machine's configuration sets.

An insert is all or nothing inside one shard only. Tables that rely on more than that have all their rows
in the first shard; of the others a part of a batch may land, and sending the batch again completes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ingest.errors import BrokenState

_FIRST_SHARD: Final = "toUInt64(0)"
SHARDING_KEYS: Final = {
    "events": "cityHash64(subject)",
    "superseded_events": "cityHash64(subject)",
    "refused_events": "cityHash64(batch_id)",
    "settled_refusals": "cityHash64(batch_id)",
    "rated_lines": "cityHash64(contract_id)",
    # Copied in order: the last entry number in it says how far.
    "journal_postings": _FIRST_SHARD,
    "revenue_parts": _FIRST_SHARD,
    "archives": _FIRST_SHARD,
    "archived_events": "sequence",
    "event_identities": "cityHash64(identity)",
    "backfills": "cityHash64(backfill_id)",
    "entitlement_checks": "cityHash64(check_id)",
    "store_facts": _FIRST_SHARD,
    "schema_migrations": _FIRST_SHARD,
    # The watermark is right because it is in one block with what it stands for.
    "usage_rollups": _FIRST_SHARD,
    "rollup_periods": _FIRST_SHARD,
    "rollup_meters": _FIRST_SHARD,
}

CLUSTER_SETTINGS: Final = {
    # Rows are in their shards when an insert returns, and on most replicas there.
    "distributed_foreground_insert": "1",
    "insert_quorum": "auto",
    # Scratch tables exist on one machine: what joins them sends their rows along.
    "prefer_global_in_and_join": "1",
    "distributed_product_mode": "global",
    # Deleted rows are gone on every replica when a DELETE returns.
    "lightweight_deletes_sync": "2",
    "mutations_sync": "2",
    # Read where was written, as long as that machine is there: another replica may lag.
    "load_balancing": "in_order",
}

_CREATE: Final = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)\s*(\(.*\))\s*ENGINE = ", re.DOTALL)
_ENGINE: Final = re.compile(r"(\w*MergeTree)(?:\(([^)]*)\))?")
_ALTER: Final = re.compile(r"ALTER TABLE (\w+)\s+(.*)", re.DOTALL)
_WINDOW: Final = "non_replicated_deduplication_window"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as the servers' ``remote_servers`` name it, and the database all its tables are in."""

    name: str
    database: str


def cluster_statements(statement: str, cluster: Cluster) -> list[str]:
    """One CREATE TABLE or ALTER TABLE of a migration, as the statements that do it on all machines.

    Doing them again changes nothing. Raises BrokenState for any other statement, and for a table that
    has no sharding key.
    """
    created = _CREATE.match(statement)
    if created:
        table, columns = created.groups()
        rest = _replicated(statement[created.end() :], table, cluster)
        local = f"CREATE TABLE IF NOT EXISTS {_local(table, cluster)} {columns} ENGINE = {rest}"
        return [local, _distributed(table, cluster, "CREATE TABLE IF NOT EXISTS")]
    altered = _ALTER.match(statement)
    if altered:
        table, change = altered.groups()
        local = f"ALTER TABLE {_local(table, cluster)} {change}"
        # A distributed table cannot be altered in every way, and holds nothing that could be lost.
        return [local, _distributed(table, cluster, "CREATE OR REPLACE TABLE")]
    raise BrokenState(f"a migration has a statement that has no form for a cluster: {statement[:80]!r}.")


def local_table(table: str, cluster: Cluster) -> str:
    """What to write after DELETE FROM, TRUNCATE TABLE and the like, which distributed tables refuse."""
    return _local(table, cluster)


def _local(table: str, cluster: Cluster) -> str:
    return f"{table}_local ON CLUSTER '{cluster.name}'"


def _distributed(table: str, cluster: Cluster, verb: str) -> str:
    key = SHARDING_KEYS.get(table)
    if key is None:
        raise BrokenState(f"table {table} has no sharding key; give it one in ingest/cluster_schema.py.")
    return (
        f"{verb} {table} ON CLUSTER '{cluster.name}' AS {table}_local "
        f"ENGINE = Distributed('{cluster.name}', '{cluster.database}', '{table}_local', {key})"
    )


def _replicated(engine_on: str, table: str, cluster: Cluster) -> str:
    """From the engine's name to the end of the statement, replicated."""
    engine = _ENGINE.match(engine_on)
    if engine is None:
        raise BrokenState(f"table {table} has an engine that is not replicated: {engine_on[:40]!r}.")
    place = f"'/clickhouse/tables/{{shard}}/{cluster.database}/{table}', '{{replica}}'"
    arguments = ", ".join([place, *([engine[2]] if engine[2] else [])])
    rest = engine_on[engine.end() :]
    if _WINDOW in rest:
        rest = rest.replace(_WINDOW, "replicated_deduplication_window")
    else:
        # Replicated tables drop a block like an earlier one unless told otherwise; others do not.
        rest = rest.replace("SETTINGS ", "SETTINGS replicated_deduplication_window = 0, ", 1)
    return f"Replicated{engine[1]}({arguments}){rest}"
