"""The log in front of the embedded engine: a commit is on disk here after one write and one sync.

A file holds entries one after the other: a head (mark, length, check sum) and the entry's tables as Arrow
streams. What a crash cut off has a wrong check sum and was never acknowledged; reading ends there. A file
goes when all its entries are in the engine. What it saves: ARCHITECTURE.md.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from ingest.errors import BrokenState

_MARK: Final = b"RMLOG\x00\x00\x01"
_HEAD: Final = struct.Struct("<8sQI")
_SIZES: Final = struct.Struct("<32sQ")
_SUFFIX: Final = ".log"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One commit. token: 32 hex digits, names it. events: new events by ``sequence``, in one chunk; may be
    empty. refused: rows of ``refused_events``, None when nothing was refused."""

    token: str
    events: pa.Table
    refused: pa.Table | None

    @property
    def last_sequence(self) -> int:
        """The number of its last event, 0 when it has none."""
        return int(self.events["sequence"][-1].as_py()) if self.events.num_rows else 0


class EventLog:
    """Files of entries in a folder. Not thread safe: the caller holds one lock around every method.

    entries: how many were appended. size: bytes of the current file. broken: why nothing can be appended any
    more before the folder is opened again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None
        self._next = 1
        self._full: dict[Path, int] = {}
        self._current: Path | None = None
        self.entries = 0
        self.size = 0
        self.broken: str | None = None

    def append(self, entry: LogEntry) -> None:
        """Write an entry; it is on disk when this returns. Raises OSError, with nothing of it left behind, or
        BrokenState when an earlier failure left something."""
        if self.broken is not None:
            raise BrokenState(self.broken)
        handle = self.next_file() if self._handle is None else self._handle
        pieces = _pieces(entry)
        try:
            _write_all(handle, pieces)
            os.fdatasync(handle)
        except OSError as error:
            self._take_back(handle, error)
            raise
        self.size += sum(len(piece) for piece in pieces)
        self.entries += 1

    def next_file(self) -> int:
        """Begin a new file, so that the one before can go when its entries are in the engine; its handle."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"{self._next:012d}{_SUFFIX}"
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
        _sync_folder(self._folder)
        self._next += 1
        self._close_file()
        self._handle, self._current, self.size = handle, fresh, 0
        return handle

    def remove(self, entries: int) -> None:
        """Remove the finished files that hold none but the first ``entries`` that were appended."""
        for file in [file for file, last in self._full.items() if last <= entries]:
            file.unlink(missing_ok=True)
            del self._full[file]

    def read(self) -> Iterator[LogEntry]:
        """The whole entries that earlier processes left, in order; their files are finished then."""
        for file in sorted(self._folder.glob(f"*{_SUFFIX}")):
            yield from _entries(file)
            self._full[file] = 0
            self._next = int(file.stem) + 1

    def close(self) -> None:
        """Let go of the current file."""
        self._close_file()

    def _close_file(self) -> None:
        if self._handle is not None and self._current is not None:
            os.close(self._handle)
            self._full[self._current] = self.entries
        self._handle = self._current = None

    def _take_back(self, handle: int, error: OSError) -> None:
        """Cut off what a failed append may have left: its numbers will be given to other events."""
        try:
            os.ftruncate(handle, self.size)
            os.fsync(handle)
        except OSError:
            self.broken = (
                f"events could not be written to {self._current} ({error.strerror}), nor could what was "
                "written be taken back. Free or repair that disk and start again; nothing acknowledged is "
                "lost."
            )


def _pieces(entry: LogEntry) -> list[memoryview]:
    """The bytes of an entry, in order. In pieces, because to put megabytes together costs the system new
    memory each time: twice the processor time of writing them."""
    events = _stream(entry.events)
    refused = b"" if entry.refused is None else _stream(entry.refused)
    body = [memoryview(part) for part in (_SIZES.pack(entry.token.encode(), len(events)), events, refused)]
    check = 0
    for piece in body:
        check = zlib.crc32(piece, check)
    return [memoryview(_HEAD.pack(_MARK, sum(len(piece) for piece in body), check)), *body]


def _stream(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue()).cast("B")


def _entries(file: Path) -> Iterator[LogEntry]:
    data = memoryview(file.read_bytes())
    place = 0
    while place + _HEAD.size <= len(data):
        mark, length, check = _HEAD.unpack_from(data, place)
        body = data[place + _HEAD.size : place + _HEAD.size + length]
        if mark != _MARK or len(body) != length or zlib.crc32(body) != check:
            return
        token, events_size = _SIZES.unpack_from(body, 0)
        events = _table(body[_SIZES.size : _SIZES.size + events_size])
        rest = body[_SIZES.size + events_size :]
        yield LogEntry(token.decode(), events, _table(rest) if len(rest) else None)
        place += _HEAD.size + length


def _table(stream: memoryview) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(stream)).read_all().combine_chunks()


def _write_all(handle: int, pieces: list[memoryview]) -> None:
    while pieces:
        written = os.writev(handle, pieces)
        while pieces and written >= len(pieces[0]):
            written -= len(pieces[0])
            pieces = pieces[1:]
        if written:
            pieces = [pieces[0][written:], *pieces[1:]]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
