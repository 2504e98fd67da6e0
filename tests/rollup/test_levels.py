"""Goal: a licence level over time gives the quantity a person works out by hand, to the last digit."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from rollup.level_kernels import DIVISOR_MAX, added_changes, divide, rising_changes
from rollup.level_part import level_part
from rollup.reference import reference_roll_up
from rollup.roll_up import roll_up_usage

from .support import add_events, calendar, event, meter, shown, stored_events

APRIL = ("2025-04-01", "2025-05-01")


def seats(reading: str, **more: object) -> Meter:
    return meter(f"seats-{reading}", "seats", "time_weighted", reading=reading, **more)


ALL_READINGS = [seats(reading) for reading in ("average", "high_water", "peak", "end", "unit_days")]


@pytest.mark.requirement("MET-02")
def test_seats_go_from_10_to_14_to_9(event_store: EventStore) -> None:
    """April 2025 has 30 days: 10 seats on days 1-10, 14 on days 11-20, 9 on days 21-30.

    unit days 10x10 + 10x14 + 10x9 = 330; average 330 / 30 = 11. The highest so far:
    (10x10 + 20x14) / 30.
    """
    add_events(
        event_store,
        [
            event("seats", "acme", "2025-04-01", "10", operation="set"),
            event("seats", "acme", "2025-04-11", "4", operation="add"),
            event("seats", "acme", "2025-04-21", "5", operation="remove"),
        ],
    )
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *APRIL)), meters=ALL_READINGS)
    assert shown(rolled.usage) == [
        (1, "seats-average", {}, "11", 3),
        (1, "seats-high_water", {}, "12.666666666667", 3),
        (1, "seats-peak", {}, "14", 3),
        (1, "seats-end", {}, "9", 3),
        (1, "seats-unit_days", {}, "330", 3),
    ]
    assert rolled.unusable.num_rows == 0


def test_what_raises_a_level_is_told_from_what_lowers_it() -> None:
    """+10, then +2, then -3 and +1 at one instant, 2 less in all; in another group +4 and -4 at once."""
    group, time = (np.array(column) for column in ([0, 0, 0, 0, 1, 1], [0, 5, 7, 7, 3, 3]))
    change = np.array([10, 2, -3, 1, 4, -4], np.int64)
    high, low = (change >> 63).view(np.uint64), change.view(np.uint64)
    added = added_changes(group, time, high, low)
    risen = rising_changes(group, time, high, low)
    assert [part.tolist() for part in added] == [[0] * 6, [10, 2, 0, 0, 0, 0]]
    assert [part.tolist() for part in risen] == [[0] * 6, [10, 2, 0, 0, 0, 0]]


@pytest.mark.requirement("MET-02")
def test_daily_quantities_of_the_same_seats(event_store: EventStore) -> None:
    """The change on a day counts from its instant: 4 more seats at noon make that day's average 12."""
    add_events(
        event_store,
        [
            event("seats", "acme", "2025-04-01", "10", operation="set"),
            event("seats", "acme", "2025-04-02 12:00", "4", operation="add"),
            event("seats", "acme", "2025-04-03 18:00", "5", operation="remove"),
        ],
    )
    days = [(day, "acme", f"2025-04-0{day}", f"2025-04-0{day + 1}") for day in range(1, 5)]
    rolled = roll_up_usage(event_store, calendar=calendar(*days), meters=[seats("average"), seats("peak")])
    assert shown(rolled.usage) == [
        (1, "seats-average", {}, "10", 1),
        (1, "seats-peak", {}, "10", 1),
        (2, "seats-average", {}, "12", 1),
        (2, "seats-peak", {}, "14", 1),
        (3, "seats-average", {}, "12.75", 1),
        (3, "seats-peak", {}, "14", 1),
        (4, "seats-average", {}, "9", 0),
        (4, "seats-peak", {}, "9", 0),
    ]


def test_a_level_is_carried_into_later_periods(event_store: EventStore) -> None:
    """Set once years ago and never touched: every period still has its row, with no event in it."""
    add_events(event_store, [event("seats", "acme", "2020-02-29", "3")])
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *APRIL)), meters=ALL_READINGS)
    assert [row[3:] for row in shown(rolled.usage)] == [("3", 0)] * 4 + [("90", 0)]


def test_a_level_that_went_to_zero_before_the_period_has_no_row(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("seats", "acme", "2025-03-01", "3"),
            event("seats", "acme", "2025-03-31", "3", operation="remove"),
        ],
    )
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *APRIL)), meters=ALL_READINGS)
    assert rolled.usage.num_rows == rolled.unusable.num_rows == 0


