"""Requests that come at the same time share one insert, and each is answered when it is on disk.

Two threads decode, judge and hash large bodies. One thread commits all that is ready as one insert, which
runs in a thread of its own; what comes meanwhile is the next insert, classified already when that one
ends. There is no timer, so a lone request never waits for company. Small JSON bodies wait undecoded
until no insert runs, for two small inserts cost more than one, and are then decoded as one batch
(``ingest/join.py``). Measured (feasibility C): one insert a request makes 190 single events a second
on 64 connections, groups make thousands.

An insert that fails fails every request in it. A batch that cannot even be classified or worded
fails alone. A kill loses nothing acknowledged: see ``ingest/load.py``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ingest.commit import (
    IngestContext,
    IngestReport,
    StartedCommit,
    abandon_commit,
    begin_commit,
    log_commit,
)
from ingest.queue_room import QueueRoom, shutting_down
from ingest.settings import IngestSettings
from ingest.waiting import Answer, ReadyBatch, WaitingRequest, prepare_alone, prepare_together

DECODING_THREADS: Final = 2
LOGGED_ROWS_A_COMMIT: Final = 40_000
"""Where a log stands in front of the store, larger commits save nothing, and whoever came first would wait
for those behind him."""


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """What one commit did, for metrics. seconds: from classifying to the last row on
    disk, the wait for the insert before it included."""

    requests: int
    records: int
    seconds: float


@dataclass(slots=True)
class _Line:
    """What waits, every field guarded by ``lock``. open: more may come. decoding: bodies that are
    neither waiting nor ready. inserting: commits begun and not answered.

    to_commit, to_decode: notified when there may be work for that thread; one condition for all would
    wake the decoding threads for every small request.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    to_commit: threading.Condition = field(init=False)
    to_decode: threading.Condition = field(init=False)
    large: deque[WaitingRequest] = field(default_factory=deque)
    small: deque[WaitingRequest] = field(default_factory=deque)
    ready: deque[ReadyBatch] = field(default_factory=deque)
    decoding: int = 0
    inserting: int = 0
    open: bool = True

    def __post_init__(self) -> None:
        self.to_commit = threading.Condition(self.lock)
        self.to_decode = threading.Condition(self.lock)

    def wake_all(self) -> None:
        self.to_commit.notify_all()
        self.to_decode.notify_all()

    def may_decode(self, settings: IngestSettings) -> bool:
        rows = sum(one.batch.record_count for one in self.ready)
        held = sum(one.bytes_held for one in self.ready)
        return bool(self.large) and rows < settings.queue_rows_max and held < settings.queue_bytes_max

    @property
    def may_commit(self) -> bool:
        return bool(self.ready or (self.small and not self.inserting))

    @property
    def ended(self) -> bool:
        return not (self.open or self.large or self.small or self.ready or self.decoding)


