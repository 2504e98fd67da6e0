"""Goal: the busiest day, hour or group of a period, and the peaks of all, are counted as by hand."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ingest.clickhouse import EventStore
from ingest.document import canonical_json, document_hash
from ingest.meter import Meter, meter_rules
from rollup.banded_meter import is_stored, read_meter
from rollup.meter_rules import all_meter_rules
from rollup.reference import reference_roll_up
from rollup.roll_up import roll_up_usage
from rollup.stored_usage import StoredUsage

from .support import Event, add_events, at, calendar, event, meter, shown, stored_events

BERLIN_DAYS = {"by": "day", "time_zone": "Europe/Berlin"}
UTC_DAYS = {"by": "day", "time_zone": "UTC"}
BY_TEAM = {"by": "properties.team"}
JANUARY = calendar((0, "a", "2025-01-01", "2025-02-01"))


def test_the_busiest_day_is_one_of_the_time_zone(event_store: EventStore) -> None:
    """23:30 UTC is the next day in Berlin: 4 + 7 fall on the second there, 7 + 5 on the first in UTC."""
    add_events(
        event_store,
        [
            event("call", "a", "2025-01-01 09:00", "5"),
            event("call", "a", "2025-01-01 23:30", "7"),
            event("call", "a", "2025-01-02 08:00", "4"),
            event("call", "a", "2025-01-09 08:00", "1"),
            event("call", "a", "2025-01-09 09:00", "1"),
            event("call", "a", "2025-01-09 09:59", "1"),
        ],
    )
    meters = [
        meter("berlin", "call", "highest_sum", parts=BERLIN_DAYS),
        meter("utc", "call", "highest_sum", parts=UTC_DAYS),
        meter("calls", "call", "highest_count", parts=UTC_DAYS),
        meter("hour", "call", "highest_count", parts={"by": "hour"}),
        meter("peaks", "call", "sum_of_highest", parts=UTC_DAYS),
    ]
    usage = roll_up_usage(event_store, calendar=JANUARY, meters=meters).usage
    assert {row[1]: (row[3], row[4]) for row in shown(usage)} == {
        "berlin": ("11", 6),
        "utc": ("12", 6),
        "calls": ("3", 6),
        "hour": ("2", 6),
        "peaks": ("12", 6),  # 7 of the first, 4 of the second, 1 of the ninth
    }


@pytest.mark.requirement("RAT-10")
def test_the_largest_group_alone_and_the_peaks_of_all(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("call", "a", "2025-01-01", "5", team="red"),
            event("call", "a", "2025-01-02", "6", team="red"),
            event("call", "a", "2025-01-03", "10", team="blue"),
            event("call", "a", "2025-01-04", "3"),
        ],
    )
    meters = [
        meter("largest", "call", "highest_sum", parts=BY_TEAM),
        meter("most", "call", "highest_count", parts=BY_TEAM),
        meter("peaks", "call", "sum_of_highest", parts=BY_TEAM),
    ]
    usage = roll_up_usage(event_store, calendar=JANUARY, meters=meters).usage
    assert [row[3] for row in shown(usage)] == ["11", "2", "19"]


def test_two_subjects_of_a_contract_are_busy_together(event_store: EventStore) -> None:
    sent = [event("call", subject, "2025-01-05", "4") for subject in "ab"]
    add_events(event_store, [*sent, event("call", "a", "2025-01-06", "5")])
    both = calendar((0, "a", "2025-01-01", "2025-02-01"), (0, "b", "2025-01-01", "2025-02-01"))
    usage = roll_up_usage(
        event_store, calendar=both, meters=[meter("day", "call", "highest_sum", parts=UTC_DAYS)]
    )
    assert shown(usage.usage) == [(0, "day", {}, "8", 3)]


@pytest.mark.parametrize("seed", range(2))
def test_the_store_equals_the_plain_reference(event_store: EventStore, seed: int) -> None:
    """Instants around midnights and both changes of the clock in Berlin and St. John's, values below zero,
    events without a value, with and without group keys and factors; the last of them came after usage was
    added up."""
    source = Random(seed)
    instants = [
        f"2025-{day} {hour:02}:{minute}"
        for day in ("03-29", "03-30", "03-31", "10-26", "10-27", "11-02", "11-03")
        for hour in (0, 1, 2, 3, 4, 22, 23)
        for minute in ("00", "29", "30", "59")
    ]
    sent = [
        Event(
            type="call",
            subject=source.choice(("a", "b")),
            time=at(source.choice(instants)),
            value=source.choice([None, Decimal(source.randrange(-(10**13), 10**14)) / 10**12, Decimal(7)]),
            properties={
                name: source.choice(choices)
                for name, choices in {"team": ("red", "blue", "it's"), "seats": ("2", "0.5", "x")}.items()
                if source.random() < 0.9
            },
        )
        for _ in range(120)
    ]
    asked = calendar(
        (0, "a", "2025-03-01", "2025-03-30 22:00"),
        (0, "b", "2025-03-29", "2025-11-01"),
        (1, "a", "2025-03-30 22:00", "2025-11-03 03:30"),
        (2, "a", "2025-10-26 00:30", "2025-10-26 02:00"),
    )
    parts: list[dict[str, Any]] = [
        BERLIN_DAYS, {"by": "day", "time_zone": "America/St_Johns"}, {"by": "hour"}, BY_TEAM,
    ]  # fmt: skip
    shapes: list[dict[str, Any]] = [
        {}, {"group_by": ["team"], "fraction_digits": 2}, {"factors": ["value", "properties.seats"]},
    ]  # fmt: skip
    meters = [
        meter(f"{aggregation}-{p}", "call", aggregation, parts=part, **shapes[(a + p + seed) % 3])
        for a, aggregation in enumerate(("highest_sum", "highest_count", "sum_of_highest"))
        for p, part in enumerate(parts)
    ]
    stored = StoredUsage(event_store)
    add_events(event_store, sent[:60])
    stored.refresh(calendar=asked, meters=meters)
    add_events(event_store, sent[60:], first_sequence=61)
    expected = reference_roll_up(events=stored_events(sent), calendar=asked, meters=meters)
    for known in (None, stored):
        found = roll_up_usage(event_store, calendar=asked, meters=meters, stored=known)
        assert shown(found.usage) == shown(expected.usage)
        assert found.unusable.to_pylist() == expected.unusable.to_pylist()
    assert expected.unusable.num_rows
    only = calendar((0, "a", "2025-03-29 23:30", "2025-10-27"))
    alone = reference_roll_up(events=stored_events(sent), calendar=only, meters=meters).usage
    assert shown(roll_up_usage(event_store, calendar=only, meters=meters).usage) == shown(alone)


def test_a_meter_without_parts_is_written_as_before_and_one_with_parts_is_not_stored() -> None:
    plain = meter("calls", "call", "count")
    assert canonical_json(plain) == (
        '{"aggregation":"count","event_type":"call","factors":["value"],"filters":[],"fraction_digits":12,'
        '"group_by":[],"meter_id":"calls","name":"","reading":null,"unique_property":null,"unit":"unit"}'
    )
    busiest = meter("busiest", "call", "highest_sum", parts=BERLIN_DAYS)
    assert read_meter(canonical_json(busiest)) == busiest
    assert document_hash(busiest) != document_hash(meter("busiest", "call", "highest_sum", parts=UTC_DAYS))
    assert is_stored(plain)
    assert not is_stored(busiest)


@pytest.mark.parametrize(
    ("aggregation", "parts", "codes"),
    [
        ("highest_sum", BERLIN_DAYS, set()),
        ("sum_of_highest", BY_TEAM, set()),
        ("highest_count", {"by": "hour"}, set()),
        ("highest_sum", None, {"parts_mismatch"}),
        ("sum", BERLIN_DAYS, {"parts_mismatch"}),
        ("highest_sum", {"by": "day"}, {"parts_time_zone"}),
        ("highest_sum", {"by": "hour", "time_zone": "UTC"}, {"parts_time_zone"}),
        ("highest_sum", {"by": "team"}, {"unknown_parts"}),
        ("highest_sum", {"by": "properties."}, {"unknown_parts"}),
        ("highest_sum", {"by": "day", "time_zone": "Berlin"}, {"unknown_time_zone"}),
    ],
)
def test_a_meter_says_its_parts(aggregation: str, parts: dict[str, str] | None, codes: set[str]) -> None:
    one: Meter = meter("m", "call", aggregation, parts=parts)
    assert {issue.reason_code for issue in all_meter_rules(one)} == codes
    assert {issue.reason_code for issue in meter_rules(one)} == codes - {"unknown_time_zone"}
