"""Goal: a full count from events finds every figure of stored usage that is wrong, and no right one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest.clickhouse import EventStore
from rollup.stored_usage import StoredUsage
from rollup.verify import verify_stored_usage

from .support import add_events, calendar, event, meter

JANUARY = ("2025-01-01", "2025-02-01")
METERS = [
    meter("minutes", "call", "sum"),
    meter("longest", "call", "max"),
    meter("last", "call", "latest"),
    meter("cities", "call", "unique_count", unique_property="city"),
    meter("by-city", "call", "count", group_by=["city"]),
]


def kept(store: EventStore) -> StoredUsage:
    stored = StoredUsage(store)
    add_events(store, [event("call", "acme", "2025-01-03", "2", city="Ulm")])
    stored.refresh(calendar=calendar((1, "acme", *JANUARY), (2, "idle", *JANUARY)), meters=METERS)
    more = [
        event("call", "acme", "2025-01-04", "7", city="Bonn"),
        event("call", "acme", "2025-01-02", "5", city="Ulm"),
    ]
    add_events(store, more, first_sequence=2)
    return stored


def test_what_was_added_up_in_steps_is_what_a_full_count_says(event_store: EventStore) -> None:
    found = verify_stored_usage(kept(event_store))
    assert (found.sequence, found.periods, found.rows, found.differences) == (3, 2, 6, 0)


def test_an_empty_store_is_right(event_store: EventStore) -> None:
    assert verify_stored_usage(StoredUsage(event_store)).rows == 0


@pytest.mark.parametrize(
    ("damage", "meter_id", "field", "stored", "counted"),
    [
        ("total = total + 1", "minutes", "total_sum", "15.000000000000", "14.000000000000"),
        ("highest = 8", "longest", "highest_value", "8.000000000000", "7.000000000000"),
        ("event_count = 4", "cities", "events", "4", "3"),
    ],
)
def test_a_wrong_figure_is_found_and_named(
    event_store: EventStore, damage: str, meter_id: str, field: str, stored: str, counted: str
) -> None:
    usage = kept(event_store)
    usage.catch_up()
    event_store.command("OPTIMIZE TABLE usage_rollups FINAL")
    number = [one.meter_id for one in METERS].index(meter_id) + 1
    event_store.command(
        f"ALTER TABLE usage_rollups UPDATE {damage} WHERE meter_number = {number} SETTINGS mutations_sync = 2"
    )
    found = verify_stored_usage(usage)
    assert found.differences == 1
    (wrong,) = found.shown
    assert (wrong.meter_id, wrong.subject, wrong.field) == (meter_id, "acme", field)
    assert (wrong.stored, wrong.counted) == (stored, counted)
    assert wrong.period_start == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_row_that_is_missing_is_found_with_its_dimensions(event_store: EventStore) -> None:
    usage = kept(event_store)
    usage.catch_up()
    event_store.command("DELETE FROM usage_rollups WHERE has(dimensions, 'Bonn')")
    (wrong,) = verify_stored_usage(usage).shown
    assert (wrong.meter_id, wrong.dimensions, wrong.stored) == ("by-city", {"city": "Bonn"}, "")
