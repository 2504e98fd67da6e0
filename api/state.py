"""The composed application: both stores, the clock, and what is kept in memory between requests."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, TypeVar

import anyio.to_thread
from sqlalchemy import Engine

from api.auth import KeyRing
from api.check_log import CheckLog
from api.delivery import DeliveryDesk, open_desk
from api.entitlements import EntitlementDesk
from api.idempotency import AnswerBook
from api.loop_bridge import LoopBridge
from api.metrics import Metrics, kept_for
from api.runs import RunBook
from api.settings import Settings
from ingest.clickhouse import EventStore, default_events_url, open_event_store
from ingest.clock import Clock
from ingest.group_commit import GroupCommit
from ingest.ledger import default_ledger_url, open_ledger
from ingest.load import IngestContext, open_ingest
from ingest.meter import Meter
from ingest.meter_store import list_meters
from ingest.settings import IngestSettings
from ingest.store_url import shown_url
from ingest.writer_lease import WriterLease
from invoicing.delivery.status import count_late
from invoicing.document import InvoicePrinter
from invoicing.einvoice_check import EInvoiceChecker
from invoicing.journal_mirror import JournalMirror
from invoicing.late_billing import late_dates
from invoicing.print_many import PrintingProcesses
from rollup.live_usage import LiveUsage
from rollup.stored_usage import StoredUsage

Answer = TypeVar("Answer")

METERS_SECONDS = 10
"""How long the list of meters is believed. A meter saved by this process counts at once; one saved
by another process on the same ledger, after at most this long."""

LATE_BILLING_SECONDS: Final = 600
"""How old the figure of late billing dates may be: reading it reads all contracts."""


class MeterBook:
    """The meters in force, read from the ledger seldom: every batch asks for them."""

    def __init__(self, ledger: Engine, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = Lock()
        self._known: tuple[tuple[Meter, ...], datetime] | None = None

    def current(self) -> tuple[Meter, ...]:
        with self._lock:
            now = self._clock.now()
            if self._known is None or now >= self._known[1]:
                self._known = (tuple(list_meters(self._ledger)), now + timedelta(seconds=METERS_SECONDS))
            return self._known[0]

    def forget(self) -> None:
        """Read them again next time; called when one is saved."""
        with self._lock:
            self._known = None


@dataclass(frozen=True, slots=True)
class Ratemill:
    """One running Ratemill. ``billing_lock`` is held while a billing run is being started.

    group_commit: the way of requests into ``ingest``. bridge: the way of its reports back.
    at_close: what has to end while the ledger is still open.
    """

    settings: Settings
    clock: Clock
    event_store: EventStore
    stored_usage: StoredUsage
    journal_mirror: JournalMirror
    ledger: Engine
    ingest: IngestContext
    group_commit: GroupCommit
    bridge: LoopBridge
    meters: MeterBook
    keys: KeyRing
    answers: AnswerBook
    runs: RunBook
    metrics: Metrics
    printer: InvoicePrinter
    printing: PrintingProcesses
    delivery: DeliveryDesk
    einvoices: EInvoiceChecker
    entitlements: EntitlementDesk
    checks: CheckLog
    billing_lock: Lock
    at_close: ExitStack = field(default_factory=ExitStack)

    async def in_thread(self, work: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
        """Run blocking work beside the event loop."""
        return await anyio.to_thread.run_sync(functools.partial(work, *arguments, **named))

    def close(self) -> None:
        """Answer the events that wait, wait for a billing run under way, then let go of both stores."""
        self.group_commit.close()
        self.runs.wait()
        self.checks.close()
        self.einvoices.close()
        self.printing.close()
        self.at_close.close()
        self.event_store.close()
        self.ledger.dispose()


def open_ratemill(settings: Settings, clock: Clock) -> Ratemill:
    """Open both stores and load what is kept in memory. Raises StoreUnavailable, BrokenState."""
    with ExitStack() as opened:
        event_store = open_event_store(
            settings.events_url or default_events_url(settings.data), settings.events_cluster
        )
        opened.callback(event_store.close)
        ledger = open_ledger(settings.ledger_url or default_ledger_url(settings.data))
        opened.callback(ledger.dispose)
        leased = opened.enter_context(ExitStack())
        if not event_store.embedded:
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            lease = WriterLease(ledger, clock, store=shown_url(event_store.url), holder=holder)
            event_store.writing = lease
            leased.enter_context(lease.renewing())
        state = compose(settings, clock, event_store, ledger)
        state.at_close.push(leased.pop_all())
        opened.pop_all()
    return state


def compose(settings: Settings, clock: Clock, event_store: EventStore, ledger: Engine) -> Ratemill:
    """Build the application on stores that are open already."""
    meters = MeterBook(ledger, clock)
    metrics = Metrics()
    ingest = open_ingest(event_store, meters=meters.current, settings=IngestSettings(gate=settings.gate))
    group_commit = GroupCommit(ingest, metrics.count_commit)
    _watch(metrics, ingest, group_commit)
    printer = InvoicePrinter(fonts=settings.fonts)
    metrics.watch_gauge(
        "ratemill_deliveries_late",
        "Messages to customers that are due and not delivered.",
        lambda: count_late(ledger, now=clock.now()),
    )
    metrics.watch_gauge(
        "ratemill_billing_dates_late",
        "Billing dates not invoiced a day after they should have been; read every ten minutes.",
        kept_for(LATE_BILLING_SECONDS, lambda: len(late_dates(ledger, now=clock.now())), clock),
    )
    return Ratemill(
        settings=settings,
        clock=clock,
        event_store=event_store,
        stored_usage=StoredUsage(event_store),
        journal_mirror=JournalMirror(ledger, event_store),
        ledger=ledger,
        ingest=ingest,
        group_commit=group_commit,
        bridge=LoopBridge(),
        meters=meters,
        keys=KeyRing(ledger, clock),
        answers=AnswerBook(ledger, clock, settings.idempotency_hours),
        runs=RunBook(),
        metrics=metrics,
        printer=printer,
        printing=PrintingProcesses(settings.print_processes, fonts=settings.fonts),
        delivery=open_desk(settings, ledger, printer),
        einvoices=EInvoiceChecker(),
        entitlements=EntitlementDesk(ledger, clock, LiveUsage(ingest), meters.current),
        checks=CheckLog(event_store, settings.data),
        billing_lock=Lock(),
    )


def _watch(metrics: Metrics, ingest: IngestContext, group_commit: GroupCommit) -> None:
    room = group_commit.room
    for name, about, read in (
        ("ratemill_event_identities", "Event identities on record.", lambda: ingest.gate.count),
        (
            "ratemill_ingest_queue_requests",
            "Event requests being received or waiting for their answer.",
            lambda: room.requests_held,
        ),
        ("ratemill_ingest_queue_bytes", "Bytes counted for those requests.", lambda: room.bytes_held),
        (
            "ratemill_ingest_queue_records",
            "Records decoded and waiting for the next commit.",
            lambda: group_commit.records_ready,
        ),
    ):
        metrics.watch_gauge(name, about, read)