def test_what_happens_at_one_instant_has_one_result(event_store: EventStore) -> None:
    """Seats set to 50 and corrected to 5 at the same instant: 50 held for no time and is no peak.
    A change at the end of the period belongs to the next."""
    add_events(
        event_store,
        [
            event("seats", "acme", "2025-04-01", "50"),
            event("seats", "acme", "2025-04-01", "5"),
            event("seats", "acme", "2025-05-01", "100"),
        ],
    )
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *APRIL)), meters=ALL_READINGS)
    assert [row[3:] for row in shown(rolled.usage)] == [("5", 2)] * 4 + [("150", 2)]


def test_subjects_of_one_period_pool_their_levels(event_store: EventStore) -> None:
    """Seats moved from one office to another: the peak is of the sum, 10, not the sum of peaks, 20.
    The second office joins on the 16th and its earlier seats are not this contract's."""
    add_events(
        event_store,
        [
            event("seats", "north", "2025-04-01", "10"),
            event("seats", "south", "2025-04-10", "7"),
            event("seats", "north", "2025-04-16", "10", operation="remove"),
            event("seats", "south", "2025-04-16", "10"),
        ],
    )
    rows = calendar((1, "north", *APRIL), (1, "south", "2025-04-16", "2025-05-01"))
    rolled = roll_up_usage(event_store, calendar=rows, meters=ALL_READINGS)
    assert [row[3:] for row in shown(rolled.usage)] == [("10", 3)] * 4 + [("300", 3)]


def test_levels_are_kept_apart_by_group_key(event_store: EventStore) -> None:
    """An upgrade of 4 seats from standard to enterprise in the middle of April."""
    add_events(
        event_store,
        [
            event("seats", "acme", "2025-04-01", "10", edition="standard"),
            event("seats", "acme", "2025-04-16", "4", edition="standard", operation="remove"),
            event("seats", "acme", "2025-04-16", "4", edition="enterprise", operation="add"),
        ],
    )
    meters = [seats("average", group_by=["edition"]), seats("end", group_by=["edition"])]
    rolled = roll_up_usage(event_store, calendar=calendar((1, "acme", *APRIL)), meters=meters)
    assert shown(rolled.usage) == [
        (1, "seats-average", {"edition": "enterprise"}, "2", 1),
        (1, "seats-average", {"edition": "standard"}, "8", 2),
        (1, "seats-end", {"edition": "enterprise"}, "4", 1),
        (1, "seats-end", {"edition": "standard"}, "6", 2),
    ]


def test_an_unusable_change_spoils_its_level_until_the_next_set(event_store: EventStore) -> None:
    """Removing 5 of 3 seats in February: February and March are unknown, a set in March heals April."""
    add_events(
        event_store,
        [
            event("seats", "acme", "2025-01-10", "3"),
            event("seats", "acme", "2025-02-10", "5", operation="remove"),
            event("seats", "acme", "2025-03-10", "8", operation="set"),
            event("seats", "acme", "2025-04-10", "1", operation="rent"),
            event("seats", "acme", "2025-04-11", None),
        ],
    )
    months = [(month, "acme", f"2025-0{month}-01", f"2025-0{month + 1}-01") for month in range(1, 6)]
    rolled = roll_up_usage(event_store, calendar=calendar(*months), meters=[seats("end")])
    assert shown(rolled.usage) == [
        (1, "seats-end", {}, "3", 1),
        (2, "seats-end", {}, "3", 0),
        (3, "seats-end", {}, "8", 1),
        (4, "seats-end", {}, "8", 0),
        (5, "seats-end", {}, "8", 0),
    ]
    assert [tuple(row.values()) for row in rolled.unusable.to_pylist()] == [
        (2, "seats-end", 1, "test", "e2", "level_below_zero"),
        (3, "seats-end", 1, "test", "e2", "level_below_zero"),
        (4, "seats-end", 1, "test", "e4", "unknown_operation"),
        (4, "seats-end", 1, "test", "e5", "value_missing"),
        (5, "seats-end", 1, "test", "e4", "unknown_operation"),
        (5, "seats-end", 1, "test", "e5", "value_missing"),
    ]


def test_averages_are_rounded_once(event_store: EventStore) -> None:
    """One seat for 1 of 3 days is 0.333...; 0.4999999999996 of a seat rounds to none, not to 0.5 and 1."""
    add_events(
        event_store,
        [
            event("seats", "third", "2025-04-01", "1"),
            event("seats", "third", "2025-04-02", "0"),
            event("seats", "near", "2025-04-01", "0.499999999999"),
            event("seats", "near", "2025-04-02", "0.5"),
        ],
    )
    rows = calendar((1, "third", "2025-04-01", "2025-04-04"), (2, "near", "2025-04-01", "2025-04-04"))
    for digits, expected in ((12, ["0.333333333333", "0.5"]), (0, ["0", "0"]), (2, ["0.33", "0.5"])):
        meters = [seats("average", fraction_digits=digits)]
        found = roll_up_usage(event_store, calendar=rows, meters=meters).usage
        assert [row[3] for row in shown(found)] == expected


