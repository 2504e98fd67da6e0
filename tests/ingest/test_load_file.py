"""Goal: a file of any format and compression is taken in slices with lines counted over the whole
file, and a file that breaks off says what was taken and can be loaded again."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ingest.clickhouse import EventStore
from ingest.errors import UnreadableBody
from ingest.load import IngestContext, IngestReport
from ingest.load_file import ingest_file
from ingest.media_type import file_media_type
from ingest.settings import IngestSettings
from tests.ingest.support import NDJSON, NOW, context, counts, event, ndjson, stored
from tests.ingest.test_formats import CSV, FILE, JSON, PARQUET, STREAM, encode

SMALL = IngestSettings(file_slice_records=7, file_slice_bytes=2_000)


def load(ingest: IngestContext, path: Path, content: bytes) -> IngestReport:
    path.write_bytes(content)
    return ingest_file(path, received_at=NOW, ingest=ingest, progress=lambda *_: None)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("e.ndjson", NDJSON),
        ("e.JSONL", NDJSON),
        ("e.json", JSON),
        ("e.2026.csv", CSV),
        ("e.parquet", PARQUET),
        ("e.arrow", FILE),
        ("e.arrows", STREAM),
    ],
)
def test_every_format(event_store: EventStore, tmp_path: Path, name: str, content_type: str) -> None:
    ingest = context(event_store, settings=SMALL)
    content = encode([event(number) for number in range(30)], content_type)
    assert counts(load(ingest, tmp_path / name, content)) == (30, 0, 0, 0)
    assert counts(load(ingest, tmp_path / f"{name}.gz", gzip.compress(content))) == (0, 30, 0, 0)
    assert counts(load(ingest, tmp_path / f"{name}.zst", zstandard.compress(content))) == (0, 30, 0, 0)
    assert [row["id"] for row in stored(event_store)] == [f"call-{number}" for number in range(30)]


@pytest.mark.parametrize("line", [1, 7, 8, 50, 100])
def test_lines_are_counted_over_the_whole_file(event_store: EventStore, tmp_path: Path, line: int) -> None:
    lines = [ndjson(event(number)).decode() for number in range(1, 101)]
    lines[line - 1] = "broken"
    report = load(context(event_store, settings=SMALL), tmp_path / "e.ndjson", "\n".join(lines).encode())
    assert counts(report) == (99, 0, 0, 1)
    assert (report.refusals[0].line, report.refusals[0].record) == (line, "broken")


def test_row_numbers_of_parquet_are_file_wide(event_store: EventStore, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([event(number) for number in range(1, 41)]).drop_columns(["properties"])
    times = [row if number != 29 else "noon" for number, row in enumerate(table["time"].to_pylist())]
    table = table.set_column(table.column_names.index("time"), "time", pa.array(times))
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=11)
    report = load(
        context(event_store, settings=SMALL), tmp_path / "e.parquet", (tmp_path / "e.parquet").read_bytes()
    )
    assert [(refusal.line, refusal.reason_code) for refusal in report.refusals] == [(30, "time_unreadable")]


def test_progress_ends_at_the_size(event_store: EventStore, tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(ndjson(*(event(number) for number in range(100))))
    seen: list[tuple[int, int]] = []
    ingest_file(
        path,
        received_at=NOW,
        ingest=context(event_store, settings=SMALL),
        progress=lambda done, size: seen.append((done, size)),
    )
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_a_file_cut_short_says_what_was_taken(event_store: EventStore, tmp_path: Path) -> None:
    content = ndjson(*(event(number, id=f"{number * 7919**5 % 10**12}") for number in range(2_000)))
    packed = gzip.compress(content)
    ingest = context(event_store, settings=IngestSettings(file_slice_records=200, file_slice_bytes=50_000))
    with pytest.raises(UnreadableBody, match=r"e\.ndjson\.gz: the gzip data ends too early") as caught:
        load(ingest, tmp_path / "e.ndjson.gz", packed[: len(packed) // 2])
    taken = len(stored(event_store))
    assert 0 < taken < 2_000
    assert caught.value.reason_code == "truncated_body"
    assert f"{taken} accepted" in str(caught.value)
    assert counts(load(ingest, tmp_path / "e.ndjson.gz", packed)) == (2_000 - taken, taken, 0, 0)


@pytest.mark.parametrize("name", ["events.xml", "events", "events.gz", "events.ndjson.bz2"])
def test_names_that_tell_no_format(name: str) -> None:
    with pytest.raises(UnreadableBody, match="the format is told by the end of the name"):
        file_media_type(Path(name))


def test_an_empty_file_has_no_records(event_store: EventStore, tmp_path: Path) -> None:
    assert load(context(event_store), tmp_path / "e.ndjson", b"").records == 0
