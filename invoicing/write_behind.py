"""One piece of work at a time beside the caller: invoices are written while the next ones are drafted.

The ledger's work and its disk are outside Python, so that two of a machine's processors are at it. Pieces end
in the order they were begun in, and a piece that fails stops the next from beginning.

The writer comes back from the ledger every few milliseconds, with the next rows at hand, and Python lets a
thread that is at work go on for 5 ms before another has its turn. A statement of 1.5 ms with some
Python behind it took 15 ms beside a busy thread, and 10 with turns of 1 ms.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")
_TURN_SECONDS: Final = 0.001


class WriteBehind(Generic[Result]):
    """As a context, nothing is under way when it is left, however it is left. While it is open the threads
    of this process take shorter turns."""

    def __init__(self) -> None:
        self._turns_before = sys.getswitchinterval()
        self._under_way: tuple[Future[Result], Callable[[Result], None]] | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")

    def __enter__(self) -> WriteBehind[Result]:
        self._turns_before = sys.getswitchinterval()
        sys.setswitchinterval(min(self._turns_before, _TURN_SECONDS))
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown(wait=True)
        sys.setswitchinterval(self._turns_before)
        give_back_memory()

    def begin(self, work: Callable[[], Result], *, done: Callable[[Result], None]) -> None:
        """Wait for the piece before, then begin this one. done: told its result, in the thread that waits
        for it. Raises what the piece before raised."""
        self.finish()
        self._under_way = (self._writer.submit(work), done)

    def finish(self) -> None:
        """Wait for the piece under way, if any. Raises what it raised."""
        last, self._under_way = self._under_way, None
        if last is not None:
            piece, done = last
            done(piece.result())


def give_back_memory() -> None:
    """Let the C library return what is free. Each new thread may get a heap of its own, which keeps 100 MB
    after 10,000 invoices: without this a server's memory grows with every run, up to a heap for each of
    many threads. Where the C library has no such call nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
