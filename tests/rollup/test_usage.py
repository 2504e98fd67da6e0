"""Goal: live usage in windows adds up to the whole, follows local clocks, and is there at once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.errors import InvalidInput
from rollup.usage import (
    LIVE_UNUSABLE_SCHEMA,
    LIVE_USAGE_SCHEMA,
    LiveUsage,
    Window,
    query_usage,
    window_edges,
)

from .support import add_events, at, event, meter

CALLS = meter("minutes", "call", "sum")


def ask(store: EventStore, **more: object) -> LiveUsage:
    question: dict[str, object] = {
        "meter": CALLS,
        "subject": "acme",
        "time_from": at("2025-03-30"),
        "time_to": at("2025-04-01"),
        "window": "day",
        "time_zone": "UTC",
        "group_by": None,
    }
    return query_usage(store, **(question | more))  # type: ignore[arg-type]


def rows(found: LiveUsage) -> list[tuple[str, str, int]]:
    return [
        (f"{row['window_start']:%m-%d %H:%M}", f"{row['quantity'].normalize():f}", row["event_count"])
        for row in found.usage.to_pylist()
    ]


def send(store: EventStore) -> None:
    add_events(
        store,
        [
            event("call", "acme", "2025-03-30 00:30", "1", region="eu"),
            event("call", "acme", "2025-03-30 23:30", "2", region="us"),
            event("call", "acme", "2025-03-31 00:30", "4", region="eu"),
            event("call", "other", "2025-03-31 01:30", "8", region="eu"),
            event("call", "acme", "2025-03-31 02:00", None),
        ],
    )


@pytest.mark.requirement("MET-01")
def test_days_of_one_customer(event_store: EventStore) -> None:
    send(event_store)
    found = ask(event_store)
    assert rows(found) == [("03-30 00:00", "3", 2), ("03-31 00:00", "4", 1)]
    assert found.usage.schema.equals(LIVE_USAGE_SCHEMA)
    assert found.unusable.schema.equals(LIVE_UNUSABLE_SCHEMA)
    assert [
        (row["event_count"], row["example_id"], row["reason_code"]) for row in found.unusable.to_pylist()
    ] == [(1, "e5", "value_missing")]
    add_events(event_store, [event("call", "acme", "2025-03-31 23:59", "16")], first_sequence=6)
    assert rows(ask(event_store)) == [("03-30 00:00", "3", 2), ("03-31 00:00", "20", 2)]


def test_days_follow_the_local_clock(event_store: EventStore) -> None:
    """In Berlin the 30th of March 2025 has 23 hours and starts at 23:00 UTC; 23:30 UTC is the 31st."""
    send(event_store)
    assert rows(ask(event_store, time_zone="Europe/Berlin")) == [
        ("03-30 00:00", "1", 1),
        ("03-30 22:00", "6", 2),
    ]


def test_hours_months_one_window_and_everyone(event_store: EventStore) -> None:
    send(event_store)
    assert rows(ask(event_store, window="hour")) == [
        ("03-30 00:00", "1", 1),
        ("03-30 23:00", "2", 1),
        ("03-31 00:00", "4", 1),
    ]
    assert rows(ask(event_store, window="month")) == [("03-30 00:00", "7", 3)]
    assert rows(ask(event_store, window=None, subject=None)) == [("03-30 00:00", "15", 4)]
    assert rows(ask(event_store, subject="nobody")) == []


def test_group_by_of_the_question_replaces_the_meters(event_store: EventStore) -> None:
    send(event_store)
    found = ask(event_store, window=None, subject=None, group_by=["region"])
    assert [(dict(row["dimensions"]), row["quantity"]) for row in found.usage.to_pylist()] == [
        ({"region": "eu"}, Decimal(13)),
        ({"region": "us"}, Decimal(2)),
    ]


def test_levels_of_everyone_include_those_set_before(event_store: EventStore) -> None:
    add_events(
        event_store,
        [event("seats", "acme", "2025-01-01", "3"), event("seats", "other", "2025-03-31 12:00", "4")],
    )
    seats = meter("seats", "seats", "time_weighted", reading="average")
    assert rows(ask(event_store, meter=seats, subject=None)) == [
        ("03-30 00:00", "3", 0),
        ("03-31 00:00", "5", 1),
    ]


@settings(max_examples=150)
@given(
    start=st.datetimes(
        min_value=at("2000-01-01").replace(tzinfo=None), max_value=at("2035-01-01").replace(tzinfo=None)
    ),
    length=st.integers(1, 60 * 86_400_000_000),
    window=st.sampled_from(("minute", "hour", "day", "month", None)),
    time_zone=st.sampled_from(
        ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo")
    ),
)
def test_windows_tile_the_time_asked(
    start: object, length: int, window: Window | None, time_zone: str
) -> None:
    first = to_micros(at(str(start)))
    length = min(length, 86_400_000_000) if window == "minute" else length
    edges = window_edges(
        time_from=from_micros(first), time_to=from_micros(first + length), window=window, time_zone=time_zone
    )
    assert edges[0] == first
    assert edges[-1] == first + length
    assert (edges[1:] > edges[:-1]).all()
    longest = {"minute": 60, "hour": 3600, "day": 25 * 3600, "month": 32 * 86_400, None: 10**9}[window]
    assert ((edges[1:] - edges[:-1]) <= longest * 1_000_000).all()


@pytest.mark.parametrize(
    ("wrong", "reason_code"),
    [
        ({"time_to": at("2025-03-30")}, "empty_period"),
        ({"time_zone": "Berlin"}, "unknown_time_zone"),
        ({"window": "week"}, "unknown_window"),
        ({"window": "hour", "time_to": at("2035-01-01")}, "too_many_windows"),
        ({"window": "minute", "time_to": at("2025-06-01")}, "too_many_windows"),
    ],
)
def test_a_wrong_question_is_refused(
    event_store: EventStore, wrong: dict[str, object], reason_code: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(event_store, **wrong)
    assert caught.value.reason_code == reason_code
