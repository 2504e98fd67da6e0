"""The time of day, always passed in as an argument and never read from the machine elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the present instant, aware and in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is moved: for tests, demos and replays."""

    def __init__(self, instant: datetime) -> None:
        if instant.tzinfo is None:
            raise ValueError("a clock needs an instant with a time zone")
        self._instant = instant.astimezone(UTC)

    def now(self) -> datetime:
        return self._instant

    def move_to(self, instant: datetime) -> None:
        if instant < self._instant:
            raise ValueError("a clock does not run backwards")
        self._instant = instant.astimezone(UTC)

    def advance(self, step: timedelta) -> None:
        self.move_to(self._instant + step)


def to_micros(instant: datetime) -> int:
    """Whole microseconds since 1970-01-01T00:00:00Z, without a trip through a float."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The instant that many microseconds after 1970-01-01T00:00:00Z."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
