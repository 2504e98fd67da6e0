"""One delivery of a system at a time, over all processes that share a ledger: the next one waits.

SQLite has one writer anyway. On PostgreSQL two that are told of the same new object would both add it, and
one of them would have to be sent again; that nothing is there twice is guaranteed by the ledger's keys alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, text

_ADVISORY_CLASS: Final = 7283
"""Any number that no other pair of keys in this database begins with."""


@contextmanager
def crm_lock(ledger: Engine, system: str) -> Iterator[None]:
    """Hold the lock of a system; it ends with the session, so a killed process leaves none behind."""
    if ledger.dialect.name != "postgresql":
        yield
        return
    key = {"class": _ADVISORY_CLASS, "key": zlib.crc32(system.encode()) >> 1}
    with ledger.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:class, :key)"), key)
        connection.commit()  # the lock belongs to the session; no transaction stays open meanwhile
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:class, :key)"), key)
            connection.commit()
