"""Which version of each event counts: the one rule that every total reads by.

A row of ``events`` is in force when no correction has superseded it, and, if it replaces another row,
when the correction that wrote it is on record. A correction is on record from the moment its row of
``superseded_events`` is there, so its original and its replacement change places in one step.

A cut pins that moment: corrections up to a number, and optionally all that was known at an instant.
Queries that share a cut see the same versions, whatever arrives while they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.event import TIMESTAMP

IN_FORCE_SQL: Final = (
    "sequence NOT IN (SELECT sequence FROM superseded_events) "
    "AND (replaces = 0 OR sequence IN (SELECT correction_sequence FROM superseded_events))"
)
"""Rows of ``events`` in force now, for lists; totals take a cut."""

ON_RECORD_SQL: Final = (
    "(replaces = 0 OR sequence IN (SELECT correction_sequence FROM superseded_events "
    "WHERE kind IN ('amend', 'insert')))"
)
"""Rows of ``events`` that are or were in force: all but replacements whose correction a crash cut off."""

SENT_SQL: Final = (
    "(replaces = 0 OR sequence IN (SELECT correction_sequence FROM superseded_events WHERE kind = 'insert'))"
)
"""Rows of ``events`` as they were sent, by backfills too: one for each identity of an event."""


def ended_sql(where: str = "1") -> str:
    """The sequences of versions that left and nothing took their place: cancelled, or withdrawn by a
    backfill and not put back. where: a condition on ``superseded_events``."""
    return (
        f"SELECT sequence FROM superseded_events WHERE kind IN ('cancel', 'withdraw') AND {where} "
        f"AND sequence NOT IN (SELECT sequence FROM superseded_events WHERE kind = 'amend' AND {where})"
    )


TOUCHED_SCHEMA: Final = pa.schema(
    [
        pa.field("type", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("time", TIMESTAMP, nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class EventCut:
    """What the store knew at one moment.

    correction_sequence: the last correction that applies; 0 when there is none.
    corrected_types: event types that have a correction in this cut.
    known_at_micros: only events and corrections that came in up to this instant, it included; None
        for all.
    """

    correction_sequence: int
    corrected_types: frozenset[str]
    known_at_micros: int | None


def read_cut(store: EventStore, *, known_at: datetime | None) -> EventCut:
    """The cut of this moment, or of the instant ``known_at``.

    The cut of an instant that has passed never changes: a correction is dated when it is taken in,
    and never before the version it corrects.
    """
    micros = None if known_at is None else to_micros(known_at)
    until = "" if micros is None else f" WHERE corrected_at <= {_instant(micros)}"
    found = store.query(
        "SELECT max(correction_sequence) AS last, groupUniqArray(toString(type)) AS types "
        f"FROM superseded_events{until}"
    ).to_pylist()[0]
    return EventCut(int(found["last"]), frozenset(found["types"]), micros)


def in_force_sql(cut: EventCut, *, event_types: Sequence[str], types_sql: str, table: str = "") -> list[str]:
    """Conditions on rows of ``events`` of those types: that they are in force in the cut.

    types_sql: the list ``event_types`` as the query names it, usually a parameter. table: alias of
    ``events`` with a dot, if it has one. Types without a correction are not asked row by row.
    """
    known = []
    if cut.known_at_micros is not None:
        known.append(f"{table}ingested_at <= {_instant(cut.known_at_micros)}")
    if cut.corrected_types.isdisjoint(event_types):
        return [f"{table}replaces = 0", *known]
    where = f"type IN ({types_sql}) AND correction_sequence <= {cut.correction_sequence:d}"
    if cut.known_at_micros is not None:
        where += f" AND corrected_at <= {_instant(cut.known_at_micros)}"
    superseded = f"SELECT sequence FROM superseded_events WHERE {where}"
    corrected = f"SELECT correction_sequence FROM superseded_events WHERE {where}"
    return [
        f"{table}sequence NOT IN ({superseded})",
        f"({table}replaces = 0 OR {table}sequence IN ({corrected}))",
        *known,
    ]


def touched_by_corrections(store: EventStore, *, after: int, up_to: int) -> pa.Table:
    """Where corrections numbered in (after, up_to] changed what counts, as TOUCHED_SCHEMA, each place
    once: the time of the version that left and the time of the one that came instead.

    after, up_to: ``correction_sequence`` of two cuts. Whatever was derived for other types, subjects
    or times is still right.
    """
    found = store.query(
        "SELECT DISTINCT toString(type) AS type, toString(subject) AS subject, "
        "arrayJoin(arrayFilter(one -> isNotNull(one), [toNullable(time), replacement_time])) AS touched "
        "FROM superseded_events "
        "WHERE correction_sequence > {after:UInt64} AND correction_sequence <= {up_to:UInt64} "
        "ORDER BY type, subject, touched",
        {"after": after, "up_to": up_to},
    )
    return found.rename_columns(TOUCHED_SCHEMA.names).cast(TOUCHED_SCHEMA)


def _instant(micros: int) -> str:
    return f"fromUnixTimestamp64Micro(toInt64({micros:d}), 'UTC')"
