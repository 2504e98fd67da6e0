"""Death between any two writes to the store: a write that raises, before or after its rows are on disk, and
every write after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ingest.clickhouse import EventStore


class Killed(ConnectionError):
    """The process died."""


@dataclass(slots=True)
class Deaths:
    """Lets writes of a store die. chance: of each write."""

    random: Random
    chance: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    dead: bool = False
    count: int = 0

    @contextmanager
    def upon(self, store: EventStore) -> Iterator[None]:
        real = store.insert

        def insert(*arguments: Any, **named: Any) -> None:
            with self.lock:
                if self.dead:
                    raise Killed
                dies, lands = self.random.random() < self.chance, self.random.random() < 0.5
                self.dead = dies
                self.count += dies
            if not dies or lands:
                real(*arguments, **named)
            if dies:
                raise Killed

        store.insert = insert  # type: ignore[method-assign]
        try:
            yield
        finally:
            del store.insert


def is_death(error: BaseException) -> bool:
    """Whether that is how a thread hears of the death: its own write died, or one it waited for, such as an
    insert of what is safe in the log."""
    return isinstance(error, Killed) or isinstance(error.__cause__, Killed)
