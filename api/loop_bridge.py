"""Hands results of threads to an event loop, many at a time: the loop is woken once for all of them.

``asyncio.wrap_future`` wakes it for each, and a commit answers hundreds of requests at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


class LoopBridge:
    """One an event loop; ``wait`` is called on that loop only, ``call`` by any thread."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False

    def call(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Have ``callback`` called on the loop. One that has ended is not told: nobody waits there."""
        # First in, then look: the loop clears the mark before it empties the deque.
        self._calls.append(callback)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._call_all, loop)

    async def wait(self, work: Future[Result]) -> Result:
        """The result of ``work``, or its exception. Cancelling the wait does not cancel the work."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Result] = loop.create_future()

        work.add_done_callback(lambda done: self.call(loop, partial(_copy, done, mine)))
        return await mine

    def _call_all(self, loop: asyncio.AbstractEventLoop) -> None:
        self._woken = False
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            if self._calls:  # one of them failed, which is for the loop to say; the others go on
                loop.call_soon(self._call_all, loop)


def _copy(done: Future[Result], mine: asyncio.Future[Result]) -> None:
    if mine.done():
        return
    error = done.exception()
    if error is None:
        mine.set_result(done.result())
    else:
        mine.set_exception(error)
