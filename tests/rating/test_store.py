"""Goal: rated lines come back as they were written, once, however often they are written."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.errors import InvalidInput, NotFound
from rating.compile import compile_price_book
from rating.line_item import RATED_LINE_SCHEMA
from rating.rate import rate_usage
from rating.store import get_rated_line, line_to_python, read_rated_lines, write_rated_lines
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

TIERS = {
    "model": "graduated",
    "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.333333333333"}],
}
MATRIX = {"model": "matrix", "dimensions": ["region"], "cells": [{"match": {}, "price": TIERS}]}


def rated(run_id: str = "r1") -> pa.Table:
    gold = plan(usage_charge("calls", TIERS), usage_charge("storage", MATRIX), minimum_spend="50")
    book = compile_price_book(versions(gold), METERS)
    used = usage(
        (0, "calls", "12.5", 3),
        (0, "storage", "2", 1, {"region": "eu", "class": "hot"}),
        (1, "calls", "7", 2),
    )
    table = periods({}, {"contract_id": "d", "start": date(2026, 2, 1), "end": date(2026, 3, 1)})
    return rate_usage(periods=table, usage=used, price_book=book, run_id=run_id, threads=1).lines


def ordered(lines: pa.Table) -> list[dict[str, object]]:
    found = [line_to_python(lines, row) for row in range(lines.num_rows)]
    return sorted(found, key=lambda line: line["line_id"])


def test_lines_come_back_as_written(event_store: EventStore) -> None:
    lines = rated()
    assert write_rated_lines(event_store, lines) == 5
    read = read_rated_lines(event_store)
    assert read.schema.equals(RATED_LINE_SCHEMA)
    assert ordered(read) == ordered(lines)


def test_a_part_of_a_table_in_several_pieces_is_written_as_it_is(event_store: EventStore) -> None:
    """Blocks are slices of the table of a run, and the engine reads them where they are."""
    lines = pa.concat_tables([rated().slice(0, 3), rated().slice(3)]).slice(1, 3)
    write_rated_lines(event_store, lines)
    read = ordered(read_rated_lines(event_store))
    assert read == ordered(lines)
    assert {"region": "eu", "class": "hot"} in [line["dimensions"] for line in read]


def test_writing_again_replaces_and_never_doubles(event_store: EventStore) -> None:
    for run_id in ("r1", "r1", "r2"):
        write_rated_lines(event_store, rated(run_id))
    read = read_rated_lines(event_store)
    assert read["run_id"].to_pylist() == ["r2"] * 5


def test_lines_are_found_by_what_they_are(event_store: EventStore) -> None:
    lines = rated()
    write_rated_lines(event_store, lines)
    assert read_rated_lines(event_store, contract_id="d").num_rows == 2
    assert read_rated_lines(event_store, billing_date=date(2026, 2, 1)).num_rows == 3
    assert read_rated_lines(event_store, run_id="nobody").num_rows == 0
    ids = lines["line_id"].to_pylist()[1:3]
    assert read_rated_lines(event_store, line_ids=[*ids, b"\0" * 16])["line_id"].to_pylist() == sorted(
        ids, key=lambda key: [line["charge_id"] for line in ordered(lines) if line["line_id"] == key]
    )
    line = get_rated_line(event_store, ids[0].hex())
    assert (line["charge_id"], line["amount"]) == ("storage", Decimal(2))


def test_a_line_is_found_whatever_bytes_its_id_ends_in(event_store: EventStore) -> None:
    lines = rated()
    ids = [b"\1" * 15 + b"\0", b"\2" * 14 + b"\0\0", b"\0" * 16, b" " * 16, b"\xff" * 16]
    place = lines.schema.get_field_index("line_id")
    named = lines.set_column(place, lines.schema.field("line_id"), pa.array(ids, pa.binary(16)))
    write_rated_lines(event_store, named)
    assert [get_rated_line(event_store, key.hex())["line_id"] for key in ids] == ids


def test_ids_that_name_no_line_are_refused(event_store: EventStore) -> None:
    with pytest.raises(NotFound, match="no rated line"):
        get_rated_line(event_store, "00" * 16)
    with pytest.raises(InvalidInput, match="not a line id"):
        get_rated_line(event_store, "xyz")
    with pytest.raises(InvalidInput, match="the store keeps"):
        write_rated_lines(event_store, rated().drop_columns(["amount"]))
