"""Who wants to know at once what came on record: told before anybody is answered and before the next insert.

A listener keeps something in memory that must hold every acknowledged event. It is told of events and
corrections when they are on disk, and when an insert failed so that nobody knows what landed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import pyarrow as pa


class Landing(Protocol):
    """A listener. Its methods are called with the lock of inserts held and must be quick."""

    def events_landed(self, events: pa.Table) -> None:
        """New events are on disk. events: STORED_EVENT_SCHEMA, one chunk, by ``sequence``; texts of
        ``batch_id`` may be a dictionary."""
        ...

    def versions_changed(self, places: Iterable[tuple[str, str]], last_sequence: int) -> None:
        """Corrections up to that number are in force; ``places``: (type, subject) of what they touched."""
        ...

    def landing_unknown(self) -> None:
        """An insert failed and may or may not have landed: what is remembered may be wrong."""
        ...
