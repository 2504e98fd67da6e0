"""Goal: requests at the same time share inserts, each gets the answer it would have got alone, and what
goes wrong with one or with an insert costs exactly those it concerns."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.decode import decode_body
from ingest.errors import Busy, UnreadableBody
from ingest.group_commit import CommitFacts, GroupCommit
from ingest.json_records import BYTE_ORDER_MARK
from ingest.load import IngestContext, IngestReport
from ingest.settings import IngestSettings
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, send, stored

JSON = "application/json"
CLOUDEVENT = "application/cloudevents+json"
Submit = Callable[..., Future[IngestReport]]


class Line:
    """A group commit whose store can be held, so that requests pile up behind an insert."""

    def __init__(self, ingest: IngestContext) -> None:
        self.ingest = ingest
        self.commits: list[CommitFacts] = []
        self.group = GroupCommit(ingest, self.commits.append)

    def submit(
        self, body: bytes, content_type: str = NDJSON, encoding: str | None = None
    ) -> Future[IngestReport]:
        return self.group.submit(
            body, content_type=content_type, content_encoding=encoding, received_at=NOW, refusals_max=1000
        )

    def await_ready(self, batches: int) -> None:
        """Wait until so many large bodies are decoded and wait for the next commit."""
        self._await(lambda: len(self.group._line.ready) == batches)

    def _await(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while True:
            with self.group._line.lock:
                if holds():
                    return
            assert time.monotonic() < deadline
            time.sleep(0.002)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is committed inside the block; a first request occupies the committing thread."""
        with self.ingest.alone():
            first = self.submit(ndjson(event(1_000_000)))
            line = self.group._line
            self._await(lambda: not (line.small or line.large or line.decoding or line.ready))
            yield
        assert counts(first.result(30)) == (1, 0, 0, 0)


@pytest.fixture
def lines(event_store: EventStore) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(limits: IngestSettings | None = None) -> Line:
        made.append(Line(context(event_store, settings=limits)))
        return made[-1]

    yield make
    for line in made:
        line.group.close()


def test_requests_that_wait_share_one_insert(lines: Callable[..., Line], event_store: EventStore) -> None:
    line = lines()
    with line.held():
        answers = [line.submit(ndjson(event(number), event(number + 100))) for number in range(20)]
        answers.append(line.submit(json.dumps([event(7), event(300)]).encode(), JSON))
        answers.append(line.submit(ndjson(event(300), event(301, value="x"), event(2, value="9"))))
    reports = [answer.result(30) for answer in answers]
    assert [counts(report) for report in reports[:20]] == [(2, 0, 0, 0)] * 20
    assert counts(reports[20]) == (1, 1, 0, 0), "event 7 came in the same insert, in an earlier request"
    assert counts(reports[21]) == (0, 1, 1, 1)
    assert [(refusal.line, refusal.reason_code) for refusal in reports[21].refusals] == [
        (2, "value_not_a_number"),
        (3, "identity_conflict"),
    ]
    assert [(facts.requests, facts.records) for facts in line.commits] == [(1, 1), (22, 45)]
    rows = event_store.query("SELECT batch_id, count() AS rows FROM events GROUP BY batch_id").to_pylist()
    wanted = {report.batch_id: report.accepted for report in reports if report.accepted}
    assert {row["batch_id"]: row["rows"] for row in rows if row["batch_id"] in wanted} == wanted
    sequences = event_store.query("SELECT sequence FROM events ORDER BY sequence")["sequence"].to_pylist()
    assert sequences == list(range(1, 43))
    refused = event_store.query("SELECT batch_id, line FROM refused_events ORDER BY line").to_pylist()
    assert refused == [{"batch_id": reports[21].batch_id, "line": line} for line in (2, 3)]


def test_large_and_small_bodies_and_other_formats_share_one_insert(lines: Callable[..., Line]) -> None:
    line = lines(IngestSettings(small_body_bytes_max=2_000))
    cloud_event = {"specversion": "1.0", "source": "s", "id": "c", "type": "t", "subject": "u"}
    with line.held():
        answers = [
            line.submit(ndjson(*(event(number) for number in range(50)))),
            line.submit(json.dumps(event(51)).encode(), JSON),
            line.submit(json.dumps(cloud_event).encode(), CLOUDEVENT),
            line.submit(b"source,id,type,subject,time\ns,csv,t,u,2026-01-01T00:00:00Z\n", "text/csv"),
            line.submit(ndjson(event(3), event(52))),
        ]
        line.await_ready(1)
    assert [answer.result(30).accepted for answer in answers[:4]] == [50, 1, 1, 1]
    assert counts(answers[4].result(30)) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "reason_code"),
    [
        (b" \n", NDJSON, None, "empty_body"),
        (b"[{}", JSON, None, "malformed_json"),
        (b"{}", "application/cloudevents-batch+json", None, "not_an_array"),
        (b"{}", "text/plain", None, "unknown_content_type"),
        (b"{}", NDJSON, "br", "unknown_content_encoding"),
        (b"{}", NDJSON, "gzip", "damaged_compression"),
    ],
)
def test_an_unreadable_body_fails_alone(
    lines: Callable[..., Line], body: bytes, content_type: str, encoding: str | None, reason_code: str
) -> None:
    line = lines()
    with line.held():
        good = line.submit(ndjson(event(1)))
        bad = line.submit(body, content_type, encoding)
        other = line.submit(ndjson(event(2)))
    assert counts(good.result(30)) == counts(other.result(30)) == (1, 0, 0, 0)
    error = bad.exception(30)
    assert isinstance(error, UnreadableBody)
    assert error.reason_code == reason_code


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("after_landing", [True, False])
def test_an_insert_that_fails_fails_its_requests_and_counts_nothing_twice(
    lines: Callable[..., Line],
    event_store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
    after_landing: bool,
) -> None:
    monkeypatch.setattr(event_store, "lander", None)  # as on a server; with the log: test_lander.py
    line = lines()
    insert = event_store.insert
    broken = threading.Event()

    def breaking(table: str, rows: pa.Table, *, token: str | None = None) -> None:
        if table == "events" and rows.num_rows == 5 and not broken.is_set():
            broken.set()
            if after_landing:
                insert(table, rows, token=token)
            raise ConnectionError("the connection broke")
        insert(table, rows, token=token)

    monkeypatch.setattr(event_store, "insert", breaking)
    bodies = [ndjson(event(number)) for number in range(5)]
    with line.held():
        answers = [line.submit(body) for body in bodies]
    assert [type(answer.exception(30)) for answer in answers] == [ConnectionError] * 5
    again = [counts(line.submit(body).result(30)) for body in bodies]
    assert again == [(0, 1, 0, 0) if after_landing else (1, 0, 0, 0)] * 5
    assert len(stored(event_store)) == 6


