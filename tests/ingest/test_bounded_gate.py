"""Goal: the gate with bounded memory answers as a dictionary would, through inserts that fail, land unseen
or are cut off, restarts, corrections and archives, and its table cannot make it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
import pytest

from ingest.clickhouse import EventStore
from ingest.correct import correct_events
from ingest.gate import CONFLICT, DUPLICATE, NEW
from ingest.identity_filter import FIRST_CAPACITY, IdentityFilter
from ingest.identity_table import LOOKED_UP_AT_ONCE, IdentityTable
from ingest.load import IngestContext, open_gate
from ingest.settings import IngestSettings
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, send

BOUNDED = IngestSettings(gate="bounded", identities_waiting_max=20)
IN_TABLE = "SELECT count() FROM event_identities"


class CutOff(Exception):
    """What a test raises in the middle of an insert."""


@contextmanager
def insert_fails(store: EventStore, *, landed: bool) -> Iterator[None]:
    """The next insert of events raises, before it has landed or after."""
    insert = store.insert

    def failing(table: str, *arguments: Any, **named: Any) -> None:
        if table != "events":
            return insert(table, *arguments, **named)
        if landed:
            insert(table, *arguments, **named)
        raise CutOff

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "insert", failing)
        yield


def batch_of(random: Random, next_number: int) -> list[tuple[int, str]]:
    """(number, value) of some new events and some sent before, of which a few have another value now."""
    rows = [(number, "1") for number in range(next_number, next_number + random.randint(0, 15))]
    resends = random.randint(0, 8) if next_number else 0
    rows += [(random.randrange(next_number), random.choice(["1", "1", "2"])) for _ in range(resends)]
    random.shuffle(rows)
    return rows or [(0, "1")]


def expected_counts(known: dict[int, str], rows: list[tuple[int, str]]) -> tuple[int, int, int, int]:
    """(accepted, duplicates, conflicts, rejected); ``known`` takes in what is new."""
    accepted = duplicates = conflicts = 0
    for number, value in rows:
        if number not in known:
            known[number] = value
            accepted += 1
        elif known[number] == value:
            duplicates += 1
        else:
            conflicts += 1
    return accepted, duplicates, conflicts, 0


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("seed", range(2))
def test_the_bounded_gate_is_a_dictionary(event_store: EventStore, seed: int) -> None:
    random = Random(seed)
    ingest = context(event_store, settings=BOUNDED)
    known: dict[int, str] = {}
    for step in range(30):
        rows = batch_of(random, max(known, default=-1) + 1)
        body = ndjson(*(event(number, value=value) for number, value in rows))
        happening = random.choice(["nothing", "nothing", "fails", "lands unseen", "restart"])
        if happening == "restart":
            ingest = context(event_store, settings=BOUNDED)
        elif happening != "nothing" and any(number not in known for number, _ in rows):
            landed = happening == "lands unseen"
            with insert_fails(event_store, landed=landed), pytest.raises(CutOff):
                send(ingest, body)
            if landed:
                expected_counts(known, rows)
        assert counts(send(ingest, body)) == expected_counts(known, rows), f"seed {seed}, step {step}"
    assert ingest.gate.count == len(known) == event_store.command("SELECT count() FROM events")
    assert event_store.command(IN_TABLE) > len(known) // 2


def test_what_is_under_way_stays_out_of_the_table(event_store: EventStore) -> None:
    ingest = context(event_store, settings=BOUNDED)
    for first in (0, 30, 60):
        send(ingest, ndjson(*(event(number) for number in range(first, first + 30))))
    # Remembering the third moved the first; the second might have been under way.
    assert event_store.command(IN_TABLE) == 30
    assert event_store.command("SELECT max(sequence) FROM event_identities") == 30
    report = send(ingest, ndjson(event(3), event(33, value="9"), event(63), event(93)))
    assert counts(report) == (1, 2, 1, 0)


def everything(ingest: IngestContext, numbers: range) -> np.ndarray[Any, Any]:
    """What the gate says of those events, sent again."""
    report = send(ingest, ndjson(*(event(number) for number in numbers)))
    return np.array(counts(report))


def test_a_gate_that_was_in_memory_goes_on_bounded_and_back(event_store: EventStore) -> None:
    send(context(event_store), ndjson(*(event(number) for number in range(50))))
    bounded = context(event_store, settings=BOUNDED)
    assert (bounded.gate.count, bounded.gate.next_sequence) == (50, 51)
    assert everything(bounded, range(60)).tolist() == [10, 50, 0, 0]
    in_memory = context(event_store)
    assert everything(in_memory, range(70)).tolist() == [10, 60, 0, 0]
    assert everything(context(event_store, settings=BOUNDED), range(80)).tolist() == [10, 70, 0, 0]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM event_identities WHERE sequence = 7",
        "INSERT INTO event_identities SELECT * FROM event_identities WHERE sequence = 7",
        "INSERT INTO event_identities SELECT reverse(identity), 1, sequence + 9 FROM event_identities",
        "ALTER TABLE event_identities UPDATE body_hash = 1 WHERE sequence = 7 SETTINGS mutations_sync = 1",
    ],
    ids=["a row is lost", "a row is twice", "rows of no event", "another body"],
)
def test_a_table_that_differs_is_made_anew(event_store: EventStore, damage: str) -> None:
    send(context(event_store), ndjson(*(event(number) for number in range(20))))
    context(event_store, settings=BOUNDED)
    event_store.command(damage)
    assert everything(context(event_store, settings=BOUNDED), range(21)).tolist() == [1, 20, 0, 0]


def test_corrections_are_known_as_events_are(event_store: EventStore) -> None:
    ingest = context(event_store, settings=BOUNDED)
    send(ingest, ndjson(*(event(number) for number in range(60))))
    amend = {"source": "gateway", "reason": "r", "kind": "amend", "value": "7"}
    lines = [amend | {"id": f"a{number}", "corrects": f"call-{number}"} for number in range(25)]
    lines += [
        {"source": "gateway", "reason": "r", "kind": "cancel", "id": f"c{n}", "corrects": f"call-{n}"}
        for n in range(30, 55)
    ]

    def correct(to: IngestContext) -> tuple[int, int, int, int]:
        return counts(
            correct_events(
                ndjson(*lines), content_type=NDJSON, content_encoding=None, received_at=NOW, ingest=to
            )
        )

    assert correct(ingest) == (50, 0, 0, 0)
    send(ingest, ndjson(event(100)))
    send(ingest, ndjson(event(101)))
    in_table = event_store.command(IN_TABLE)
    assert in_table == 110
    # The same rows as are derived at a start: that leaves them alone.
    before = event_store.query("SELECT * FROM event_identities ORDER BY ALL")
    again = context(event_store, settings=BOUNDED)
    after = event_store.query(f"SELECT * FROM event_identities WHERE sequence <= {in_table} ORDER BY ALL")
    assert after.equals(before)
    assert correct(ingest) == correct(again) == (0, 50, 0, 0)


def test_more_suspects_than_one_statement_takes(event_store: EventStore) -> None:
    words = np.random.default_rng(1).integers(1, 2**63, (2 * LOOKED_UP_AT_ONCE + 5, 2), np.int64)
    identities = words.astype(np.uint64)
    table = IdentityTable(event_store)
    table.add(identities, identities[:, 0].copy(), 1)
    unknown = identities[:10] ^ np.uint64(1)
    found, bodies = table.look_up(np.concatenate([unknown, identities, identities[:100]]))
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, identities.tolist()))
    assert (found[:, 0] == bodies).all()
    assert len(table.look_up(unknown)[1]) == 0


def test_a_filter_never_forgets_and_seldom_suspects() -> None:
    rows = 2 * FIRST_CAPACITY
    words = np.random.default_rng(2).integers(0, 2**64, (rows, 2), np.uint64, endpoint=False)
    grown = IdentityFilter(0)
    for start in range(0, rows, 300_000):
        grown.add(words[start : start + 300_000])
    assert grown.may_hold(words).all()
    others = words[:, ::-1].copy()
    assert grown.may_hold(others).mean() < 1 / 5_000
    sized = IdentityFilter(rows)
    sized.add(words)
    assert sized.may_hold(words).all()
    assert sized.may_hold(others).mean() < 1 / 20_000
    assert sized.bytes_held < 4.3 * rows


def test_outcomes_are_those_of_each_row(event_store: EventStore) -> None:
    gate = open_gate(event_store, IngestSettings(gate="bounded", identities_waiting_max=1))
    rows = np.array([[1, 1], [2, 1], [3, 1]], np.uint64)
    bodies = np.array([7, 8, 9], np.uint64)
    for row in range(3):
        gate.remember(rows[row : row + 1], bodies[row : row + 1])
    assert event_store.command(IN_TABLE) == 1
    asked = np.array([[1, 1], [1, 1], [3, 1], [4, 1], [4, 1], [4, 1]], np.uint64)
    outcomes = gate.classify(asked, np.array([7, 8, 8, 1, 1, 2], np.uint64))
    assert outcomes.tolist() == [DUPLICATE, CONFLICT, CONFLICT, NEW, DUPLICATE, CONFLICT]
