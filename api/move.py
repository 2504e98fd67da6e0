"""Moves the event store of the settings into another one, while nobody writes to either."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack

from api.settings import Settings
from ingest.clickhouse import default_events_url, open_event_store
from ingest.clock import SystemClock
from ingest.copy_store import CopiedTable, copy_event_store
from ingest.ledger import default_ledger_url, open_ledger
from ingest.store_url import shown_url
from ingest.writer_lease import WriterLease


def move_event_store(
    settings: Settings, *, to: str, to_cluster: str | None, progress: Callable[[str, int, int], None]
) -> list[CopiedTable]:
    """Copy it whole and compare; the source stays as it is. Raises StoreUnavailable while a server runs.

    A folder is locked by its process. For servers the lease of the ledger is held meanwhile; the target
    gets the same one, because it will belong to the same ledger.
    """
    with ExitStack() as opened:
        source = open_event_store(
            settings.events_url or default_events_url(settings.data), settings.events_cluster
        )
        opened.callback(source.close)
        target = open_event_store(to, to_cluster)
        opened.callback(target.close)
        ledger = open_ledger(settings.ledger_url or default_ledger_url(settings.data))
        opened.callback(ledger.dispose)
        holder = f"process {os.getpid()} on {socket.gethostname()} (migrate-store)"
        lease = WriterLease(ledger, SystemClock(), store=shown_url(target.url), holder=holder)
        lease.claim()
        opened.enter_context(lease.renewing())
        target.writing = lease
        return copy_event_store(source, target, progress=progress)
