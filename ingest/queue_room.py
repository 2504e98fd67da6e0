"""How much may be under way at once, in bytes: what does not fit is refused, never piled up."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from ingest.errors import Busy

REQUEST_BYTES_MIN: Final = 4096
"""What even an empty request is counted as: its connection and its place in the queue."""


def shutting_down() -> Busy:
    """The refusal of whoever comes while the process is being stopped."""
    return Busy("the server is stopping. Send it again in a while.", reason_code="shutting_down")


class QueueRoom:
    """The bytes of all requests that are being received or wait for their answer. Thread safe."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._closed = False
        self.bytes_held = 0
        self.requests_held = 0

    def enter(self) -> Held:
        """A place for one request, to be left by ``Held.release`` (or a ``with`` block).

        Raises Busy: queue_full, shutting_down.
        """
        self._take(REQUEST_BYTES_MIN, new_request=True)
        return Held(self)

    def close(self) -> None:
        """Let nobody in any more; those inside stay."""
        with self._lock:
            self._closed = True

    def _take(self, count: int, *, new_request: bool) -> None:
        with self._lock:
            if self._closed and new_request:
                raise shutting_down()
            self._refuse_without_room(count, others=self.requests_held - (not new_request))
            self.bytes_held += count
            self.requests_held += new_request

    def _look(self, count: int) -> None:
        with self._lock:
            self._refuse_without_room(count, others=self.requests_held - 1)

    def _refuse_without_room(self, count: int, *, others: int) -> None:
        # Whoever is alone may go on: a body within its own limit can always be sent.
        if others > 0 and self.bytes_held + count > self._bytes_max:
            raise Busy(
                f"{self.bytes_held:,} bytes of requests wait to be written and at most {self._bytes_max:,} "
                "may. Nothing of this request was taken; send it again after the seconds in Retry-After.",
                reason_code="queue_full",
            )

    def _give_back(self, count: int) -> None:
        with self._lock:
            self.bytes_held -= count
            self.requests_held -= 1


class Held:
    """One request's place in a ``QueueRoom``; grows with its body, and is given back once."""

    def __init__(self, room: QueueRoom) -> None:
        self._room = room
        self._count = REQUEST_BYTES_MIN

    def more(self, count: int) -> None:
        """Hold ``count`` more bytes. Raises Busy: queue_full; the place itself stays held."""
        self._room._take(count, new_request=False)  # noqa: SLF001 - the two are one thing
        self._count += count

    def refuse_unless(self, count: int) -> None:
        """Raises Busy (queue_full) when ``count`` more bytes would find no room now; holds nothing."""
        self._room._look(count)  # noqa: SLF001

    def release(self) -> None:
        """Give the place back; a second time does nothing."""
        if self._count:
            self._room._give_back(self._count)  # noqa: SLF001
            self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
