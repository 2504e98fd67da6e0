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
from ingest.csv_records import decode_csv, text_lines
from ingest.errors import InvalidInput, UnreadableBody


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


def test_a_quote_inside_an_unquoted_cell_is_a_letter(tmp_path: Path) -> None:
    rows = [b'%d,5" pipe\n' % number for number in range(7)]
    pieces = cut(tmp_path, "e.csv", b"id,what\n" + b"".join(rows))
    assert [piece.body for piece in pieces] == [
        b"id,what\n" + b"".join(rows[:3]),
        b"id,what\n" + b"".join(rows[3:6]),
        b"id,what\n" + rows[6],
    ]
    assert [piece.line_offset for piece in pieces] == [0, 3, 6]


@settings(max_examples=150, deadline=None)
@given(text=st.text('ab",\n\ré ', max_size=60))
def test_the_slices_of_any_csv_read_as_the_whole_file_does(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Quoting right or wrong: the server finds the same records at the same lines, refused ones too."""
    body = b"source,id,type,subject,time\n" + text.encode()

    def read(part: bytes, offset: int) -> list[tuple[int, str]]:
        found = []
        for batch in decode_csv(text_lines([part]), slice_records=1_000):
            found += [(int(line) + offset, batch.record_text(row)) for row, line in enumerate(batch.lines)]
            found += [(refusal.line + offset, refusal.record) for refusal in batch.refused]
        return sorted(found)

    pieces = cut(tmp_path_factory.mktemp("csv"), "e.csv", body)
    in_slices = [record for piece in pieces for record in read(piece.body, piece.line_offset)]
    assert in_slices == read(body, 0)


def packed_lines(suffix: str, count: int) -> bytes:
    body = b"".join(b'{"id": "%d"}\n' % (number * 7919**5 % 10**12) for number in range(count))
    return gzip.compress(body) if suffix == ".gz" else zstandard.compress(body)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_packed_file_cut_short_is_refused_and_its_cut_record_is_never_sent(
    tmp_path: Path, suffix: str, share: float
) -> None:
    whole = packed_lines(suffix, 30_000)
    path = tmp_path / f"e.ndjson{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    sent: list[Slice] = []
    with pytest.raises(UnreadableBody, match=r"^e\.ndjson.*ends too early") as caught:
        sent.extend(slices_of(path))
    assert caught.value.reason_code == "truncated_body"
    assert all(piece.body.endswith(b'"}\n') for piece in sent)
    lines = sum(piece.body.count(b"\n") for piece in sent)
    assert (f"the first {lines} lines" if lines else "Nothing of the file was sent") in str(caught.value)
    assert lines < 30_000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_that_is_damaged_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UnreadableBody, match="damaged") as caught:
        cut(tmp_path, f"e.csv{suffix}", b"this is not packed at all")
    assert caught.value.reason_code == "damaged_compression"


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
def test_a_columnar_file_that_is_damaged_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnreadableBody, match=rf"^e\.{kind}: .*Nothing of the file was sent"):
        cut(tmp_path, f"e.{kind}", b"PAR1 and nothing else of a table")


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
