"""Goal: the same events through every format are the same stored rows, and what is wrong with a body
as a whole is said by its reason code while nothing of it is taken."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.errors import UnreadableBody
from ingest.event import QUANTITY_TYPE, TIMESTAMP
from tests.ingest.support import NDJSON, context, counts, event, ndjson, send, stored

CSV = "text/csv"
JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
CLOUDEVENTS = "application/cloudevents-batch+json"
FORMATS = (NDJSON, JSON, CSV, PARQUET, STREAM, FILE, CLOUDEVENTS)

Events = list[dict[str, Any]]


def table_of(events: Events) -> pa.Table:
    """The events with typed columns, as a warehouse would export them."""
    columns = {name: pa.array([row[name] for row in events]) for name in ("source", "id", "type", "subject")}
    times = [datetime.fromisoformat(row["time"]) for row in events]
    columns["time"] = pa.array(times, TIMESTAMP)
    values = [None if row["value"] is None else Decimal(row["value"]) for row in events]
    columns["value"] = pa.array(values, QUANTITY_TYPE)
    properties = [list(row["properties"].items()) for row in events]
    columns["properties"] = pa.array(properties, pa.map_(pa.string(), pa.string()))
    return pa.table(columns)


def encode(events: Events, content_type: str) -> bytes:
    out = io.BytesIO()
    if content_type == NDJSON:
        return ndjson(*events)
    if content_type == JSON:
        return json.dumps(events, indent=1, ensure_ascii=False).encode()
    if content_type == CLOUDEVENTS:
        return json.dumps([cloudevent(row) for row in events]).encode()
    if content_type == CSV:
        text = io.StringIO()
        names = sorted({name for row in events for name in row["properties"]})
        writer = csv.writer(text)
        fields = ["source", "id", "type", "subject", "time", "value"]
        writer.writerow([*fields, *(f"properties.{name}" for name in names)])
        writer.writerows(
            [row[name] for name in fields] + [row["properties"].get(name) for name in names] for row in events
        )
        return text.getvalue().encode()
    if content_type == PARQUET:
        pq.write_table(table_of(events), out)
    else:
        new = pa.ipc.new_stream if content_type == STREAM else pa.ipc.new_file
        table = table_of(events)
        with new(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


def cloudevent(row: dict[str, Any]) -> dict[str, Any]:
    attributes = {name: row[name] for name in ("source", "id", "type", "subject", "time")}
    return {"specversion": "1.0", **attributes, "data": {"value": row["value"], **row["properties"]}}


EVENT = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["gateway", "a,b", 'quo"te', "żółw"]),
        "id": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
        "type": st.sampled_from(["call", "seat"]),
        "subject": st.text("abcé✓", min_size=1, max_size=5),
        "time": st.datetimes(datetime(1975, 1, 1), datetime(2199, 1, 1)).map(
            lambda instant: instant.isoformat() + "+00:00"
        ),
        "value": st.none()
        | st.decimals(-(10**15) + 1, 10**15 - 1, places=12).map(lambda number: f"{number:f}"),
        "properties": st.dictionaries(
            st.sampled_from(["region", "a.b", "żab", "x y"]), st.text("ab,é\"'", min_size=1, max_size=6)
        ),
    }
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENT, min_size=1, max_size=5, unique_by=lambda row: (row["source"], row["id"])))
def test_every_format_stores_the_same_rows(event_store: EventStore, events: Events) -> None:
    results = {}
    for content_type in FORMATS:
        event_store.command("TRUNCATE TABLE events")
        report = send(context(event_store), encode(events, content_type), content_type=content_type)
        assert (report.accepted, report.rejected) == (len(events), 0), (content_type, report.refusals)
        results[content_type] = stored(event_store)
    for content_type in FORMATS:
        assert results[content_type] == results[NDJSON], content_type


@pytest.mark.parametrize("content_type", FORMATS)
def test_a_resend_in_another_format_is_a_duplicate(event_store: EventStore, content_type: str) -> None:
    events = [event(number, value="12.50") for number in range(5)]
    ingest = context(event_store)
    send(ingest, encode(events, PARQUET), content_type=PARQUET)
    assert counts(send(ingest, encode(events, content_type), content_type=content_type)) == (0, 5, 0, 0)


@pytest.mark.parametrize("content_encoding", ["gzip", "zstd", "identity", "GZIP", "x-gzip", ""])
def test_content_encodings(event_store: EventStore, content_encoding: str) -> None:
    body = ndjson(event(1), event(2))
    if "gz" in content_encoding.lower():
        body = gzip.compress(body[:50]) + gzip.compress(body[50:])  # two members, as `cat a.gz b.gz`
    elif content_encoding == "zstd":
        compressor = zstandard.ZstdCompressor()
        body = compressor.compress(body[:50]) + compressor.compress(body[50:])
    assert send(context(event_store), body, content_encoding=content_encoding).accepted == 2


def test_one_json_object_is_a_batch_of_one(event_store: EventStore) -> None:
    body = json.dumps(event(1)).encode()
    assert send(context(event_store), body, content_type="application/json; charset=utf-8").accepted == 1


def test_a_bad_element_of_an_array_costs_only_itself(event_store: EventStore) -> None:
    body = f"[{json.dumps(event(1))}, {{broken}}, {json.dumps(event(2))}]".encode()
    report = send(context(event_store), body, content_type=JSON)
    assert counts(report) == (2, 0, 0, 1)
    assert (report.refusals[0].line, report.refusals[0].record) == (2, "{broken}")


def test_a_cloudevent_without_time_gets_the_instant_of_receipt(event_store: EventStore) -> None:
    body = {
        "specversion": "1.0", "source": "s", "id": "1", "type": "t", "subject": "u",
        "datacontenttype": "application/json", "traceparent": "00-1", "data": {"value": 3, "region": "eu"},
    }  # fmt: skip
    ingest = context(event_store)
    one = "application/cloudevents+json"
    assert send(ingest, json.dumps(body).encode(), content_type=one).accepted == 1
    (row,) = stored(event_store)
    assert row["micros"] == 1_772_366_400_000_000
    assert row["properties"] == [("region", "eu"), ("traceparent", "00-1")]
    again = json.dumps({**body, "data": {"region": "eu", "value": 3.0}}).encode()
    assert counts(send(ingest, again, content_type=one)) == (0, 1, 0, 0), "its resend is a duplicate"


@pytest.mark.parametrize(
    ("changes", "reason_code", "field"),
    [
        ({"specversion": "0.3"}, "cloudevents_version", "specversion"),
        ({"data": 5}, "wrong_type", "data"),
        ({"data": {"nested": {"a": 1}}}, "property_not_text", "properties.nested"),
        ({"data_base64": "AAAA"}, "wrong_type", "data_base64"),
        ({"region": "us"}, "property_name_twice", "data.region"),
        ({"time": "2026-02-03T04:05:06"}, "time_without_zone", "time"),
        ({"subject": ""}, "text_empty", "subject"),
    ],
)
def test_bad_cloudevents(
    event_store: EventStore, changes: dict[str, Any], reason_code: str, field: str
) -> None:
    body = json.dumps([{**cloudevent(event(1)), **changes}]).encode()
    report = send(context(event_store), body, content_type=CLOUDEVENTS)
    assert [(refusal.reason_code, refusal.field) for refusal in report.refusals] == [(reason_code, field)]


HEADER = "source,id,type,subject,time,value,region\n"
GOOD = "gateway,{},call,acme,2026-02-03T04:05:06Z,1.5,eu\n"


def test_csv_rows_are_judged_one_by_one(event_store: EventStore) -> None:
    body = (
        "\ufeff" + HEADER + GOOD.format(1)
        + "gateway,2,call,acme\n"  # line 3: ragged
        + '"multi\nline",3,call,acme,2026-02-03T04:05:06Z,,\n'  # lines 4 and 5
        + GOOD.format(4).replace("1.5", "x")  # line 6
        + 'gateway,"5"x,call,acme,2026-02-03T04:05:06Z,1,eu\n'  # line 7: quoting
        + "\n"
        + GOOD.format(6).replace("2026", "26")  # line 9
    )  # fmt: skip
    broken = GOOD.format(7).encode().replace(b"acme", b"\xff")  # line 10
    report = send(context(event_store), body.encode() + broken + GOOD.format(8).encode(), content_type=CSV)
    assert [(refusal.line, refusal.reason_code) for refusal in report.refusals] == [
        (3, "csv_ragged_row"),
        (6, "value_not_a_number"),
        (7, "csv_malformed"),
        (9, "time_unreadable"),
        (10, "not_utf8"),
    ]
    assert report.refusals[0].record == "gateway,2,call,acme"
    assert json.loads(report.refusals[1].record)["value"] == "x"
    rows = stored(event_store)
    assert [row["id"] for row in rows] == ["1", "3", "8"]
    assert (rows[1]["source"], rows[1]["value"], rows[1]["properties"]) == ("multi\nline", None, [])


@pytest.mark.parametrize(
    "header", ["", "id,type\n", "source,id,type,subject,time,time\n", "source,id,type,subject,time,\n"]
)
def test_csv_headers_that_will_not_do(event_store: EventStore, header: str) -> None:
    with pytest.raises(UnreadableBody) as caught:
        send(context(event_store), (header + GOOD.format(1)).encode(), content_type=CSV)
    assert caught.value.reason_code == "csv_header"


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def test_other_parquet_columns_are_properties(event_store: EventStore) -> None:
    table = table_of([event(number) for number in range(3)]).drop_columns(["properties"])
    table = table.append_column("region", pa.array(["eu", None, "us"]).dictionary_encode())
    table = table.append_column("properties.seats", pa.array([149, None, 7], pa.int32()))
    assert send(context(event_store), parquet(table), content_type=PARQUET).accepted == 3
    assert [row["properties"] for row in stored(event_store)] == [
        [("region", "eu"), ("seats", "149")],
        [],
        [("region", "us"), ("seats", "7")],
    ]


def test_parquet_rows_are_judged_one_by_one(event_store: EventStore) -> None:
    table = table_of([event(number, value="1") for number in range(4)])
    values = pa.array(
        [Decimal("1"), Decimal("10") ** 15, Decimal("0.0000000000001"), None], pa.decimal128(38, 13)
    )
    table = table.set_column(table.column_names.index("value"), "value", values)
    table = table.set_column(0, "source", pa.array(["s", "s", "s", None]))
    report = send(context(event_store), parquet(table), content_type=PARQUET)
    assert [(refusal.line, refusal.reason_code) for refusal in report.refusals] == [
        (2, "value_out_of_range"),
        (3, "value_too_precise"),
        (4, "field_missing"),
    ]
    assert report.accepted == 1
    assert json.loads(report.refusals[0].record)["id"] == "call-1"


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("value", pa.array([1.5])),
        ("value", pa.array([True])),
        ("time", pa.array([datetime(2026, 1, 1)], pa.timestamp("us"))),
        ("time", pa.array([1_770_000_000])),
        ("id", pa.array([17])),
        ("properties", pa.array([5])),
        ("properties", pa.array([{"a": 1.5}])),
    ],
)
def test_column_types_no_event_can_have(event_store: EventStore, column: str, array: pa.Array) -> None:
    table = table_of([event(1)])
    table = table.set_column(table.column_names.index(column), column, array)
    with pytest.raises(UnreadableBody, match=column) as caught:
        send(context(event_store), parquet(table), content_type=PARQUET)
    assert caught.value.reason_code == "wrong_column_type"


def test_nanosecond_timestamps_of_another_zone(event_store: EventStore) -> None:
    table = table_of([event(1)])
    times = pa.array([1_770_091_506_123_456_789], pa.timestamp("ns", "Europe/Berlin"))
    send(context(event_store), parquet(table.set_column(4, "time", times)), content_type=PARQUET)
    assert stored(event_store)[0]["micros"] == 1_770_091_506_123_456


def with_times(events: Events, times: pa.Array) -> pa.Table:
    table = table_of(events)
    return table.set_column(table.column_names.index("time"), "time", times)


_FIRST = 0
_END = 7_258_118_400
"""Seconds of the years accepted: [1970, 2200)."""


@pytest.mark.parametrize("content_type", [PARQUET, STREAM])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_out_of_range_cost_only_their_own_rows(
    event_store: EventStore, unit: str, content_type: str
) -> None:
    """No unit wraps round into a good year, and none takes the batch down."""
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    largest = 2**63 - 1
    if content_type == PARQUET and unit == "s":
        largest //= 1_000  # Parquet keeps seconds as milliseconds
    wrapping = (2**64 // 10**6 + 1_772_366_400) if unit == "s" else largest
    good = [_FIRST, 1_772_366_400 * scale, _END * scale - 1]
    bad = [-1, -largest, _END * scale, min(253_402_300_800 * scale, largest), largest, wrapping]
    events = [event(number) for number in range(len(good) + len(bad))]
    table = with_times(events, pa.array(good + bad, pa.timestamp(unit, "UTC")))
    body = parquet(table) if content_type == PARQUET else stream(table)
    report = send(context(event_store), body, content_type=content_type)
    assert [(item.line, item.reason_code, item.field) for item in report.refusals] == [
        (line, "time_out_of_range", "time") for line in range(len(good) + 1, len(events) + 1)
    ]
    assert [row["micros"] for row in stored(event_store)] == [units * 10**6 // scale for units in good]
    assert "1969-12-31T23:59:59" in json.loads(report.refusals[0].record)["time"]
    if unit == "s" and content_type == STREAM:
        assert str(largest) in report.refusals[4].message
        assert str(largest) in json.loads(report.refusals[4].record)["time"]


def test_a_conflict_of_nanosecond_timestamps_keeps_the_record_with_all_digits(
    event_store: EventStore,
) -> None:
    times = pa.array([1_770_091_506_123_456_789] * 2, pa.timestamp("ns", "Europe/Berlin"))
    ingest = context(event_store)
    send(ingest, parquet(with_times([event(1), event(2)], times)), content_type=PARQUET)
    again = with_times([event(1, value="7"), event(3, id="")], times)
    report = send(ingest, parquet(again), content_type=PARQUET)
    assert counts(report) == (0, 0, 1, 1)
    record = json.loads(report.refusals[0].record)
    assert (record["id"], record["time"]) == ("call-1", "2026-02-03T04:05:06.123456789Z")


def test_the_record_of_a_nanosecond_timestamp_needs_no_pandas() -> None:
    """pyarrow asks pandas for nanoseconds, and pandas is no dependency of the product."""
    program = (
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'pandas':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoPandas())\n"
        "import numpy as np, pyarrow as pa\n"
        "from ingest.columnar_records import decode_table\n"
        "times = pa.array([1770091506123456789, None], pa.timestamp('ns', 'UTC'))\n"
        "table = pa.table({'id': ['a', 'b'], 'time': times})\n"
        "raw = decode_table(table, lines=np.array([1, 2], np.uint64))\n"
        "print(raw.record_text(0), raw.record_text(1))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == (
        '{"id": "a", "time": "2026-02-03T04:05:06.123456789Z"} {"id": "b", "time": null}'
    )
