"""Goal: while one commit is inserted the next is classified, and still nothing is answered before it is on
disk, nothing is lost when an insert fails, and sequence numbers appear in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.commit import BatchPart, IngestContext, PreparedBatch, begin_commit, finish_commit
from ingest.errors import StoreUnavailable
from ingest.json_records import decode_ndjson
from ingest.load import prepare_batch
from tests.ingest.support import NOW, context, counts, event, ndjson, send, stored


@dataclass
class HeldInserts:
    """Inserts of events wait here until they are let go, one by one; ``fail`` makes the next one break."""

    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    fail: bool = False

    def let_one_go(self, *, fail: bool = False) -> None:
        assert self.begun.acquire(timeout=30)
        self.fail = fail
        self.go.release()


@contextmanager
def held_inserts(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldInserts]:
    insert, held = store.insert, HeldInserts()

    def waiting(table: str, rows: pa.Table, **options: Any) -> None:
        if table == "events":
            held.begun.release()
            assert held.go.acquire(timeout=30)
            if held.fail:
                raise StoreUnavailable("the insert broke")
        insert(table, rows, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store, "insert", waiting)
        yield held


def prepared(ingest: IngestContext, body: bytes) -> PreparedBatch:
    raw = decode_ndjson(body, record_bytes_max=10_000, lines_before=0)
    return prepare_batch(raw, (BatchPart("batch", 0, 10),), received_at=NOW, ingest=ingest)


def until_classified(ingest: IngestContext, events: int) -> None:
    """Wait until the gate has taken in so many identities."""
    for _ in range(3_000):
        if ingest.gate.count >= events:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"the gate knows {ingest.gate.count} identities, not {events}")


@pytest.mark.requirement("MET-09")
def test_the_next_commit_is_classified_meanwhile_and_answered_after(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = context(event_store)
    with held_inserts(event_store, monkeypatch) as held, ThreadPoolExecutor(2) as threads:
        first = threads.submit(send, ingest, ndjson(event(1), event(2)))
        assert held.begun.acquire(timeout=30)
        second = threads.submit(send, ingest, ndjson(event(2), event(3)))
        until_classified(ingest, 3)
        assert not first.done()
        assert not second.done()
        held.begun.release()
        held.let_one_go()
        assert counts(first.result(30)) == (2, 0, 0, 0)
        held.let_one_go()
        assert counts(second.result(30)) == (1, 1, 0, 0)
    rows = event_store.query("SELECT id, sequence FROM events ORDER BY sequence").to_pylist()
    assert [(row["id"], row["sequence"]) for row in rows] == [("call-1", 1), ("call-2", 2), ("call-3", 3)]


@pytest.mark.requirement("MET-09")
def test_a_duplicate_of_an_event_whose_insert_breaks_is_new(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = context(event_store)
    with held_inserts(event_store, monkeypatch) as held, ThreadPoolExecutor(2) as threads:
        first = threads.submit(send, ingest, ndjson(event(1), event(2)))
        assert held.begun.acquire(timeout=30)
        second = threads.submit(send, ingest, ndjson(event(2), event(3)))
        until_classified(ingest, 3)
        held.begun.release()
        held.let_one_go(fail=True)
        with pytest.raises(StoreUnavailable):
            first.result(30)
        held.let_one_go()
        assert counts(second.result(30)) == (2, 0, 0, 0), "nothing was on disk that it could be equal to"
    assert [row["id"] for row in stored(event_store)] == ["call-2", "call-3"]
    assert counts(send(ingest, ndjson(event(1), event(2), event(3)))) == (1, 2, 0, 0)


def test_a_batch_of_duplicates_waits_for_what_it_repeats(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = context(event_store)
    with held_inserts(event_store, monkeypatch) as held, ThreadPoolExecutor(2) as threads:
        first = threads.submit(send, ingest, ndjson(event(1)))
        assert held.begun.acquire(timeout=30)
        second = threads.submit(send, ingest, ndjson(event(1)))
        with pytest.raises(TimeoutError):
            second.result(0.2)
        held.begun.release()
        held.let_one_go()
        assert counts(first.result(30)) == (1, 0, 0, 0)
        assert counts(second.result(30)) == (0, 1, 0, 0)


def test_an_insert_that_breaks_after_the_next_was_classified_costs_only_itself(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = context(event_store)
    first = begin_commit([prepared(ingest, ndjson(event(1)))], ingest=ingest)
    with ThreadPoolExecutor(1) as threads:
        second: Future[Any] = threads.submit(
            begin_commit, [prepared(ingest, ndjson(event(1)))], ingest=ingest
        )
        with held_inserts(event_store, monkeypatch) as held:
            held.go.release()
            held.fail = True
            with pytest.raises(StoreUnavailable):
                finish_commit(first, ingest=ingest)
        (report,) = finish_commit(second.result(30), ingest=ingest)
    assert (report.accepted, report.duplicates) == (1, 0)
