"""Small builders for this room's tests: events straight into the store, calendars, readable rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.event import STORED_EVENT_SCHEMA
from ingest.meter import Meter
from rollup.calendar import check_calendar
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_reading import StoredAnswer
from rollup.stored_usage import StoredUsage

INGESTED_AT = datetime(2030, 1, 1, tzinfo=UTC)


def stored_answer(stored: StoredUsage, periods: pa.Table, meters: Sequence[Meter]) -> StoredAnswer:
    """What stored usage knows of a calendar."""
    return stored.read(calendar=periods, facts=check_calendar(periods), meters=meters)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as tests write it. ``sequence`` is its place in the list given to ``add_events``."""

    type: str
    subject: str
    time: datetime
    value: Decimal | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


def at(text: str) -> datetime:
    """``2025-01-01`` or ``2025-01-01 12:30`` as an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def event(type_: str, subject: str, time: str, value: str | None = None, **properties: str) -> Event:
    """One event; ``value`` is a decimal in text, or None."""
    return Event(type_, subject, at(time), None if value is None else Decimal(value), properties)


def add_events(store: EventStore, events: Iterable[Event], *, first_sequence: int = 1) -> None:
    """Insert events as the loader would."""
    rows = stored_events(events, first_sequence=first_sequence)
    if rows.num_rows:
        store.insert("events", rows)


def stored_events(events: Iterable[Event], *, first_sequence: int = 1) -> pa.Table:
    """STORED_EVENT_SCHEMA rows; ids are ``e1``, ``e2`` ... by arrival."""
    rows = []
    for sequence, one in enumerate(events, start=first_sequence):
        key = f"e{sequence}"
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        rows.append(
            {
                "source": "test",
                "id": key,
                "type": one.type,
                "subject": one.subject,
                "time": one.time,
                "value": one.value,
                "properties": sorted(one.properties.items()),
                "identity": digest,
                "body_hash": int.from_bytes(digest[:8], "little"),
                "sequence": sequence,
                "ingested_at": INGESTED_AT,
                "batch_id": "batch-1",
            }
        )
    return pa.Table.from_pylist(rows, schema=STORED_EVENT_SCHEMA)


def calendar(*rows: tuple[int, str, str, str]) -> pa.Table:
    """CALENDAR_SCHEMA rows from (period_key, subject, period_start, period_end) in text."""
    return pa.Table.from_pylist(
        [
            {"period_key": key, "subject": subject, "period_start": at(start), "period_end": at(end)}
            for key, subject, start, end in rows
        ],
        schema=CALENDAR_SCHEMA,
    )


def meter(meter_id: str, event_type: str, aggregation: str, **more: Any) -> Meter:
    """A meter document with the rest at its defaults."""
    return Meter.model_validate(
        {"meter_id": meter_id, "event_type": event_type, "aggregation": aggregation, **more}
    )


def shown(usage: pa.Table) -> list[tuple[int, str, dict[str, str], str, int]]:
    """Usage rows as (period_key, meter_id, dimensions, quantity in text, event_count)."""
    return [
        (
            row["period_key"],
            row["meter_id"],
            dict(row["dimensions"]),
            f"{row['quantity'].normalize():f}",
            row["event_count"],
        )
        for row in usage.to_pylist()
    ]
