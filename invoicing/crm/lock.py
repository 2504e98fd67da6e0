"""One delivery of a system at a time, over all processes that share a ledger: the next one waits.

SQLite has one writer anyway. On PostgreSQL two that are told of the same new object would both add it, and
one of them would have to be sent again; that nothing is there twice is guaranteed by the ledger's keys alone.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, text

_ADVISORY_CLASS: Final = 7283
"""Any number that no other pair of keys in this database begins with."""
_WAIT_SECONDS: Final = 0.05


@contextmanager
def crm_lock(ledger: Engine, system: str) -> Iterator[None]:
    """Hold the lock of a system; it ends with the session, so a killed process leaves none behind."""
    if ledger.dialect.name != "postgresql":
        yield
        return
    key = {"class": _ADVISORY_CLASS, "key": zlib.crc32(system.encode()) >> 1}
    # Who waits holds no connection: else those waiting could have all there are, and who works none.
    while (connection := _try_lock(ledger, key)) is None:
        time.sleep(_WAIT_SECONDS)
    with connection:
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:class, :key)"), key)
            connection.commit()


def _try_lock(ledger: Engine, key: Mapping[str, int]) -> Connection | None:
    """The session that has the lock now; None while another one has it."""
    connection = ledger.connect()
    try:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:class, :key)"), key).scalar_one()
        connection.commit()  # the lock belongs to the session; no transaction stays open meanwhile
    except BaseException:
        connection.close()
        raise
    if taken:
        return connection
    connection.close()
    return None
