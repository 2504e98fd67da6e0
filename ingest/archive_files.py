"""Archived events as Parquet files with a manifest: written, read back and compared before anything is
removed.

A folder holds ``manifest.json`` and files of one type and month each (UTC), at most ROWS_PER_FILE_MAX rows.
The manifest is written last and names every file with its rows, the sum of its values, the SHA-256 of the
file and the store's own hash of the rows. Rows have all columns of the ``events`` table, so what comes back
is the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.correct import REPLACEMENT_SCHEMA
from ingest.document import decimal_text
from ingest.errors import BrokenState, InvalidInput, NotFound
from ingest.in_force import ON_RECORD_SQL
from ingest.query import instant_sql

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
ROWS_PER_FILE_MAX: Final = 400_000
"""One file is read at a time, and comes back as one block."""

_COLUMNS: Final = ", ".join(f"`{name}`" for name in REPLACEMENT_SCHEMA.names)
_FACTS_SQL: Final = (
    f"SELECT count() AS rows, sum(value) AS value_total, sum(cityHash64(toString(tuple({_COLUMNS})))) AS hash"
)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file. month: YYYY-MM in UTC. value_total: exact decimal text. row_hash: what the store makes of the
    rows. sha256: of the file, in hex."""

    name: str
    type: str
    month: str
    rows: int
    value_total: str
    row_hash: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds. through: the last number that was looked at; later arrivals stay in the store."""

    format: int
    archive_id: str
    time_before: str
    through: int
    types: tuple[str, ...]
    files: tuple[ArchiveFile, ...]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(one.rows for one in self.files)

    def to_bytes(self) -> bytes:
        """As it is written."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class _Part:
    type: str
    month: str
    buckets: int
    bucket: int
    parameters: dict[str, Any]

    def where(self) -> str:
        return (
            f"type = {{type:String}} AND time < {instant_sql('before')} AND sequence <= {{through:UInt64}} "
            f"AND formatDateTime(time, '%Y-%m', 'UTC') = {{month:String}} AND {ON_RECORD_SQL} "
            f"AND sequence % {self.buckets:d} = {self.bucket:d}"
        )


def write_archive(
    store: EventStore,
    folder: Path,
    *,
    archive_id: str,
    types: tuple[str, ...],
    time_before: datetime,
    through: int,
    progress: Progress,
) -> Manifest:
    """Write every row on record of these types with a time before ``time_before`` and a number up to
    ``through``, and read all of it back. The folder must be empty or not there yet.

    Raises InvalidInput (``folder_not_empty``), BrokenState when what is read back differs.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput(
            f"{folder} is not empty; an archive has a folder of its own.", reason_code="folder_not_empty"
        )
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(_parts(store, types, time_before, through))
    files = []
    for number, part in enumerate(parts, 1):
        files.append(_write_file(store, folder, f"events-{number:05d}.parquet", part))
        progress("archive", number, len(parts))
    manifest = Manifest(FORMAT, archive_id, time_before.isoformat(), through, types, tuple(files))
    _write_durably(folder / MANIFEST, manifest.to_bytes())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises NotFound, BrokenState for one that cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound(f"{path} is not there; name the folder that `ratemill events archive` wrote.")
    try:
        told = orjson.loads(path.read_bytes())
        files = tuple(ArchiveFile(**one) for one in told.pop("files"))
        manifest = Manifest(**{**told, "types": tuple(told["types"]), "files": files})
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenState(
            f"{path} cannot be read ({error}); restore it from a copy of the folder."
        ) from error
    if manifest.format != FORMAT:
        raise BrokenState(f"{path} is of format {manifest.format}, and this Ratemill reads {FORMAT}.")
    return manifest


def read_file(store: EventStore, folder: Path, file: ArchiveFile) -> pa.Table:
    """The rows of a file, REPLACEMENT_SCHEMA. Raises BrokenState when anything of it is not as it was
    written."""
    path = folder / file.name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise BrokenState(f"{path} is missing or was changed since it was written; restore it from a copy.")
    rows = pq.read_table(pa.BufferReader(content)).cast(REPLACEMENT_SCHEMA).combine_chunks()
    with store.scratch_table(_columns_sql(store), rows) as name:
        found = _facts(store, f"FROM {name}", {})
    if found != (file.rows, file.value_total, file.row_hash):
        raise BrokenState(f"{path} has {found[0]} rows that sum to {found[1]}, and {file.rows} were written.")
    return rows


def _parts(store: EventStore, types: tuple[str, ...], time_before: datetime, through: int) -> Iterator[_Part]:
    shared = {"before": to_micros(time_before), "through": through}
    months = store.query(
        "SELECT toString(type) AS type, formatDateTime(time, '%Y-%m', 'UTC') AS month, count() AS rows FROM "
        "events "
        f"WHERE has({{types:Array(String)}}, toString(type)) AND time < {instant_sql('before')} "
        f"AND sequence <= {{through:UInt64}} AND {ON_RECORD_SQL} GROUP BY type, month ORDER BY type, month",
        {**shared, "types": list(types)},
    ).to_pylist()
    for row in months:
        buckets = -(-row["rows"] // ROWS_PER_FILE_MAX)
        for bucket in range(buckets):
            named = {**shared, "type": row["type"], "month": row["month"]}
            yield _Part(row["type"], row["month"], buckets, bucket, named)


def _write_file(store: EventStore, folder: Path, name: str, part: _Part) -> ArchiveFile:
    where = f"FROM events WHERE {part.where()}"
    rows, value_total, row_hash = _facts(store, where, part.parameters)
    table = store.query(f"SELECT {_COLUMNS} {where} ORDER BY subject, time, sequence", part.parameters).cast(
        REPLACEMENT_SCHEMA
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = bytes(sink.getvalue())
    _write_durably(folder / name, content)
    digest = hashlib.sha256(content).hexdigest()
    file = ArchiveFile(name, part.type, part.month, rows, value_total, row_hash, digest)
    read_file(store, folder, file)
    return file


def _facts(store: EventStore, rows_sql: str, parameters: dict[str, Any]) -> tuple[int, str, int]:
    found = store.query(f"{_FACTS_SQL} {rows_sql}", parameters).to_pylist()[0]
    return int(found["rows"]), decimal_text(found["value_total"] or Decimal(0)), int(found["hash"])


def _columns_sql(store: EventStore) -> str:
    """The columns of ``events`` with their types: the hash of a row depends on them."""
    sql = (
        "SELECT name, type FROM system.columns "
        "WHERE database = currentDatabase() AND table = 'events' ORDER BY position"
    )
    return ", ".join(f"`{row['name']}` {row['type']}" for row in store.query(sql).to_pylist())


def _write_durably(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
