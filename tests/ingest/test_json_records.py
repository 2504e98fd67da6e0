"""Goal: the compiled scanner and Python's own JSON parser read every record alike; what the scanner
recognises is never more than what the parser accepts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.json_records import decode_json_records, decode_ndjson
from ingest.json_slow import read_event
from ingest.raw import RawBatch, RawRow
from ingest.refusal import Problem
from tests.ingest.support import event

LIMIT = 1 << 20


def scanned(line: bytes) -> RawBatch:
    return decode_ndjson(line, record_bytes_max=LIMIT)


def slow_only(line: bytes) -> RawBatch:
    """The same line, with the scanner kept from it: it serves ``read_event`` alone."""
    starts, ends = np.array([0], np.int64), np.array([len(line)], np.int64)
    return decode_json_records(
        line,
        starts,
        ends,
        np.array([1], np.uint64),
        record_bytes_max=LIMIT,
        reader=read_without_scanner,
    )


def read_without_scanner(text: bytes) -> RawRow | Problem:
    return read_event(text)


def rows(batch: RawBatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch.records.to_pylist()
    for row in found:
        row["properties"] = sorted(row["properties"])
    return found


SCALAR = st.one_of(
    st.text(max_size=6),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True),
    st.booleans(),
    st.none(),
)
RECORD = st.dictionaries(
    st.sampled_from(["source", "id", "type", "subject", "time", "value", "properties", "more"]),
    st.one_of(SCALAR, st.dictionaries(st.text(max_size=3), SCALAR, max_size=4), st.lists(SCALAR, max_size=2)),
)
LINE = st.one_of(
    RECORD.map(lambda record: json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    RECORD.map(lambda record: json.dumps(record, indent=None, separators=(" ,", " : ")).encode()),
)


@settings(max_examples=250, deadline=None)
@given(LINE)
@example(b'{"value":-0.0e-5,"properties":{"b":1,"a":true,"c":""}}')
@example(b'{"properties":{},"properties":{}}')
@example(b'{"value":null,"value":1}')
@example(b"{}")
def test_scanner_and_parser_read_alike(line: bytes) -> None:
    line = line.replace(b"\n", b" ")
    fast, slow = scanned(line), slow_only(line)
    assert rows(fast) == rows(slow)
    assert fast.refused == slow.refused


GOOD = json.dumps(event(1, value=12.5, properties={"a": "1", "b": 2, "c": False})).encode()


@settings(max_examples=500, deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 3),
    st.sampled_from(list(b'{}[]":,\\ \t019.-+eEtrufalsn\x00\x7f\xc3')),
)
def test_one_wrong_byte_is_seen_alike(place: int, removed: int, byte: int) -> None:
    line = GOOD[:place] + bytes([byte]) + GOOD[place + removed :]
    fast, slow = scanned(line), slow_only(line)
    if line.strip(b" \t\r\n"):
        assert rows(fast) == rows(slow)
        assert fast.refused == slow.refused


def test_a_good_line_needs_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows(slow_only(GOOD))
    monkeypatch.setattr("ingest.json_slow.parse_record", None)  # whoever calls it fails
    assert rows(scanned(GOOD)) == expected


def test_numbers_keep_every_digit() -> None:
    line = b'{"source":"s","id":"1","type":"t","subject":"u","time":"x","value":12345678901234.123456789012}'
    assert rows(scanned(line))[0]["value"] == "12345678901234.123456789012"
    assert rows(slow_only(line))[0]["value"] == "12345678901234.123456789012"
