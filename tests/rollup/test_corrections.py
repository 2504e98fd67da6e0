"""Goal: every total reads the versions in force, now and as it was known at any instant, and agrees with
corrections played one by one on a dictionary. Events and corrections come in through the front door."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.correct import correct_events
from ingest.load import IngestContext, IngestReport, ingest_batch, open_ingest
from ingest.meter import Meter
from ingest.settings import IngestSettings
from rollup.reference import PlainCorrection, reference_events, reference_roll_up
from rollup.roll_up import roll_up_usage
from rollup.source import events_behind
from rollup.usage import query_usage

from .support import Event, at, calendar, event, meter, shown, stored_events
from .test_reference import (
    START,
    STEP,
    as_calendar,
    calendars,
    counting_meters,
    exact_values,
    level_meters,
    own_type,
    properties,
)
from .test_reference import events as sent_events

RECEIVED = at("2025-02-01")
HOUR = timedelta(hours=1)
NDJSON = "application/x-ndjson"
JANUARY = ("2025-01-01", "2025-02-01")

changes = st.fixed_dictionaries(
    {},
    optional={
        "time": st.integers(0, 8).map(lambda tick: START + tick * STEP),
        "value": exact_values.filter(lambda value: value is not None),
        "properties": properties,
    },
)
steps = st.lists(st.tuples(st.integers(0, 13), changes, st.booleans()), min_size=1, max_size=8)
"""(event, changes, whether the clock has moved on): no changes is a cancellation."""

example_numbers = count()


def opened(store: EventStore) -> IngestContext:
    return open_ingest(store, meters=lambda: (), settings=IngestSettings())


def send(ingest: IngestContext, events: list[Event], *, received_at: datetime, prefix: str = "e") -> None:
    lines = [
        {
            "source": "test",
            "id": f"{prefix}{number}",
            "type": one.type,
            "subject": one.subject,
            "time": one.time.isoformat(),
            "value": None if one.value is None else f"{one.value:f}",
            "properties": dict(one.properties),
        }
        for number, one in enumerate(events, 1)
    ]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    report = ingest_batch(
        body, content_type=NDJSON, content_encoding=None, received_at=received_at, ingest=ingest
    )
    assert report.accepted == len(events), report.refusals


def correct(
    ingest: IngestContext, name: str, corrects: str, change: Mapping[str, Any], *, received_at: datetime
) -> IngestReport:
    wire: dict[str, Any] = dict(change)
    if "time" in wire:
        wire["time"] = wire["time"].isoformat()
    if "value" in wire:
        wire["value"] = f"{wire['value']:f}"
    kind = "amend" if wire else "cancel"
    record = {"source": "test", "id": name, "kind": kind, "corrects": corrects, "reason": "r", **wire}
    return correct_events(
        json.dumps(record).encode(),
        content_type=NDJSON,
        content_encoding=None,
        received_at=received_at,
        ingest=ingest,
    )


def check(
    store: EventStore,
    sent: list[Event],
    steps: list[tuple[int, dict[str, Any], bool]],
    rows: list[tuple[int, str, int, int]],
    makers: list[Callable[[str], Meter]],
) -> None:
    example = next(example_numbers)
    type_ = f"it's type {example}"
    sent = [replace(one, subject=one.subject or "c") for one in own_type(sent, type_)]
    periods = as_calendar([(key, subject or "c", first, last) for key, subject, first, last in rows])
    meters = [make(type_) for make in makers]
    ingest = opened(store)
    prefix = f"x{example}-"
    first, now = ingest.gate.next_sequence, RECEIVED
    send(ingest, sent, received_at=now, prefix=prefix)
    accepted: list[PlainCorrection] = []
    cancelled: set[int] = set()
    for number, (chosen, change, moved) in enumerate(steps):
        place = chosen % len(sent)
        now += HOUR if moved else timedelta(0)
        name, corrects = f"{prefix}fix{number}", f"{prefix}{place + 1}"
        sequence = ingest.gate.next_sequence
        report = correct(ingest, name, corrects, change, received_at=now)
        assert report.accepted == (place not in cancelled), report.refusals
        if report.accepted:
            stored = dict(change)
            if "properties" in stored:
                stored["properties"] = sorted(stored["properties"].items())
            kind = "amend" if change else "cancel"
            accepted.append(PlainCorrection("test", name, kind, corrects, stored, sequence, now))
            cancelled |= set() if change else {place}
    as_sent = stored_events(sent, first_sequence=first).to_pylist()
    for number, row in enumerate(as_sent, 1):
        row |= {"id": f"{prefix}{number}", "ingested_at": RECEIVED}
    events = stored_events([]).from_pylist(as_sent, schema=stored_events([]).schema)
    instants = sorted({RECEIVED, *(one.corrected_at for one in accepted)})
    for known_at in (None, RECEIVED - HOUR, RECEIVED, instants[len(instants) // 2]):
        known = reference_events(events=events, corrections=accepted, known_at=known_at)
        expected = reference_roll_up(events=known, calendar=periods, meters=meters)
        found = roll_up_usage(store, calendar=periods, meters=meters, known_at=known_at)
        assert found.usage.to_pylist() == expected.usage.to_pylist(), known_at
        assert found.unusable.to_pylist() == expected.unusable.to_pylist(), known_at


@pytest.mark.requirement("RAT-07")
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=sent_events, steps=steps, rows=calendars(), makers=counting_meters())
def test_counting_agrees_after_corrections_and_as_known_before_them(
    event_store: EventStore,
    sent: list[Event],
    steps: list[tuple[int, dict[str, Any], bool]],
    rows: list[tuple[int, str, int, int]],
    makers: list[Callable[[str], Meter]],
) -> None:
    check(event_store, sent, steps, rows, makers)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=sent_events, steps=steps, rows=calendars(), makers=level_meters())
def test_levels_agree_after_corrections_and_as_known_before_them(
    event_store: EventStore,
    sent: list[Event],
    steps: list[tuple[int, dict[str, Any], bool]],
    rows: list[tuple[int, str, int, int]],
    makers: list[Callable[[str], Meter]],
) -> None:
    check(event_store, sent, steps, rows, makers)


@pytest.mark.requirement("RAT-07")
def test_live_usage_and_its_events_follow_a_correction(event_store: EventStore) -> None:
    ingest = opened(event_store)
    one = meter("calls", "call", "sum")
    send(
        ingest,
        [event("call", "acme", "2025-01-05", "10"), event("call", "acme", "2025-01-06", "5")],
        received_at=RECEIVED,
    )

    def used(known_at: datetime | None = None) -> list[tuple[str, int]]:
        found = query_usage(
            event_store,
            meter=one,
            subject=None,
            time_from=at(JANUARY[0]),
            time_to=at(JANUARY[1]),
            window=None,
            time_zone="UTC",
            group_by=None,
            known_at=known_at,
        )
        return [(f"{row['quantity'].normalize():f}", row["event_count"]) for row in found.usage.to_pylist()]

    def behind(known_at: datetime | None = None) -> list[str]:
        page = events_behind(
            event_store,
            meter=one,
            subjects=["acme"],
            period_start=at(JANUARY[0]),
            period_end=at(JANUARY[1]),
            dimensions={},
            limit=10,
            after=None,
            known_at=known_at,
        )
        return [str(name) for name in page["id"].to_pylist()]

    assert (used(), behind()) == ([("15", 2)], ["e1", "e2"])
    correct(ingest, "fix1", "e1", {"value": 4}, received_at=RECEIVED + HOUR)
    assert (used(), behind()) == ([("9", 2)], ["fix1", "e2"])
    correct(ingest, "fix2", "e2", {"time": at("2025-03-01")}, received_at=RECEIVED + 2 * HOUR)
    assert (used(), behind()) == ([("4", 1)], ["fix1"])
    correct(ingest, "fix3", "e1", {}, received_at=RECEIVED + 3 * HOUR)
    assert (used(), behind()) == ([], [])
    then = [used(RECEIVED + hours * HOUR) for hours in range(-1, 4)]
    assert then == [[], [("15", 2)], [("9", 2)], [("4", 1)], []]
    assert behind(RECEIVED) == ["e1", "e2"]


def test_an_event_that_no_meter_can_count_is_amended_or_cancelled(event_store: EventStore) -> None:
    ingest = opened(event_store)
    send(
        ingest,
        [event("call", "acme", f"2025-01-0{day}", value) for day, value in ((1, "1"), (2, None), (3, None))],
        received_at=RECEIVED,
    )
    periods = calendar((1, "acme", *JANUARY))

    def rolled() -> tuple[list[Any], list[int]]:
        found = roll_up_usage(event_store, calendar=periods, meters=[meter("calls", "call", "sum")])
        return shown(found.usage), found.unusable["event_count"].to_pylist()

    assert rolled() == ([(1, "calls", {}, "1", 1)], [2])
    correct(ingest, "fix1", "e2", {"value": 6}, received_at=RECEIVED)
    assert rolled() == ([(1, "calls", {}, "7", 2)], [1])
    correct(ingest, "fix2", "e3", {}, received_at=RECEIVED)
    assert rolled() == ([(1, "calls", {}, "7", 2)], [])


def test_a_total_taken_while_events_are_amended_counts_one_version_of_each(event_store: EventStore) -> None:
    ingest = opened(event_store)
    sent = [event("call", "acme", "2025-01-05", "2", plan="gold") for _ in range(12)]
    send(ingest, sent, received_at=RECEIVED)
    meters = [
        meter("sum", "call", "sum"),
        meter("split", "call", "count", group_by=["plan"]),
        meter("level", "call", "time_weighted", reading="end"),
    ]
    periods = calendar((1, "acme", *JANUARY))

    def amend_all() -> None:
        for number in range(1, len(sent) + 1):
            change = {"properties": {"plan": f"p{number}"}}
            correct(ingest, f"fix{number}", f"e{number}", change, received_at=RECEIVED)

    with ThreadPoolExecutor(1) as worker:
        amending = worker.submit(amend_all)
        while True:
            last = amending.done()
            rows = shown(roll_up_usage(event_store, calendar=periods, meters=meters).usage)
            assert [row[3:] for row in rows if row[1] == "sum"] == [("24", 12)]
            assert sum(row[4] for row in rows if row[1] == "split") == 12
            assert [row[3:] for row in rows if row[1] == "level"] == [("2", 12)]
            if last:
                break
        amending.result()
    assert len([row for row in rows if row[1] == "split"]) == 12
