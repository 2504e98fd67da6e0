"""Goal: the gate says new, duplicate or conflict exactly as a dictionary would, over batches, growth
and reopening, and refuses to go on over a table that counts an event twice."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.arrow_buffers import Words
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from ingest.gate import CONFLICT, DUPLICATE, NEW, IdentityGate
from ingest.load import open_gate
from ingest.settings import IngestSettings
from tests.ingest.support import context, event, ndjson, send

KINDS = [IngestSettings(gate="memory"), IngestSettings(gate="bounded")]
on_both_kinds = pytest.mark.parametrize("limits", KINDS, ids=lambda limits: limits.gate)
Rows = list[tuple[int, int, int]]


def columns(rows: Rows) -> tuple[Words, Words]:
    identities = np.array([row[:2] for row in rows], np.uint64).reshape(-1, 2)
    return identities, np.array([row[2] for row in rows], np.uint64)


def take(gate: IdentityGate, rows: Rows) -> list[int]:
    identities, bodies = columns(rows)
    outcomes = gate.classify(identities, bodies)
    new = outcomes == NEW
    gate.remember(identities[new], bodies[new])
    return [int(outcome) for outcome in outcomes]


def test_new_then_duplicate_then_conflict() -> None:
    gate = IdentityGate()
    assert take(gate, [(1, 1, 7)]) == [NEW]
    assert take(gate, [(1, 1, 7), (1, 1, 8), (1, 2, 7)]) == [DUPLICATE, CONFLICT, NEW]
    assert gate.next_sequence == 3


def test_inside_a_batch_the_first_wins() -> None:
    assert take(IdentityGate(), [(1, 1, 7), (1, 1, 7), (1, 1, 8)]) == [NEW, DUPLICATE, CONFLICT]


def test_classifying_remembers_nothing() -> None:
    gate = IdentityGate()
    identities, bodies = columns([(1, 1, 7)])
    assert gate.classify(identities, bodies).tolist() == [NEW]
    assert gate.classify(identities, bodies).tolist() == [NEW]


# Few different words, and words that share their low bits, so that slots collide.
LOW = st.sampled_from([1, 2, 1 << 16, 1 << 17, (1 << 64) - 1, 1 << 63])
HIGH = st.sampled_from([0, 1, 1 << 63])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.tuples(LOW, HIGH, st.integers(0, 2)), max_size=12), max_size=6))
def test_the_gate_is_a_dictionary(batches: list[Rows]) -> None:
    gate = IdentityGate()
    known: dict[tuple[int, int], int] = {}
    for batch in batches:
        expected = []
        for low, high, body in batch:
            seen = (low, high) in known
            first = known.setdefault((low, high), body)
            expected.append((DUPLICATE if first == body else CONFLICT) if seen else NEW)
        assert take(gate, batch) == expected
    assert gate.count == len(known)


def test_the_identity_of_all_zeros_is_kept() -> None:
    gate = IdentityGate()
    assert take(gate, [(0, 0, 5)]) == [NEW]
    assert take(gate, [(0, 0, 5), (0, 0, 6)]) == [DUPLICATE, CONFLICT]


def test_rows_alone_do_not_see_each_other() -> None:
    gate = IdentityGate()
    take(gate, [(1, 1, 7)])
    identities, bodies = columns([(2, 1, 7), (2, 1, 8), (1, 1, 7), (1, 1, 8)])
    assert gate.classify_alone(identities, bodies).tolist() == [NEW, NEW, DUPLICATE, CONFLICT]


def test_growing_forgets_nothing() -> None:
    gate = IdentityGate()
    words = np.random.default_rng(1).integers(1, 2**63, (200_000, 2), np.int64).astype(np.uint64)
    bodies = words[:, 0].copy()
    for start in range(0, 200_000, 50_000):
        gate.remember(words[start : start + 50_000], bodies[start : start + 50_000])
    assert gate.count == 200_000
    assert (gate.classify(words, bodies) == DUPLICATE).all()
    assert (gate.classify(words, bodies + np.uint64(1)) == CONFLICT).all()
    assert (gate.classify(words ^ np.uint64(1 << 63), bodies) == NEW).all()


@pytest.mark.parametrize(("moved_a_row", "cleared_a_row"), [(2, 1), (2, 40), (4, 16), (1000, 1000)])
def test_a_gate_that_is_growing_is_a_dictionary(
    monkeypatch: pytest.MonkeyPatch, moved_a_row: int, cleared_a_row: int
) -> None:
    """Half-moved and half-cleared sets are asked at every step of five doublings."""
    monkeypatch.setattr("ingest.gate._FIRST_CAPACITY", 64)
    monkeypatch.setattr("ingest.gate._A_CALL_MIN", 0)
    monkeypatch.setattr("ingest.gate._MOVED_A_ROW", moved_a_row)
    monkeypatch.setattr("ingest.gate._CLEARED_A_ROW", cleared_a_row)
    draw = random.Random(7283)
    gate, known, between = IdentityGate(), dict[tuple[int, int], int](), 0
    while len(known) < 64 * 2**5:
        batch = [(draw.randrange(4000), draw.randrange(2), draw.randrange(2)) for _ in range(9)]
        expected = []
        for low, high, body in batch:
            seen = (low, high) in known
            first = known.setdefault((low, high), body)
            expected.append((DUPLICATE if first == body else CONFLICT) if seen else NEW)
        assert take(gate, batch) == expected
        between += len(gate._older) > 1
    identities, bodies = columns([(low, high, body) for (low, high), body in known.items()])
    assert (gate.classify(identities, bodies) == DUPLICATE).all()
    assert gate.count == len(known)
    with pytest.raises(BrokenState, match="known already"):
        gate.remember(identities[:1], bodies[:1])
    assert between > 20 or moved_a_row == 1000


def test_a_larger_set_is_in_memory_before_it_is_needed() -> None:
    """So no batch pays for all of it: in batches of a hundredth of the set, the next one is whole when the
    set is full, and what moves there is over before another is prepared."""
    gate, batch = IdentityGate(), 655
    words = np.random.default_rng(2).integers(1, 2**63, (200_000, 2), np.int64).astype(np.uint64)
    grown = 0
    for start in range(0, len(words) - batch, batch):
        before, cleared = len(gate._slots), gate._next_cleared
        gate.remember(words[start : start + batch], words[start : start + batch, 0].copy())
        assert gate._next_cleared - cleared <= 41 * batch + 1024
        assert len(gate._older) == 1 or len(gate._next) == 1
        if len(gate._slots) > before:
            grown += 1
            assert cleared > 0.9 * 2 * before
            assert len(gate._slots) == 2 * before
    assert grown == 3


def test_remembering_twice_is_a_broken_state() -> None:
    gate = IdentityGate()
    gate.remember(*columns([(1, 1, 7)]))
    with pytest.raises(BrokenState, match="known already"):
        gate.remember(*columns([(1, 1, 7)]))


@on_both_kinds
def test_a_stale_gate_is_fresh_again_once_it_is_read(event_store: EventStore, limits: IngestSettings) -> None:
    gate = open_gate(event_store, limits)
    take(gate, [(1, 1, 7)])  # remembered, and never inserted
    gate.mark_stale()
    assert gate.stale
    gate.reload(event_store)
    assert (gate.stale, gate.count, gate.next_sequence) == (False, 0, 1)
    assert take(gate, [(1, 1, 7)]) == [NEW]


@on_both_kinds
def test_reopening_reads_the_table(event_store: EventStore, limits: IngestSettings) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(*(event(number) for number in range(100))))
    gate = open_gate(event_store, limits)
    assert (gate.count, gate.next_sequence) == (100, 101)
    assert open_gate(event_store, limits).count == ingest.gate.count


@on_both_kinds
def test_an_empty_table_starts_at_one(event_store: EventStore, limits: IngestSettings) -> None:
    gate = open_gate(event_store, limits)
    assert (gate.count, gate.next_sequence) == (0, 1)


@on_both_kinds
def test_a_table_that_counts_twice_is_refused(event_store: EventStore, limits: IngestSettings) -> None:
    send(context(event_store), ndjson(event(1)))
    event_store.command("INSERT INTO events SELECT * FROM events")
    with pytest.raises(BrokenState, match="2 events and corrections of 1 different"):
        open_gate(event_store, limits)
