"""Goal: what the store counts is what a person counts by hand, for every aggregation but levels."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA, UNUSABLE_SCHEMA, USAGE_SCHEMA

from .support import add_events, calendar, event, meter, shown

JANUARY = ("2025-01-01", "2025-02-01")


def test_a_month_of_calls_is_summed(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("call", "acme", "2024-12-31 23:59", "100"),
            event("call", "acme", "2025-01-01", "1.5"),
            event("call", "acme", "2025-01-31 23:59", "2.25"),
            event("call", "acme", "2025-02-01", "100"),
            event("call", "other", "2025-01-05", "100"),
        ],
    )
    rolled = roll_up_usage(
        event_store, calendar=calendar((7, "acme", *JANUARY)), meters=[meter("minutes", "call", "sum")]
    )
    assert shown(rolled.usage) == [(7, "minutes", {}, "3.75", 2)]
    assert rolled.usage.schema.equals(USAGE_SCHEMA)
    assert rolled.unusable.schema.equals(UNUSABLE_SCHEMA)
    assert rolled.unusable.num_rows == 0


@pytest.mark.requirement("MET-01")
def test_an_event_is_visible_in_the_current_period_as_soon_as_it_is_stored(event_store: EventStore) -> None:
    periods = calendar((1, "acme", *JANUARY))
    meters = [meter("calls", "call", "count")]
    for number in (1, 2, 3):
        add_events(event_store, [event("call", "acme", "2025-01-15")], first_sequence=number)
        rolled = roll_up_usage(event_store, calendar=periods, meters=meters)
        assert shown(rolled.usage) == [(1, "calls", {}, str(number), number)]


@pytest.mark.requirement("MET-03")
def test_gauge_readings_are_billed_on_max_last_and_average(event_store: EventStore) -> None:
    """Installed licences read by a scanner: 10, 20, 15. Two readings at one instant: the later sent wins."""
    add_events(
        event_store,
        [
            event("installed", "acme", "2025-01-01", "10"),
            event("installed", "acme", "2025-01-11", "20"),
            event("installed", "acme", "2025-01-21", "14"),
            event("installed", "acme", "2025-01-21", "15"),
        ],
    )
    meters = [meter(name, "installed", name) for name in ("max", "min", "latest", "avg")]
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *JANUARY)), meters=meters)
    assert shown(rolled.usage) == [
        (1, "max", {}, "20", 4),
        (1, "min", {}, "10", 4),
        (1, "latest", {}, "15", 4),
        (1, "avg", {}, "14.75", 4),
    ]


def test_rows_stand_by_period_then_meter_as_asked_then_dimensions(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("call", "b", "2025-01-05", "1", region="us"),
            event("call", "b", "2025-01-05", "2", region="eu"),
            event("call", "a", "2025-01-05", "4"),
            event("text", "a", "2025-01-05"),
        ],
    )
    meters = [
        meter("texts", "text", "count"),
        meter("by-region", "call", "sum", group_by=["region"]),
        meter("calls", "call", "count"),
    ]
    rolled = roll_up_usage(
        event_store, calendar=calendar((9, "a", *JANUARY), (2, "b", *JANUARY)), meters=meters
    )
    assert shown(rolled.usage) == [
        (2, "by-region", {"region": "eu"}, "2", 1),
        (2, "by-region", {"region": "us"}, "1", 1),
        (2, "calls", {}, "2", 2),
        (9, "texts", {}, "1", 1),
        (9, "by-region", {"region": ""}, "4", 1),
        (9, "calls", {}, "1", 1),
    ]


def test_subjects_of_one_period_are_counted_as_one(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("login", "office", "2025-01-05", user="ann"),
            event("login", "warehouse", "2025-01-06", user="ann"),
            event("login", "warehouse", "2025-01-06", user="bob"),
        ],
    )
    rolled = roll_up_usage(
        event_store,
        calendar=calendar((1, "office", *JANUARY), (1, "warehouse", *JANUARY)),
        meters=[meter("users", "login", "unique_count", unique_property="user")],
    )
    assert shown(rolled.usage) == [(1, "users", {}, "2", 3)]


def test_consecutive_and_overlapping_periods_of_one_subject(event_store: EventStore) -> None:
    """Months one after another, and a quarter over all of them: an event counts in each it lies in."""
    add_events(event_store, [event("call", "acme", f"2025-0{month}-01", "1") for month in (1, 2, 3, 3, 4)])
    months = [(month, "acme", f"2025-0{month}-01", f"2025-0{month + 1}-01") for month in (1, 2, 3)]
    meters = [meter("calls", "call", "sum")]
    rolled = roll_up_usage(event_store, calendar=calendar(*months), meters=meters)
    assert [row[0:4:3] for row in shown(rolled.usage)] == [(1, "1"), (2, "1"), (3, "2")]
    quarter = (9, "acme", "2025-01-01", "2025-04-01")
    rolled = roll_up_usage(event_store, calendar=calendar(*months, quarter), meters=meters)
    assert [row[0:4:3] for row in shown(rolled.usage)] == [(1, "1"), (2, "1"), (3, "2"), (9, "4")]


def test_what_cannot_be_counted_is_listed_and_never_counted_as_zero(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("call", "acme", "2025-01-02", "5", seats="2"),
            event("call", "acme", "2025-01-03", None, seats="2"),
            event("call", "acme", "2025-01-04", "5"),
            event("call", "acme", "2025-01-05", "5", seats="two"),
            event("call", "acme", "2025-01-06", "0.000000000001", seats="0.5"),
            event("call", "acme", "2025-01-07", "999999999999999", seats="2"),
        ],
    )
    meters = [
        meter("minutes", "call", "sum"),
        meter("seat-minutes", "call", "sum", factors=["value", "properties.seats"]),
        meter("calls", "call", "count"),
    ]
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *JANUARY)), meters=meters)
    assert shown(rolled.usage) == [
        (1, "minutes", {}, "1000000000000014.000000000001", 5),
        (1, "seat-minutes", {}, "10", 1),
        (1, "calls", {}, "6", 6),
    ]
    assert [tuple(row.values()) for row in rolled.unusable.to_pylist()] == [
        (1, "minutes", 1, "test", "e2", "value_missing"),
        (1, "seat-minutes", 1, "test", "e3", "factor_missing"),
        (1, "seat-minutes", 1, "test", "e4", "factor_not_a_number"),
        (1, "seat-minutes", 1, "test", "e6", "product_too_large"),
        (1, "seat-minutes", 1, "test", "e5", "product_too_precise"),
        (1, "seat-minutes", 1, "test", "e2", "value_missing"),
    ]


@pytest.mark.parametrize(
    ("values", "fraction_digits", "expected"),
    [
        (["1", "1", "0"], 12, "0.666666666667"),
        (["-1", "-1", "0"], 12, "-0.666666666667"),
        (["0.000000000001", "0"], 12, "0.000000000001"),
        # 0.4999999999996: rounded to 12 digits first it would become 0.5 and then 1.
        (["0.999999999999", "0.000000000001", "0.499999999999", "0.5", "0.499999999999"], 0, "0"),
        (["0.5"], 0, "1"),
        (["-0.5"], 0, "-1"),
    ],
)
def test_averages_are_rounded_once(
    event_store: EventStore, values: list[str], fraction_digits: int, expected: str
) -> None:
    add_events(event_store, [event("level", "acme", "2025-01-02", value) for value in values])
    meters = [meter("average", "level", "avg", fraction_digits=fraction_digits)]
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *JANUARY)), meters=meters)
    assert shown(rolled.usage) == [(1, "average", {}, expected, len(values))]


def test_nothing_asked_is_nothing_answered(event_store: EventStore) -> None:
    meters = [meter("calls", "call", "count"), meter("s", "seats", "time_weighted", reading="peak")]
    for periods, asked in ((calendar(), meters), (calendar((1, "acme", *JANUARY)), [])):
        rolled = roll_up_usage(event_store, calendar=periods, meters=asked)
        assert rolled.usage.schema.equals(USAGE_SCHEMA)
        assert rolled.usage.num_rows == rolled.unusable.num_rows == 0
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *JANUARY)), meters=meters)
    assert rolled.usage.num_rows == rolled.unusable.num_rows == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(1, "acme", "2025-02-01", "2025-02-01")], "must end after it starts"),
        ([(1, "acme", *JANUARY), (1, "acme", "2025-01-31", "2025-02-03")], "counted twice"),
        ([(1, "acme", *JANUARY), (1, "b", *JANUARY), (1, "acme", *JANUARY)], "'acme' twice in period 1"),
    ],
)
def test_a_calendar_that_contradicts_itself_stops(
    event_store: EventStore, rows: list[tuple[int, str, str, str]], words: str
) -> None:
    with pytest.raises(BrokenState, match=words):
        roll_up_usage(event_store, calendar=calendar(*rows), meters=[meter("calls", "call", "count")])


def test_a_calendar_of_other_columns_or_with_holes_stops(event_store: EventStore) -> None:
    rows = calendar((1, "acme", *JANUARY))
    with pytest.raises(BrokenState, match="CALENDAR_SCHEMA"):
        roll_up_usage(event_store, calendar=rows.drop_columns(["subject"]), meters=[])
    hole = rows.set_column(1, CALENDAR_SCHEMA.field("subject"), pa.array([None], pa.string()))
    with pytest.raises(BrokenState, match="subject has empty fields"):
        roll_up_usage(event_store, calendar=hole, meters=[])


def test_a_meter_asked_twice_stops(event_store: EventStore) -> None:
    twice = [meter("calls", "call", "count"), meter("calls", "call", "sum")]
    with pytest.raises(BrokenState, match="'calls' was asked for twice"):
        roll_up_usage(event_store, calendar=calendar((1, "acme", *JANUARY)), meters=twice)


def test_a_sum_at_the_limits_of_the_value_is_exact(event_store: EventStore) -> None:
    value = "999999999999999.999999999999"
    add_events(event_store, [event("call", "acme", "2025-01-02", value)] * 1000)
    rolled = roll_up_usage(
        event_store, calendar=calendar((1, "acme", *JANUARY)), meters=[meter("m", "call", "sum")]
    )
    assert rolled.usage["quantity"].to_pylist() == [Decimal("999999999999999999.999999999000")]


def test_scratch_tables_are_gone_afterwards(event_store: EventStore) -> None:
    meters = [meter("calls", "call", "count"), meter("s", "seats", "time_weighted", reading="peak")]
    roll_up_usage(event_store, calendar=calendar((1, "acme", *JANUARY)), meters=meters)
    left = event_store.query("SELECT name FROM system.tables WHERE startsWith(name, 'scratch_')")
    assert left.num_rows == 0
