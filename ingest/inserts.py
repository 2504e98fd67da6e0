"""Blocks of rows on their way into the event store."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Inserts:
    """Inserts under way. As a context they have all ended when it is left, however it is left."""

    inserts: tuple[Future[None], ...]

    def __enter__(self) -> Inserts:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def wait(self) -> None:
        """Until all have ended; then raise the first error, if any: nothing lands later."""
        wait(self.inserts)
        for insert in self.inserts:
            insert.result()
