"""Goal: a figure in memory holds every acknowledged event and correction, and equals counting from the
store after any of: events early and late, corrections, restarts, inserts that failed, another writer."""

from __future__ import annotations

import threading
from datetime import timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.correct import correct_events
from ingest.load import IngestContext
from ingest.meter import Meter
from rollup.live_usage import LiveKey, LiveUsage
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA
from tests.ingest.support import NDJSON, NOW, context, event, ndjson, send
from tests.rollup.support import at, meter

START, END = at("2026-02-01"), at("2026-03-01")
METERS = (
    meter("calls", "call", "count"),
    meter("units", "call", "sum"),
    meter("eu", "call", "sum", filters=[{"property": "region", "values": ["eu"]}], group_by=["region"]),
    meter("peak", "call", "max"),
    meter("last", "call", "latest"),
    meter("users", "call", "unique_count", unique_property="user"),
    meter("weighed", "call", "sum", factors=["value", "properties.weight"]),
    meter("seats", "seat", "time_weighted", reading="end", group_by=["product"]),
)


def key(one: Meter, *subjects: str) -> LiveKey:
    if one.aggregation == "time_weighted":
        return LiveKey(one, subjects, 0, to_micros(END))
    return LiveKey(one, subjects, to_micros(START), to_micros(END))


def counted(store: EventStore, one: LiveKey) -> tuple[Any, int]:
    """Quantity and events, by counting."""
    meter = one.meter.model_copy(
        update={"group_by": () if one.meter.aggregation != "time_weighted" else one.meter.group_by}
    )
    rows = [{"period_key": 0, "subject": s, "period_start": START, "period_end": END} for s in one.subjects]
    calendar = pa.Table.from_pylist(rows, schema=CALENDAR_SCHEMA)
    found = roll_up_usage(store, calendar=calendar, meters=[meter]).usage
    return sum(found["quantity"].to_pylist()), sum(found["event_count"].to_pylist())


def assert_equal(store: EventStore, live: LiveUsage, keys: list[LiveKey]) -> None:
    readings, sequence = live.read(keys, at_micros=to_micros(END) - 1)
    for one, reading in zip(keys, readings, strict=True):
        quantity, events = counted(store, one)
        assert reading.quantity == quantity, one.meter.meter_id
        if one.meter.aggregation != "time_weighted":
            assert reading.event_count == events, one.meter.meter_id
    newest = (
        "SELECT greatest((SELECT max(sequence) FROM events), "
        "(SELECT max(correction_sequence) FROM superseded_events)) AS last"
    )
    assert sequence == store.query(newest)["last"][0].as_py()


def random_events(random: Random, first: int) -> list[dict[str, Any]]:
    made = []
    for number in range(first, first + random.choice([1, 1, 5, 20])):
        time = START + timedelta(hours=random.randrange(-48, 30 * 24))
        call = random.random() < 0.7
        properties = {
            "region": random.choice(["eu", "us"]),
            "user": random.choice("xyz"),
            "weight": random.choice(["2", "bad"]),
        }
        seat = {"operation": random.choice(["set", "add", "remove"]), "product": random.choice("pq")}
        made.append(
            event(
                number,
                type="call" if call else "seat",
                subject=random.choice(["a", "b", "c"]),
                time=time.isoformat(),
                value=f"{random.randrange(1000)}.{random.randrange(100):02d}",
                properties=properties if call else seat,
            )
        )
    return made


def random_correction(random: Random, number: int, last: int) -> dict[str, Any]:
    named = {
        "source": "gateway",
        "id": f"fix-{number}",
        "corrects": f"call-{random.randrange(1, last)}",
        "reason": "r",
    }
    if random.random() < 0.4:
        return {**named, "kind": "cancel"}
    time = START + timedelta(hours=random.randrange(-48, 30 * 24))
    return {**named, "kind": "amend", "value": str(random.randrange(50)), "time": time.isoformat()}


def correct(ingest: IngestContext, *corrections: dict[str, Any]) -> None:
    correct_events(
        ndjson(*corrections), content_type=NDJSON, content_encoding=None, received_at=NOW, ingest=ingest
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_counting_after_every_step(event_store: EventStore, seed: int) -> None:
    random = Random(seed)
    ingest = context(event_store)
    live = LiveUsage(ingest)
    keys = [key(one, *subjects) for one in METERS for subjects in (("a",), ("a", "b"), ("nobody",))]
    last = 1
    for step in range(6):
        made = random_events(random, last)
        send(ingest, ndjson(*made))
        last += len(made)
        if random.random() < 0.4:
            correct(ingest, random_correction(random, step, last))
        if random.random() < 0.2:
            ingest = context(event_store)
            live = LiveUsage(ingest)
        assert_equal(event_store, live, random.sample(keys, 3))
    assert_equal(event_store, live, keys)


def test_a_failed_insert_of_which_nobody_knows_is_counted_again(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = context(event_store)
    live = LiveUsage(ingest)
    keys = [key(METERS[1], "acme")]
    send(ingest, ndjson(event(1, type="call")))
    assert_equal(event_store, live, keys)
    insert = event_store.insert

    def landing_unheard(table: str, rows: pa.Table, **more: Any) -> None:
        insert(table, rows, **more)
        raise ConnectionError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(event_store, "insert", landing_unheard)
        with pytest.raises(ConnectionError):
            send(ingest, ndjson(event(2, type="call")))
    assert_equal(event_store, live, keys)
    assert live.read(keys, at_micros=0)[0][0].event_count == 2


def test_what_another_process_wrote_in_between_is_counted(event_store: EventStore) -> None:
    class Turns:
        turn = 1

        def claim(self) -> int:
            return self.turn

    before, turns = event_store.writing, Turns()
    event_store.writing = turns
    try:
        ingest, live_keys = context(event_store), [key(METERS[1], "acme")]
        live = LiveUsage(ingest)
        send(ingest, ndjson(event(1, type="call")))
        assert_equal(event_store, live, live_keys)
        send(context(event_store), ndjson(event(2, type="call")))  # the other process
        turns.turn = 2
        assert_equal(event_store, live, live_keys)
        assert live.read(live_keys, at_micros=0)[0][0].event_count == 2
    finally:
        event_store.writing = before


def test_readers_never_see_less_than_was_acknowledged(event_store: EventStore) -> None:
    """One sender, one corrector and one reader at once: each figure read holds at least what was
    acknowledged before it was asked for."""
    ingest = context(event_store)
    live = LiveUsage(ingest)
    keys = [key(METERS[0], "acme")]
    acknowledged = 0
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            at_least = acknowledged
            found = live.read(keys, at_micros=0)[0][0].event_count
            if found < at_least:
                failures.append(f"{found} < {at_least}")

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 21):
        send(ingest, ndjson(event(number, type="call")))
        acknowledged = number
        if number % 7 == 0:
            fix = {"source": "gateway", "id": f"fix-{number}", "corrects": f"call-{number}", "reason": "r"}
            correct(ingest, {**fix, "kind": "amend", "value": "9"})
    done.set()
    reader.join()
    assert failures == []
    assert_equal(event_store, live, keys)
