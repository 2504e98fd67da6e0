"""A watched folder as a source of whole files: each is taken in, and then moved away with a report beside it.

A file is ready when its writer is through with it. Writers say so by renaming: a name that begins with a
dot or ends in .tmp or .part is left alone. Without that, a file is ready when it has not changed for some
seconds, and one that changes while it is taken in is taken in again. A crash leaves files that are taken in
again as well: their events are duplicates then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final

import orjson

from ingest.errors import InvalidInput, NotFound, StoreUnavailable
from ingest.streams.batch import COUNTS
from ingest.streams.pump import Heard, pause_after

DONE: Final = "done"
FAILED: Final = "failed"
UNFINISHED: Final = (".tmp", ".part")

Look = tuple[int, int, int]
"""Inode, bytes, time of the last change in nanoseconds: a file that looks the same is the same."""
TakeFile = Callable[[Path], Mapping[str, Any]]
"""Takes in a file and returns its report, with the COUNTS and ``refusals``, when its events are on disk.
Raises InvalidInput when it cannot be read as a whole or to its end, StoreUnavailable to take it in again."""


class FolderWatch:
    """Which files of a folder are ready. ``seconds``: a clock that only goes forward."""

    def __init__(self, folder: Path, *, settle_seconds: int, seconds: Callable[[], float]) -> None:
        if not folder.is_dir():
            raise NotFound(f"there is no folder {folder}.")
        self.folder = folder
        self._settle_seconds = settle_seconds
        self._seconds = seconds
        self._seen: dict[str, tuple[Look, float]] = {}

    def scan(self) -> tuple[list[Path], int]:
        """The files that are ready, by name, and how many are still being written."""
        now, found = self._seconds(), {}
        for entry in os.scandir(self.folder):
            if entry.name.startswith(".") or entry.name.endswith(UNFINISHED) or not entry.is_file():
                continue
            look = look_of(Path(entry.path))
            if look is not None:
                before = self._seen.get(entry.name)
                found[entry.name] = before if before is not None and before[0] == look else (look, now)
        self._seen = found
        ready = [name for name, (_, since) in found.items() if now - since >= self._settle_seconds]
        return [self.folder / name for name in sorted(ready)], len(found) - len(ready)

    def put_away(self, path: Path, place: str, report: Mapping[str, Any]) -> Path:
        """Move a file into the subfolder ``place``, its report beside it; the place it has there.

        The report comes first, so that no file lies there without one. A file that another process has
        put away meanwhile stays where that one put it. Raises StoreUnavailable.
        """
        try:
            return _moved(path, _free_name(self.folder / place, path.name), report)
        except OSError as error:
            raise StoreUnavailable(
                f"{path} cannot be put away: {error}. It will be taken in again, as duplicates.",
                reason_code="folder_not_writable",
            ) from error


@dataclass(slots=True)
class FolderTotals:
    """What a folder has given since it was watched."""

    files: int = 0
    files_failed: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def to_dict(self) -> dict[str, int]:
        return {"files": self.files, "files_failed": self.files_failed, **self.counts}


def watch_folder(
    watch: FolderWatch, *, take: TakeFile, stop: Event, poll_seconds: int, until_empty: bool, heard: Heard
) -> FolderTotals:
    """Take in files as they become ready, until ``stop`` is set or, with ``until_empty``, none is left.

    A file that cannot be read goes to ``failed/``, all others to ``done/``. While the server cannot be
    reached, files stay where they are.
    """
    totals, attempt = FolderTotals(), 0
    while not stop.is_set():
        ready, unfinished = watch.scan()
        if until_empty and not ready and not unfinished:
            break
        pause = 0 if ready else poll_seconds
        for path in ready:
            if stop.is_set():
                break
            try:
                if not _take_one(watch, path, take=take, totals=totals, heard=heard):
                    pause = poll_seconds
                attempt = 0
            except StoreUnavailable as error:
                pause = pause_after(attempt, error, heard)
                attempt += 1
                break
        stop.wait(pause)
    return totals


def look_of(path: Path) -> Look | None:
    """What a file looks like now; None when it is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _take_one(watch: FolderWatch, path: Path, *, take: TakeFile, totals: FolderTotals, heard: Heard) -> bool:
    """Whether the file is out of the way."""
    before = look_of(path)
    if before is None:  # somebody took it away
        return True
    try:
        report = take(path)
    except InvalidInput as error:
        if look_of(path) != before:
            return False  # its writer was not through
        problem = {"file": path.name, "reason_code": error.reason_code, "detail": str(error)}
        put = watch.put_away(path, FAILED, problem)
        totals.files_failed += 1
        heard(f"{error} The file is now {put}.", ())
        return True
    for name in COUNTS:
        totals.counts[name] += report[name]
    if look_of(path) != before:
        heard(
            f"{path.name} was changed while it was taken in; it will be taken in again.", report["refusals"]
        )
        return False
    watch.put_away(path, DONE, report)
    totals.files += 1
    if report["refusals"]:
        heard(f"{path.name}: {report['rejected'] + report['conflicts']} refused", report["refusals"])
    return True


def _free_name(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{number}-{name}"
    return path


def _moved(path: Path, target: Path, report: Mapping[str, Any]) -> Path:
    fresh = target.with_name(f".{target.name}.report.new")
    fresh.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    written = fresh.replace(target.with_name(f"{target.name}.report.json"))
    try:
        path.replace(target)
    except FileNotFoundError:
        written.unlink()
    return target
