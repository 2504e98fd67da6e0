"""Goal: stored usage answers what counting events answers, whenever it was refreshed and whatever was
killed in between; and it reads events only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, pairwise

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from rollup import stored_rows, stored_usage
from rollup.roll_up import RolledUp, roll_up_in_blocks, roll_up_usage
from rollup.stored_reading import keys_between
from rollup.stored_usage import StoredUsage

from .support import Event, add_events, calendar, event, meter, shown, stored_answer
from .test_reference import as_calendar, calendars, counting_meters, events

JANUARY = ("2025-01-01", "2025-02-01")
FEBRUARY = ("2025-02-01", "2025-03-01")


def both(store: EventStore, stored: StoredUsage, periods: pa.Table, meters: Sequence[Meter]) -> RolledUp:
    """The answer from stored usage, after comparing it with one counted from events."""
    answer = roll_up_usage(store, calendar=periods, meters=meters, stored=stored)
    counted = roll_up_usage(store, calendar=periods, meters=meters)
    assert answer.usage.equals(counted.usage)
    assert answer.unusable.equals(counted.unusable)
    return answer


def in_blocks(
    store: EventStore, stored: StoredUsage | None, periods: pa.Table, meters: Sequence[Meter]
) -> None:
    """The answer in pieces, one of them of no period, is the answer."""
    periods = periods.sort_by("period_key")
    keys = periods["period_key"].to_pylist()
    middle, past = keys[len(keys) // 2] if keys else 0, keys[-1] + 1 if keys else 0
    edges = [0, middle, middle, past]
    blocks = [(keys_between(periods, *edge), meters) for edge in pairwise(edges)]
    pieces = list(roll_up_in_blocks(store, blocks=blocks, meters=meters, stored=stored))
    whole = roll_up_usage(store, calendar=periods, meters=meters)
    for name in ("usage", "unusable"):
        tables = [getattr(piece, name) for piece in pieces]
        found = [
            {**row, "period_key": row["period_key"] + edge}
            for table, edge in zip(tables, edges, strict=False)
            for row in table.to_pylist()
        ]
        assert found == getattr(whole, name).to_pylist()


def rows_stored(store: EventStore) -> int:
    return int(store.query("SELECT count() AS n FROM usage_rollups WHERE rollup_id > 0")["n"][0].as_py())


def test_events_that_arrive_after_a_refresh_are_in_the_answer(event_store: EventStore) -> None:
    periods, meters = calendar((7, "acme", *JANUARY)), [meter("minutes", "call", "sum")]
    stored = StoredUsage(event_store)
    add_events(event_store, [event("call", "acme", "2025-01-03", "1.5")])
    stored.refresh(calendar=periods, meters=meters)
    add_events(event_store, [event("call", "acme", "2025-01-31 23:59", "2.25")], first_sequence=2)
    late = [event("call", "acme", "2025-01-01", "-1"), event("call", "acme", "2025-02-01", "100")]
    add_events(event_store, late, first_sequence=3)
    assert stored.freshness().behind == 3
    assert shown(both(event_store, stored, periods, meters).usage) == [(7, "minutes", {}, "2.75", 3)]
    assert stored.freshness().behind == 0


def test_a_kept_period_is_answered_without_reading_events(event_store: EventStore) -> None:
    """Shown by taking the events away: what was added up before is still there."""
    periods, meters = calendar((1, "acme", *JANUARY)), [meter("calls", "call", "count")]
    stored = StoredUsage(event_store)
    add_events(event_store, [event("call", "acme", "2025-01-03")] * 3)
    stored.refresh(calendar=periods, meters=meters)
    event_store.command("TRUNCATE TABLE events")
    answer = roll_up_usage(event_store, calendar=periods, meters=meters, stored=stored)
    assert shown(answer.usage) == [(1, "calls", {}, "3", 3)]


def test_a_meter_saved_later_is_kept_for_the_periods_kept_before(event_store: EventStore) -> None:
    periods, calls = calendar((1, "acme", *JANUARY)), meter("calls", "call", "count")
    longest = meter("longest", "call", "max", group_by=["city"])
    stored = StoredUsage(event_store)
    add_events(event_store, [event("call", "acme", "2025-01-03", "9", city="Ulm")])
    stored.refresh(calendar=periods, meters=[calls])
    assert stored_answer(stored, periods, [calls, longest]).others == (1,)
    both(event_store, stored, periods, [calls, longest])
    stored.refresh(calendar=calendar(), meters=[calls, longest])
    assert stored_answer(stored, periods, [calls, longest]).others == ()
    both(event_store, stored, periods, [calls, longest])


def test_a_meter_of_the_same_id_with_other_group_keys_is_counted_from_events(event_store: EventStore) -> None:
    periods, calls = calendar((1, "acme", *JANUARY)), meter("calls", "call", "count")
    stored = StoredUsage(event_store)
    add_events(event_store, [event("call", "acme", "2025-01-03", city="Ulm")])
    stored.refresh(calendar=periods, meters=[calls])
    by_city = calls.model_copy(update={"group_by": ("city",)})
    assert shown(both(event_store, stored, periods, [by_city]).usage) == [
        (1, "calls", {"city": "Ulm"}, "1", 1)
    ]


def test_subjects_of_one_period_of_which_one_is_not_kept_add_up(event_store: EventStore) -> None:
    meters = [meter("peak", "load", "max"), meter("users", "load", "unique_count", unique_property="user")]
    sent = [
        event("load", "north", "2025-01-03", "5", user="ann"),
        event("load", "south", "2025-01-03", "8", user="ann"),
        event("load", "south", "2025-01-04", "2", user="bob"),
    ]
    stored = StoredUsage(event_store)
    add_events(event_store, sent)
    stored.refresh(calendar=calendar((1, "north", *JANUARY)), meters=meters)
    whole = calendar((1, "north", *JANUARY), (1, "south", *JANUARY), (2, "north", *JANUARY))
    answer = both(event_store, stored, whole, meters)
    assert shown(answer.usage) == [
        (1, "peak", {}, "8", 3),
        (1, "users", {}, "2", 3),
        (2, "peak", {}, "5", 1),
        (2, "users", {}, "1", 1),
    ]


def test_an_event_that_cannot_be_counted_is_still_named(event_store: EventStore) -> None:
    periods, meters = calendar((1, "acme", *JANUARY)), [meter("minutes", "call", "sum")]
    stored = StoredUsage(event_store)
    add_events(event_store, [event("call", "acme", "2025-01-03", "4"), event("call", "acme", "2025-01-04")])
    stored.refresh(calendar=periods, meters=meters)
    answer = both(event_store, stored, periods, meters)
    assert answer.unusable.to_pylist()[0]["reason_code"] == "value_missing"


def test_time_weighted_meters_are_read_from_events(event_store: EventStore) -> None:
    periods, seats = calendar((1, "acme", *JANUARY)), meter("seats", "seat", "time_weighted", reading="peak")
    stored = StoredUsage(event_store)
    add_events(event_store, [event("seat", "acme", "2024-12-03", "10", operation="set")])
    stored.refresh(calendar=periods, meters=[seats])
    assert shown(both(event_store, stored, periods, [seats]).usage) == [(1, "seats", {}, "10", 0)]


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", ["add_rows", "add_periods", "add_meters"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_refresh_killed_at_any_write_counts_nothing_twice(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """Every write of the refresh is the last one once; then a new process refreshes to the end."""
    meters = [meter("minutes", "call", "sum"), meter("cities", "call", "count", group_by=["city"])]
    add_events(event_store, [event("call", name, "2025-01-03", "2", city="Ulm") for name in "abcb"])
    StoredUsage(event_store).refresh(calendar=calendar((1, "a", *JANUARY)), meters=meters[:1])
    add_events(event_store, [event("call", name, "2025-01-04", "3") for name in "abc"], first_sequence=5)
    whole = calendar((1, "a", *JANUARY), (2, "b", *JANUARY), (3, "c", *JANUARY))
    write = getattr(stored_rows, step)
    finished = False
    survived = 0
    while not finished:
        writes = count()

        def killed(*arguments: object, **more: object) -> None:
            last = next(writes) == survived  # noqa: B023
            if after or not last:
                write(*arguments, **more)
            if last:
                raise Killed

        with monkeypatch.context() as patched, suppress(Killed):
            patched.setattr(stored_rows, step, killed)
            StoredUsage(event_store).refresh(calendar=whole, meters=meters)
            finished = True
        both(event_store, StoredUsage(event_store), whole, meters)
        survived += 1
    assert survived > 1, f"the refresh never came to {step}"


def test_what_is_not_read_any_more_is_forgotten(event_store: EventStore) -> None:
    meters = [meter("minutes", "call", "sum")]
    stored = StoredUsage(event_store)
    add_events(event_store, [event("call", "a", "2025-01-03", "2"), event("call", "b", "2025-01-03", "2")])
    stored.refresh(calendar=calendar((1, "a", *JANUARY), (2, "b", *JANUARY)), meters=meters)
    event_store.command("DELETE FROM rollup_periods WHERE subject = 'b'")
    stored_rows.delete_unread_rows(event_store)
    assert rows_stored(event_store) == 1
    both(event_store, stored, calendar((1, "a", *JANUARY), (2, "b", *JANUARY)), meters)


sendings = st.lists(st.tuples(events, st.booleans()), min_size=1, max_size=3)
example_numbers = count()


@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=sendings, kept=calendars(), asked=calendars(), makers=counting_meters(), early=st.integers(0, 4))
def test_stored_usage_is_what_events_say(
    event_store: EventStore,
    sent: list[tuple[list[Event], bool]],
    kept: list[tuple[int, str, int, int]],
    asked: list[tuple[int, str, int, int]],
    makers: list[Callable[[str], Meter]],
    early: int,
) -> None:
    """Some meters and periods are kept before the first event, some later, some never."""
    for table in ("events", "usage_rollups", "rollup_periods", "rollup_meters"):
        event_store.command(f"TRUNCATE TABLE {table}")
    meters = [make("t") for make in makers]
    stored = StoredUsage(event_store)
    first = 1
    for slice_, refreshed in sent:
        add_events(event_store, slice_, first_sequence=first)
        first += len(slice_)
        if refreshed:
            stored.refresh(calendar=as_calendar(kept), meters=meters[:early])
    both(event_store, stored, as_calendar(asked), meters)
    stored.refresh(calendar=as_calendar(asked), meters=meters)
    both(event_store, stored, as_calendar(asked), meters)


def test_steps_are_halved_until_they_fit_a_block(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    meters = [meter("cities", "call", "count", group_by=["city"])]
    stored, periods = StoredUsage(event_store), calendar((1, "a", *JANUARY))
    stored.refresh(calendar=periods, meters=meters)
    add_events(event_store, [event("call", "a", "2025-01-03", city=f"city {n}") for n in range(20)])
    monkeypatch.setattr(stored_usage, "ROWS_PER_BLOCK_MAX", 6)
    assert len(both(event_store, stored, periods, meters).usage) == 20


@pytest.mark.parametrize("kept", [3, 1, 0])
def test_usage_is_read_in_pieces(event_store: EventStore, kept: int) -> None:
    """Of three periods so many are kept; in the last one an event cannot be counted."""
    rows = [(1, "acme", *JANUARY), (2, "acme", *FEBRUARY), (5, "other", *JANUARY)]
    meters = [meter("minutes", "call", "sum"), meter("calls", "call", "count")]
    sent = [event("call", "acme", "2025-01-03", "1"), event("call", "acme", "2025-02-03", "2")]
    stored = StoredUsage(event_store)
    add_events(event_store, [*sent, event("call", "other", "2025-01-05")])
    if kept:
        stored.refresh(calendar=calendar(*rows[:kept]), meters=meters)
    in_blocks(event_store, stored, calendar(*rows), meters)
    in_blocks(event_store, None, calendar(*rows), meters)
    in_blocks(event_store, stored, calendar(), meters)
