"""Goal: a correction changes stored usage as it changes events: the periods it touches are counted again,
no others, at whatever moment it comes and wherever a refresh is killed. Everything comes in through the
front door."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.load import IngestContext
from rollup import stored_rows
from rollup.roll_up import roll_up_in_blocks
from rollup.stored_reading import keys_between
from rollup.stored_usage import StoredUsage
from rollup.verify import verify_stored_usage

from .support import Event, calendar, event, meter, shown
from .test_corrections import HOUR, RECEIVED, correct, opened, send
from .test_stored_usage import Killed, both

JANUARY = ("2025-01-01", "2025-02-01")
FEBRUARY = ("2025-02-01", "2025-03-01")
YEAR = calendar((1, "acme", *JANUARY), (2, "acme", *FEBRUARY), (3, "other", *JANUARY))
METERS = [
    meter("minutes", "call", "sum"),
    meter("longest", "call", "max"),
    meter("last", "call", "latest"),
    meter("by-city", "call", "count", group_by=["city"]),
    meter("cities", "call", "unique_count", unique_property="city"),
]
FIRST = [
    event("call", "acme", "2025-01-03", "5", city="Ulm"),
    event("call", "acme", "2025-01-04", "9", city="Bonn"),
    event("call", "other", "2025-01-04", "7", city="Bonn"),
]


def amend(ingest: IngestContext, name: str, corrects: str, **change: Any) -> None:
    assert correct(ingest, name, corrects, change, received_at=RECEIVED + HOUR).accepted == 1


def minutes(store: EventStore, stored: StoredUsage) -> list[tuple[int, str]]:
    usage = both(store, stored, YEAR, METERS).usage
    return [(key, quantity) for key, name, _, quantity, _ in shown(usage) if name == "minutes"]


@pytest.mark.requirement("RAT-07")
def test_amended_moved_and_cancelled_events_are_counted_as_they_are_now(event_store: EventStore) -> None:
    stored, ingest = StoredUsage(event_store), opened(event_store)
    send(ingest, FIRST, received_at=RECEIVED)
    stored.refresh(calendar=YEAR, meters=METERS)
    assert minutes(event_store, stored) == [(1, "14"), (3, "7")]
    amend(ingest, "fix-1", "e1", value=Decimal("0.25"))
    assert minutes(event_store, stored) == [(1, "9.25"), (3, "7")]
    ids = stored_rows.kept_periods(event_store)["rollup_id"].to_pylist()
    assert ids == [2, 3, 4], "only acme's January was counted again, under a new number"
    moved = event("call", "acme", "2025-02-10").time
    amend(ingest, "fix-2", "e2", time=moved)
    assert minutes(event_store, stored) == [(1, "0.25"), (2, "9"), (3, "7")]
    amend(ingest, "fix-3", "e1")
    assert minutes(event_store, stored) == [(2, "9"), (3, "7")]
    assert verify_stored_usage(stored).differences == 0


def test_a_period_counted_again_between_two_pieces_is_read_under_its_new_number(
    event_store: EventStore,
) -> None:
    """The rows of its earlier number are deleted meanwhile."""
    stored, ingest = StoredUsage(event_store), opened(event_store)
    send(ingest, FIRST, received_at=RECEIVED)
    stored.refresh(calendar=YEAR, meters=METERS)
    halves = [(keys_between(YEAR, *edge), METERS[:1]) for edge in [(0, 2), (2, 4)]]
    usage = roll_up_in_blocks(event_store, blocks=halves, meters=METERS[:1], stored=stored)
    assert [row[:4] for row in shown(next(usage).usage)] == [(1, "minutes", {}, "14")]
    amend(ingest, "fix-1", "e3", value=Decimal("0.25"))
    stored.catch_up()
    stored_rows.delete_unread_rows(event_store)
    assert [row[:4] for row in shown(next(usage).usage)] == [(1, "minutes", {}, "0.25")]
    assert list(usage) == []


def test_an_event_and_its_correction_that_arrive_together(event_store: EventStore) -> None:
    stored, ingest = StoredUsage(event_store), opened(event_store)
    stored.refresh(calendar=YEAR, meters=METERS)
    send(ingest, FIRST, received_at=RECEIVED)
    amend(ingest, "fix-1", "e1", value=Decimal("1"))
    amend(ingest, "fix-2", "e2")
    assert minutes(event_store, stored) == [(1, "1"), (3, "7")]


def test_a_correction_of_an_event_that_is_not_added_up_yet(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event and its correction land between the two questions of a refresh: the correction is seen, the
    event is not. Neither version may be lost or counted twice when the event's turn comes."""
    stored, ingest = StoredUsage(event_store), opened(event_store)
    stored.refresh(calendar=YEAR, meters=METERS)
    send(ingest, FIRST[:1], received_at=RECEIVED)
    newest = stored_rows.newest_events

    def then_more_lands(store: EventStore, *, after: int) -> int:
        seen = newest(store, after=after)
        with suppress(AssertionError):  # the second time all of it is there
            send(ingest, FIRST[1:], received_at=RECEIVED, prefix="late")
            amend(ingest, "fix-1", "late1", value=Decimal("2"))
            amend(ingest, "fix-2", "late2")
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(stored_rows, "newest_events", then_more_lands)
        stored.catch_up()
    assert stored.freshness().behind == 2
    assert minutes(event_store, stored) == [(1, "7")]
    assert verify_stored_usage(stored).differences == 0


