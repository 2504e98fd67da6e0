"""Goal: an event can be amended and cancelled, by name and with a reason; a correction applies once,
the original stays readable, and whatever is wrong with a correction costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.correct import correct_events
from ingest.errors import UnreadableBody
from ingest.in_force import IN_FORCE_SQL, read_cut, touched_by_corrections
from ingest.load import IngestContext, IngestReport
from ingest.meter import Meter
from ingest.refused import list_refused
from ingest.settings import IngestSettings
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, send

LATER = NOW + timedelta(days=1)


def correction(number: int, corrected: int, **changes: Any) -> dict[str, Any]:
    """A cancellation, or with ``changes`` an amendment; ``...`` leaves a field out."""
    fields = {
        "source": "gateway",
        "id": f"fix-{number}",
        "kind": "amend" if changes.keys() & {"value", "time", "properties"} else "cancel",
        "corrects": f"call-{corrected}",
        "reason": "counted wrongly",
        **changes,
    }
    return {name: part for name, part in fields.items() if part is not ...}


def amend(number: int, corrected: int, **changes: Any) -> dict[str, Any]:
    return correction(number, corrected, **{"kind": "amend", **changes})


def correct(
    ingest: IngestContext, *corrections: dict[str, Any] | str, received_at: datetime = LATER
) -> IngestReport:
    return correct_events(
        ndjson(*corrections),
        content_type=NDJSON,
        content_encoding=None,
        received_at=received_at,
        ingest=ingest,
    )


def in_force(store: EventStore) -> list[tuple[str, str, str, str | None, dict[str, str]]]:
    """(id, type, time, value, properties) of every version that counts, by arrival."""
    rows = store.query(
        "SELECT id, toString(type) AS type, toString(time) AS time, toString(value) AS value, properties "
        f"FROM events WHERE {IN_FORCE_SQL} ORDER BY sequence"
    ).to_pylist()
    return [(r["id"], r["type"], r["time"], r["value"], dict(r["properties"])) for r in rows]


def reasons(report: IngestReport) -> list[tuple[int, str, str]]:
    return [(refusal.line, refusal.outcome, refusal.reason_code) for refusal in report.refusals]


def test_an_amendment_changes_what_it_says_and_nothing_else(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2), event(3)))
    report = correct(
        ingest,
        amend(1, 1, value="7.25"),
        amend(2, 2, time="2026-02-04T00:00:00+01:00", properties={"b": "2", "a": True}),
    )
    assert counts(report) == (2, 0, 0, 0)
    assert in_force(event_store) == [
        ("call-3", "api.call", "2026-02-03 04:05:06.000000", "2.5", {"region": "eu"}),
        ("fix-1", "api.call", "2026-02-03 04:05:06.000000", "7.25", {"region": "eu"}),
        ("fix-2", "api.call", "2026-02-03 23:00:00.000000", "2.5", {"a": "true", "b": "2"}),
    ]


def test_a_cancelled_event_counts_no_more(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2)))
    assert counts(correct(ingest, correction(1, 1))) == (1, 0, 0, 0)
    assert [row[0] for row in in_force(event_store)] == ["call-2"]
    assert counts(send(ingest, ndjson(event(1)))) == (0, 1, 0, 0), "its resend does not bring it back"
    assert [row[0] for row in in_force(event_store)] == ["call-2"]


def test_a_chain_of_corrections_always_names_the_event(event_store: EventStore) -> None:
    """In one batch or in several: each applies to what the ones before it left."""
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2)))
    steps = [amend(1, 1, value="3"), amend(2, 1, properties={"region": "us"}), correction(3, 2)]
    assert counts(correct(ingest, *steps)) == (3, 0, 0, 0)
    assert in_force(event_store) == [
        ("fix-2", "api.call", "2026-02-03 04:05:06.000000", "3", {"region": "us"})
    ]
    assert counts(correct(context(event_store), amend(4, 1, value="-1"))) == (1, 0, 0, 0)
    assert in_force(event_store) == [
        ("fix-4", "api.call", "2026-02-03 04:05:06.000000", "-1", {"region": "us"})
    ]
    assert counts(correct(ingest_again := context(event_store), correction(5, 1))) == (1, 0, 0, 0)
    assert in_force(event_store) == []
    assert reasons(correct(ingest_again, amend(6, 1, value="1"))) == [(1, "rejected", "already_cancelled")]


@pytest.mark.requirement("MET-09")
def test_a_correction_sent_again_is_a_duplicate_and_another_body_a_conflict(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2)))
    first = [amend(1, 1, value="3.50"), correction(2, 2)]
    assert counts(correct(ingest, *first)) == (2, 0, 0, 0)
    same = [amend(1, 1, value=3.5), correction(2, 2)]
    for opened in (ingest, context(event_store)):
        assert counts(correct(opened, *same)) == (0, 2, 0, 0)
        changed = [
            amend(1, 1, value="4"),
            amend(1, 1, value="3.5", reason="another"),
            amend(1, 2, value="3.5"),
            amend(1, 1, value="3.5", properties={}),
            correction(1, 1),
        ]
        assert counts(correct(opened, *changed)) == (0, 0, 5, 0)
        assert counts(send(opened, ndjson(event(1, id="fix-1")))) == (0, 0, 1, 0), "events share the ids"
        assert reasons(correct(opened, correction(0, 2, id="call-1"))) == [
            (1, "conflict", "identity_conflict")
        ]
    assert [row[0] for row in in_force(event_store)] == ["fix-1"]
    assert counts(correct(ingest, amend(7, 1, value="9"), amend(7, 1, value="9"))) == (1, 1, 0, 0)


def test_a_refused_correction_may_be_sent_again_once_its_event_is_there(event_store: EventStore) -> None:
    ingest = context(event_store)
    early = correction(1, 1)
    assert reasons(correct(ingest, early, early)) == [
        (1, "rejected", "no_such_event"),
        (2, "rejected", "no_such_event"),
    ]
    send(ingest, ndjson(event(1)))
    assert counts(correct(ingest, early)) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("record", "reason_code", "field"),
    [
        ("{", "malformed_json", ""),
        ("[1]", "not_an_object", ""),
        ('{"id": "a", "id": "b"}', "field_twice", "id"),
        (correction(9, 1, reason=...), "field_missing", "reason"),
        (correction(9, 1, reason=""), "text_empty", "reason"),
        (correction(9, 1, reason="x" * 513), "text_too_long", "reason"),
        (correction(9, 1, corrects=7), "wrong_type", "corrects"),
        (correction(9, 1, id=...), "field_missing", "id"),
        (correction(9, 1, kind="delete"), "unknown_correction", "kind"),
        (correction(9, 1, subject="other"), "unknown_field", "subject"),
        (correction(9, 1, note="x"), "unknown_field", "note"),
        (amend(9, 1), "amends_nothing", ""),
        (correction(9, 1, kind="cancel", value="1"), "cancel_with_changes", ""),
        (amend(9, 1, value="1e99"), "value_out_of_range", "value"),
        (amend(9, 1, value="NaN"), "value_not_finite", "value"),
        (amend(9, 1, time="2026-02-03T04:05:06"), "time_without_zone", "time"),
        (amend(9, 1, properties={"a": None}), "property_not_text", "properties.a"),
        (amend(9, 1, properties=["a"]), "wrong_type", "properties"),
        (amend(9, 1, properties={"seats": "many"}), "property_not_a_number", "properties.seats"),
        (amend(9, 99, value="1"), "no_such_event", "corrects"),
        (amend(9, 1, value="1", source="elsewhere"), "no_such_event", "corrects"),
        (amend(9, 0, value="1", corrects="fix-1"), "corrects_a_correction", "corrects"),
        (amend(9, 0, value="1", corrects="fix-2"), "corrects_a_correction", "corrects"),
        (amend(9, 3, value="1"), "already_cancelled", "corrects"),
    ],
)
def test_what_is_wrong_with_a_correction_costs_only_itself(
    event_store: EventStore, record: dict[str, Any] | str, reason_code: str, field: str
) -> None:
    meter = Meter(
        meter_id="m", event_type="api.call", aggregation="sum", factors=("value", "properties.seats")
    )
    ingest = context(event_store, meters=[meter])
    send(ingest, ndjson(event(1), event(2), event(3)))
    correct(ingest, amend(1, 2, value="5"), correction(2, 3))
    report = correct(ingest, record, amend(8, 1, value="6"))
    assert counts(report) == (1, 0, 0, 1)
    (refusal,) = report.refusals
    assert (refusal.line, refusal.reason_code, refusal.field) == (1, reason_code, field)
    assert refusal.message
    assert refusal.expected
    kept = [one for one in list_refused(event_store, limit=9) if one.batch_id == report.batch_id]
    assert [(one.reason_code, one.record) for one in kept] == [
        (reason_code, record if isinstance(record, str) else json.dumps(record))
    ]
    assert [(row[0], row[3]) for row in in_force(event_store)] == [("fix-1", "5"), ("fix-8", "6")]


@pytest.mark.parametrize(
    ("body", "content_type", "reason_code"),
    [
        (b"source,id\n", "text/csv", "unknown_content_type"),
        (b" \n", NDJSON, "empty_body"),
        (b"[{}", "application/json", "malformed_json"),
        (b"{}\n" * 4, NDJSON, "too_many_records"),
    ],
)
def test_a_body_that_cannot_be_read_changes_nothing(
    event_store: EventStore, body: bytes, content_type: str, reason_code: str
) -> None:
    ingest = context(event_store, settings=IngestSettings(corrections_max=3))
    with pytest.raises(UnreadableBody) as caught:
        correct_events(body, content_type=content_type, content_encoding=None, received_at=NOW, ingest=ingest)
    assert caught.value.reason_code == reason_code


def test_a_json_array_and_white_lines(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2), event(3)))
    body = json.dumps([correction(1, 1), correction(2, 9)]).encode()
    report = correct_events(
        body, content_type="application/json", content_encoding=None, received_at=NOW, ingest=ingest
    )
    assert (counts(report), reasons(report)) == ((1, 0, 0, 1), [(2, "rejected", "no_such_event")])
    report = correct(ingest, "", json.dumps(correction(3, 2)) + "\r", "  ", correction(4, 9))
    assert (counts(report), reasons(report)) == ((1, 0, 0, 1), [(4, "rejected", "no_such_event")])


@contextmanager
def breaks_at(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, table: str, *, landed: bool
) -> Iterator[None]:
    """The connection breaks in the insert into that table, before or after the rows are on disk."""
    insert = store.insert

    def breaking(into: str, rows: pa.Table, *, token: str | None = None) -> None:
        if into != table or landed:
            insert(into, rows, token=token)
        if into == table:
            raise ConnectionError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(store, "insert", breaking)
        with pytest.raises(ConnectionError):
            yield


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize(
    ("table", "landed", "in_force_after"),
    [
        ("events", False, False),
        ("events", True, False),
        ("superseded_events", False, False),
        ("superseded_events", True, True),
    ],
)
def test_a_crash_between_any_two_steps_leaves_all_corrections_or_none(
    event_store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    landed: bool,
    in_force_after: bool,
    reopened: bool,
) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2), event(3)))
    batch = [amend(1, 1, value="7"), correction(2, 2), amend(3, 1, value="8")]
    before = [("call-1", "2.5"), ("call-2", "2.5"), ("call-3", "2.5")]
    after = [("call-3", "2.5"), ("fix-3", "8")]
    with breaks_at(event_store, monkeypatch, table, landed=landed):
        correct(ingest, *batch)
    found = [(row[0], row[3]) for row in in_force(event_store)]
    assert found == (after if in_force_after else before)
    again = context(event_store) if reopened else ingest
    assert counts(send(again, ndjson(event(4, id="fix-1", value="1")))) in ((0, 0, 1, 0), (1, 0, 0, 0))
    report = correct(again, *batch[1:])
    assert counts(report) == ((0, 2, 0, 0) if in_force_after else (2, 0, 0, 0))
    assert ("fix-3", "8") in [(row[0], row[3]) for row in in_force(event_store)]
    sequences = event_store.query(f"SELECT sequence FROM events WHERE {IN_FORCE_SQL}")["sequence"].to_pylist()
    assert len(sequences) == len(set(sequences))
    context(event_store)  # opens: no identity is there twice


def test_a_cut_names_what_corrections_touched(event_store: EventStore) -> None:
    ingest = context(event_store)
    assert read_cut(event_store, known_at=None).correction_sequence == 0
    send(ingest, ndjson(event(1), event(2), event(3, type="other", subject="b")))
    correct(ingest, amend(1, 1, time="2026-02-05T00:00:00Z"))
    first = read_cut(event_store, known_at=None)
    correct(ingest, correction(2, 3), amend(3, 1, value="1"), received_at=LATER + timedelta(hours=1))
    second = read_cut(event_store, known_at=None)
    assert (first.correction_sequence, second.correction_sequence) == (4, 6)
    assert sorted(first.corrected_types) == ["api.call"]
    assert sorted(second.corrected_types) == ["api.call", "other"]
    assert read_cut(event_store, known_at=LATER).correction_sequence == 4
    assert read_cut(event_store, known_at=NOW).correction_sequence == 0
    sent, moved = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2026, 2, 5, tzinfo=UTC)
    assert touched_by_corrections(event_store, after=0, up_to=4).to_pylist() == [
        {"type": "api.call", "subject": "acme", "time": sent},
        {"type": "api.call", "subject": "acme", "time": moved},
    ]
    assert touched_by_corrections(event_store, after=4, up_to=6).to_pylist() == [
        {"type": "api.call", "subject": "acme", "time": moved},
        {"type": "other", "subject": "b", "time": sent},
    ]
    assert touched_by_corrections(event_store, after=6, up_to=6).num_rows == 0


def test_a_correction_is_never_dated_before_what_it_corrects(event_store: EventStore) -> None:
    """Clocks go back, and requests overtake each other; a cut of the past must still hold one version."""
    ingest = context(event_store)
    send(ingest, ndjson(event(1)))
    correct(ingest, amend(1, 1, value="3"), received_at=LATER)
    correct(ingest, amend(2, 1, value="4"), received_at=NOW - timedelta(days=9))
    dates = event_store.query("SELECT corrected_at FROM superseded_events ORDER BY correction_sequence")
    assert dates["corrected_at"].to_pylist() == [LATER, LATER]


def test_values_at_the_limits_are_amended_exactly(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2)))
    most, least = "999999999999999.999999999999", "-999999999999999.999999999999"
    correct(ingest, amend(1, 1, value=most), amend(2, 2, value=least), amend(3, 1, properties={}))
    assert [Decimal(row[3] or "") for row in in_force(event_store)] == [Decimal(least), Decimal(most)]
