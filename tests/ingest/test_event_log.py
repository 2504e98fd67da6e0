"""Goal: what the log says is on disk is read back whole and in order; what a crash cut off is not."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BrokenState
from ingest.event_log import EventLog, LogEntry


def entry(first: int, count: int, refused: int = 0) -> LogEntry:
    events = pa.table(
        {
            "id": [f"e{number}" for number in range(first, first + count)],
            "batch_id": pa.array(["b"] * count, pa.string()).dictionary_encode(),
            "sequence": pa.array(range(first, first + count), pa.uint64()),
        }
    )
    rows = pa.table({"line": pa.array(range(refused), pa.uint64())}) if refused else None
    return LogEntry(f"{first:032x}", events, rows)


def written(folder: Path, entries: list[LogEntry]) -> list[Path]:
    log = EventLog(folder)
    for one in entries:
        log.append(one)
    log.close()
    return sorted(folder.glob("*.log"))


def test_entries_are_read_back_as_they_were(tmp_path: Path) -> None:
    entries = [entry(1, 3), entry(4, 1, refused=2), entry(5, 0, refused=1)]
    written(tmp_path / "log", entries)
    read = list(EventLog(tmp_path / "log").read())
    assert [one.token for one in read] == [one.token for one in entries]
    assert [one.last_sequence for one in read] == [3, 4, 0]
    for found, wanted in zip(read, entries, strict=True):
        assert found.events.equals(wanted.events)
        assert (found.refused is None) == (wanted.refused is None)
    assert read[1].refused is not None
    assert read[1].refused["line"].to_pylist() == [0, 1]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_was_cut_off_or_damaged_ends_the_reading(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    (file,) = written(folder, [entry(number * 2 + 1, 2) for number in range(4)])
    whole = file.read_bytes()
    length = len(whole) // 4
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        file.write_bytes(whole[:place])
    else:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
    assert [one.last_sequence for one in EventLog(folder).read()] == [2, 4, 6, 8][: place // length]


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    log.append(entry(1, 2))

    def refuse(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(OSError, match="No space left"):
            log.append(entry(3, 2))
    log.append(entry(3, 1))
    log.close()
    assert [one.last_sequence for one in EventLog(tmp_path).read()] == [2, 3]


def test_nothing_is_appended_when_a_failure_could_not_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path)
    log.append(entry(1, 2))

    def refuse(*_arguments: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input/output"):
            log.append(entry(3, 2))
    with pytest.raises(BrokenState, match="Free or repair that disk"):
        log.append(entry(3, 1))


def test_a_file_goes_when_all_its_entries_are_in_the_engine(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for number in (1, 2):
        log.append(entry(number, 1))
    log.next_file()
    log.append(entry(3, 1))
    log.remove(1)
    assert len(list(tmp_path.glob("*.log"))) == 2
    log.remove(2)
    assert len(list(tmp_path.glob("*.log"))) == 1
    log.close()
    assert [one.last_sequence for one in EventLog(tmp_path).read()] == [3]


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_a_disk_that_takes_little_at_a_time_gets_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    entries = [entry(1, 3, refused=2), entry(4, 1)]
    (whole,) = written(tmp_path / "whole", entries)

    def take_little(handle: int, pieces: list[memoryview]) -> int:
        return os.write(handle, b"".join(pieces)[:at_once])

    monkeypatch.setattr(os, "writev", take_little)
    (slow,) = written(tmp_path / "slow", entries)
    assert slow.read_bytes() == whole.read_bytes()
    assert [one.last_sequence for one in EventLog(tmp_path / "slow").read()] == [3, 4]
