"""From the log into the engine: what was acknowledged is inserted in few large blocks, by one thread.

A commit that is in the log is answered. It is in the engine after ``LANDING_SECONDS``, or as soon as anybody
reads: every read of the event store first waits for what was acknowledged before it (``settle``), so a
sender who has his answer sees his events. Who says which events he asks about waits for none but those.
An insert that fails is tried again for as long as it takes; meanwhile reads say so, and senders are refused
once ``ROWS_WAITING_MAX`` rows wait. Whoever sends faster than the engine takes in is slowed down before
that (``ingest/landing_pace.py``).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

import pyarrow as pa

from ingest.asked_events import AskedEvents
from ingest.errors import StoreUnavailable
from ingest.event_log import EventLog, LogEntry
from ingest.landing_pace import LandingPace

LANDING_SECONDS: Final = 0.25
"""How long a commit may wait in the log for others when nobody reads."""
ROWS_A_BLOCK: Final = 400_000
ROWS_WAITING_MAX: Final = 800_000
_RETRY_SECONDS: Final = 1.0
_FILE_BYTES_MAX: Final = 32 * 1024 * 1024


class Landed(Protocol):
    """What the lander needs of the store; neither method waits for the lander."""

    def insert(self, table: str, rows: pa.Table, *, token: str | None = None) -> None: ...

    def last_sequence(self) -> int:
        """The number of the last event in the engine, 0 for none."""
        ...


class Lander:
    """One a store. Thread safe, but one thread at a time appends: the order is the caller's."""

    def __init__(self, store: Landed, folder: Path) -> None:
        self._store = store
        self._log = EventLog(folder)
        self._writing = threading.Lock()  # the log's
        self._changed = threading.Condition()
        self._waiting: deque[LogEntry] = deque()
        self._rows = 0  # of events in self._waiting
        self._pace = LandingPace(ROWS_A_BLOCK)
        self._since = 0.0
        self._appended = 0
        self._landed = 0
        self._wanted = 0
        self._failed: Exception | None = None
        self._tries = 0
        self._open = True
        self._thread: threading.Thread | None = None

    @property
    def rows_waiting(self) -> int:
        """Events that are acknowledged and not in the engine."""
        with self._changed:
            return self._rows

    def recover(self) -> None:
        """Insert what an earlier process acknowledged and did not get into the engine. Before anything is
        read. Raises what the insert raises; then nothing is lost and the next start tries again."""
        with self._writing:
            entries = list(self._log.read())
            self._land(entries, unsure=True)
            self._log.remove(self._log.entries)

    def append(self, entry: LogEntry) -> None:
        """On disk when this returns. Waits while too much is waiting to be inserted.

        Raises StoreUnavailable when the disk refuses it or the engine refuses what waits before it; then
        nothing of it is kept.
        """
        with self._changed:
            self._changed.wait_for(self._has_room)
            while seconds := self._pace.seconds_to_wait(self._rows - self._pace.rows, now=time.monotonic()):
                self._changed.wait(seconds)
            if not self._has_room(even_failing=False):
                raise self._refusal() from self._failed
        with self._writing:
            try:
                self._log.append(entry)
            except OSError as error:
                raise StoreUnavailable(
                    f"the log in front of the event store could not be written: {error}. Nothing of this "
                    "request was taken; free that disk and send it again."
                ) from error
            with self._changed:
                if not self._waiting:
                    self._since = time.monotonic()
                self._waiting.append(entry)
                self._rows += entry.events.num_rows
                self._appended += 1
                if self._thread is None:
                    self._thread = threading.Thread(target=self._land_all, name="ingest-land", daemon=True)
                    self._thread.start()
                self._changed.notify_all()

    def settle(self, asked: AskedEvents | None = None) -> None:
        """Wait until all that was acknowledged before this call is in the engine; of events those that are
        ``asked``, if any are named.

        Raises StoreUnavailable when the engine refuses it.
        """
        if self._landed == self._appended or threading.current_thread() is self._thread:
            return
        with self._changed:
            target, landed, tries = self._appended, self._landed, self._tries
            waiting = () if asked is None else tuple(self._waiting)
        if asked is not None:
            places = range(len(waiting), 0, -1)
            target = next((landed + place for place in places if asked.among(waiting[place - 1].events)), 0)
        with self._changed:
            if self._landed >= target:
                return
            self._wanted = max(self._wanted, target)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._landed >= target or (self._failed and self._tries > tries))
            if self._landed < target:
                raise self._refusal() from self._failed

    def close(self) -> None:
        """Insert what waits and stop; what the engine refuses stays in the log. Again does nothing."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        with self._writing:
            self._log.close()
            self._log.remove(self._landed)

    def _has_room(self, *, even_failing: bool = True) -> bool:
        return self._rows < ROWS_WAITING_MAX or (even_failing and self._failed is not None)

    def _refusal(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"events that are safe in the log could not be inserted yet: {self._failed}. It is tried again "
            "every second; nothing acknowledged is lost."
        )

    def _land_all(self) -> None:
        while True:
            with self._changed:
                while not self._is_time():
                    self._changed.wait(self._landing_pause())
                if not self._waiting or (self._failed and not self._open):
                    return
                taken = _first(self._waiting)
                self._pace.begin(sum(entry.events.num_rows for entry in taken), now=time.monotonic())
            self._land_taken(taken)

    def _is_time(self) -> bool:
        if not self._open:
            return True
        if not self._waiting:
            return False
        if self._failed is not None and time.monotonic() < self._since + _RETRY_SECONDS:
            return False
        return (
            self._wanted > self._landed
            or self._rows >= ROWS_A_BLOCK
            or time.monotonic() >= self._since + LANDING_SECONDS
        )

    def _landing_pause(self) -> float | None:
        if not self._waiting:
            return None
        seconds = LANDING_SECONDS if self._failed is None else _RETRY_SECONDS
        return max(0.0, self._since + seconds - time.monotonic())

    def _land_taken(self, taken: Sequence[LogEntry]) -> None:
        try:
            self._land(taken, unsure=self._failed is not None)
        except Exception as error:  # noqa: BLE001 - told to whoever reads, and tried again
            with self._changed:
                self._failed, self._since = error, time.monotonic()
                self._pace.end(landed=False, now=self._since)
                self._tries += 1
                self._changed.notify_all()
            return
        with self._changed:
            self._failed = None
            self._tries += 1
            for _ in taken:
                self._rows -= self._waiting.popleft().events.num_rows
            self._landed += len(taken)
            self._since = time.monotonic()
            self._pace.end(landed=True, now=self._since)
            self._changed.notify_all()
        with self._writing:
            if self._landed == self._appended or self._log.size >= _FILE_BYTES_MAX:
                self._log.next_file()
            self._log.remove(self._landed)

    def _land(self, entries: Sequence[LogEntry], *, unsure: bool) -> None:
        """Insert entries in order, events as one block. unsure: some may be in the engine already."""
        last = self._store.last_sequence() if unsure and entries else 0
        new = [entry.events for entry in entries if entry.last_sequence > last]
        if new:
            events = pa.concat_tables(new).unify_dictionaries().combine_chunks()
            self._store.insert("events", events, token=uuid4().hex)
        for entry in entries:
            if entry.refused is not None:
                # The token makes it a no-op when a process before got that far.
                self._store.insert("refused_events", entry.refused, token=entry.token)


def _first(waiting: deque[LogEntry]) -> list[LogEntry]:
    """The first entries, as many as one block holds, at least one."""
    taken: list[LogEntry] = []
    rows = 0
    for entry in waiting:
        if taken and rows + entry.events.num_rows > ROWS_A_BLOCK:
            break
        taken.append(entry)
        rows += entry.events.num_rows
    return taken
