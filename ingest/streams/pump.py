"""The loop of a stream: take messages, take their records in, and only then let the source forget them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final, Protocol, TypeVar

from ingest.errors import StoreUnavailable
from ingest.settings import IngestSettings
from ingest.streams.batch import COUNTS, Send, Taken, take_messages
from ingest.streams.message import Message

RETRY_SECONDS: Final = (1, 2, 5, 10, 30)

Handle = TypeVar("Handle")
Heard = Callable[[str, Sequence[Mapping[str, Any]]], None]
"""Told what happens, in words, and with refusals as a report lists them."""


class Source(Protocol[Handle]):
    """A broker's consumer. A handle is the broker's own message."""

    def take(self, *, messages_max: int, wait_seconds: int) -> Sequence[tuple[Message, Handle]]:
        """Up to so many messages, waiting for the first; none when none came."""
        ...

    def is_empty(self) -> bool:
        """Whether nothing came because there is nothing, neither new nor under way elsewhere.
        Raises StoreUnavailable when the broker does not answer."""
        ...

    def settle(self, handles: Sequence[Handle], *, none_taken: set[int]) -> None:
        """The records are on disk or refused: these messages need not come again.
        none_taken: places of those of which nothing counts."""
        ...

    def hold(self, handles: Sequence[Handle]) -> None:
        """These messages are still being worked on."""
        ...


@dataclass(slots=True)
class Totals:
    """What a stream has taken since it was started."""

    messages: int = 0
    messages_refused: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def add(self, messages: int, taken: Taken) -> None:
        self.messages += messages
        self.messages_refused += len(taken.none_taken)
        for name in COUNTS:
            self.counts[name] += taken.counts[name]

    def to_dict(self) -> dict[str, int]:
        return {"messages": self.messages, "messages_refused": self.messages_refused, **self.counts}


def pump(
    source: Source[Handle],
    *,
    send: Send,
    settings: IngestSettings,
    stop: Event,
    messages_max: int,
    wait_seconds: int,
    until_empty: bool,
    heard: Heard,
) -> Totals:
    """Take messages until ``stop`` is set or, with ``until_empty``, until there are no more.

    heard: told what happens, in words and with the refusals of a batch. While the server or the broker
    cannot be reached it is tried again for ever: nothing is let go that is not on disk. Raises
    StoreUnavailable when the broker cannot be reached and ``until_empty``.
    """
    totals, attempt = Totals(), 0
    while not stop.is_set():
        try:
            found = source.take(messages_max=messages_max, wait_seconds=wait_seconds)
            if not found:
                if until_empty and source.is_empty():
                    break
                continue
            handles = [handle for _, handle in found]
            messages = [message for message, _ in found]
            taken = _take_for_sure(
                source, handles, messages, send=send, settings=settings, stop=stop, heard=heard
            )
            if taken is None:
                break
            totals.add(len(found), taken)
            if taken.refusals:
                heard(f"{len(taken.refusals)} records were refused", taken.refusals)
            source.settle(handles, none_taken=taken.none_taken)
            attempt = 0
        except StoreUnavailable as error:
            if until_empty:
                raise
            stop.wait(pause_after(attempt, error, heard))
            attempt += 1
    return totals


def _take_for_sure(
    source: Source[Handle],
    handles: Sequence[Handle],
    messages: Sequence[Message],
    *,
    send: Send,
    settings: IngestSettings,
    stop: Event,
    heard: Heard,
) -> Taken | None:
    """None when it was stopped before they could be taken."""
    attempt = 0
    while True:
        try:
            return take_messages(messages, send=send, settings=settings)
        except StoreUnavailable as error:
            pause = pause_after(attempt, error, heard)
            attempt += 1
            source.hold(handles)
            if stop.wait(pause):
                return None


def pause_after(attempt: int, error: StoreUnavailable, heard: Heard) -> int:
    """How many seconds to wait after a failure; says so. attempt: from 0."""
    seconds = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
    heard(f"{error} Trying again in {seconds} s.", ())
    return seconds
