"""Goal: what is sent is counted once, every record has an outcome that names its line, and bad input
of any kind costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState, UnreadableBody
from ingest.json_records import decode_ndjson
from ingest.load import IngestReport, ingest_raw, ingest_table
from ingest.meter import Meter
from ingest.settings import IngestSettings
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, send, stored


def test_a_batch_is_stored_as_sent(event_store: EventStore) -> None:
    report = send(
        context(event_store), ndjson(event(1), event(2, value=..., properties={"b": "2", "a": "1"}))
    )
    assert counts(report) == (2, 0, 0, 0)
    assert report.refusals == ()
    first, second = stored(event_store)
    assert first == {
        "source": "gateway",
        "id": "call-1",
        "type": "api.call",
        "subject": "acme",
        "micros": 1_770_091_506_000_000,
        "value": Decimal("2.5"),
        "properties": [("region", "eu")],
    }
    assert second["value"] is None
    assert second["properties"] == [("a", "1"), ("b", "2")]


@pytest.mark.requirement("MET-09")
def test_the_same_batch_twice_counts_once(event_store: EventStore) -> None:
    body = ndjson(*(event(number) for number in range(50)))
    ingest = context(event_store)
    assert counts(send(ingest, body)) == (50, 0, 0, 0)
    assert counts(send(ingest, body)) == (0, 50, 0, 0)
    assert counts(send(context(event_store), body)) == (0, 50, 0, 0), "after opening the store again"
    assert len(stored(event_store)) == 50


@contextmanager
def insert_breaks(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, *, after_landing: bool
) -> Iterator[None]:
    """The connection breaks in the insert of events, before or after the rows are on disk."""
    insert = store.insert

    def breaking(table: str, rows: pa.Table, *, token: str | None = None) -> None:
        if table == "events":
            if after_landing:
                insert(table, rows, token=token)
            raise ConnectionError("the connection broke")
        insert(table, rows, token=token)

    with monkeypatch.context() as patch:
        patch.setattr(store, "insert", breaking)
        with pytest.raises(ConnectionError):
            yield


@pytest.mark.requirement("MET-09")
def test_the_same_batches_twice_count_once_by_the_bounded_gate(event_store: EventStore) -> None:
    bounded = IngestSettings(gate="bounded", identities_waiting_max=20)
    bodies = [ndjson(*(event(number) for number in range(first, first + 25))) for first in (0, 25, 50)]
    ingest = context(event_store, settings=bounded)
    assert [counts(send(ingest, body)) for body in bodies] == [(25, 0, 0, 0)] * 3
    # The first batch is in the table, the others in memory; a new gate has all of them in the table.
    assert [counts(send(ingest, body)) for body in bodies] == [(0, 25, 0, 0)] * 3
    reopened = context(event_store, settings=bounded)
    assert [counts(send(reopened, body)) for body in bodies] == [(0, 25, 0, 0)] * 3
    assert counts(send(reopened, ndjson(event(3, value="9"), event(99)))) == (1, 0, 1, 0)


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("after_landing", [True, False])
def test_a_crash_in_the_insert_counts_nothing_twice(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch, after_landing: bool
) -> None:
    body = ndjson(*(event(number) for number in range(20)))
    ingest = context(event_store)
    send(ingest, ndjson(event(0)))
    with insert_breaks(event_store, monkeypatch, after_landing=after_landing):
        send(ingest, body)
    assert counts(send(ingest, body)) == ((0, 20, 0, 0) if after_landing else (19, 1, 0, 0))
    sequences = event_store.query("SELECT sequence FROM events ORDER BY sequence")["sequence"].to_pylist()
    assert sequences == list(range(1, 21))


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("after_remembering", [True, False])
def test_an_interrupt_before_the_insert_loses_nothing(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch, after_remembering: bool
) -> None:
    """Ctrl-C falls between the gate's remembering and the insert, or before it is through with it."""
    body = ndjson(*(event(number) for number in range(20)))
    ingest = context(event_store)
    remember = ingest.gate.remember

    def interrupted(*arguments: Any) -> None:
        if after_remembering:
            remember(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest.gate, "remember", interrupted)
        with pytest.raises(KeyboardInterrupt):
            send(ingest, body)
    assert stored(event_store) == []
    assert counts(send(ingest, body)) == (20, 0, 0, 0)
    assert counts(send(ingest, ndjson(event(21)))) == (1, 0, 0, 0)
    sequences = event_store.query("SELECT sequence FROM events ORDER BY sequence")["sequence"].to_pylist()
    assert sequences == list(range(1, 22))


def test_a_refusal_that_cannot_be_worded_fails_before_anything_lands(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1)))

    def unwritable(row: int) -> str:
        raise ValueError(f"row {row} cannot be written")

    decoded = decode_ndjson(ndjson(event(1, value="9"), event(2)), record_bytes_max=10_000, lines_before=0)
    with pytest.raises(ValueError, match="row 0 cannot be written"):
        ingest_raw(replace(decoded, record_text=unwritable), received_at=NOW, ingest=ingest)
    assert [row["id"] for row in stored(event_store)] == ["call-1"]
    assert counts(send(ingest, ndjson(event(2)))) == (1, 0, 0, 0)


