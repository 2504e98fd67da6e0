"""Goal: what is in force of a type and time is replaced by a file in one step and can be put back exactly;
what was sent and what was withdrawn stays readable, and a crash leaves all of it or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from ingest.backfill import BackfillReport, BackfillScope, backfill_events
from ingest.backfill_store import find_backfill, list_backfills
from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.correct import correct_events
from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.history import event_history
from ingest.in_force import IN_FORCE_SQL
from ingest.load import IngestContext, ingest_batch
from ingest.undo_backfill import undo_backfill
from rollup.live_usage import LiveKey, LiveUsage
from rollup.roll_up import roll_up_usage
from rollup.stored_usage import StoredUsage
from rollup.verify import verify_stored_usage
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, send
from tests.ingest.test_correct import breaks_at
from tests.rollup.support import calendar, meter

LATER = NOW + timedelta(days=1)
DAY = datetime(2026, 2, 3, tzinfo=UTC)


def call(
    number: int, value: str = "2.5", *, hour: int = 4, subject: str = "acme", **more: Any
) -> dict[str, Any]:
    time = (DAY + timedelta(hours=hour)).isoformat()
    return event(number, value=value, subject=subject, time=time, **more)


def backfill(
    ingest: IngestContext,
    name: str,
    *events: dict[str, Any],
    days: int = 1,
    received_at: datetime = LATER,
    **more: Any,
) -> BackfillReport:
    subjects = more.pop("subjects", ("acme",))
    scope = BackfillScope("api.call", subjects, DAY, DAY + timedelta(days=days))
    body = ndjson(*events) if events else b"[]"
    return backfill_events(
        body,
        content_type=NDJSON if events else "application/json",
        content_encoding=None,
        backfill_id=name,
        scope=scope,
        reason="ticket 4711",
        dry_run=more.pop("dry_run", False),
        received_at=received_at,
        ingest=ingest,
    )


def undo(
    ingest: IngestContext, name: str, undo_name: str = "", received_at: datetime = LATER
) -> BackfillReport:
    return undo_backfill(
        name, undo_id=undo_name or f"undo-{name}", reason="wrong file", received_at=received_at, ingest=ingest
    )


def done(report: BackfillReport) -> tuple[int, int, int, int]:
    return report.kept, report.amended, report.added, report.withdrawn


def in_force(store: EventStore) -> list[tuple[str, str]]:
    """(id the event was first sent with, value), sorted."""
    rows = store.query(
        "SELECT e.id AS id, s.event_id AS event_id, toString(value) AS value FROM "
        f"(SELECT * FROM events WHERE {IN_FORCE_SQL}) AS e "
        "LEFT JOIN superseded_events AS s ON e.sequence = s.correction_sequence"
    ).to_pylist()
    return sorted((row["event_id"] or row["id"], row["value"]) for row in rows)


def test_a_time_is_replaced_and_put_back(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(2), call(3), call(4, hour=30), call(5, subject="other")))
    before = in_force(event_store)
    report = backfill(ingest, "b1", call(1), call(2, "7"), call(9, "1"))
    assert done(report) == (1, 1, 1, 1)
    assert (report.count_before, report.count_after) == (3, 3)
    assert (str(report.value_before), str(report.value_after)) == ("7.500000000000", "10.500000000000")
    replaced = [("call-1", "2.5"), ("call-2", "7"), ("call-4", "2.5"), ("call-5", "2.5"), ("call-9", "1")]
    assert in_force(event_store) == replaced
    assert counts(send(ingest, ndjson(call(9, "1")))) == (0, 1, 0, 0), "what it brought is on record for ever"
    assert counts(send(ingest, ndjson(call(3)))) == (0, 1, 0, 0), "what it withdrew does not come back"
    (stored,) = list_backfills(event_store, limit=9)
    assert (stored.backfill_id, stored.reason, stored.undone_by) == ("b1", "ticket 4711", "")
    assert done(undo(ingest, "b1")) == (0, 2, 0, 1)
    assert in_force(event_store) == before
    assert [(one.backfill_id, one.undoes, one.undone_by) for one in list_backfills(event_store, limit=9)] == [
        ("undo-b1", "b1", ""),
        ("b1", "", "undo-b1"),
    ]
    assert done(undo(ingest, "undo-b1", "again")) == (0, 2, 0, 1)
    assert in_force(event_store) == replaced
    context(event_store)  # opens: no identity is there twice


def test_history_says_what_a_backfill_did(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(2)))
    backfill(ingest, "b1", call(2, "7"), call(3))
    told = {number: event_history(event_store, source="gateway", id=f"call-{number}") for number in (1, 2, 3)}
    shown = {number: [(one.kind, one.id, one.reason) for one in told[number].corrections] for number in told}
    assert shown == {
        1: [("withdraw", "b1#3", "ticket 4711")],
        2: [("amend", "b1#1", "ticket 4711")],
        3: [("insert", "b1#2", "ticket 4711")],
    }
    assert told[1].in_force is None
    assert [str(one.value) for one in (told[2].sent, told[2].in_force, told[3].sent) if one] == [
        "2.500000000000",
        "7.000000000000",
        "2.500000000000",
    ]


def test_the_same_again_does_nothing_and_another_under_its_name_is_refused(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1)))
    assert done(backfill(ingest, "b1", call(1, "9"))) == (0, 1, 0, 0)
    for opened in (ingest, context(event_store)):
        again = backfill(opened, "b1", call(1, "9"))
        assert (again.repeated, done(again)) == (True, (0, 1, 0, 0))
        with pytest.raises(Conflict, match="another type, time, subjects or file"):
            backfill(opened, "b1", call(1, "8"))
    assert done(backfill(ingest, "b2", call(1, "9"))) == (1, 0, 0, 0), "nothing changes, nothing is on record"
    assert find_backfill(event_store, "b2") is None
    assert undo(ingest, "b1").repeated is False
    assert undo(ingest, "b1").repeated is True
    with pytest.raises(Conflict, match="was put back"):
        undo(ingest, "b1", "another")
    with pytest.raises(Conflict, match="give it another id"):
        backfill(ingest, "b1", call(1, "9"))
    with pytest.raises(NotFound):
        undo(ingest, "nobody")
    assert in_force(event_store) == [("call-1", "2.5")]


def test_what_was_withdrawn_may_come_back_and_what_was_cancelled_may_not(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(2)))
    assert done(backfill(ingest, "b1")) == (0, 0, 0, 2)
    assert done(backfill(ingest, "b2", call(1, "3"), call(2))) == (0, 2, 0, 0)
    assert in_force(event_store) == [("call-1", "3"), ("call-2", "2.5")]
    assert done(undo(ingest, "b2")) == (0, 0, 0, 2)
    assert done(undo(ingest, "b1")) == (0, 2, 0, 0)
    fix = {"source": "gateway", "id": "fix", "kind": "cancel", "corrects": "call-1", "reason": "r"}
    correct(ingest, fix)
    with pytest.raises(InvalidInput) as refused:
        backfill(ingest, "b3", call(1), call(2, "9"))
    assert [(one.reason_code, one.pointer) for one in refused.value.issues] == [
        ("identity_conflict", "line 1: id")
    ]
    assert in_force(event_store) == [("call-2", "2.5")], "all or nothing"


def correct(ingest: IngestContext, *corrections: dict[str, Any]) -> None:
    correct_events(
        ndjson(*corrections), content_type=NDJSON, content_encoding=None, received_at=LATER, ingest=ingest
    )


def test_a_backfill_changed_since_is_not_put_back(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(2)))
    backfill(ingest, "b1", call(1, "3"), call(2))
    correct(
        ingest,
        {"source": "gateway", "id": "f", "kind": "amend", "corrects": "call-1", "value": "4", "reason": "r"},
    )
    with pytest.raises(Conflict, match="'call-1' of 'gateway' was changed by 'f' after"):
        undo(ingest, "b1")


@pytest.mark.parametrize(
    ("record", "reason_code", "pointer"),
    [
        (call(1, type="other"), "outside_backfill", "line 2: type"),
        (call(1, subject="other"), "outside_backfill", "line 2: subject"),
        (call(1, hour=24), "outside_backfill", "line 2: time"),
        (call(1, hour=-1), "outside_backfill", "line 2: time"),
        (call(8, "1"), "event_twice", "line 2: id"),
        (call(5, subject="acme"), "identity_conflict", "line 2: id"),
        (call(1, "x"), "value_not_a_number", "line 2: value"),
    ],
)
def test_one_wrong_record_refuses_all_of_it(
    event_store: EventStore, record: dict[str, Any], reason_code: str, pointer: str
) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(5, subject="other")))
    before = in_force(event_store)
    with pytest.raises(InvalidInput) as refused:
        backfill(ingest, "b1", call(8), record)
    assert [(one.reason_code, one.pointer) for one in refused.value.issues] == [(reason_code, pointer)]
    assert in_force(event_store) == before


def test_a_dry_run_says_the_same_and_writes_nothing(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(2, "1", subject="b")))
    told = backfill(ingest, "b1", call(1, "3"), call(3, "5", subject="b"), subjects=(), dry_run=True)
    assert in_force(event_store) == [("call-1", "2.5"), ("call-2", "1")]
    made = backfill(ingest, "b1", call(1, "3"), call(3, "5", subject="b"), subjects=())
    assert (told.applied, made.applied) == (False, True)
    assert (done(told), told.sums) == (done(made), made.sums)
    assert [(one.subject, one.count_after, str(one.value_after)) for one in made.sums] == [
        ("acme", 1, "3.000000000000"),
        ("b", 1, "5.000000000000"),
    ]


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("undoing", [False, True])
@pytest.mark.parametrize(
    ("table", "landed", "after_it"),
    [
        ("backfills", False, False),
        ("backfills", True, False),
        ("events", False, False),
        ("events", True, False),
        ("superseded_events", False, False),
        ("superseded_events", True, True),
    ],
)
def test_a_crash_between_any_two_steps_leaves_all_or_nothing(
    event_store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    landed: bool,
    after_it: bool,
    undoing: bool,
) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(call(1), call(2), call(3)))
    before, after = in_force(event_store), [("call-1", "2.5"), ("call-2", "7"), ("call-9", "1")]
    if undoing:
        backfill(ingest, "b1", call(1), call(2, "7"), call(9, "1"))
        before, after = after, before

    def step(opened: IngestContext) -> BackfillReport:
        return undo(opened, "b1") if undoing else backfill(opened, "b1", call(1), call(2, "7"), call(9, "1"))

    with breaks_at(event_store, monkeypatch, table, landed=landed):
        step(ingest)
    assert in_force(event_store) == (after if after_it else before)
    assert step(context(event_store)).repeated is after_it
    assert in_force(event_store) == after
    assert len(list_backfills(event_store, limit=9)) == (2 if undoing else 1)
    context(event_store)


METER = meter("calls", "api.call", "sum")
LAST = meter("last", "api.call", "latest")
PERIODS = calendar(
    (0, "acme", "2026-02-01", "2026-02-04"),
    (1, "acme", "2026-02-04", "2026-03-01"),
    (2, "other", "2026-02-01", "2026-03-01"),
)


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence_of_backfills_equals_a_dictionary(event_store: EventStore, seed: int) -> None:
    """Random backfills, undoings, corrections and late events: what is in force equals a dictionary, what
    was known at every instant in between stays, and stored and live usage follow."""
    random = Random(seed)
    ingest, stored = context(event_store), StoredUsage(event_store)
    live = LiveUsage(ingest)
    key = LiveKey(METER, ("acme", "other"), 0, to_micros(datetime(2100, 1, 1, tzinfo=UTC)))
    model: dict[str, dict[str, Any]] = {}
    snapshots: list[tuple[str, dict[str, dict[str, Any]], tuple[str, ...]]] = []
    known: list[tuple[datetime, Any]] = []
    stored.refresh(calendar=PERIODS, meters=[METER, LAST])
    now, number = LATER, 0
    for step in range(7):
        now += timedelta(hours=1)
        fresh = [random_call(random, number := number + 1) for _ in range(random.randint(1, 4))]
        ingest_batch(
            ndjson(*fresh), content_type=NDJSON, content_encoding=None, received_at=now, ingest=ingest
        )
        model |= {one["id"]: one for one in fresh}
        if snapshots and random.random() < 0.3:
            name, before, touched = snapshots.pop()
            undo(ingest, name, received_at=now)
            model = {**{k: v for k, v in model.items() if k not in touched}, **before}
        else:
            name, subjects = f"b{step}", random.choice([("acme",), ()])
            here = {k: v for k, v in model.items() if in_scope(v, subjects)}
            chosen = {
                k: {**v, "value": str(random.randrange(9))} for k, v in here.items() if random.random() < 0.7
            }
            back = {
                k: random_call(random, int(k[5:]), subject=s)
                for k, s in withdrawn_of(snapshots, model, subjects)
            }
            brought = [random_call(random, number := number + 1, subject="acme") for _ in range(2)]
            file = [one for one in [*chosen.values(), *back.values(), *brought] if in_scope(one, subjects)]
            report = backfill(ingest, name, *file, received_at=now, subjects=subjects)
            if report.amended + report.added + report.withdrawn:
                ids = {*here, *(one["id"] for one in file)}
                snapshots.append((name, here, tuple(sorted(ids))))
            model = {k: v for k, v in model.items() if k not in here} | {one["id"]: one for one in file}
        assert in_force(event_store) == sorted((k, v["value"]) for k, v in model.items()), f"seed {seed}"
        total = sum(int(one["value"]) for one in model.values())
        assert int(live.read([key], at_micros=0)[0][0].quantity) == total
        rolled = roll_up_usage(event_store, calendar=PERIODS, meters=[METER, LAST], stored=stored)
        assert rolled == roll_up_usage(event_store, calendar=PERIODS, meters=[METER, LAST])
        known.append((now, sum(int(v) for v in usage_at(event_store, None))))
        for instant, then in known:
            assert sum(int(v) for v in usage_at(event_store, instant)) == then, f"seed {seed}"
        if random.random() < 0.3:
            ingest = context(event_store)
            live = LiveUsage(ingest)
    assert verify_stored_usage(stored).differences == 0


def usage_at(store: EventStore, instant: datetime | None) -> list[Any]:
    rolled = roll_up_usage(store, calendar=PERIODS, meters=[METER], known_at=instant)
    values: list[Any] = rolled.usage["quantity"].to_pylist()
    return values


def in_scope(one: dict[str, Any], subjects: tuple[str, ...]) -> bool:
    time = datetime.fromisoformat(one["time"])
    return DAY <= time < DAY + timedelta(days=1) and (not subjects or one["subject"] in subjects)


def random_call(random: Random, number: int, subject: str | None = None) -> dict[str, Any]:
    subject = subject or random.choice(["acme", "other"])
    return call(number, str(random.randrange(9)), hour=random.randrange(0, 30), subject=subject)


def withdrawn_of(
    snapshots: list[Any], model: dict[str, Any], subjects: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Ids with their subjects that the last backfill withdrew, of which one comes back."""
    if not snapshots:
        return []
    _, before, _ = snapshots[-1]
    left = sorted(k for k in before if k not in model)
    return [(k, before[k]["subject"]) for k in left[:1] if not subjects or before[k]["subject"] in subjects]