class GroupCommit:
    """The entry of a server: any number of requests at once, few inserts. Every method is thread safe.

    room: what requests hold while they are under way; callers enter it before they read a body.
    watch: told of every commit, in the committing thread.
    """

    def __init__(self, ingest: IngestContext, watch: Callable[[CommitFacts], None]) -> None:
        self.room: Final = QueueRoom(ingest.settings.queue_bytes_max)
        self._ingest = ingest
        self._watch = watch
        self._line = _Line()
        self._threads: list[threading.Thread] = []
        self._inserting = ThreadPoolExecutor(1, thread_name_prefix="ingest-insert")

    def submit(
        self,
        body: bytes,
        *,
        content_type: str,
        content_encoding: str | None,
        received_at: datetime,
        refusals_max: int,
    ) -> Future[IngestReport]:
        """Queue a request body; the future has its report when its events are on disk.

        The future raises what ``ingest_batch`` raises. A submitted batch is never taken back: a caller
        who goes away loses the answer, not the events. Raises Busy (shutting_down) after ``close``.
        """
        answer: Future[IngestReport] = Future()
        answer.set_running_or_notify_cancel()
        self.submit_all(
            [WaitingRequest(body, content_type, content_encoding, received_at, refusals_max, answer)]
        )
        return answer

    def submit_all(self, requests: Iterable[WaitingRequest]) -> None:
        """As ``submit``, for many at a time and whatever they are to be answered by."""
        line, small_bytes_max = self._line, self._ingest.settings.small_body_bytes_max
        with line.lock:
            if not line.open:
                raise shutting_down()
            self._start_threads()
            for request in requests:
                if len(request.body) > small_bytes_max:
                    line.large.append(request)
                    line.to_decode.notify()
                else:
                    line.small.append(request)
            if line.small:
                line.to_commit.notify()

    @property
    def records_ready(self) -> int:
        """Records decoded and waiting for the next commit."""
        with self._line.lock:
            return sum(one.batch.record_count for one in self._line.ready)

    def close(self) -> None:
        """Answer everything that was submitted, then stop. Again does nothing."""
        self.room.close()
        with self._line.lock:
            self._line.open = False
            self._line.wake_all()
        for thread in self._threads:
            thread.join()
        self._inserting.shutdown()

    def _start_threads(self) -> None:
        # On the first request: commands and tests open an application that never ingests.
        if not self._threads:
            names = [("ingest-commit", self._commit_until_closed)]
            names += [
                (f"ingest-decode-{number}", self._decode_until_closed) for number in range(DECODING_THREADS)
            ]
            self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in names]
            for thread in self._threads:
                thread.start()

    @property
    def _rows_a_commit(self) -> int:
        rows_max = self._ingest.settings.insert_rows_max
        return rows_max if self._ingest.store.lander is None else min(rows_max, LOGGED_ROWS_A_COMMIT)

    def _decode_until_closed(self) -> None:
        line = self._line
        while True:
            with line.lock:
                line.to_decode.wait_for(lambda: line.may_decode(self._ingest.settings) or line.ended)
                if not line.large:
                    return
                request = line.large.popleft()
                line.decoding += 1
            prepared = list(prepare_alone(request, self._ingest))
            with line.lock:
                line.decoding -= 1
                line.ready.extend(prepared)
                line.wake_all()

    def _commit_until_closed(self) -> None:
        line = self._line
        while True:
            with line.lock:
                line.to_commit.wait_for(lambda: line.may_commit or line.ended)
                ready = list(line.ready)
                line.ready.clear()
                small = list(_first_bytes(line.small, self._ingest.settings.joined_bytes_max))
                line.to_decode.notify_all()
            if not ready and not small:
                return
            ready += prepare_together(small, self._ingest)
            for group in _groups(ready, self._rows_a_commit):
                self._commit(group)

    def _commit(self, group: Sequence[ReadyBatch]) -> None:
        started_at = time.perf_counter()
        try:
            started = begin_commit([one.batch for one in group], ingest=self._ingest)
        except BaseException as error:  # noqa: BLE001 - handed to every caller of the group
            if len(group) > 1 and isinstance(error, Exception):
                for one in group:  # nothing has landed, and only one of them may be at fault
                    self._commit([one])
                return
            _fail(group, error)
            return
        with self._line.lock:
            self._line.inserting += 1
        try:
            self._inserting.submit(self._finish, started, group, started_at)
        except BaseException as error:  # noqa: BLE001
            abandon_commit(ingest=self._ingest)
            self._ended()
            _fail(group, error)

    def _finish(self, started: StartedCommit, group: Sequence[ReadyBatch], started_at: float) -> None:
        try:
            reports = log_commit(started, ingest=self._ingest)
        except BaseException as error:  # noqa: BLE001 - handed to every caller of the group
            self._ended()
            _fail(group, error)
            return
        self._ended()
        records = sum(one.batch.record_count for one in group)
        self._watch(CommitFacts(len(reports), records, time.perf_counter() - started_at))
        for answer, report in zip(_answers(group), reports, strict=True):
            answer.set_result(report)

    def _ended(self) -> None:
        with self._line.lock:
            self._line.inserting -= 1
            self._line.to_commit.notify()


def _first_bytes(line: deque[WaitingRequest], bytes_max: int) -> Iterator[WaitingRequest]:
    """Take requests off the line, at least one if there is any, until their bodies have so many bytes."""
    taken = 0
    while line and taken < bytes_max:
        request = line.popleft()
        taken += len(request.body)
        yield request


def _groups(ready: Sequence[ReadyBatch], rows_max: int) -> Iterator[list[ReadyBatch]]:
    """Batches in order, as many to a group as one insert holds."""
    group: list[ReadyBatch] = []
    rows = 0
    for one in ready:
        if group and rows + one.batch.record_count > rows_max:
            yield group
            group, rows = [], 0
        group.append(one)
        rows += one.batch.record_count
    if group:
        yield group


def _fail(group: Sequence[ReadyBatch], error: BaseException) -> None:
    for answer in _answers(group):
        answer.set_exception(error)


def _answers(group: Sequence[ReadyBatch]) -> list[Answer]:
    return [answer for one in group for answer in one.answers]
