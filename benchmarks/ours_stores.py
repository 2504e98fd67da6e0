"""Ratemill's stores for a case, opened and filled through the public entries of the rooms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from benchmarks.canonical import Workload, event_slices
from benchmarks.canonical_plans import contract_documents, meter_documents, plan_documents
from ingest.clickhouse import EventStore, default_events_url, open_event_store
from ingest.ledger import default_ledger_url, open_ledger
from ingest.load import IngestContext, IngestReport, ingest_table, merge_reports, open_ingest
from ingest.meter import Meter
from ingest.meter_store import list_meters, save_meter
from ingest.settings import GateKind, IngestSettings
from rating.catalogue import save_price_plan
from rating.contract import Contract
from rating.contract_store import save_contracts
from rating.price_plan import PricePlan

NOW: Final = datetime(2025, 4, 2, 12, tzinfo=UTC)
"""The day of the run: every month of the workload is over."""


@dataclass(frozen=True, slots=True)
class Stores:
    events: EventStore
    ledger: Engine


@contextmanager
def open_stores(folder: Path) -> Iterator[Stores]:
    """Both stores in ``folder``, brought up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    events = open_event_store(default_events_url(folder))
    ledger = open_ledger(default_ledger_url(folder))
    try:
        yield Stores(events, ledger)
    finally:
        ledger.dispose()
        events.close()


def save_meters(stores: Stores) -> tuple[Meter, ...]:
    for document in meter_documents():
        save_meter(stores.ledger, Meter.model_validate(document), now=NOW)
    return tuple(list_meters(stores.ledger))


def save_documents(stores: Stores, workload: Workload) -> None:
    """Meters, plans and contracts of the workload, checked by all their rules."""
    save_meters(stores)
    for plan in plan_documents(workload):
        save_price_plan(stores.ledger, PricePlan.model_validate(plan), now=NOW)
    contracts = [Contract.model_validate(document) for document in contract_documents(workload)]
    save_contracts(stores.ledger, contracts, now=NOW)


def ingest_context(stores: Stores, gate: GateKind = "memory") -> IngestContext:
    meters = tuple(list_meters(stores.ledger))
    return open_ingest(stores.events, meters=lambda: meters, settings=IngestSettings(gate=gate))


def ingest_workload(stores: Stores, workload: Workload) -> IngestReport:
    """Send everything through the gate; raises when an outcome is not the one the generator knows."""
    ingest = ingest_context(stores)
    reports = [ingest_table(table, received_at=NOW, ingest=ingest) for table in event_slices(workload)]
    report = merge_reports(reports, batch_id="workload", settings=ingest.settings)
    if (report.accepted, report.duplicates) != (workload.events, workload.resends):
        raise RuntimeError(
            f"the gate accepted {report.accepted} events and {report.duplicates} duplicates; the "
            f"workload has {workload.events} and {workload.resends}. First refusals: {report.refusals[:3]}"
        )
    return report
