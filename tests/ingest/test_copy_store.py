"""Goal: a copied event store is the same store: same rows, same identities, and going on where it was."""

from __future__ import annotations

import pytest

import ingest.copy_store
from ingest.clickhouse import EventStore
from ingest.copy_store import COPIED_TABLES, DERIVED_TABLES, copy_event_store
from ingest.errors import BrokenState, Conflict
from tests.conftest import EMPTIED_TABLES
from tests.ingest.support import context, counts, event, ndjson, send


def tables(store: EventStore) -> set[str]:
    sql = "SELECT name FROM system.tables WHERE database = currentDatabase()"
    return {name for name in store.query(sql)["name"].to_pylist() if not name.endswith("_probe")}


@pytest.fixture
def source(embedded_events: EventStore, monkeypatch: pytest.MonkeyPatch) -> EventStore:
    """A store with 25 events, of which one has no value, refused records, in parts of 10 rows."""
    monkeypatch.setattr(ingest.copy_store, "ROWS_PER_PART", 10)
    for table in EMPTIED_TABLES:
        embedded_events.command(f"TRUNCATE TABLE {table}")
    ready = context(embedded_events)
    send(ready, ndjson(*(event(number) for number in range(24)), event(24, value=...)))
    send(ready, ndjson(event(1, value="9"), "{broken", event(7, type=...)))
    return embedded_events


@pytest.fixture
def target(server_events: EventStore) -> EventStore:
    for table in (*EMPTIED_TABLES, "store_facts"):
        server_events.command(f"TRUNCATE TABLE {table}")
    return server_events


def copy(source: EventStore, target: EventStore) -> dict[str, tuple[int, int, int]]:
    """Rows, parts and copied parts of every table that had any."""
    done = copy_event_store(source, target, progress=lambda *_: None)
    return {one.table: (one.rows, one.parts, one.copied) for one in done if one.rows}


def test_every_table_is_copied_or_derived(server_events: EventStore) -> None:
    assert tables(server_events) == {*COPIED_TABLES, *DERIVED_TABLES, "schema_migrations"}


def test_a_copy_is_the_same_store(source: EventStore, target: EventStore) -> None:
    assert copy(source, target) == {
        "store_facts": (1, 1, 1),
        "refused_events": (3, 1, 1),
        "events": (25, 3, 3),
    }
    for table in COPIED_TABLES:
        rows = f"SELECT * FROM {table} ORDER BY ALL"
        assert target.query(rows).equals(source.query(rows)), table
    moved = context(target)
    report = send(moved, ndjson(event(3), event(3, value="8"), event(100)))
    assert counts(report) == (1, 1, 1, 0)
    assert moved.gate.next_sequence == 27


def test_a_second_copy_copies_nothing(source: EventStore, target: EventStore) -> None:
    copy(source, target)
    assert {copied for _, _, copied in copy(source, target).values()} == {0}


def test_a_copy_goes_on_where_it_was_stopped(source: EventStore, target: EventStore) -> None:
    class Stopped(Exception):
        pass

    def stop(table: str, done: int, _parts: int) -> None:
        if (table, done) == ("events", 1):
            raise Stopped

    with pytest.raises(Stopped):
        copy_event_store(source, target, progress=stop)
    assert target.command("SELECT count() FROM events") == 10
    assert copy(source, target)["events"] == (25, 3, 2)


def test_a_part_that_is_half_there_is_copied_again(source: EventStore, target: EventStore) -> None:
    copy(source, target)
    target.command("DELETE FROM events WHERE sequence = 13")
    assert copy(source, target)["events"] == (25, 3, 1)
    target.command("INSERT INTO events SELECT * FROM events WHERE sequence = 2")
    assert copy(source, target)["events"] == (25, 3, 1)


def test_another_stores_data_is_left_alone(source: EventStore, target: EventStore) -> None:
    send(context(target), ndjson(event(1)))
    with pytest.raises(Conflict, match="data of its own") as caught:
        copy(source, target)
    assert caught.value.reason_code == "target_in_use"
    assert target.command("SELECT count() FROM events") == 1


def test_rows_beyond_the_source_are_found(source: EventStore, target: EventStore) -> None:
    copy(source, target)
    target.command("INSERT INTO events SELECT * REPLACE (sequence + 1000 AS sequence) FROM events LIMIT 1")
    with pytest.raises(BrokenState, match=r"25 rows at .* and 26 at"):
        copy(source, target)