def test_a_batch_that_cannot_be_worded_fails_alone(
    lines: Callable[..., Line], monkeypatch: pytest.MonkeyPatch, event_store: EventStore
) -> None:
    line = lines(IngestSettings(small_body_bytes_max=150))
    send(line.ingest, ndjson(event(1)))

    def unwritable(row: int) -> str:
        raise ValueError(f"row {row} cannot be written")

    def decoding(body: bytes, **named: Any) -> Any:
        raw = decode_body(body, **named)
        return replace(raw, record_text=unwritable) if b"poison" in body else raw

    monkeypatch.setattr("ingest.waiting.decode_body", decoding)
    with line.held():
        good = line.submit(ndjson(event(2), event(3)))
        bad = line.submit(ndjson(event(1, value="9"), event(4, subject="poison")))
        other = line.submit(ndjson(event(1), event(5)))
        line.await_ready(3)
    assert counts(good.result(30)) == (2, 0, 0, 0)
    assert isinstance(bad.exception(30), ValueError)
    assert counts(other.result(30)) == (1, 1, 0, 0)
    assert {row["id"] for row in stored(event_store)} == {
        *(f"call-{number}" for number in (1, 2, 3, 5)),
        "call-1000000",
    }


def test_more_than_one_insert_holds_is_several(lines: Callable[..., Line]) -> None:
    line = lines(IngestSettings(small_body_bytes_max=150, insert_rows_max=5))
    with line.held():
        answers = [line.submit(ndjson(event(n), event(n + 1), event(n + 2))) for n in range(0, 12, 3)]
        line.await_ready(4)
    assert [answer.result(30).accepted for answer in answers] == [3] * 4
    assert [facts.records for facts in line.commits] == [1, 3, 3, 3, 3]


def test_where_a_log_stands_in_front_commits_are_smaller(
    lines: Callable[..., Line], event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.group_commit.LOGGED_ROWS_A_COMMIT", 6)
    line = lines(IngestSettings(small_body_bytes_max=150))
    with line.held():
        answers = [line.submit(ndjson(event(n), event(n + 1), event(n + 2))) for n in range(0, 15, 3)]
        line.await_ready(5)
    assert [answer.result(30).accepted for answer in answers] == [3] * 5
    commits = [1, 15] if event_store.lander is None else [1, 6, 6, 3]
    assert [facts.records for facts in line.commits] == commits


def test_closing_answers_what_was_submitted_and_takes_no_more(lines: Callable[..., Line]) -> None:
    line = lines()
    answers = [line.submit(ndjson(event(number))) for number in range(30)]
    line.group.close()
    assert sum(answer.result(0).accepted for answer in answers) == 30
    with pytest.raises(Busy) as caught:
        line.submit(ndjson(event(31)))
    assert caught.value.reason_code == "shutting_down"


RECORDS = st.one_of(
    st.builds(lambda number, value: event(number, value=value), st.integers(0, 6), st.sampled_from("12")),
    st.sampled_from(["", "broken", '{"id": "\\ud800"}', '{"source": "Käse"}', event(1, time="never")]),
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", BYTE_ORDER_MARK]),
            st.lists(RECORDS, min_size=1, max_size=5),
            st.sampled_from([b"", b"\n", b"\r\n\n"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_together_or_one_after_another_the_answers_are_the_same(
    event_store: EventStore, batches: list[tuple[bytes, list[dict[str, Any] | str], bytes]]
) -> None:
    bodies = [
        mark + body.rstrip(b"\n") + end
        for mark, records, end in batches
        if (body := ndjson(*records)).strip()
    ]
    event_store.command("TRUNCATE TABLE events")
    alone = context(event_store)
    expected = [send(alone, body) for body in bodies]
    rows = stored(event_store)
    event_store.command("TRUNCATE TABLE events")
    line = Line(context(event_store))
    with line.held():
        answers = [line.submit(body) for body in bodies]
    reports = [answer.result(30) for answer in answers]
    line.group.close()
    assert [replace(report, batch_id="") for report in reports] == [
        replace(report, batch_id="") for report in expected
    ]
    assert stored(event_store)[1:] == rows
