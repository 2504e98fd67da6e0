"""Goal: what was acknowledged gets into the engine once and in order, whatever fails on the way."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.asked_events import AskedEvents
from ingest.clickhouse import EventStore
from ingest.errors import StoreUnavailable
from ingest.event_log import LogEntry
from ingest.group_commit import GroupCommit
from ingest.lander import Lander
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, stored
from tests.ingest.test_event_log import entry, written


class Engine:
    """What an event store keeps; ``failures`` says of the next inserts of events whether they land though
    they fail."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.blocks = 0
        self.refused: dict[str | None, int] = {}
        self.failures: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()

    def insert(self, table: str, rows: pa.Table, *, token: str | None = None) -> None:
        self.gate.wait(30)
        if table == "refused_events":
            self.refused[token] = rows.num_rows
            return
        lands = self.failures.pop(0) if self.failures else None
        if lands is not False:
            assert rows.column("sequence").num_chunks == 1, "only one chunk is one block"
            self.sequences += rows["sequence"].to_pylist()
            self.blocks += 1
        if lands is not None:
            raise ConnectionError("the connection broke")

    def last_sequence(self) -> int:
        return self.sequences[-1] if self.sequences else 0


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.lander._RETRY_SECONDS", 0.02)


def test_who_reads_sees_all_that_was_appended(tmp_path: Path) -> None:
    engine = Engine()
    lander = Lander(engine, tmp_path)
    for number in range(1, 6):
        lander.append(entry(number, 1, refused=number % 2))
    lander.settle()
    assert engine.sequences == [1, 2, 3, 4, 5]
    assert sorted(engine.refused.values()) == [1, 1, 1]
    assert lander.rows_waiting == 0
    lander.close()
    assert not list(tmp_path.glob("*.log"))


def about(first: int, kind: str, subject: str) -> LogEntry:
    made = entry(first, 2)
    named = made.events.append_column("type", pa.array([kind, "other"]))
    return LogEntry(made.token, named.append_column("subject", pa.array([subject, "somebody"])), None)


@pytest.mark.parametrize(
    ("types", "subjects", "seen"),
    [
        ({"call"}, {"acme"}, 4),
        ({"call", "byte"}, {"acme", "zeta"}, 6),
        ({"byte"}, {"acme"}, 0),
        ({"other"}, {"zeta"}, 0),
        ({"byte"}, None, 6),
        ({"other"}, None, 8),
        (set(), None, 0),
    ],
)
def test_who_asks_about_some_events_waits_for_the_last_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types: set[str], subjects: set[str] | None, seen: int
) -> None:
    """``seen``: the last event that has to be in the engine; blocks are of one entry here."""
    monkeypatch.setattr("ingest.lander.LANDING_SECONDS", 3600.0)
    monkeypatch.setattr("ingest.lander._first", lambda waiting: [waiting[0]])
    engine = Engine()
    lander = Lander(engine, tmp_path)
    entries = [("call", "zeta"), ("call", "acme"), ("byte", "zeta"), ("seat", "acme")]
    for number, (kind, subject) in enumerate(entries):
        lander.append(about(2 * number + 1, kind, subject))
    lander.settle(AskedEvents(frozenset(types), None if subjects is None else frozenset(subjects)))
    assert len(engine.sequences) == seen
    lander.close()
    assert engine.sequences == list(range(1, 9))


def test_who_asks_about_others_hears_nothing_of_a_failure(tmp_path: Path) -> None:
    engine = Engine()
    engine.failures = [False] * 1000
    lander = Lander(engine, tmp_path)
    lander.append(about(1, "call", "acme"))
    lander.settle(AskedEvents(frozenset({"call"}), frozenset({"zeta"})))
    with pytest.raises(StoreUnavailable, match="safe in the log"):
        lander.settle(AskedEvents(frozenset({"call"}), frozenset({"acme"})))
    lander.close()


def test_what_waits_together_is_one_block(tmp_path: Path) -> None:
    engine = Engine()
    engine.gate.clear()
    lander = Lander(engine, tmp_path)
    lander.append(entry(1, 2))
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(lander.settle)
        for number in range(3, 40):
            lander.append(entry(number, 1))
        engine.gate.set()
        reading.result(30)
    lander.settle()
    assert engine.sequences == list(range(1, 40))
    assert engine.blocks <= 3
    lander.close()


