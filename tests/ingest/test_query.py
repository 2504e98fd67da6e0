"""Goal: what came in can be found again: by page, by identity, by reason, and what nothing counts."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ingest.clickhouse import EventStore
from ingest.errors import NotFound
from ingest.query import get_event, list_events, list_unmatched
from ingest.refused import list_refused
from tests.ingest.support import NOW, context, event, ndjson, send


def at(day: int) -> str:
    return f"2026-02-{day:02d}T00:00:00Z"


def test_an_event_is_found_by_its_identity(event_store: EventStore) -> None:
    send(context(event_store), ndjson(event(1), event(2, id="it's; DROP TABLE events --")))
    found = get_event(event_store, source="gateway", id="it's; DROP TABLE events --")
    assert (found.sequence, found.value, found.properties) == (2, Decimal("2.5"), {"region": "eu"})
    assert (found.time, found.ingested_at) == (datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), NOW)
    with pytest.raises(NotFound, match="'call-9'"):
        get_event(event_store, source="gateway", id="call-9")


def test_pages_walk_all_events_newest_first(event_store: EventStore) -> None:
    send(context(event_store), ndjson(*(event(number, time=at(1 + number % 3)) for number in range(10))))
    seen: list[tuple[int, int]] = []
    after = None
    while found := list_events(event_store, limit=4, after=after):
        seen += [row.position for row in found]
        after = found[-1].position
    assert len(seen) == 10
    assert seen == sorted(seen, reverse=True)


def test_filters_are_half_open_in_time(event_store: EventStore) -> None:
    send(
        context(event_store),
        ndjson(
            event(1, time=at(1)),
            event(2, time=at(2), subject="b"),
            event(3, time=at(3), type="seat"),
            event(4, time=at(4), source="s"),
        ),
    )
    first, last = datetime(2026, 2, 2, tzinfo=UTC), datetime(2026, 2, 4, tzinfo=UTC)
    found = list_events(event_store, limit=9, time_from=first, time_to=last)
    assert [row.id for row in found] == ["call-3", "call-2"]
    assert [row.id for row in list_events(event_store, limit=9, subject="b")] == ["call-2"]
    assert [row.id for row in list_events(event_store, limit=9, type="seat")] == ["call-3"]
    assert [row.id for row in list_events(event_store, limit=9, source="s")] == ["call-4"]


def test_refused_records_are_listed_with_their_reason(event_store: EventStore) -> None:
    ingest = context(event_store)
    first = send(ingest, ndjson("broken", event(1), event(1, value="9")))
    second = send(ingest, ndjson(*["broken"] * 5))
    by_reason = list_refused(event_store, limit=9, reason_code="identity_conflict")
    assert [(row.batch_id, row.line, row.outcome) for row in by_reason] == [(first.batch_id, 3, "conflict")]
    assert by_reason[0].refused_at == NOW
    seen = []
    after = None
    while found := list_refused(event_store, limit=2, batch_id=second.batch_id, after=after):
        seen += [row.line for row in found]
        after = found[-1].position
    assert seen == [5, 4, 3, 2, 1]
    assert len(list_refused(event_store, limit=9, outcome="rejected")) == 6


def test_events_nothing_counts_are_named(event_store: EventStore) -> None:
    send(
        context(event_store),
        ndjson(
            event(1),
            event(2, subject="ghost", time=at(2)),
            event(3, subject="ghost", time=at(1)),
            event(4, type="odd"),
        ),
    )
    found = list_unmatched(event_store, known_types=["api.call"], known_subjects=["acme"], limit=9)
    assert [(row.type, row.subject, row.event_count, row.example_id) for row in found] == [
        ("api.call", "ghost", 2, "call-3"),
        ("odd", "acme", 1, "call-4"),
    ]
    assert [(row.type_known, row.subject_known) for row in found] == [(True, False), (False, True)]
    assert found[0].first_time == datetime(2026, 2, 1, tzinfo=UTC)
    assert len(list_unmatched(event_store, known_types=[], known_subjects=[], limit=9)) == 3
