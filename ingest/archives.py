"""Which events are in files and not in the store any more: what every count of the past has to ask first.

Archived time of a type is the time before an instant in which events of that type were moved away. Nobody
counts events of it: an answer would be too small without a word. What was added up before stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.errors import Conflict
from ingest.event import TIMESTAMP

TIME_IS_ARCHIVED: Final = "time_is_archived"
ARCHIVED, REMOVED, RESTORING, RESTORED = "archived", "removed", "restoring", "restored"

ARCHIVE_SCHEMA: Final = pa.schema(
    [
        pa.field("archive_id", pa.string(), nullable=False),
        pa.field("step", pa.uint32(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("time_before", TIMESTAMP, nullable=False),
        pa.field("types", pa.list_(pa.string()), nullable=False),
        pa.field("event_count", pa.uint64(), nullable=False),
        pa.field("manifest_hash", pa.string(), nullable=False),
        pa.field("made_at", TIMESTAMP, nullable=False),
    ]
)
"""Rows of ``archives``; the migration says what they mean."""

IN_EFFECT_SQL: Final = (
    f"SELECT archive_id FROM archives GROUP BY archive_id HAVING argMax(state, step) != '{RESTORED}'"
)


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """An archive as its last step left it. event_count: events and versions of events in its files."""

    archive_id: str
    step: int
    state: str
    folder: str
    time_before: datetime
    types: tuple[str, ...]
    event_count: int
    manifest_hash: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class ArchivedTime:
    """before: of each type with archived events, microseconds; before it nothing may be counted."""

    before: Mapping[str, int]

    @property
    def latest(self) -> int:
        """Before it some type is archived; 0 when nothing is."""
        return max(self.before.values(), default=0)

    def reaches(self, event_type: str, start_micros: int) -> bool:
        """Whether events of the type from that instant on are partly archived."""
        return start_micros < self.before.get(event_type, start_micros)

    def refuse(self, event_type: str, start_micros: int) -> None:
        """Raise Conflict when events of the type from that instant on are partly archived."""
        if self.reaches(event_type, start_micros):
            before = from_micros(self.before[event_type]).isoformat().replace("+00:00", "Z")
            raise Conflict(
                f"events of type {event_type!r} before {before} are archived, so this time cannot be "
                "counted. Ask "
                f"for time from {before} on, or put the events back: `ratemill events archives` names the "
                "folders, `ratemill events restore FOLDER` does it.",
                reason_code=TIME_IS_ARCHIVED,
            )


def list_archives(store: EventStore) -> list[StoredArchive]:
    """Every archive in its last state, latest first."""
    rows = store.query(
        "SELECT archive_id, max(step) AS last_step, argMax(toString(state), step) AS state, "
        "argMax(folder, step) AS folder, toUnixTimestamp64Micro(argMax(time_before, step)) AS before_micros, "
        "argMax(types, step) AS types, argMax(event_count, step) AS event_count, "
        "argMax(manifest_hash, step) AS manifest_hash, toUnixTimestamp64Micro(min(made_at)) AS made_micros "
        "FROM archives GROUP BY archive_id ORDER BY made_micros DESC, before_micros DESC, archive_id"
    ).to_pylist()
    return [
        StoredArchive(
            archive_id=row["archive_id"],
            step=row["last_step"],
            state=row["state"],
            folder=row["folder"],
            time_before=from_micros(row["before_micros"]),
            types=tuple(row["types"]),
            event_count=row["event_count"],
            manifest_hash=row["manifest_hash"],
            made_at=from_micros(row["made_micros"]),
        )
        for row in rows
    ]


def read_archived(store: EventStore) -> ArchivedTime:
    """Which time of which type is archived now."""
    before: dict[str, int] = {}
    for archive in list_archives(store):
        if archive.state != RESTORED:
            micros = to_micros(archive.time_before)
            for event_type in archive.types:
                before[event_type] = max(micros, before.get(event_type, 0))
    return ArchivedTime(before)


def add_step(store: EventStore, archive: StoredArchive, state: str, *, now: datetime) -> StoredArchive:
    """Take an archive to its next state; on disk when this returns."""
    row = {name: getattr(archive, name) for name in ARCHIVE_SCHEMA.names}
    row |= {"step": archive.step + 1, "state": state, "types": list(archive.types), "made_at": now}
    store.insert("archives", pa.Table.from_pylist([row], schema=ARCHIVE_SCHEMA))
    return next(one for one in list_archives(store) if one.archive_id == archive.archive_id)


def finish_archives(store: EventStore) -> None:
    """Do what a killed process left half done: archived events leave, half restored ones leave again, and
    identities of an archive that never came about are forgotten. Before the gate is read."""
    archives = list_archives(store)
    for archive in archives:
        if archive.state in (ARCHIVED, RESTORING):
            remove_events(store, archive.archive_id)
            add_step(store, archive, REMOVED, now=archive.made_at)
    if store.query("SELECT 1 FROM archived_events LIMIT 1").num_rows:
        stale = f"archive_id NOT IN ({IN_EFFECT_SQL})"
        if store.query(f"SELECT 1 FROM archived_events WHERE {stale} LIMIT 1").num_rows:
            store.delete("archived_events", stale, key="concat(archive_id, '/', toString(sequence))")


def remove_events(store: EventStore, archive_id: str) -> None:
    """Delete the events of an archive from the store; again does nothing."""
    named = f"sequence IN (SELECT sequence FROM archived_events WHERE archive_id = '{archive_id}')"
    if store.query(f"SELECT 1 FROM events WHERE {named} LIMIT 1").num_rows:
        store.delete("events", named, key="toString(sequence)")