@pytest.mark.parametrize("landing", [True, False])
def test_an_insert_that_fails_is_tried_again_and_lands_once(tmp_path: Path, landing: bool) -> None:
    engine = Engine()
    engine.failures = [landing, False]
    lander = Lander(engine, tmp_path)
    lander.append(entry(1, 3, refused=2))
    with pytest.raises(StoreUnavailable, match="safe in the log"):
        lander.settle()
    lander.append(entry(4, 1))
    for _ in range(100):
        try:
            lander.settle()
            break
        except StoreUnavailable:
            continue
    assert engine.sequences == [1, 2, 3, 4]
    assert list(engine.refused.values()) == [2]
    lander.close()


@pytest.mark.parametrize("landed", [0, 2, 3, 5])
def test_what_an_earlier_process_left_lands_once(tmp_path: Path, landed: int) -> None:
    """Blocks are whole entries, so ``landed`` is where an entry ends, or none of them."""
    written(tmp_path, [entry(1, 2), entry(3, 1, refused=1), entry(4, 2)])
    engine = Engine()
    engine.sequences = list(range(1, landed + 1))
    lander = Lander(engine, tmp_path)
    lander.recover()
    assert engine.sequences == [1, 2, 3, 4, 5]
    assert list(engine.refused.values()) == [1]
    assert not list(tmp_path.glob("*.log"))
    lander.append(entry(6, 1))
    lander.close()
    assert engine.sequences == [1, 2, 3, 4, 5, 6]


def test_what_the_engine_refuses_at_the_end_stays_for_the_next_start(tmp_path: Path) -> None:
    engine = Engine()
    engine.failures = [False] * 1000
    lander = Lander(engine, tmp_path)
    lander.append(entry(1, 2))
    lander.close()
    assert engine.sequences == []
    engine.failures = []
    Lander(engine, tmp_path).recover()
    assert engine.sequences == [1, 2]


def test_a_sender_waits_while_too_much_waits_and_hears_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.lander.ROWS_WAITING_MAX", 3)
    engine = Engine()
    engine.gate.clear()
    lander = Lander(engine, tmp_path)
    lander.append(entry(1, 3))
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(lander.append, entry(4, 1))
        with pytest.raises(TimeoutError):
            sending.result(0.1)
        engine.gate.set()
        sending.result(30)
    lander.settle()
    assert engine.sequences == [1, 2, 3, 4]
    lander.close()


def test_an_acknowledged_request_is_seen_by_whoever_reads(event_store: EventStore) -> None:
    if event_store.lander is None:
        pytest.skip("a server has no log in front of it")
    group = GroupCommit(context(event_store), lambda _facts: None)
    try:
        for number in range(3):
            answer = group.submit(
                ndjson(event(number), event(number, value="9"), event(100 + number, value="x")),
                content_type="application/x-ndjson",
                content_encoding=None,
                received_at=NOW,
                refusals_max=10,
            )
            assert counts(answer.result(30)) == (1, 0, 1, 1)
            assert len(stored(event_store)) == number + 1
            refused = event_store.query("SELECT count() AS rows FROM refused_events")["rows"][0].as_py()
            assert refused == 2 * (number + 1)
    finally:
        group.close()


