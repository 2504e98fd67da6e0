"""Goal: subjects counted apart, together or one by one come to the same, and windows leave no gap."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.errors import InvalidInput
from ingest.group_commit import GroupCommit
from rollup.usage import Window, query_usage
from rollup.usage_by_subject import (
    query_usage_by_subject,
    time_span,
    tumbling_windows,
)
from rollup.variance import compare_provisioned
from tests.ingest.support import NDJSON, NOW, context, ndjson
from tests.ingest.support import event as sent

from .support import add_events, at, event, meter

CALLS = meter("minutes", "call", "sum")
SEATS = meter("seats", "seat", "count")
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu")


def test_a_question_holds_its_own_events_and_waits_for_no_others(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if event_store.lander is None:
        pytest.skip("a server has no log in front of it")
    monkeypatch.setattr("ingest.lander.LANDING_SECONDS", 3600.0)
    group = GroupCommit(context(event_store), lambda _facts: None)
    start, end = at("2026-02-01"), at("2026-03-01")
    edges = tumbling_windows(time_from=start, time_to=end, window=None, time_zone="UTC").edges

    def send(number: int, kind: str, subject: str) -> int:
        body = ndjson(sent(number, type=kind, subject=subject, time="2026-02-02T00:00:00Z"))
        answer = group.submit(
            body, content_type=NDJSON, content_encoding=None, received_at=NOW, refusals_max=10
        )
        return answer.result(30).accepted

    def by_subject(*subjects: str) -> list[Any]:
        found = query_usage_by_subject(
            event_store, meter=CALLS, edges=edges, subjects=subjects or None, apart=False
        )
        return list(found.usage["event_count"].to_pylist())

    def of(subject: str | None) -> list[Any]:
        found = query_usage(
            event_store,
            meter=CALLS,
            subject=subject,
            time_from=start,
            time_to=end,
            window=None,
            time_zone="UTC",
            group_by=None,
        )
        return list(found.usage["event_count"].to_pylist())

    def compared(*subjects: str) -> int:
        found = compare_provisioned(
            event_store,
            provisioned=SEATS,
            consumed=CALLS,
            edges=edges,
            subjects=subjects or None,
            group_by=(),
            threshold_percent=Decimal(0),
        )
        return len(found.rows)

    try:
        for number, (kind, subject) in enumerate([("call", "a"), ("call", "b"), ("other", "a")], start=1):
            assert send(number, kind, subject) == 1
        assert (by_subject("c"), of("c"), compared("c")) == ([], [], 0)
        assert event_store.lander.rows_waiting == 3
        assert by_subject("a", "c") == [1]
        send(4, "call", "a")
        assert of("a") == [2]
        send(5, "call", "b")
        assert of(None) == [4]
        send(6, "call", "b")
        assert by_subject() == [5]
        send(7, "other", "a")
        assert (by_subject(), of(None), compared()) == ([5], [5], 2)
        assert event_store.lander.rows_waiting == 1
        send(8, "seat", "c")
        assert compared() == 3
        assert event_store.lander.rows_waiting == 0
    finally:
        group.close()


@pytest.mark.parametrize("zone", ZONES)
def test_subjects_apart_are_what_each_is_by_itself(event_store: EventStore, zone: str) -> None:
    start, end = at("2025-03-29 10:20"), at("2025-03-31 14:40")
    add_events(
        event_store,
        [
            event(
                "call",
                f"s{number % 3}",
                f"2025-03-{29 + number % 3} {number % 24:02}:{number % 60:02}",
                f"{number}.5",
            )
            for number in range(60)
        ],
    )
    windows = tumbling_windows(time_from=start, time_to=end, window="day", time_zone=zone)
    found = query_usage_by_subject(event_store, meter=CALLS, edges=windows.edges, subjects=None, apart=True)
    assert found.subjects == ("s0", "s1", "s2")
    apart = {divmod(row["period_key"], 3): row["quantity"] for row in found.usage.to_pylist()}
    for number, subject in enumerate(found.subjects):
        alone = query_usage(
            event_store,
            meter=CALLS,
            subject=subject,
            time_from=start,
            time_to=end,
            window="day",
            time_zone=zone,
            group_by=None,
        ).usage.to_pylist()
        starts = windows.edges[:-1].tolist()
        assert {starts.index(to_micros(row["window_start"])): row["quantity"] for row in alone} == {
            window: quantity for (window, place), quantity in apart.items() if place == number
        }
    both = query_usage_by_subject(
        event_store, meter=CALLS, edges=windows.edges, subjects=["s2", "s0", "s2"], apart=False
    )
    assert sum(row["quantity"] for row in both.usage.to_pylist()) == sum(
        quantity for (_, place), quantity in apart.items() if place != 1
    )


@given(
    first=st.integers(0, 2_000_000),
    length=st.integers(1, 90_000),
    window=st.sampled_from(get_args(Window)),
    zone=st.sampled_from(ZONES),
)
@settings(max_examples=60)
def test_windows_follow_each_other_and_hold_all_that_was_asked(
    first: int, length: int, window: Window, zone: str
) -> None:
    start = at("2024-01-01") + timedelta(seconds=first * 37)
    end = start + timedelta(seconds=length * (1 if window == "minute" else 97))
    windows = tumbling_windows(time_from=start, time_to=end, window=window, time_zone=zone)
    assert len(windows.bounds) == len(windows.edges) - 1
    assert all(one[1] == next_one[0] for one, next_one in pairwise(windows.bounds))
    assert windows.bounds[0][0] <= start < windows.bounds[0][1]
    assert windows.bounds[-1][0] < end <= windows.bounds[-1][1]
    inner = [to_micros(bounds[0]) for bounds in windows.bounds[1:]]
    assert windows.edges.tolist() == [to_micros(start), *inner, to_micros(end)]
    whole = tumbling_windows(
        time_from=windows.bounds[0][0], time_to=windows.bounds[-1][1], window=window, time_zone=zone
    )
    assert whole.bounds == windows.bounds


def test_the_span_of_a_type(event_store: EventStore) -> None:
    assert time_span(event_store, event_type="call") is None
    add_events(event_store, [event("call", "a", "2025-03-01", "1"), event("call", "b", "2025-03-02", "1")])
    assert time_span(event_store, event_type="call") == (
        at("2025-03-01"),
        at("2025-03-02") + timedelta(microseconds=1),
    )


def test_too_many_minutes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="more than 20000 minutes"):
        tumbling_windows(
            time_from=at("2025-01-01"), time_to=at("2025-02-01"), window="minute", time_zone="UTC"
        )
