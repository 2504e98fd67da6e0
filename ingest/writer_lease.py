"""Which process may write to an event store on a server: a lease in the ledger that they share.

Every process has an identity gate and adds up usage by itself, so two that write at the same time would
count the same event twice. An embedded store is locked by its folder; on a server one row of the ledger
says who writes and until when. The holder renews it while it runs and gives it back when it stops; the lease
of a process that was killed ends by itself.

A turn is a stretch of time in which one process held the lease. What a process remembers of the store
is true in the turn it was read in, and is read again in the next one (``IdentityGate.turn``).

The clocks of the machines must agree to a few seconds: the holder stops writing ``MARGIN`` before its
lease ends, and nobody else begins earlier.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Column, Engine, Integer, String, Table, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from ingest.clock import Clock
from ingest.errors import StoreUnavailable
from ingest.ledger import LEDGER, ledger_transaction

LEASE: Final = timedelta(seconds=30)
MARGIN: Final = timedelta(seconds=10)
RENEWAL_SECONDS: Final = 5

WRITER_LEASES: Final = Table(
    "writer_leases",
    LEDGER,
    Column("name", String(32), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("holder", String(256), nullable=False),
    Column("turn", Integer, nullable=False),
    Column("expires_at", String(32), nullable=False),
)
_NAME: Final = "event_store"
_THIS: Final = WRITER_LEASES.c.name == _NAME


class WriterLease:
    """One process's claim to write to one store. Every method may be called from any thread.

    A ledger belongs to one event store, so the lease has one row. store: the URL of the event store
    without its password, for messages. holder: who this process is, in words for the people of another.
    """

    def __init__(self, ledger: Engine, clock: Clock, *, store: str, holder: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._store = store
        self._holder = holder
        self._owner = uuid4().hex
        self._lock = threading.Lock()
        self._held: tuple[int, datetime] | None = None

    def claim(self) -> int:
        """The number of this process's turn, taken now when nobody else has it.

        Raises StoreUnavailable (``writer_elsewhere``) when another process has the lease.
        """
        with self._lock:
            now = self._clock.now()
            if self._held is None or now >= self._held[1] - MARGIN:
                self._held = None
                self._held = self._take(now)
            return self._held[0]

    def renew(self) -> None:
        """Hold on to a lease that is held; without one this does nothing."""
        with self._lock:
            if self._held is not None:
                self._held = self._take(self._clock.now())

    def release(self) -> None:
        """Let the next process write at once."""
        with self._lock:
            self._held = None
            ours = _THIS & (WRITER_LEASES.c.owner == self._owner)
            with ledger_transaction(self._ledger) as connection:
                ended = self._clock.now().isoformat()
                connection.execute(WRITER_LEASES.update().where(ours).values(expires_at=ended))

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew in a thread of its own while the block runs, then release."""
        stop = threading.Event()

        def loop() -> None:
            while not stop.wait(RENEWAL_SECONDS):
                try:
                    self.renew()
                except (StoreUnavailable, DBAPIError):
                    continue  # whoever writes next is told why; until then nothing is lost

        thread = threading.Thread(target=loop, name="writer-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.release()

    def _take(self, now: datetime) -> tuple[int, datetime]:
        try:
            return self._take_row(now)
        except IntegrityError:
            # Another process made the first row between our look and our own.
            return self._take_row(now)

    def _take_row(self, now: datetime) -> tuple[int, datetime]:
        ends = now + LEASE
        ours = {"owner": self._owner, "holder": self._holder, "expires_at": ends.isoformat()}
        with ledger_transaction(self._ledger) as connection:
            row = connection.execute(select(WRITER_LEASES).where(_THIS).with_for_update()).first()
            if row is None:
                connection.execute(WRITER_LEASES.insert().values(name=_NAME, turn=1, **ours))
                return 1, ends
            if row.owner != self._owner and datetime.fromisoformat(row.expires_at) > now:
                self._held = None
                raise _elsewhere(self._store, row)
            turn = int(row.turn) + (row.owner != self._owner)
            connection.execute(WRITER_LEASES.update().where(_THIS).values(turn=turn, **ours))
            return turn, ends


def _elsewhere(store: str, row: Any) -> StoreUnavailable:
    return StoreUnavailable(
        f"{row.holder} writes to the event store at {store}, and only one process may. Nothing was taken. "
        "Send it to that process (commands: --server URL), or stop that process and send it again. If it "
        f"was killed, its lease ends at {row.expires_at} and then this process can take over.",
        reason_code="writer_elsewhere",
    )
