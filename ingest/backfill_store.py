"""What a backfill reads of the store: events in force, events withdrawn before, backfills on record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from ingest.backfill_plan import Content, Standing
from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.event import QUANTITY_TYPE, TIMESTAMP
from ingest.in_force import IN_FORCE_SQL
from ingest.query import Where, instant_sql

BACKFILL_SCHEMA: Final = pa.schema(
    [
        pa.field("backfill_id", pa.string(), nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("subjects", pa.list_(pa.string()), nullable=False),
        pa.field("time_from", TIMESTAMP, nullable=False),
        pa.field("time_to", TIMESTAMP, nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("reason", "undoes", "digest")),
        *(
            pa.field(name, pa.uint64(), nullable=False)
            for name in ("kept", "amended", "added", "withdrawn", "count_before", "count_after")
        ),
        *(pa.field(name, QUANTITY_TYPE, nullable=False) for name in ("value_before", "value_after")),
        pa.field("made_at", TIMESTAMP, nullable=False),
    ]
)
"""Rows of ``backfills``; the migration says what they mean."""

_VERSION_COLUMNS: Final = (
    "toString(source) AS source, id, toString(type) AS type, toString(subject) AS subject, "
    "toUnixTimestamp64Micro(time) AS micros, value, properties, identity, sequence, "
    "toUnixTimestamp64Micro(ingested_at) AS ingested_micros, replaces"
)
DID_HAPPEN_SQL: Final = (
    "batch_id IN (SELECT toString(batch_id) FROM superseded_events WHERE kind != 'cancel')"
)


@dataclass(frozen=True, slots=True)
class StoredBackfill:
    """A backfill that came into force. undone_by: the one that put it back, empty while it stands.
    undoes: the one that it put back itself, or empty."""

    backfill_id: str
    batch_id: str
    type: str
    subjects: tuple[str, ...]
    time_from: datetime
    time_to: datetime
    reason: str
    undoes: str
    undone_by: str
    digest: str
    kept: int
    amended: int
    added: int
    withdrawn: int
    count_before: int
    count_after: int
    value_before: Decimal
    value_after: Decimal
    made_at: datetime


def read_in_force(
    store: EventStore, *, event_type: str, subjects: Sequence[str], time_from: datetime, time_to: datetime
) -> list[Standing]:
    """The versions in force of a type in [time_from, time_to). subjects: only these; none for all."""
    where = Where([IN_FORCE_SQL])
    where.add("type = {type:String}", type=event_type)
    where.add(f"time >= {instant_sql('time_from')}", time_from=to_micros(time_from))
    where.add(f"time < {instant_sql('time_to')}", time_to=to_micros(time_to))
    where.add("subject IN ({subjects:Array(String)})", subjects=list(subjects) or None)
    sql = f"SELECT {_VERSION_COLUMNS} FROM events WHERE {where.sql()} ORDER BY sequence"
    rows = store.query(sql, where.parameters).to_pylist()
    return _standings(store, rows)


def read_versions(store: EventStore, sequences: Iterable[int]) -> dict[int, Standing]:
    """The rows of ``events`` with these numbers, in force or not."""
    numbers = pa.table({"number": pa.array(sorted(set(sequences)), pa.uint64())})
    with store.scratch_table("number UInt64", numbers) as name:
        rows = store.query(
            f"SELECT {_VERSION_COLUMNS} FROM events WHERE sequence IN (SELECT number FROM {name})"
        ).to_pylist()
    return {one.sequence: one for one in _standings(store, rows)}


def read_withdrawn(store: EventStore, identities: Iterable[bytes]) -> Mapping[bytes, Standing]:
    """Of the events with these identities, those that a backfill withdrew: the version that left last."""
    wanted = pa.table({"identity": pa.array(sorted(set(identities)), pa.binary(16))})
    with store.scratch_table("identity FixedString(16)", wanted) as name:
        rows = store.query(
            "SELECT event_identity, argMax(toString(kind), correction_sequence) AS last_kind, "
            "argMax(sequence, correction_sequence) AS last_sequence FROM superseded_events "
            f"WHERE event_identity IN (SELECT identity FROM {name}) GROUP BY event_identity"
        ).to_pylist()
    left = {row["event_identity"]: row["last_sequence"] for row in rows if row["last_kind"] == "withdraw"}
    versions = read_versions(store, left.values()) if left else {}
    return {identity: versions[sequence] for identity, sequence in left.items()}


def _standings(store: EventStore, rows: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """Rows of ``events`` as versions, each under the identity and id its event was first sent with."""
    made = [row["sequence"] for row in rows if row["replaces"]]
    first: dict[int, Mapping[str, Any]] = {}
    if made:
        numbers = pa.table({"number": pa.array(made, pa.uint64())})
        with store.scratch_table("number UInt64", numbers) as name:
            found = store.query(
                "SELECT correction_sequence, event_identity, event_id FROM superseded_events "
                f"WHERE correction_sequence IN (SELECT number FROM {name})"
            ).to_pylist()
        first = {row["correction_sequence"]: row for row in found}
    standings = []
    for row in rows:
        named = first.get(row["sequence"])
        content = Content(
            row["type"], row["subject"], row["micros"], row["value"], tuple(map(tuple, row["properties"]))
        )
        standings.append(
            Standing(
                row["source"],
                named["event_id"] if named else row["id"],
                named["event_identity"] if named else row["identity"],
                content,
                row["sequence"],
                row["ingested_micros"],
            )
        )
    return standings


def find_backfill(store: EventStore, backfill_id: str) -> StoredBackfill | None:
    """The backfill of that id that came into force, if one did."""
    found = list_backfills(store, limit=1, backfill_id=backfill_id)
    return found[0] if found else None


def list_backfills(
    store: EventStore,
    *,
    limit: int,
    backfill_id: str | None = None,
    type: str | None = None,  # noqa: A002 - the event's own field name
    after: tuple[int, str] | None = None,
) -> list[StoredBackfill]:
    """Backfills that came into force, latest first. after: (made_at in microseconds, backfill_id)."""
    where = Where([DID_HAPPEN_SQL])
    where.add("backfill_id = {backfill_id:String}", backfill_id=backfill_id)
    where.add("type = {type:String}", type=type)
    if after is not None:
        where.add(
            f"(made_at, backfill_id) < ({instant_sql('after_time')}, {{after_id:String}})",
            after_time=after[0],
            after_id=after[1],
        )
    instants = ("time_from", "time_to", "made_at")
    columns = [
        f"toUnixTimestamp64Micro({name}) AS {name}_micros" if name in instants else name
        for name in BACKFILL_SCHEMA.names
        if name != "type"
    ]
    rows = store.query(
        f"SELECT toString(type) AS type, {', '.join(columns)} FROM backfills WHERE {where.sql()} "
        "ORDER BY made_at DESC, backfill_id DESC LIMIT {limit:UInt64}",
        {**where.parameters, "limit": limit},
    ).to_pylist()
    undone = store.query(
        f"SELECT undoes, backfill_id FROM backfills WHERE undoes != '' AND {DID_HAPPEN_SQL} ORDER BY made_at"
    ).to_pylist()
    undone_by = {row["undoes"]: row["backfill_id"] for row in undone}
    for row in rows:
        row |= {name: from_micros(row.pop(f"{name}_micros")) for name in instants}
        row["subjects"] = tuple(row["subjects"])
        row["undone_by"] = undone_by.get(row["backfill_id"], "")
    return [StoredBackfill(**row) for row in rows]
