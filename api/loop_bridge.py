"""Hands results of threads to an event loop, many at a time: the loop is woken once for all of them.

``asyncio.wrap_future`` wakes it for each, and a commit answers hundreds of requests at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class LoopBridge:
    """One an event loop; ``wait`` is called on that loop only."""

    def __init__(self) -> None:
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._woken = False

    async def wait(self, work: Future[Result]) -> Result:
        """The result of ``work``, or its exception. Cancelling the wait does not cancel the work."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Result] = loop.create_future()

        def hand_over(done: Future[Result]) -> None:
            # First in, then look: the loop clears the mark before it empties the deque.
            self._done.append((mine, done))
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._take_over)

        work.add_done_callback(hand_over)
        return await mine

    def _take_over(self) -> None:
        self._woken = False
        while self._done:
            mine, done = self._done.popleft()
            if mine.done():
                continue
            error = done.exception()
            if error is None:
                mine.set_result(done.result())
            else:
                mine.set_exception(error)
