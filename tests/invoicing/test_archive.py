"""Goal: billed events leave the store for files without any total changing or getting too small without a
word, stay known for ever, and come back as the same rows; a crash at any step leaves something that is
whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.archive import restore_events
from ingest.archive_files import MANIFEST
from ingest.archives import StoredArchive, list_archives
from ingest.backfill import BackfillScope, backfill_events
from ingest.clickhouse import EventStore
from ingest.correct import correct_events
from ingest.errors import BrokenState, Conflict, InvalidInput, NotFound
from ingest.load import IngestContext
from ingest.meter import Meter, MeterParts
from ingest.meter_store import save_meter
from invoicing.archive_events import archive_before
from rollup.roll_up import roll_up_usage
from rollup.source import events_behind
from rollup.stored_usage import StoredUsage
from rollup.usage import query_usage, window_edges
from rollup.usage_by_subject import query_usage_by_subject, time_span
from rollup.verify import verify_stored_usage
from tests.ingest.support import NDJSON, context, counts, event, ndjson, send
from tests.invoicing.world import METERS, World, at, unseen
from tests.rollup.support import calendar

CALLS, SEATS = METERS[0], METERS[1]
NOW = at("2025-05-01")
BEFORE = at("2025-03-15")
PERIODS = calendar(
    (0, "c1-subject", "2025-01-15", "2025-02-15"), (1, "c1-subject", "2025-02-15", "2025-03-15")
)
LATER = calendar((0, "c1-subject", "2025-03-15", "2025-04-15"))


def call(number: int, time: str, value: str = "10", **more: Any) -> dict[str, Any]:
    given = {"type": "call", "subject": "c1-subject", "time": f"{time}Z", "value": value, "properties": {}}
    return event(number, **{**given, **more})


SENT = [
    call(1, "2025-01-20T10:00:00"),
    call(2, "2025-01-21T10:00:00", "0.000000000001"),
    call(3, "2025-02-20T10:00:00", "-5"),
    call(4, "2025-03-01T00:00:00", "7", properties={"région": "é"}),
    call(5, "2025-03-20T10:00:00", "100"),
    call(6, "2025-02-01T00:00:00", "3", type="fax"),
    call(7, "2025-01-20T00:00:00", "2", type="seat"),
    call(8, "2025-02-22T10:00:00", "30"),
]


@pytest.fixture
def billed(world: World) -> tuple[World, IngestContext, StoredUsage]:
    """A contract billed to the middle of April, with an amended and a cancelled call in March."""
    world.plan()
    world.contract()
    ingest = context(world.event_store, meters=METERS)
    world.stored_usage = StoredUsage(world.event_store)
    send(ingest, ndjson(*SENT))
    fixes = [
        {"source": "gateway", "id": "f1", "kind": "amend", "corrects": "call-3", "value": "6", "reason": "r"},
        {"source": "gateway", "id": "f2", "kind": "cancel", "corrects": "call-8", "reason": "r"},
    ]
    correct(ingest, *fixes)
    world.bill("2025-04-15", now=at("2026-04-16"))
    return world, ingest, world.stored_usage


def correct(ingest: IngestContext, *fixes: dict[str, Any]) -> Any:
    return correct_events(
        ndjson(*fixes),
        content_type=NDJSON,
        content_encoding=None,
        received_at=at("2026-04-15"),
        ingest=ingest,
    )


def archive(world: World, ingest: IngestContext, folder: Path, before: Any = BEFORE) -> StoredArchive:
    if world.stored_usage is None:
        raise AssertionError("the world keeps usage")
    return archive_before(
        folder,
        time_before=before,
        now=at("2026-05-01"),
        ledger=world.ledger,
        stored=world.stored_usage,
        ingest=ingest,
        progress=unseen,
    )


def restore(ingest: IngestContext, folder: Path) -> StoredArchive:
    return restore_events(folder, now=at("2026-05-02"), ingest=ingest, progress=unseen)


def rows(store: EventStore) -> list[str]:
    """Every row of the table, whole."""
    row = "concat(toString(tuple(* EXCEPT identity)), hex(identity))"
    found: list[str] = store.query(f"SELECT {row} AS row FROM events ORDER BY sequence")["row"].to_pylist()
    return found


def usage(world: World, periods: pa.Table = PERIODS) -> list[tuple[int, str, int]]:
    rolled = roll_up_usage(world.event_store, calendar=periods, meters=[CALLS], stored=world.stored_usage)
    assert rolled.unusable.num_rows == 0
    return [
        (r["period_key"], f"{r['quantity'].normalize():f}", r["event_count"])
        for r in rolled.usage.to_pylist()
    ]


Billed = tuple[World, IngestContext, StoredUsage]


def test_events_leave_and_no_total_changes(billed: Billed, tmp_path: Path) -> None:
    world, ingest, stored = billed
    store, before, totals = world.event_store, rows(world.event_store), usage(world)
    assert totals == [(0, "10.000000000001", 2), (1, "13", 2)]
    made = archive(world, ingest, tmp_path / "a")
    assert (made.state, made.types, made.event_count) == ("removed", ("call", "fax"), 7)
    assert [one.split(",")[1] for one in rows(store)] == ["'call-5'", "'call-7'"], (
        "what is later, and licences"
    )
    assert usage(world) == totals
    assert usage(world, LATER) == [(0, "100", 1)]
    proof = verify_stored_usage(stored)
    assert (proof.differences, proof.archived) == (0, 2)
    manifest = orjson.loads((tmp_path / "a" / MANIFEST).read_bytes())
    assert [(one["type"], one["month"], one["rows"], one["value_total"]) for one in manifest["files"]] == [
        ("call", "2025-01", 2, "10.000000000001"),
        ("call", "2025-02", 3, "31"),
        ("call", "2025-03", 1, "7"),
        ("fax", "2025-02", 1, "3"),
    ]
    assert sum(pq.read_metadata(file).num_rows for file in (tmp_path / "a").glob("*.parquet")) == 7
    assert restore(ingest, tmp_path / "a").state == "restored"
    assert rows(store) == before
    assert usage(world) == totals
    assert (verify_stored_usage(stored).differences, verify_stored_usage(stored).archived) == (0, 0)
    with pytest.raises(Conflict, match="put back already"):
        restore(ingest, tmp_path / "a")
    context(store)


@pytest.mark.requirement("MET-09")
def test_an_archived_event_stays_known(billed: Billed, tmp_path: Path) -> None:
    world, ingest, _ = billed
    archive(world, ingest, tmp_path / "a")
    again = context(world.event_store, meters=METERS)
    for opened in (ingest, again):
        assert counts(send(opened, ndjson(*SENT))) == (0, len(SENT), 0, 0)
    assert counts(send(again, ndjson(call(1, "2025-01-20T10:00:00", "11")))) == (0, 0, 1, 0)
    assert counts(send(again, ndjson(call(99, "2025-04-20T10:00:00")))) == (1, 0, 0, 0)
    numbers = world.event_store.query("SELECT max(sequence) AS last FROM events")["last"][0].as_py()
    assert numbers == 11, "numbers go on where they were"
    restore(again, tmp_path / "a")
    assert counts(send(context(world.event_store), ndjson(*SENT))) == (0, len(SENT), 0, 0)


def test_archived_time_is_never_answered_too_small(billed: Billed, tmp_path: Path) -> None:
    """From what was added up, or not at all: by subject, for all, in windows, drilled down, corrected."""
    world, ingest, stored = billed
    store = world.event_store
    archive(world, ingest, tmp_path / "a")
    jan, feb = at("2025-01-15"), at("2025-02-15")
    whole: dict[str, Any] = {
        "meter": CALLS,
        "time_zone": "UTC",
        "group_by": None,
        "window": None,
        "stored": stored,
    }
    kept = query_usage(store, subject="c1-subject", time_from=jan, time_to=feb, **whole)
    assert [str(one.normalize()) for one in kept.usage["quantity"].to_pylist()] == ["10.000000000001"]
    refused: list[Any] = [
        lambda: query_usage(store, subject="c1-subject", time_from=jan, time_to=BEFORE, **whole),
        lambda: query_usage(store, subject=None, time_from=jan, time_to=feb, **whole),
        lambda: query_usage(
            store, subject="c1-subject", time_from=jan, time_to=feb, known_at=NOW, **whole
        ),
        lambda: query_usage_by_subject(
            store, meter=CALLS, subjects=None, apart=True,
            edges=window_edges(time_from=feb, time_to=NOW, window=None, time_zone="UTC"),
        ),
        lambda: time_span(store, event_type="call"),
        lambda: events_behind(
            store, meter=CALLS, subjects=["c1-subject"], period_start=at("2025-02-15"),
            period_end=at("2025-03-15"), dimensions={}, limit=10, after=None,
        ),
    ]  # fmt: skip
    for question in refused:
        with pytest.raises(Conflict, match="archived") as error:
            question()
        assert error.value.reason_code == "time_is_archived"
    counted = roll_up_usage(store, calendar=PERIODS, meters=[CALLS, SEATS])
    assert counted.unusable["reason_code"].to_pylist() == ["time_is_archived"] * 2
    assert counted.usage["meter_id"].to_pylist() == ["seats", "seats"], "licences are all there"
    assert query_usage(store, subject=None, time_from=BEFORE, time_to=NOW, **whole).usage[
        "quantity"
    ].to_pylist() == [100]


def test_archived_time_cannot_be_corrected_and_late_events_still_count(
    billed: Billed, tmp_path: Path
) -> None:
    world, ingest, stored = billed
    archive(world, ingest, tmp_path / "a")
    named = {"source": "gateway", "reason": "r"}
    late = call(50, "2025-02-01T00:00:00", "1")
    assert counts(send(ingest, ndjson(late))) == (1, 0, 0, 0)
    assert usage(world)[0] == (0, "11.000000000001", 3)
    fixes: list[dict[str, Any]] = [
        {**named, "id": "g1", "kind": "cancel", "corrects": "call-1"},
        {**named, "id": "g2", "kind": "cancel", "corrects": "call-50"},
        {**named, "id": "g3", "kind": "amend", "corrects": "call-5", "time": "2025-03-14T23:59:59Z"},
        {**named, "id": "g4", "kind": "amend", "corrects": "call-5", "value": "90"},
    ]
    report = correct(ingest, *fixes)
    assert [(one.line, one.reason_code) for one in report.refusals] == [
        (n, "time_is_archived") for n in (1, 2, 3)
    ]
    assert report.accepted == 1
    scope = BackfillScope("call", (), at("2025-03-14"), at("2025-03-16"))
    with pytest.raises(Conflict, match="archived and cannot be replaced"):
        backfill_events(
            b"[]", content_type="application/json", content_encoding=None, backfill_id="b", scope=scope,
            reason="r", dry_run=False, received_at=NOW, ingest=ingest,
        )  # fmt: skip
    restore(ingest, tmp_path / "a")
    assert correct(ingest, *fixes[:2]).accepted == 2
    assert usage(world)[0] == (0, "0.000000000001", 1)
    assert verify_stored_usage(stored).differences == 0


def test_only_what_is_billed_may_go(billed: Billed, tmp_path: Path) -> None:
    world, ingest, _ = billed
    send(ingest, ndjson(call(60, "2025-04-20T00:00:00")))
    with pytest.raises(
        Conflict, match=r"1 events before that time are not billed: 1 of call \(due\)"
    ) as error:
        archive(world, ingest, tmp_path / "a", before=at("2025-05-01"))
    assert error.value.reason_code == "not_billed_yet"
    with pytest.raises(InvalidInput, match="still to come"):
        archive(world, ingest, tmp_path / "a", before=at("2027-01-01"))
    with pytest.raises(InvalidInput, match="no events before"):
        archive(world, ingest, tmp_path / "a", before=at("2020-01-01"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InvalidInput, match="not empty"):
        archive(world, ingest, tmp_path / "full")
    assert len(rows(world.event_store)) == 10


def test_events_stay_of_which_a_meter_counts_the_busiest_day(billed: Billed, tmp_path: Path) -> None:
    world, ingest, _ = billed
    busiest = Meter(
        meter_id="busiest",
        event_type="call",
        aggregation="highest_sum",
        parts=MeterParts(by="day", time_zone="UTC"),
    )
    save_meter(world.ledger, busiest, now=NOW)
    assert archive(world, ingest, tmp_path / "a").event_count == 1  # the fax
    used = roll_up_usage(world.event_store, calendar=LATER, meters=[busiest]).usage
    assert used["quantity"].to_pylist() == [100]


def test_a_second_archive_goes_on_and_a_meter_made_later_is_not_added_up(
    billed: Billed, tmp_path: Path
) -> None:
    world, ingest, stored = billed
    totals = usage(world)
    archive(world, ingest, tmp_path / "a", before=at("2025-02-15"))
    archive(world, ingest, tmp_path / "b")
    assert usage(world) == totals
    assert [one.event_count for one in list_archives(world.event_store)] == [4, 3]
    new = CALLS.model_copy(update={"meter_id": "new"})
    stored.refresh(calendar=PERIODS, meters=[new])
    rolled = roll_up_usage(world.event_store, calendar=PERIODS, meters=[new], stored=stored)
    assert (rolled.usage.num_rows, rolled.unusable.num_rows) == (0, 2)
    restore(ingest, tmp_path / "b")
    restore(ingest, tmp_path / "a")
    stored.refresh(calendar=PERIODS, meters=[new])
    assert usage(world) == totals


def test_files_that_are_not_as_written_change_nothing(billed: Billed, tmp_path: Path) -> None:
    world, ingest, _ = billed
    archive(world, ingest, tmp_path / "a")
    left = rows(world.event_store)
    file = next((tmp_path / "a").glob("*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\0")
    with pytest.raises(BrokenState, match="missing or was changed"):
        restore(ingest, tmp_path / "a")
    file.unlink()
    with pytest.raises(BrokenState, match="missing or was changed"):
        restore(ingest, tmp_path / "a")
    with pytest.raises(NotFound):
        restore(ingest, tmp_path / "nowhere")
    assert rows(world.event_store) == left
    file.write_bytes(content)
    assert restore(ingest, tmp_path / "a").state == "restored"


@contextmanager
def breaks(store: EventStore, monkeypatch: pytest.MonkeyPatch, step: str, *, landed: bool) -> Iterator[None]:
    """The process dies at the n-th write to a table (``events``, ``archives 2``) or at a delete."""
    table, _, number = step.partition(" ")
    left = [int(number or 1)]
    real: dict[str, Any] = {"insert": store.insert, "delete": store.delete}

    def write(kind: str) -> Any:
        def writing(into: str, *arguments: Any, **named: Any) -> None:
            hit = into == table and (kind == "insert") == (number != "0")
            left[0] -= hit
            dies = hit and left[0] <= 0
            if not dies or landed:
                real[kind](into, *arguments, **named)
            if dies:
                raise ConnectionError("killed")

        return writing

    with monkeypatch.context() as patch:
        for kind in real:
            patch.setattr(store, kind, write(kind))
        with pytest.raises(ConnectionError):
            yield


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize(
    ("step", "landed"),
    [
        ("archived_events 2", True),
        ("archives 1", False),
        ("archives 1", True),
        ("events 0", False),
        ("archives 2", False),
    ],
)
def test_a_crash_while_archiving_leaves_all_in_the_store_or_all_in_files(
    billed: Billed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, landed: bool
) -> None:
    world, ingest, stored = billed
    store, before, totals = world.event_store, rows(world.event_store), usage(world)
    with breaks(store, monkeypatch, step, landed=landed):
        archive(world, ingest, tmp_path / "a")
    again = context(store, meters=METERS)
    gone = step not in ("archived_events 2", "archives 1") or (step == "archives 1" and landed)
    assert len(rows(store)) == (2 if gone else len(before))
    assert usage(world) == totals
    assert counts(send(again, ndjson(*SENT))) == (0, len(SENT), 0, 0)
    if gone:
        restore(again, tmp_path / "a")
    else:
        assert list_archives(store) == []
        archive(world, again, tmp_path / "b")
        restore(again, tmp_path / "b")
    assert rows(store) == before
    assert verify_stored_usage(stored).differences == 0


@pytest.mark.parametrize(
    ("step", "landed"),
    [("archives 1", True), ("events 2", False), ("archives 2", False), ("archives 2", True)],
)
def test_a_crash_while_restoring_can_be_repeated(
    billed: Billed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, landed: bool
) -> None:
    world, ingest, _ = billed
    store, before, totals = world.event_store, rows(world.event_store), usage(world)
    archive(world, ingest, tmp_path / "a")
    with breaks(store, monkeypatch, step, landed=landed):
        restore(ingest, tmp_path / "a")
    again = context(store, meters=METERS)
    back = step == "archives 2" and landed
    assert len(rows(store)) == (len(before) if back else 2)
    assert usage(world) == totals
    if not back:
        restore(again, tmp_path / "a")
    assert rows(store) == before
    assert counts(send(context(store, meters=METERS), ndjson(*SENT))) == (0, len(SENT), 0, 0)
