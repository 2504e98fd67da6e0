"""Ratemill: a billed year rated again, and a month under many price variants, both from stored usage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any, Final

import pyarrow as pa

from benchmarks.canonical_plans import customer_documents, plan_documents
from benchmarks.history import HISTORIES, MONTHS, NOW, History, history_events, variant_documents
from benchmarks.ours_stores import Stores, ingest_context, open_stores, save_documents
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from ingest.load import ingest_table
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.billing_run import BillingSettings, run_billing
from invoicing.customer_store import save_customers
from invoicing.due import calendar_of
from invoicing.history import BillingDates, periods_of_dates
from invoicing.rerate import rerate
from invoicing.rerate_answer import Rerated
from invoicing.what_if import what_if
from invoicing.what_if_answer import WhatIf
from invoicing.what_if_variant import VariantDocument, read_variants
from rollup.stored_usage import StoredUsage

_YEAR: Final = BillingDates(date(2025, 2, 1), date(2026, 1, 2))
_JANUARY: Final = BillingDates(date(2025, 2, 1), date(2025, 2, 2))
_CHECKED: Final = 3
"""Variants that are priced alone as well, and must come out the same."""


def load_rerate(request: CaseRequest) -> None:
    """Twelve months of events, added up and billed. Not timed."""
    with open_stores(request.work) as stores:
        _fill(stores, HISTORIES[request.size])
        run_billing(
            run_id=None,
            as_of=MONTHS[-1].date(),
            event_store=stores.events,
            stored_usage=StoredUsage(stores.events),
            ledger=stores.ledger,
            now=NOW,
            settings=BillingSettings(),
            progress=silent,
        )
        wait_for_merges(stores.events)


def run_rerate(request: CaseRequest) -> Measured:
    """Rate the year again; nothing may differ. rows: lines."""
    found: list[Rerated] = []
    with open_stores(request.work) as stores:

        def job() -> None:
            found.append(
                rerate(
                    dates=_YEAR,
                    contract_ids=None,
                    event_store=stores.events,
                    stored_usage=StoredUsage(stores.events),
                    ledger=stores.ledger,
                    now=NOW,
                    progress=silent,
                )
            )

        seconds = time_repeatedly(request, job, found.clear)
    answer = found[-1]
    if answer.row_count() or answer.held or answer.compared != 12 * HISTORIES[request.size].contracts:
        raise RuntimeError(f"nothing changed since the bills, and still: {answer.to_dict()}")
    lines = sum(total.lines for total in answer.totals)
    return measured(request, seconds, exact=True, rows=lines, hash_result=lambda: _hash(str(answer.totals)))


def load_what_if(request: CaseRequest) -> None:
    """The same events with every contract on one plan, added up and not billed. Not timed."""
    with open_stores(request.work) as stores:
        _fill(stores, _one_plan(request))
        wait_for_merges(stores.events)


def run_what_if(request: CaseRequest) -> Measured:
    """January under every variant, from documents to differences. rows: variants x contracts."""
    history = _one_plan(request)
    plan = plan_documents(history.workload)[0]
    documents = [
        VariantDocument(name=f"variant-{number}", plans=(document,))
        for number, document in enumerate(variant_documents(plan, history.variants), start=1)
    ]
    found: list[WhatIf] = []
    with open_stores(request.work) as stores:

        def job() -> None:
            found.append(_ask(stores, documents))

        seconds = time_repeatedly(request, job, found.clear)
        answer = found[-1]
        for number in range(0, history.variants, max(history.variants // _CHECKED, 1)):
            alone = _ask(stores, documents[number : number + 1])
            if alone.held or (alone.minor[0] != answer.minor[number]).any():
                raise RuntimeError(f"variant {number} comes out otherwise when it is priced alone.")
    return measured(
        request,
        seconds,
        exact=True,
        rows=answer.row_count(),
        hash_result=lambda: _hash(answer.minor.tobytes()),
    )


def _ask(stores: Stores, documents: list[VariantDocument]) -> WhatIf:
    return what_if(
        variants=read_variants(stores.ledger, documents),
        dates=_JANUARY,
        contract_ids=None,
        event_store=stores.events,
        stored_usage=StoredUsage(stores.events),
        ledger=stores.ledger,
        now=NOW,
        progress=silent,
    )


def _one_plan(request: CaseRequest) -> History:
    return replace(HISTORIES[request.size], plans=1)


def _fill(stores: Stores, history: History) -> None:
    save_documents(stores, history.workload)
    save_customers(stores.ledger, customer_documents(history.workload), now=NOW)
    ingest_and_add_up(stores, history_events(history), _YEAR)


def ingest_and_add_up(stores: Stores, tables: Iterable[pa.Table], dates: BillingDates) -> None:
    """Send the tables through the gate and add their usage up for the periods of these dates."""
    ingest = ingest_context(stores)
    for table in tables:
        ingest_table(table, received_at=NOW, ingest=ingest)
    catalogue = load_billing_catalogue(stores.ledger)
    periods = periods_of_dates(catalogue, catalogue.contracts, catalogue.plan_versions, dates, now=NOW)
    calendar = calendar_of(periods=periods, contract_subjects=catalogue.subjects)
    StoredUsage(stores.events).refresh(calendar=calendar, meters=catalogue.meters)


def _hash(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def silent(*_: Any) -> None:
    """Progress nobody looks at."""
