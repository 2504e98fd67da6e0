"""Goal: a file cut into request bodies is the same records, and every line keeps its number."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from api import slices
from api.slices import ARROW_STREAM, Slice, slices_of
from ingest.errors import InvalidInput


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_RECORDS_MAX", 3)


def cut(folder: Path, name: str, body: bytes) -> list[Slice]:
    path = folder / name
    path.write_bytes(body)
    return list(slices_of(path))


def test_ndjson_is_cut_between_lines(tmp_path: Path) -> None:
    body = b"".join(b'{"n": %d}\n' % number for number in range(1, 8))
    pieces = cut(tmp_path, "e.ndjson", body)
    assert [piece.line_offset for piece in pieces] == [0, 3, 6]
    assert b"".join(piece.body for piece in pieces) == body
    assert pieces[0].content_type == "application/x-ndjson"
    assert pieces[-1].bytes_read == len(body)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_packed_files_are_unpacked(tmp_path: Path, suffix: str, pack: object) -> None:
    body = b"1\n2\n3\n4\n"
    pieces = cut(tmp_path, f"e.jsonl{suffix}", pack(body))  # type: ignore[operator]
    assert b"".join(piece.body for piece in pieces) == body


def test_a_last_line_without_its_end_is_sent(tmp_path: Path) -> None:
    pieces = cut(tmp_path, "e.ndjson", b"1\n2\n3\n4")
    assert [(piece.body, piece.line_offset) for piece in pieces] == [(b"1\n2\n3\n", 0), (b"4", 3)]


def test_every_csv_slice_has_the_header(tmp_path: Path) -> None:
    pieces = cut(tmp_path, "e.csv", b"a,b\n1,2\n3,4\n5,6\n7,8\n")
    assert [piece.body for piece in pieces] == [b"a,b\n1,2\n3,4\n5,6\n", b"a,b\n7,8\n"]
    assert [piece.line_offset for piece in pieces] == [0, 3]


def test_an_empty_file_is_sent_so_that_the_server_says_what_is_wrong(tmp_path: Path) -> None:
    assert [piece.body for piece in cut(tmp_path, "e.ndjson", b"")] == [b""]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.text('ab"\n,é', max_size=6), st.text('x\n"', max_size=4)), max_size=12))
def test_csv_fields_may_hold_line_ends_and_quotes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("a", "b"), *rows])
    pieces = cut(tmp_path_factory.mktemp("csv"), "e.csv", written.getvalue().encode())
    read: list[tuple[str, ...]] = []
    line = 1
    for piece in pieces:
        assert piece.line_offset == line - 1
        text = piece.body.decode()
        read += [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))][1:]
        line += text.count("\n") - 1
    assert read == rows


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
def test_columnar_files_become_arrow_streams(tmp_path: Path, kind: str) -> None:
    table = pa.table({"id": [str(number) for number in range(8)]})
    path = tmp_path / f"e.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        opened = (
            pa.ipc.new_file(path, table.schema) if kind == "arrow" else pa.ipc.new_stream(path, table.schema)
        )
        with opened as writer:
            writer.write_table(table)
    pieces = list(slices_of(path))
    assert [piece.line_offset for piece in pieces] == [0, 3, 6]
    assert {piece.content_type for piece in pieces} == {ARROW_STREAM}
    parts = [pa.ipc.open_stream(piece.body).read_all() for piece in pieces]
    assert pa.concat_tables(parts).to_pydict() == table.to_pydict()


@pytest.mark.parametrize("name", ["e", "e.txt", "e.gz", "e.parquet.gz"])
def test_an_unknown_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"\.ndjson|packed twice"):
        cut(tmp_path, name, b"x")