def test_the_same_event_twice_in_a_batch(event_store: EventStore) -> None:
    report = send(context(event_store), ndjson(event(1), event(1), event(1, value="2.50")))
    assert counts(report) == (1, 2, 0, 0)


def test_a_conflict_is_reported_and_the_first_stays(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1)))
    report = send(ingest, ndjson(event(2), event(1, value="3"), event(2, subject="other")))
    assert counts(report) == (1, 0, 2, 0)
    assert [(refusal.line, refusal.outcome) for refusal in report.refusals] == [
        (2, "conflict"),
        (3, "conflict"),
    ]
    assert json.loads(report.refusals[0].record)["value"] == "3"
    assert [row["value"] for row in stored(event_store)] == [Decimal("2.5"), Decimal("2.5")]
    kept = event_store.query("SELECT line, outcome, reason_code, record FROM refused_events ORDER BY line")
    assert kept["outcome"].to_pylist() == ["conflict", "conflict"]


@pytest.mark.parametrize(
    "changes", [{"time": "2026-02-03T04:05:07Z"}, {"type": "other"}, {"value": ...}, {"properties": {}}]
)
def test_every_part_of_the_body_makes_a_conflict(event_store: EventStore, changes: dict[str, Any]) -> None:
    report = send(context(event_store), ndjson(event(1), event(1, **changes)))
    assert counts(report) == (1, 0, 1, 0)


def test_one_broken_line_in_ten_thousand(event_store: EventStore) -> None:
    lines: list[dict[str, Any] | str] = [event(number) for number in range(1, 10_001)]
    lines[7_000] = '{"source": "gateway", "id": "call-7001", "type": '
    report = send(context(event_store), ndjson(*lines))
    assert counts(report) == (9_999, 0, 0, 1)
    (refusal,) = report.refusals
    assert (refusal.line, refusal.reason_code) == (7_001, "malformed_json")
    assert refusal.record == lines[7_000]


@pytest.mark.parametrize(
    ("line", "reason_code", "field"),
    [
        ("{", "malformed_json", ""),
        ("[1, 2]", "not_an_object", ""),
        ('"text"', "not_an_object", ""),
        ("[" * 100_000, "malformed_json", ""),
        (event(1, surprise=1), "unknown_field", "surprise"),
        (event(1, id=17), "wrong_type", "id"),
        (event(1, subject=["acme"]), "wrong_type", "subject"),
        (event(1, time=1770091506), "wrong_type", "time"),
        (event(1, value=True), "wrong_type", "value"),
        (event(1, value={"amount": 1}), "wrong_type", "value"),
        (event(1, properties=["eu"]), "wrong_type", "properties"),
        (event(1, properties={"region": {"name": "eu"}}), "property_not_text", "properties.region"),
        (event(1, properties={"region": None}), "property_not_text", "properties.region"),
        (event(1, source=...), "field_missing", "source"),
        (event(1, subject=None), "field_missing", "subject"),
        (event(1, time=...), "field_missing", "time"),
        (event(1, time="2026-02-03T04:05:06"), "time_without_zone", "time"),
        (event(1, time="0000-01-01T00:00:00Z"), "time_out_of_range", "time"),
        (event(1, time="9999-12-31T23:59:59Z"), "time_out_of_range", "time"),
        (json.dumps(event(1)).replace('"2.5"', "NaN"), "value_not_finite", "value"),
        (json.dumps(event(1)).replace('"2.5"', "-Infinity"), "value_not_finite", "value"),
        (json.dumps(event(1)).replace('"2.5"', "1e400"), "value_out_of_range", "value"),
        (json.dumps(event(1)).replace('"2.5"', "9" * 39), "value_out_of_range", "value"),
        (json.dumps(event(1)).replace('"2.5"', "9" * 5_000), "value_out_of_range", "value"),
        (json.dumps(event(1)).replace('"2.5"', "0." + "3" * 39), "value_too_precise", "value"),
        (json.dumps(event(1)).replace('"2.5"', "01"), "malformed_json", ""),
        (json.dumps(event(1)).replace('"id"', '"source"'), "field_twice", "source"),
        (json.dumps(event(1)).replace('{"region"', '{"region": "us", "region"'), "field_twice", "region"),
        (json.dumps(event(1, subject="\ud800")), "not_utf8", ""),
        (json.dumps(event(1)) + "}", "malformed_json", ""),
    ],
)
def test_a_bad_record_costs_only_itself(
    event_store: EventStore, line: dict[str, Any] | str, reason_code: str, field: str
) -> None:
    report = send(context(event_store), ndjson(event(2), line, event(3)))
    assert counts(report) == (2, 0, 0, 1)
    (refusal,) = report.refusals
    assert (refusal.line, refusal.reason_code, refusal.field) == (2, reason_code, field)
    kept = event_store.query("SELECT batch_id, line, reason_code, record FROM refused_events").to_pylist()
    sent = line if isinstance(line, str) else json.dumps(line)
    assert kept == [
        {"batch_id": report.batch_id, "line": 2, "reason_code": reason_code, "record": sent[:65_536]}
    ]


