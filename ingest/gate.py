"""The gate: which events are new, which were seen, which contradict what was seen.

An exact set in memory of every identity ever accepted, with its body hash: 24 bytes a slot, open
addressing, grown by doubling. It is derived data: opening it reads the events table and the cancellations,
so gate and store cannot drift apart over a crash. Measured in feasibility A4: 10 M look-ups a second.
Where that set is too large, ``bounded_gate.py`` answers the same from less memory (RATEMILL_GATE).

Classifying changes nothing. Identities are remembered before the insert that holds them, so that the next
batch can be compared meanwhile, and nobody is answered by them before that insert is on disk. When an
insert failed and nobody knows whether it landed, the gate is marked stale and read again from the table.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.archives import finish_archives
from ingest.arrow_buffers import Integers, Words
from ingest.clickhouse import EventStore
from ingest.compiled import compiled
from ingest.errors import BrokenState
from ingest.identities_on_record import IDENTITY_SOURCES, read_on_record
from ingest.store_url import shown_url

NEW: Final = 0
DUPLICATE: Final = 1
CONFLICT: Final = 2
Outcomes = npt.NDArray[np.uint8]

_FIRST_CAPACITY: Final = 1 << 16
_LOAD_PERCENT_MAX: Final = 65
_PREPARE_PERCENT: Final = 60
"""How full the set is when memory for the next one begins to be asked for."""
_MOVED_A_ROW: Final = 4
_CLEARED_A_ROW: Final = 40
_A_CALL_MIN: Final = 1024
"""Slots moved or cleared with each identity that is remembered, and at least with each batch: enough that
the smaller set is empty before the next one is prepared, and that one is cleared before it is needed."""
_EMPTY: Final = np.uint64(0)

_IDENTITIES_SQL: Final = tuple(
    f"SELECT reinterpretAsUInt64(substring({source.identity}, 1, 8)) AS low, "
    f"reinterpretAsUInt64(substring({source.identity}, 9, 8)) AS high, body_hash {source.rows}"
    for source in IDENTITY_SOURCES
)
NONE_FOUND: Final[Words] = np.zeros((1, 3), np.uint64)
"""Slots with nothing in them."""


class IdentityGate:
    """Not thread safe: the caller holds the planning lock around every method but ``mark_stale``.

    A set that is full moves into one of twice the size little by little, with every batch that is remembered:
    to move millions at once would stop every sender for a second. Until then both are asked. The memory of
    the larger one is asked for little by little too, before it is needed: identities lie anywhere, so the
    first batch in it would otherwise touch every page, and the system clears them one by one.

    next_sequence: the sequence number the next accepted event gets.
    stale: an insert failed with unknown outcome: what is classified does not hold before a ``reload``.
    turn: the store's turn at writing in which the table was read; None when another process wrote then.
    """

    def __init__(self) -> None:
        self._forget()
        self.next_sequence = 1
        self.stale = False
        self.turn: int | None = None

    @property
    def count(self) -> int:
        """Identities on record, those of an insert under way included."""
        return self._held

    @property
    def bytes_held(self) -> int:
        """Memory that identities take."""
        return self._slots.nbytes + self._older.nbytes + self._next.nbytes

    def classify(self, identities: Words, body_hashes: Words) -> Outcomes:
        """NEW, DUPLICATE or CONFLICT for each row; inside the batch the first of its id wins.

        identities: uint64 (rows, 2); body_hashes: uint64 (rows). Nothing is remembered.
        """
        return self._compare(identities, body_hashes, NONE_FOUND)

    def classify_alone(self, identities: Words, body_hashes: Words) -> Outcomes:
        """As ``classify``, each row as if it were the only one of its batch."""
        return self._compare(identities, body_hashes, NONE_FOUND, alone=True)

    def remember(self, identities: Words, body_hashes: Words) -> None:
        """Take in identities that are new, and count their sequence numbers."""
        repeated = self._add(identities, body_hashes)
        if repeated:
            raise BrokenState(f"{repeated} of {len(body_hashes)} identities to remember were known already.")
        self.next_sequence += len(body_hashes)

    def mark_stale(self) -> None:
        """Say that the table may hold events this gate does not know of, or lack some that it does."""
        self.stale = True

    def reload(self, store: EventStore) -> None:
        """Forget everything and read it again from the store, in streamed chunks.

        Raises BrokenState when the store holds an identity twice: it would be billed twice.
        """
        turn = store.turn()
        if turn is not None:
            finish_archives(store)
        self._forget()
        facts = read_on_record(store)
        self._reserve(facts.identities)
        repeated = sum(self._read(store, sql) for sql in _IDENTITIES_SQL)
        if repeated or self.count != facts.identities:
            raise repeated_identities(store, facts.identities, self.count)
        self.next_sequence = facts.last + 1
        self.stale = False
        self.turn = turn

    def _forget(self) -> None:
        self._slots = empty_slots(_FIRST_CAPACITY)
        self._older: Words = NONE_FOUND  # what is being moved into ``_slots``
        self._older_moved = 0  # how many of its slots were
        self._next: Words = NONE_FOUND  # what ``_slots`` will move into
        self._next_cleared = 0  # how many of its slots are in memory
        self._held = 0

    def _compare(
        self, identities: Words, body_hashes: Words, found: Words, *, alone: bool = False
    ) -> Outcomes:
        """``classify`` against the slots and ``found``, which are slots too; alone: ``classify_alone``."""
        rows = len(body_hashes)
        outcomes = np.empty(rows, np.uint8)
        places = np.full(0 if alone else _power_of_two(2 * rows + 2), -1, np.int64)
        _classify(self._slots, self._older, found, identities, body_hashes, places, outcomes)
        return outcomes

    def _read(self, store: EventStore, sql: str) -> int:
        """Take in what a query of _IDENTITIES_SQL gives; returns how many were known already."""
        repeated = 0
        with store.client().query_arrow_stream(sql) as chunks:
            for chunk in chunks:
                identities = np.empty((chunk.num_rows, 2), np.uint64)
                identities[:, 0] = chunk["low"].to_numpy()
                identities[:, 1] = chunk["high"].to_numpy()
                repeated += self._add(identities, np.array(chunk["body_hash"].to_numpy()))
        return repeated

    def _add(self, identities: Words, body_hashes: Words) -> int:
        self._reserve(len(body_hashes))
        added = _add_all(self._slots, self._older, identities, body_hashes)
        self._held += added
        return len(body_hashes) - added

    def _reserve(self, more: int) -> None:
        self._move_on(_MOVED_A_ROW * more + _A_CALL_MIN)
        wanted = (self._held + more) * 100
        if wanted >= _PREPARE_PERCENT * len(self._slots):
            self._prepare(_CLEARED_A_ROW * more + _A_CALL_MIN)
        if wanted >= _LOAD_PERCENT_MAX * len(self._slots):
            self._move_on(len(self._older))
            self._older, self._slots = self._slots, self._larger(wanted // _LOAD_PERCENT_MAX + 1)
            self._next, self._next_cleared = NONE_FOUND, 0

    def _prepare(self, slots: int) -> None:
        """Have so many slots more of the next set in memory."""
        if self._next is NONE_FOUND:
            self._next = empty_slots(2 * len(self._slots))
        end = min(self._next_cleared + slots, len(self._next))
        self._next[self._next_cleared : end] = _EMPTY
        self._next_cleared = end

    def _larger(self, slots_min: int) -> Words:
        return self._next if len(self._next) >= slots_min else empty_slots(_power_of_two(slots_min))

    def _move_on(self, slots: int) -> None:
        """Move so many slots of the smaller set, and let go of it when that was the last."""
        end = min(self._older_moved + slots, len(self._older))
        _move(self._older, self._older_moved, end, self._slots)
        self._older_moved = end
        if end == len(self._older):
            self._older, self._older_moved = NONE_FOUND, 0


def empty_slots(count: int) -> Words:
    """So many slots with nothing in them, in memory pages of the small size.

    numpy asks for huge ones, of which the system clears two megabytes for the first slot that is touched.
    """
    memory = mmap.mmap(-1, count * NONE_FOUND.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # a system without huge pages has no such advice
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint64).reshape(count, 3)


def slots_of(identities: Words, body_hashes: Words) -> Words:
    """Slots that hold these identities. Raises BrokenState when one is there twice."""
    slots = np.zeros((_power_of_two(2 * len(body_hashes) + 2), 3), np.uint64)
    if _add_all(slots, NONE_FOUND, identities, body_hashes) != len(body_hashes):
        raise BrokenState("an identity is on record twice; open the store again, which says of what.")
    return slots


def count_different(identities: Words) -> int:
    """How many different identities these are."""
    slots = np.zeros((_power_of_two(2 * len(identities) + 2), 3), np.uint64)
    return _add_all(slots, NONE_FOUND, identities, np.zeros(len(identities), np.uint64))


def repeated_identities(store: EventStore, identities: int, different: int) -> BrokenState:
    """The error of a store that would bill an event twice."""
    return BrokenState(
        f"the event store at {shown_url(store.url)} holds {identities} events and corrections of "
        f"{different} different identities; each may be there once. Find them with GROUP BY identity HAVING "
        "count() > 1 in events, and with correction_identity in superseded_events, and restore the table "
        "from a backup."
    )


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


@compiled
def _find(slots: Words, low: np.uint64, high: np.uint64) -> np.int64:
    # The slot that holds the identity, or the empty slot where it belongs. An identity of all
    # zeros (one in 2**128) would look like an empty slot; it is kept as (0, 1).
    if low == _EMPTY and high == _EMPTY:
        high = np.uint64(1)
    mask = len(slots) - 1
    place = np.int64(low & np.uint64(mask))
    while True:
        if slots[place, 0] == low and slots[place, 1] == high:
            return place
        if slots[place, 0] == _EMPTY and slots[place, 1] == _EMPTY:
            return place
        place = (place + 1) & mask


@compiled
def _put(slots: Words, low: np.uint64, high: np.uint64, body: np.uint64) -> bool:
    place = _find(slots, low, high)
    if slots[place, 0] != _EMPTY or slots[place, 1] != _EMPTY:
        return False
    if low == _EMPTY and high == _EMPTY:
        high = np.uint64(1)
    slots[place, 0] = low
    slots[place, 1] = high
    slots[place, 2] = body
    return True


@compiled
def _add_all(slots: Words, older: Words, identities: Words, body_hashes: Words) -> int:
    added = 0
    for row in range(len(body_hashes)):
        low, high = identities[row, 0], identities[row, 1]
        if not _holds(older, _find(older, low, high)) and _put(slots, low, high, body_hashes[row]):
            added += 1
    return added


@compiled
def _holds(slots: Words, place: np.int64) -> bool:
    return bool(slots[place, 0] != _EMPTY or slots[place, 1] != _EMPTY)


@compiled
def _move(slots: Words, first: int, end: int, larger: Words) -> None:
    for place in range(first, end):
        if slots[place, 0] != _EMPTY or slots[place, 1] != _EMPTY:
            _put(larger, slots[place, 0], slots[place, 1], slots[place, 2])


@compiled
def _classify(
    slots: Words,
    older: Words,
    found: Words,
    identities: Words,
    body_hashes: Words,
    places: Integers,
    outcomes: Outcomes,
) -> None:
    mask = len(places) - 1
    for row in range(len(body_hashes)):
        low, high = identities[row, 0], identities[row, 1]
        slot = _find(slots, low, high)
        if slots[slot, 0] != _EMPTY or slots[slot, 1] != _EMPTY:
            outcomes[row] = DUPLICATE if slots[slot, 2] == body_hashes[row] else CONFLICT
            continue
        slot = _find(older, low, high)
        if older[slot, 0] != _EMPTY or older[slot, 1] != _EMPTY:
            outcomes[row] = DUPLICATE if older[slot, 2] == body_hashes[row] else CONFLICT
            continue
        slot = _find(found, low, high)
        if found[slot, 0] != _EMPTY or found[slot, 1] != _EMPTY:
            outcomes[row] = DUPLICATE if found[slot, 2] == body_hashes[row] else CONFLICT
            continue
        if not len(places):
            outcomes[row] = NEW
            continue
        # Not on record: look among the rows of this batch, of which ``places`` holds the first ones.
        place = np.int64(low & np.uint64(mask))
        while True:
            first = places[place]
            if first < 0:
                places[place] = row
                outcomes[row] = NEW
                break
            if identities[first, 0] == low and identities[first, 1] == high:
                outcomes[row] = DUPLICATE if body_hashes[first] == body_hashes[row] else CONFLICT
                break
            place = (place + 1) & mask