@pytest.mark.parametrize("reading", ["average", "peak", "end", "unit_days"])
def test_an_integral_beyond_127_bits_is_still_exact(event_store: EventStore, reading: str) -> None:
    """999,999,999,999,999.999999999999 seats for ten years: the integral is about 3e41, 2**127 is 1.7e38."""
    value = "999999999999999.999999999999"
    sent = [event("seats", "acme", "2015-01-01", value), event("seats", "acme", "2016-01-01", value)]
    add_events(event_store, sent)
    rows = calendar((1, "acme", "2015-01-01", "2025-01-01"))
    meters = [seats(reading)]
    found = roll_up_usage(event_store, calendar=rows, meters=meters)
    expected = reference_roll_up(events=stored_events(sent), calendar=rows, meters=meters)
    assert found.usage.to_pylist() == expected.usage.to_pylist()
    if reading != "unit_days":
        assert shown(found.usage)[0][3] == value


@settings(max_examples=300)
@given(
    number=st.integers(0, 2**127 - 1),
    divisor=st.one_of(st.integers(1, DIVISOR_MAX), st.sampled_from([1, 2, DIVISOR_MAX])),
    half_up=st.booleans(),
)
def test_wide_division_is_division(number: int, divisor: int, half_up: bool) -> None:
    top, bottom = divmod(number, 2**64)
    words = np.array([[top], [bottom], [divisor]], np.uint64)
    high, low = divide(words[0], words[1], words[2], half_up)
    expected = (2 * number + divisor * half_up) // (2 * divisor)
    assert (int(high[0]) << 64) + int(low[0]) == expected


@pytest.mark.parametrize("reading", ["average", "unit_days"])
def test_the_parts_of_a_level_are_read_for_the_time_they_stand(event_store: EventStore, reading: str) -> None:
    """10 of two subjects from 1 January, 14 from the 11th, 2.5 from the 21st to the 31st: parts up to 3, up
    to 10 and above. Read by the store as plainly, and together they are the level."""
    whole = meter("seats", "seat", "time_weighted", reading=reading)
    parts: list[Meter] = [
        level_part(whole, above=Decimal(low), up_to=None if high is None else Decimal(high))
        for low, high in (("0", "3"), ("3", "10"), ("10", None))
    ]
    events = [
        event("seat", "a", "2025-01-01", "4"),
        event("seat", "b", "2025-01-01", "6"),
        event("seat", "a", "2025-01-11", "4", operation="add"),
        event("seat", "b", "2025-01-21", "6", operation="remove"),
        event("seat", "a", "2025-01-21", "2.5"),
    ]
    add_events(event_store, events)
    asked = calendar((0, "a", "2025-01-01", "2025-01-31"), (0, "b", "2025-01-01", "2025-01-31"))
    used = roll_up_usage(event_store, calendar=asked, meters=[whole, *parts]).usage
    days = {"average": 30, "unit_days": 1}[reading]
    by_meter = {row[1]: Decimal(row[3]) for row in shown(used)}
    read = [by_meter[one.meter_id] for one in (whole, *parts)]
    assert read == [
        (Decimal(value) / days).quantize(Decimal(10) ** -12, ROUND_HALF_UP).normalize()
        for value in ("265", "85", "140", "40")  # 100 + 140 + 25; 30 + 30 + 25; 70 + 70; 40
    ]
    plain = reference_roll_up(events=stored_events(events), calendar=asked, meters=[whole, *parts]).usage
    assert shown(plain) == shown(used)


def test_random_parts_equal_the_plain_reference(event_store: EventStore) -> None:
    source = Random(8)
    whole = meter("seats", "seat", "time_weighted", reading="average", group_by=["kind"])
    bounds = [Decimal(0), Decimal("0.000000000001"), Decimal("7.25"), Decimal(10**14)]
    parts: list[Meter] = [
        level_part(whole, above=low, up_to=high)
        for low, high in zip(bounds, [*bounds[1:], None], strict=True)
    ]
    events = [
        event(
            "seat", source.choice("ab"), f"2025-01-{source.randint(1, 9):02}",
            str(source.choice([0, "0.000000000001", "7.25", 20, 10**14 + 1])), kind=source.choice("xy"),
        )
        for _ in range(40)
    ]  # fmt: skip
    add_events(event_store, events)
    asked = calendar(
        (0, "a", "2025-01-02", "2025-01-05"), (0, "b", "2025-01-03", "2025-01-09"),
        (1, "a", "2025-01-05", "2025-01-09"),
    )  # fmt: skip
    used = roll_up_usage(event_store, calendar=asked, meters=parts).usage
    plain = reference_roll_up(events=stored_events(events), calendar=asked, meters=parts).usage
    assert shown(plain) == shown(used)
    assert used.num_rows >= 8