def test_whoever_writes_alone_finds_the_log_empty(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a correction could land before events with smaller numbers, which a crash would then lose."""
    if event_store.lander is None:
        pytest.skip("a server has no log in front of it")
    monkeypatch.setattr("ingest.lander.LANDING_SECONDS", 3600.0)
    ingest = context(event_store)
    group = GroupCommit(ingest, lambda _facts: None)
    try:
        answer = group.submit(
            ndjson(event(1)),
            content_type="application/x-ndjson",
            content_encoding=None,
            received_at=NOW,
            refusals_max=10,
        )
        assert answer.result(30).accepted == 1
        assert event_store.lander.rows_waiting == 1
        with ingest.alone():
            assert event_store.lander.rows_waiting == 0
    finally:
        group.close()


def test_a_question_waits_for_its_own_events_alone(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if event_store.lander is None:
        pytest.skip("a server has no log in front of it")
    monkeypatch.setattr("ingest.lander.LANDING_SECONDS", 3600.0)
    lander = event_store.lander
    group = GroupCommit(context(event_store), lambda _facts: None)
    rows = "SELECT count() AS rows FROM events WHERE subject = 'acme'"

    def send(*events: dict[str, Any]) -> None:
        answer = group.submit(
            ndjson(*events), content_type=NDJSON, content_encoding=None, received_at=NOW, refusals_max=10
        )
        assert answer.result(30).accepted == len(events)

    def acme() -> int:
        return int(event_store.query(rows)["rows"][0].as_py())

    calls = frozenset({"api.call"})
    try:
        send(event(1, subject="zeta"), event(2, type="other"))
        with event_store.one_question(AskedEvents(calls, frozenset({"acme"}))):
            assert acme() == 0
            assert lander.rows_waiting == 2
            send(event(3))
            assert acme() == 0, "it was asked before"
        with event_store.one_question(AskedEvents(calls, frozenset({"acme"}))):
            assert acme() == 2  # of any type: the whole block is in the engine
            send(event(4), event(5, subject="zeta"))
            with event_store.one_question(AskedEvents(calls, frozenset({"acme"}))):
                assert lander.rows_waiting == 2, "the same question"
            with event_store.one_question(AskedEvents(calls, None)):
                assert acme() == 3, "a wider question"
            assert acme() == 3
        send(event(6))
        assert acme() == 4, "whoever says nothing asks about all"
        with pytest.raises(ValueError, match="nothing"), event_store.one_question(AskedEvents(calls, None)):
            raise ValueError("nothing")
        send(event(7))
        assert acme() == 5, "a question that failed is over"
    finally:
        group.close()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_asked_events_are_found_as_one_by_one(data: st.DataObject) -> None:
    texts = st.sampled_from(["a", "b", "c", "A", ""])
    some = st.frozensets(texts, max_size=3)
    one, other = (AskedEvents(data.draw(some), data.draw(st.none() | some)) for _ in range(2))
    pairs = data.draw(st.lists(st.tuples(texts, texts), max_size=6))

    def meant(asked: AskedEvents, pair: tuple[str, str]) -> bool:
        return pair[0] in asked.types and (asked.subjects is None or pair[1] in asked.subjects)

    columns = [pa.array([pair[place] for pair in pairs], pa.string()) for place in (0, 1)]
    assert one.among(pa.table(columns, ["type", "subject"])) == any(meant(one, pair) for pair in pairs)
    every = [
        (kind, subject) for kind in ("a", "b", "c", "A", "") for subject in ("a", "b", "c", "A", "", "new")
    ]
    if one.covers(other):
        assert all(meant(one, pair) for pair in every if meant(other, pair))


def test_a_gate_read_anew_knows_what_is_only_in_the_log(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if event_store.lander is None:
        pytest.skip("a server has no log in front of it")
    monkeypatch.setattr("ingest.lander.LANDING_SECONDS", 3600.0)
    ingest = context(event_store)
    group = GroupCommit(ingest, lambda _facts: None)

    def send(body: bytes) -> tuple[int, int, int, int]:
        answer = group.submit(
            body, content_type="application/x-ndjson", content_encoding=None, received_at=NOW, refusals_max=10
        )
        return counts(answer.result(30))

    try:
        assert send(ndjson(event(1), event(2))) == (2, 0, 0, 0)
        assert event_store.lander.rows_waiting == 2
        ingest.gate.mark_stale()
        assert send(ndjson(event(2), event(3))) == (1, 1, 0, 0)
        assert ingest.gate.next_sequence == 4
    finally:
        group.close()


def test_a_sender_is_slowed_down_while_a_block_lands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.landing_pace.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("ingest.landing_pace.ROWS_MEASURED_MIN", 1)
    monkeypatch.setattr("ingest.lander.ROWS_A_BLOCK", 10)
    engine = Engine()
    lander = Lander(engine, tmp_path)
    engine.gate.clear()
    lander.append(entry(1, 10))
    time.sleep(0.2)  # what that block takes
    engine.gate.set()
    lander.settle()
    engine.gate.clear()
    lander.append(entry(11, 10))
    while not lander._pace.rows:
        time.sleep(0.001)
    lander.append(entry(21, 1))
    started = time.monotonic()
    for number in range(22, 31):
        lander.append(entry(number, 1))  # the last when seven tenths of the block should have landed
    assert time.monotonic() - started > 0.1
    engine.gate.set()
    lander.close()
    assert engine.sequences == list(range(1, 31))
