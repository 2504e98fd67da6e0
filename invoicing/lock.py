"""One billing run at a time, over all processes that share a ledger.

The lock lives outside the data, so a killed process never leaves it behind: a file lock beside a
SQLite ledger, a session's advisory lock on PostgreSQL. It keeps two runs from doing the same work;
that nothing is billed twice is guaranteed by the ledger's unique keys alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, text

from ingest.errors import Conflict

_ADVISORY_KEY: Final = 7283005
"""Any number that nothing else in this database uses; ``ingest/ledger.py`` has 7283004."""


@contextmanager
def billing_lock(ledger: Engine) -> Iterator[None]:
    """Hold the ledger's billing lock. Raises Conflict at once when somebody else has it."""
    if ledger.dialect.name == "postgresql":
        with ledger.connect() as connection:
            taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_KEY})
            if not taken.scalar():
                raise _running()
            connection.commit()  # the lock belongs to the session; no transaction stays open for hours
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_KEY})
                connection.commit()
        return
    lock = os.open(f"{ledger.url.database}.billing.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _running() from None
        yield
    finally:
        os.close(lock)


def _running() -> Conflict:
    return Conflict(
        "another billing run is at work on this ledger. Wait for it to end and run again: what it bills "
        "is settled then and will not be billed twice.",
        reason_code="billing_run_in_progress",
    )
