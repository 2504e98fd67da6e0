"""What became of an event: as it was sent, as it counts now, and every correction with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ingest.clickhouse import EventStore
from ingest.clock import from_micros
from ingest.query import StoredEvent, Where, event_not_found, find_events

_CORRECTION_COLUMNS: Final = (
    "toString(source) AS source, correction_id AS id, toString(kind) AS kind, event_id AS corrects, reason, "
    "toString(type) AS type, toString(subject) AS subject, correction_sequence AS sequence, "
    "toUnixTimestamp64Micro(corrected_at) AS corrected_micros, toString(batch_id) AS batch_id"
)


@dataclass(frozen=True, slots=True)
class StoredCorrection:
    """A correction in force. ``corrects``: id of the event; type, subject: of the event. ``sequence``: its
    place in the order of arrival of events and corrections, and where ``list_corrections`` goes on."""

    source: str
    id: str
    kind: str
    corrects: str
    reason: str
    type: str
    subject: str
    sequence: int
    corrected_at: datetime
    batch_id: str


@dataclass(frozen=True, slots=True)
class EventHistory:
    """sent: the event as it came in. in_force: the version that counts, None when it is cancelled.
    corrections: oldest first. versions: what each amendment made of it, oldest first."""

    sent: StoredEvent
    in_force: StoredEvent | None
    corrections: tuple[StoredCorrection, ...]
    versions: tuple[StoredEvent, ...]


def event_history(store: EventStore, *, source: str, id: str) -> EventHistory:  # noqa: A002
    """The history of that event; ``id`` may also be that of one of its corrections. Raises NotFound."""
    where = Where()
    where.add("source = {source:String}", source=source)
    where.add("(event_id = {id:String} OR correction_id = {id:String})", id=id)
    named = _corrections(store, where, "correction_sequence LIMIT 1")
    event_id = named[0].corrects if named else id
    where = Where()
    where.add("source = {source:String}", source=source)
    where.add("event_id = {event_id:String}", event_id=event_id)
    corrections = _corrections(store, where, "correction_sequence") if named else []
    ids = [event_id, *(one.id for one in corrections if one.kind == "amend")]
    events = find_events(store, source=source, ids=ids)
    if not events:
        raise event_not_found(source, id)
    events.sort(key=lambda event: event.sequence)
    last = events[-1]
    return EventHistory(
        sent=events[0],
        in_force=last if last.state == "in_force" else None,
        corrections=tuple(corrections),
        versions=tuple(events[1:]),
    )


def list_corrections(
    store: EventStore,
    *,
    limit: int,
    source: str | None = None,
    kind: str | None = None,
    subject: str | None = None,
    after: int | None = None,
) -> list[StoredCorrection]:
    """Corrections, latest first; at most ``limit``. after: ``sequence`` of the last of the page before."""
    where = Where()
    where.add("source = {source:String}", source=source)
    where.add("kind = {kind:String}", kind=kind)
    where.add("subject = {subject:String}", subject=subject)
    where.add("correction_sequence < {after:UInt64}", after=after)
    return _corrections(store, where, f"correction_sequence DESC LIMIT {limit:d}")


def _corrections(store: EventStore, where: Where, order: str) -> list[StoredCorrection]:
    rows: list[dict[str, Any]] = store.query(
        f"SELECT {_CORRECTION_COLUMNS} FROM superseded_events WHERE {where.sql()} ORDER BY {order}",
        where.parameters,
    ).to_pylist()
    return [StoredCorrection(corrected_at=from_micros(row.pop("corrected_micros")), **row) for row in rows]
