"""Goal: a file is taken once, when its writer is through with it, and what became of it lies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from ingest.errors import NotFound, StoreUnavailable, UnreadableBody
from ingest.streams.folder import FolderTotals, FolderWatch, watch_folder


class Seconds:
    """A clock that goes on by hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> float:
        return self.now


REPORT: dict[str, Any] = {
    "records": 2,
    "accepted": 1,
    "duplicates": 0,
    "conflicts": 0,
    "rejected": 1,
    "refusals": [{"line": 2, "reason_code": "malformed_json"}],
}


def watching(folder: Path, take: Any, *, settle_seconds: int = 0) -> tuple[FolderTotals, list[str]]:
    heard: list[str] = []
    totals = watch_folder(
        FolderWatch(folder, settle_seconds=settle_seconds, seconds=Seconds()),
        take=take,
        stop=Quick(),
        poll_seconds=1,
        until_empty=True,
        heard=lambda words, _: heard.append(words),
    )
    return totals, heard


class Quick(Event):
    """Waits no time."""

    def wait(self, _: float | None = None) -> bool:
        return False


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    seconds = Seconds()
    watch = FolderWatch(tmp_path, settle_seconds=5, seconds=seconds)
    path = tmp_path / "a.ndjson"
    path.write_text("1\n")
    assert watch.scan() == ([], 1)
    seconds.now = 4
    path.write_text("1\n2\n")
    assert watch.scan() == ([], 1)
    seconds.now = 8
    assert watch.scan() == ([], 1)
    seconds.now = 9
    assert watch.scan() == ([path], 0)


def test_names_of_unfinished_files_are_never_ready(tmp_path: Path) -> None:
    for name in (".a.ndjson", "b.ndjson.tmp", "c.parquet.part"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "folder.ndjson").mkdir()
    watch = FolderWatch(tmp_path, settle_seconds=0, seconds=Seconds())
    assert watch.scan() == ([], 0)
    (tmp_path / "b.ndjson.tmp").rename(tmp_path / "b.ndjson")
    assert watch.scan() == ([tmp_path / "b.ndjson"], 0)


def test_files_are_taken_in_order_and_put_away_with_a_report(tmp_path: Path) -> None:
    taken = []

    def take(path: Path) -> Mapping[str, Any]:
        taken.append(path.name)
        return REPORT

    for name in ("b.ndjson", "a.ndjson"):
        (tmp_path / name).write_text("x\n")
    totals, heard = watching(tmp_path, take)
    assert taken == ["a.ndjson", "b.ndjson"]
    assert totals.to_dict() == {
        "files": 2,
        "files_failed": 0,
        "records": 4,
        "accepted": 2,
        "duplicates": 0,
        "conflicts": 0,
        "rejected": 2,
    }
    assert heard == ["a.ndjson: 1 refused", "b.ndjson: 1 refused"]
    assert json.loads((tmp_path / "done" / "a.ndjson.report.json").read_text()) == REPORT
    # The same name again is another file, and the first stays.
    (tmp_path / "a.ndjson").write_text("y\n")
    watching(tmp_path, take)
    assert (tmp_path / "done" / "a.ndjson").read_text() == "x\n"
    assert (tmp_path / "done" / "2-a.ndjson").read_text() == "y\n"


def test_a_file_that_nobody_can_read_fails_alone(tmp_path: Path) -> None:
    def take(path: Path) -> Mapping[str, Any]:
        if path.name == "a.parquet":
            raise UnreadableBody("a.parquet: cut short.", reason_code="truncated_body")
        return REPORT

    for name in ("a.parquet", "b.ndjson"):
        (tmp_path / name).write_text("x\n")
    totals, _ = watching(tmp_path, take)
    assert (totals.files, totals.files_failed) == (1, 1)
    assert names(tmp_path) == [
        "done/b.ndjson",
        "done/b.ndjson.report.json",
        "failed/a.parquet",
        "failed/a.parquet.report.json",
    ]
    report = json.loads((tmp_path / "failed" / "a.parquet.report.json").read_text())
    assert report == {"file": "a.parquet", "reason_code": "truncated_body", "detail": "a.parquet: cut short."}


@pytest.mark.parametrize("readable", [True, False])
def test_a_file_that_changes_while_it_is_taken_is_taken_again(tmp_path: Path, readable: bool) -> None:
    path, sizes = tmp_path / "a.ndjson", []
    path.write_text("1\n")

    def take(taken: Path) -> Mapping[str, Any]:
        sizes.append(taken.stat().st_size)
        if len(sizes) == 1:
            path.write_text("1\n2\n")
            if not readable:
                raise UnreadableBody("half a file.")
        return REPORT

    totals, _ = watching(tmp_path, take)
    assert sizes == [2, 4]
    assert (totals.files, totals.files_failed) == (1, 0)


def test_a_file_that_another_process_puts_away_leaves_no_trace(tmp_path: Path) -> None:
    def take(path: Path) -> Mapping[str, Any]:
        (tmp_path / "done").mkdir()
        path.rename(tmp_path / "done" / path.name)
        return REPORT

    (tmp_path / "a.ndjson").write_text("x\n")
    watching(tmp_path, take)
    assert names(tmp_path) == ["done/a.ndjson"]


def test_while_the_server_is_away_files_stay(tmp_path: Path) -> None:
    answers = iter([StoreUnavailable("no answer."), StoreUnavailable("no answer."), None])

    def take(_: Path) -> Mapping[str, Any]:
        error = next(answers)
        if error is not None:
            assert names(tmp_path) == ["a.ndjson"]
            raise error
        return REPORT

    (tmp_path / "a.ndjson").write_text("x\n")
    totals, heard = watching(tmp_path, take)
    assert totals.files == 1
    assert [words.split("again in ")[1] for words in heard[:2]] == ["1 s.", "2 s."]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        FolderWatch(tmp_path / "none", settle_seconds=0, seconds=Seconds())