@pytest.mark.parametrize("step", ["add_rows", "add_periods", "set_corrections"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_while_a_correction_is_taken_in(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    stored, ingest = StoredUsage(event_store), opened(event_store)
    send(ingest, FIRST, received_at=RECEIVED)
    stored.refresh(calendar=YEAR, meters=METERS)
    send(ingest, FIRST, received_at=RECEIVED, prefix="second")
    amend(ingest, "fix-1", "e1", value=Decimal("1"))
    amend(ingest, "fix-2", "second2")
    write = getattr(stored_rows, step)

    def killed(*arguments: object, **more: object) -> None:
        if after:
            write(*arguments, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(stored_rows, step, killed)
        with pytest.raises(Killed):
            StoredUsage(event_store).catch_up()
    fresh = StoredUsage(event_store)
    assert minutes(event_store, fresh) == [(1, "15"), (3, "14")]
    assert verify_stored_usage(fresh).differences == 0


actions = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 2), st.integers(-3, 3)),
        st.tuples(st.sampled_from(("amend", "move", "cancel")), st.integers(0, 5), st.integers(-3, 3)),
        st.tuples(st.sampled_from(("catch up", "keep")), st.just(0), st.just(0)),
    ),
    min_size=4,
    max_size=14,
)


@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=actions)
def test_any_order_of_events_corrections_and_refreshes(
    event_store: EventStore, actions: list[tuple[str, int, int]]
) -> None:
    for table in ("events", "superseded_events", "usage_rollups", "rollup_periods", "rollup_meters"):
        event_store.command(f"TRUNCATE TABLE {table}")
    stored, ingest = StoredUsage(event_store), opened(event_store)
    sent: list[Event] = []
    for number, (action, chosen, value) in enumerate(actions):
        if action == "send":
            one = event("call", ("acme", "acme", "other")[chosen], "2025-01-05", str(value), city="Ulm")
            sent.append(one)
            send(ingest, [one], received_at=RECEIVED, prefix=f"s{len(sent)}-")
        elif action == "catch up":
            stored.catch_up()
        elif action == "keep":
            stored.refresh(calendar=YEAR, meters=METERS)
        elif sent:
            changes: dict[str, dict[str, Any]] = {
                "amend": {"value": Decimal(value)},
                "move": {"time": event("call", "acme", f"2025-0{1 + chosen % 2}-20").time},
                "cancel": {},
            }
            name = f"s{1 + chosen % len(sent)}-1"
            correct(ingest, f"fix-{number}", name, changes[action], received_at=RECEIVED + HOUR)
    stored.refresh(calendar=YEAR, meters=METERS)
    both(event_store, stored, YEAR, METERS)
    assert verify_stored_usage(stored).differences == 0
