"""The gate in bounded memory: as exact as the one in memory, in about 4 bytes an identity, not 27 to 43.

A filter in memory says which identities may be on record (``identity_filter.py``); only those are looked up
in the table ``event_identities`` (``identity_table.py``). What is on record and not in that table yet is kept
exactly, in slots: the events of an insert under way, those in the log, and up to ``waiting_max`` more, so
that the table grows by few large blocks.

The table only ever gets identities whose events are in the engine. Commits are inserted one after the
other and each is classified when the one before the last has ended (``commit.py``): when one is remembered,
all but it and the one before are over. One that failed marks the gate stale before the next is classified.
"""

from __future__ import annotations

import numpy as np

from ingest.archives import finish_archives
from ingest.arrow_buffers import Words
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState, StoreUnavailable
from ingest.gate import (
    NONE_FOUND,
    IdentityGate,
    Outcomes,
    count_different,
    repeated_identities,
    slots_of,
)
from ingest.identities_on_record import read_on_record
from ingest.identity_filter import IdentityFilter
from ingest.identity_table import IdentityTable

_FIRST_ROWS = 1 << 12


class BoundedGate(IdentityGate):
    """As ``IdentityGate``, once it was read from the store with ``reload``.

    waiting_max: identities kept exactly before they are moved into the table; those of two commits and of
    the log may come on top.
    """

    def __init__(self, store: EventStore, *, waiting_max: int) -> None:
        self._store = store
        self._table = IdentityTable(store)
        self._waiting_max = waiting_max
        self._previous = 0
        super().__init__()

    @property
    def count(self) -> int:
        """Identities on record, those of an insert under way included."""
        return self._moved + self._held

    @property
    def bytes_held(self) -> int:
        """Memory of the filter, the slots and what waits."""
        return self._filter.bytes_held + super().bytes_held + self._waiting.nbytes

    def classify(self, identities: Words, body_hashes: Words) -> Outcomes:
        """See ``IdentityGate``. Raises what the store raises when it cannot be asked."""
        return self._compare(identities, body_hashes, self._look_up(identities))

    def classify_alone(self, identities: Words, body_hashes: Words) -> Outcomes:
        """See ``IdentityGate``. One statement for all that are suspected."""
        return self._compare(identities, body_hashes, self._look_up(identities), alone=True)

    def _look_up(self, identities: Words) -> Words:
        """Slots with those of the identities that are in the table."""
        if self.turn is None:
            raise BrokenState("the gate was not read while this process may write; nothing can be compared.")
        suspects = identities[self._filter.may_hold(identities)]
        return slots_of(*self._table.look_up(suspects)) if len(suspects) else NONE_FOUND

    def remember(self, identities: Words, body_hashes: Words) -> None:
        """See ``IdentityGate``. Moves what is in the engine into the table when enough has come together."""
        super().remember(identities, body_hashes)
        over, self._previous = self._previous, self._filled
        self._wait(identities, body_hashes)
        if over >= self._waiting_max:
            self._move(over)

    def reload(self, store: EventStore) -> None:
        """Bring the table up to date and read the filter from it. See ``IdentityGate`` for what it raises.

        While another process writes, the table is its own: then only the numbers are read.
        """
        turn = store.turn()
        self._forget()
        if turn is not None:
            finish_archives(store)
            self._moved = self._table.catch_up()
        facts = read_on_record(store)
        if turn is not None:
            repeated = self._fill_filter()
            if repeated or self._moved != facts.identities:
                raise repeated_identities(store, facts.identities, self._moved - repeated)
        self.next_sequence = facts.last + 1
        self.stale = False
        self.turn = turn

    def _forget(self) -> None:
        super()._forget()
        self._filter = IdentityFilter(0)
        self._moved = 0
        # What the slots hold, in the order of sequence numbers; the last is next_sequence - 1.
        self._waiting: Words = np.zeros((_FIRST_ROWS, 3), np.uint64)
        self._filled = 0
        self._previous = 0  # where the commit before the next one begins: until then nothing is under way

    def _fill_filter(self) -> int:
        """Take in what the table holds; returns how many rows are there beyond one an identity."""
        self._filter = IdentityFilter(self._moved)
        repeated = 0
        for identities in self._table.read(self._moved):
            repeated += len(identities) - count_different(identities)  # equal ones come in one piece
            self._filter.add(identities)
        return repeated

    def _wait(self, identities: Words, body_hashes: Words) -> None:
        filled = self._filled + len(body_hashes)
        if filled > len(self._waiting):
            larger = np.zeros((max(filled, 2 * len(self._waiting)), 3), np.uint64)
            larger[: self._filled] = self._waiting[: self._filled]
            self._waiting = larger
        self._waiting[self._filled : filled, :2] = identities
        self._waiting[self._filled : filled, 2] = body_hashes
        self._filled = filled

    def _move(self, rows: int) -> None:
        """Move the first rows of what waits into the table and the filter."""
        try:
            self._store.settle()
        except StoreUnavailable:
            return  # the log has them; no more than it holds can wait here
        moved, kept = self._waiting[:rows], self._waiting[rows : self._filled].copy()
        identities = np.ascontiguousarray(moved[:, :2])
        self._table.add(identities, moved[:, 2], self.next_sequence - self._filled)
        self._filter.add(identities)
        self._moved += rows
        super()._forget()
        self._waiting, self._filled, self._previous = kept, len(kept), self._previous - rows
        self._add(np.ascontiguousarray(kept[:, :2]), np.ascontiguousarray(kept[:, 2]))