def test_bytes_that_are_no_utf8_cost_one_line(event_store: EventStore) -> None:
    body = ndjson(event(1, subject="Käse")) + b'\n{"id": "\xff"}\n' + ndjson(event(2))
    report = send(context(event_store), body)
    assert counts(report) == (2, 0, 0, 1)
    assert (report.refusals[0].line, report.refusals[0].reason_code) == (2, "not_utf8")


def test_unusual_but_right_records(event_store: EventStore) -> None:
    lines = [
        json.dumps(event(1, id='quo"te\n', subject="żółw", value=..., properties={})),
        (
            '  {"properties": {"n": 1.50, "yes": true, "no": false}, "value": 1e3, "id": "2", "source": "s", '
            '"type": "t", "subject": "u", "time": "2026-02-03t05:05:06.1234567+01:00"}  \r'
        ),
        "",
        '{"source":"s","id":"3","type":"t","subject":"u","time":"1970-01-01T00:00:00Z","value":null}',
        "   ",
    ]
    report = send(context(event_store), ndjson(*lines))
    assert counts(report) == (3, 0, 0, 0)
    first, second, third = stored(event_store)
    assert (first["id"], first["subject"]) == ('quo"te\n', "żółw")
    assert second["properties"] == [("n", "1.50"), ("no", "false"), ("yes", "true")]
    assert (second["value"], second["micros"]) == (Decimal(1000), 1_770_091_506_123_456)
    assert (third["value"], third["micros"]) == (None, 0)


def test_lines_are_counted_with_blank_ones(event_store: EventStore) -> None:
    report = send(context(event_store), ndjson("", event(1), "  ", "broken"))
    assert counts(report) == (1, 0, 0, 1)
    assert report.refusals[0].line == 4


def test_all_records_refused_is_still_a_report(event_store: EventStore) -> None:
    report = send(context(event_store), ndjson("x", "y"))
    assert counts(report) == (0, 0, 0, 2)


def test_meters_ask_for_what_they_need(event_store: EventStore) -> None:
    seats = Meter(meter_id="seats", event_type="seat", aggregation="time_weighted", reading="peak")
    miles = Meter(
        meter_id="miles", event_type="landing", aggregation="sum", factors=("value", "properties.seats")
    )
    report = send(
        context(event_store, meters=[seats, miles]),
        ndjson(
            event(1, type="seat", properties={"operation": "add"}),
            event(2, type="seat", properties={"operation": "grow"}),
            event(3, type="seat", value=...),
            event(4, type="landing", properties={"seats": 149}),
            event(5, type="landing", properties={"seats": "many"}),
            event(6, type="landing"),
            event(7, type="other", value=..., properties={"operation": "grow", "seats": "many"}),
        ),
    )
    assert [(refusal.line, refusal.reason_code) for refusal in report.refusals] == [
        (2, "operation_unknown"),
        (3, "value_missing"),
        (5, "property_not_a_number"),
    ]
    assert report.accepted == 4


def test_more_refusals_than_are_listed(event_store: EventStore) -> None:
    ingest = context(event_store, settings=IngestSettings(refusals_reported_max=3))
    report = send(ingest, ndjson(*["x"] * 5))
    assert report.rejected == 5
    assert [refusal.line for refusal in report.refusals] == [1, 2, 3]
    assert report.refusals_truncated
    assert event_store.query("SELECT count() AS rows FROM refused_events")["rows"].to_pylist() == [5]


def test_a_long_table_is_several_inserts(event_store: EventStore) -> None:
    columns = {name: [event(number)[name] for number in range(10)] for name in ("id", "time", "value")}
    table = pa.table({**columns, **{name: ["x"] * 10 for name in ("source", "type", "subject", "region")}})
    ingest = context(event_store, settings=IngestSettings(insert_rows_max=4))
    report = ingest_table(table, received_at=NOW, ingest=ingest)
    assert counts(report) == (10, 0, 0, 0)
    assert counts(ingest_table(table, received_at=NOW, ingest=ingest)) == (0, 10, 0, 0)
    assert stored(event_store)[9]["properties"] == [("region", "x")]


def test_a_report_that_does_not_add_up_is_a_broken_state() -> None:
    with pytest.raises(BrokenState, match="3 records came in and 2 have an outcome"):
        IngestReport("b", 3, 1, 1, 0, 0, (), False)


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_an_empty_body(event_store: EventStore, body: bytes) -> None:
    with pytest.raises(UnreadableBody) as caught:
        send(context(event_store), body, content_type=NDJSON)
    assert caught.value.reason_code == "empty_body"
