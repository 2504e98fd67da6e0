"""Questions about what came in: events, and events that nothing counts.

Lists are newest first, a page at a time: ``after`` is the position of the last row of the page
before. Everything that people chose travels as a query parameter, never as SQL text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.errors import NotFound
from ingest.in_force import IN_FORCE_SQL, ON_RECORD_SQL, SENT_SQL, ended_sql
from ingest.refusal import shown

_EVENT_COLUMNS: Final = (
    "source, id, type, subject, toUnixTimestamp64Micro(time) AS micros, value, properties, sequence, "
    "toUnixTimestamp64Micro(ingested_at) AS ingested_micros, batch_id, "
    "multiIf(sequence NOT IN (SELECT sequence FROM superseded_events), 'in_force', "
    f"sequence IN ({ended_sql()}), 'cancelled', 'amended') "
    "AS state"
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An accepted event as it is on record, or the version of one that an amendment made; that has the id
    of the amendment. ``position`` goes into ``after`` of ``list_events``.

    state: ``in_force``, or why it counts no more: ``amended`` or ``cancelled``.
    """

    source: str
    id: str
    type: str
    subject: str
    time: datetime
    value: Decimal | None
    properties: dict[str, str]
    sequence: int
    ingested_at: datetime
    batch_id: str
    state: str

    @property
    def position(self) -> tuple[int, int]:
        return to_micros(self.time), self.sequence


@dataclass(frozen=True, slots=True)
class UnmatchedUsage:
    """Events of one type and subject that no meter or no contract counts, with the earliest of them."""

    type: str
    subject: str
    type_known: bool
    subject_known: bool
    event_count: int
    first_time: datetime
    last_time: datetime
    example_source: str
    example_id: str


@dataclass(slots=True)
class Where:
    """The conditions of a question and the parameters they name."""

    conditions: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: str, **parameters: Any) -> None:
        """Add a condition unless one of its parameters is None."""
        if None not in parameters.values():
            self.conditions.append(condition)
            self.parameters.update(parameters)

    def sql(self) -> str:
        return " AND ".join(self.conditions) or "1"


def list_events(
    store: EventStore,
    *,
    limit: int,
    subject: str | None = None,
    type: str | None = None,  # noqa: A002 - the event's own field name
    source: str | None = None,
    time_from: datetime | None = None,
    time_to: datetime | None = None,
    state: str | None = None,
    after: tuple[int, int] | None = None,
    id: str | None = None,  # noqa: A002 - the event's own field name
    ingested_from: datetime | None = None,
    ingested_to: datetime | None = None,
    as_sent: bool = False,
) -> list[StoredEvent]:
    """Events in [time_from, time_to), latest time first, ties by arrival; at most ``limit``. An amended
    event and the version made of it are two of them. ingested_from, ingested_to: when they came in,
    half-open. as_sent: only events as they were sent, not what corrections made of them."""
    where = Where([SENT_SQL if as_sent else ON_RECORD_SQL])
    where.add("id = {id:String}", id=id)
    came = {"ingested_from": ingested_from, "ingested_to": ingested_to}
    for name, instant in came.items():
        compared = ">=" if name == "ingested_from" else "<"
        micros = None if instant is None else to_micros(instant)
        where.add(f"ingested_at {compared} {instant_sql(name)}", **{name: micros})
    where.add("state = {state:String}", state=state)
    where.add("type = {type:String}", type=type)
    where.add("subject = {subject:String}", subject=subject)
    where.add("source = {source:String}", source=source)
    where.add(f"time >= {instant_sql('time_from')}", time_from=to_micros(time_from) if time_from else None)
    where.add(f"time < {instant_sql('time_to')}", time_to=to_micros(time_to) if time_to else None)
    if after is not None:
        where.add(
            f"(time, sequence) < ({instant_sql('after_time')}, {{after_sequence:UInt64}})",
            after_time=after[0],
            after_sequence=after[1],
        )
    table = store.query(
        f"SELECT {_EVENT_COLUMNS} FROM events WHERE {where.sql()} "
        "ORDER BY time DESC, sequence DESC LIMIT {limit:UInt64}",
        {**where.parameters, "limit": limit},
    )
    return [_event(row) for row in table.to_pylist()]


def get_event(store: EventStore, *, source: str, id: str) -> StoredEvent:  # noqa: A002
    """The event of that identity. Raises NotFound."""
    found = find_events(store, source=source, ids=[id])
    if not found:
        raise event_not_found(source, id)
    return found[0]


def find_events(store: EventStore, *, source: str, ids: Sequence[str]) -> list[StoredEvent]:
    """The events of those identities that are on record."""
    table = store.query(
        f"SELECT {_EVENT_COLUMNS} FROM events "
        f"WHERE source = {{source:String}} AND id IN ({{ids:Array(String)}}) AND {ON_RECORD_SQL}",
        {"source": source, "ids": list(ids)},
    )
    return [_event(row) for row in table.to_pylist()]


def event_not_found(source: str, id: str) -> NotFound:  # noqa: A002
    """The error for an identity that is not on record."""
    return NotFound(
        f"there is no event with source {shown(source)} and id {shown(id)}. If it was sent, the list of "
        "refused records says why it was not taken."
    )


def list_unmatched(
    store: EventStore, *, known_types: Iterable[str], known_subjects: Iterable[str], limit: int
) -> list[UnmatchedUsage]:
    """Events in force that nothing bills: of a type no meter counts or a subject no contract has.

    The most numerous first; at most ``limit`` pairs of type and subject.
    """
    with (
        store.scratch_table("name String", _names(known_types)) as types,
        store.scratch_table("name String", _names(known_subjects)) as subjects,
    ):
        table = store.query(
            f"SELECT toString(type) AS type, toString(subject) AS subject, "
            f"type IN (SELECT name FROM {types}) AS type_known, "
            f"subject IN (SELECT name FROM {subjects}) AS subject_known, "
            "count() AS event_count, toUnixTimestamp64Micro(min(time)) AS first_micros, "
            "toUnixTimestamp64Micro(max(time)) AS last_micros, "
            "toString(argMin(source, (time, sequence))) AS example_source, "
            "argMin(id, (time, sequence)) AS example_id "
            "FROM events WHERE NOT (type_known AND subject_known) "
            f"AND {IN_FORCE_SQL} "
            "GROUP BY type, subject ORDER BY event_count DESC, type, subject LIMIT {limit:UInt64}",
            {"limit": limit},
        )
    return [
        UnmatchedUsage(
            type=row["type"],
            subject=row["subject"],
            type_known=bool(row["type_known"]),
            subject_known=bool(row["subject_known"]),
            event_count=row["event_count"],
            first_time=from_micros(row["first_micros"]),
            last_time=from_micros(row["last_micros"]),
            example_source=row["example_source"],
            example_id=row["example_id"],
        )
        for row in table.to_pylist()
    ]


def _names(names: Iterable[str]) -> pa.Table:
    return pa.table({"name": pa.array(sorted(set(names)), pa.string())})


def instant_sql(parameter: str) -> str:
    """The instant that a parameter gives as microseconds."""
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"


def _event(row: dict[str, Any]) -> StoredEvent:
    return StoredEvent(
        source=row["source"],
        id=row["id"],
        type=row["type"],
        subject=row["subject"],
        time=from_micros(row["micros"]),
        value=row["value"],
        properties=dict(row["properties"]),
        sequence=row["sequence"],
        ingested_at=from_micros(row["ingested_micros"]),
        batch_id=row["batch_id"],
        state=row["state"],
    )
