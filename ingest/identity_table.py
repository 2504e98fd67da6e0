"""The table ``event_identities``: who is on record, ordered by identity, for the gate with a filter.

Derived data. Rows come in by the order of their sequence numbers, after the events they are of; whatever
came on record meanwhile or under the other gate is added when the gate is opened (``catch_up``). There it is
compared with the tables it is derived from, by count and hash, and made anew when it differs: so it needs
no sync to disk, and no crash, restored backup or half copied cluster can make the gate wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import Words
from ingest.clickhouse import EventStore
from ingest.cluster_schema import local_table
from ingest.identities_on_record import IDENTITY_SOURCES

ROWS_PER_INSERT: Final = 400_000
ROWS_PER_READ: Final = 500_000
LOOKED_UP_AT_ONCE: Final = 7_000
"""Their digits stay under the 256 KB that a statement may have."""

_SOURCES_SQL: Final = " UNION ALL ".join(
    f"SELECT {source.identity} AS identity, body_hash, {source.sequence} AS sequence {source.rows} "
    f"AND {source.sequence} {{bounds}}"
    for source in IDENTITY_SOURCES
)
_FACTS_SQL: Final = "SELECT count() AS rows, sum(cityHash64(identity, body_hash, sequence)) AS hash"
_WORDS_SQL: Final = (
    "reinterpretAsUInt64(substring(identity, 1, 8)) AS low, "
    "reinterpretAsUInt64(substring(identity, 9, 8)) AS high, body_hash FROM event_identities"
)
# Two gates of one process may both have moved an identity; the next start sees to that.
_KNOWN_SQL: Final = f"SELECT DISTINCT {_WORDS_SQL}"


class IdentityTable:
    """One gate's way to the table. What is in the log in front of the engine is never asked for."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def catch_up(self) -> int:
        """Make the table hold what is on record, nothing else; returns its rows. Nobody writes meanwhile."""
        self._store.writing.claim()
        through = self._store.query("SELECT max(sequence) AS last FROM event_identities")["last"][0].as_py()
        here = self._store.query(f"{_FACTS_SQL} FROM event_identities")
        there = self._store.query(f"{_FACTS_SQL} FROM ({_SOURCES_SQL.format(bounds=f'<= {through:d}')})")
        if not here.equals(there):
            cluster = self._store.cluster
            table = "event_identities" if cluster is None else local_table("event_identities", cluster)
            self._store.command(f"TRUNCATE TABLE {table}")
            through = 0
        self._store.command(f"INSERT INTO event_identities {_SOURCES_SQL.format(bounds=f'> {through:d}')}")
        return self.count()

    def count(self) -> int:
        """Rows in the table."""
        return int(self._store.command("SELECT count() FROM event_identities"))

    def add(self, identities: Words, body_hashes: Words, first_sequence: int) -> None:
        """Append identities whose events are in the engine, numbered from ``first_sequence`` on."""
        for start in range(0, len(body_hashes), ROWS_PER_INSERT):
            part = slice(start, start + ROWS_PER_INSERT)
            rows = len(body_hashes[part])
            names = pa.py_buffer(np.ascontiguousarray(identities[part]))
            numbers = np.arange(first_sequence + start, first_sequence + start + rows, dtype=np.uint64)
            columns = {
                "identity": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, names]),
                "body_hash": np.ascontiguousarray(body_hashes[part]),
                "sequence": numbers,
            }
            self._store.insert("event_identities", pa.table(columns))

    def look_up(self, identities: Words) -> tuple[Words, Words]:
        """Those of at least one identity that are in the table, each once, and their body hashes."""
        # In the table's order, so that one statement reads one stretch of it.
        order = np.lexsort((identities[:, 1].byteswap(), identities[:, 0].byteswap()))
        ordered = identities[order]
        first = np.ones(len(ordered), np.bool_)
        first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
        named = np.ascontiguousarray(ordered[first])
        pieces = [
            named[start : start + LOOKED_UP_AT_ONCE] for start in range(0, len(named), LOOKED_UP_AT_ONCE)
        ]
        # Past ``EventStore.query``, which waits for the log: what is in it is not in this table.
        client = self._store.client()
        found = [client.query_arrow(f"{_KNOWN_SQL} WHERE {_one_of(piece)}") for piece in pieces]
        return _words(pa.concat_tables(found))

    def read(self, rows: int) -> Iterator[Words]:
        """All identities, in pieces of about ROWS_PER_READ. rows: how many there are."""
        pieces = min(1 << (rows // ROWS_PER_READ).bit_length(), 1 << 16)
        step = (1 << 16) // pieces
        for first in range(0, 1 << 16, step):
            conditions = [f"identity >= {_starting_with(first)}"]
            if first + step < 1 << 16:
                conditions.append(f"identity < {_starting_with(first + step)}")
            yield _words(self._store.query(f"SELECT {_WORDS_SQL} WHERE {' AND '.join(conditions)}"))[0]


def _one_of(identities: Words) -> str:
    digits = identities.tobytes().hex()
    return (
        f"identity IN (SELECT toFixedString(substring(unhex('{digits}'), 16 * number + 1, 16), 16) "
        f"FROM numbers({len(identities)}))"
    )


def _starting_with(prefix: int) -> str:
    return f"toFixedString(unhex('{prefix:04x}{'00' * 14}'), 16)"


def _words(rows: pa.Table) -> tuple[Words, Words]:
    identities = np.empty((rows.num_rows, 2), np.uint64)
    identities[:, 0] = rows["low"].to_numpy()
    identities[:, 1] = rows["high"].to_numpy()
    return identities, np.array(rows["body_hash"].to_numpy())
