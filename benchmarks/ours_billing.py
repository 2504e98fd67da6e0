"""Ratemill: whole billing runs, from usage to numbered, taxed, chained, posted and audited invoices."""

from __future__ import annotations

import resource
import sqlite3
import sys
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

import polars as pl
from sqlalchemy import Engine

from benchmarks import history
from benchmarks.canonical import MONTH_STARTS
from benchmarks.canonical_plans import customer_documents
from benchmarks.history import BILLED_CONTRACTS, BILLED_KINDS, History, history_events
from benchmarks.ours_history import ingest_and_add_up, silent
from benchmarks.ours_stores import NOW, Stores, ingest_workload, open_stores, save_documents
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import frame_hash
from invoicing.audit_verify import verify_books
from invoicing.billing_entity import save_entity
from invoicing.billing_run import BillingReport, BillingSettings, run_billing
from invoicing.customer_store import save_customers
from invoicing.history import BillingDates
from invoicing.journal_check import verify_journal
from invoicing.tax_rates import TAX_RATES, example_tax_rates
from rollup.stored_usage import StoredUsage

_BEFORE: Final = "ledger-before.sqlite"
_INVOICES: Final = (
    "SELECT invoices.contract_id, billing_date, invoices.number, invoices.currency, total_minor, "
    "invoices.tax_minor, chain_hash FROM invoices JOIN issued_documents ON document_id = invoice_id "
    "ORDER BY 1, 2"
)
FEBRUARY: Final = history.MONTHS[1].date()
_SELLER: Final = {
    "entity_id": "seller",
    "legal_name": "Seller GmbH",
    "address_lines": ["Hafenstr. 1"],
    "postal_code": "20457",
    "city": "Hamburg",
    "country": "DE",
    "tax_id": "DE136695976",
    "registration_id": "HRB 4711",
    "bank_account": {"holder": "Seller", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"},
}
_ADDRESS: Final = {"address_lines": ["Hauptstr. 1", "10115 Berlin"], "country": "DE"}


def load(request: CaseRequest) -> None:
    """The stores of the job and a customer for each contract. Not timed."""
    with open_stores(request.work) as stores:
        save_documents(stores, request.workload)
        save_customers(stores.ledger, customer_documents(request.workload), now=NOW)
        ingest_workload(stores, request.workload)
        _keep_ledger(request, stores)


def run(request: CaseRequest) -> Measured:
    """``run_billing`` as of the end of the last billed month, every event read. rows: invoices issued."""
    return _measure(request, MONTH_STARTS[request.months].date(), NOW, stored=False)


def load_invoices(request: CaseRequest) -> None:
    """A month of usage of five meters for every contract, added up, and all that tax needs. Not timed."""
    with open_stores(request.work) as stores:
        fill_with_january(stores, contracts=_billed_contracts(request))
        _keep_ledger(request, stores)


def fill_with_january(stores: Stores, *, contracts: int) -> None:
    """Plans, contracts, customers and a seller with German tax, and January's usage, added up."""
    chosen = History(contracts, plans=min(contracts // 10, 200), variants=0)
    save_entity(stores.ledger, _SELLER, now=NOW)
    for rates in example_tax_rates(["DE"]):
        TAX_RATES.save(stores.ledger, rates, now=NOW)
    customers = [document | _ADDRESS for document in customer_documents(chosen.workload)]
    save_customers(stores.ledger, customers, now=NOW)
    save_documents(stores, chosen.workload)
    january = BillingDates(FEBRUARY, date(2025, 2, 2))
    ingest_and_add_up(stores, history_events(chosen, kinds=BILLED_KINDS, months=1), january)


def run_invoices(request: CaseRequest) -> Measured:
    """January's invoices of five lines, from stored usage; the books are verified. rows: invoices issued."""
    answer = _measure(request, FEBRUARY, history.NOW, stored=True)
    if answer.rows != _billed_contracts(request):
        raise RuntimeError(f"{answer.rows} invoices were issued for {_billed_contracts(request)} contracts.")
    return answer


def _billed_contracts(request: CaseRequest) -> int:
    return BILLED_CONTRACTS[request.size] if request.contracts is None else request.contracts


def _measure(request: CaseRequest, as_of: date, now: datetime, *, stored: bool) -> Measured:
    reports: list[BillingReport] = []
    with open_stores(request.work) as stores:

        def job() -> None:
            used = _processor_seconds()
            reports.append(
                run_billing(
                    run_id=None,
                    as_of=as_of,
                    event_store=stores.events,
                    stored_usage=StoredUsage(stores.events) if stored else None,
                    ledger=stores.ledger,
                    now=now,
                    settings=BillingSettings(),
                    progress=silent,
                )
            )
            sys.stderr.write(f"  processor time: {_processor_seconds() - used:.2f} s\n")

        seconds = time_repeatedly(request, job, lambda: forget_invoices(request, stores))
        for stage, spent in reports[-1].stage_seconds.items():
            sys.stderr.write(f"  {stage}: {spent:.2f} s\n")
        answer = measured(
            request,
            seconds,
            exact=True,
            rows=reports[-1].issued,
            hash_result=lambda: frame_hash(pl.read_database(_INVOICES, stores.ledger.connect())),
        )
        _refuse_wrong_books(stores.ledger)
        return answer


def _refuse_wrong_books(ledger: Engine) -> None:
    broken = [str(found) for found in verify_books(ledger).broken] + verify_journal(ledger)
    if broken:
        raise RuntimeError(f"the books of the run do not tie: {broken[:5]}")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _keep_ledger(request: CaseRequest, stores: Stores) -> None:
    """Every repetition begins with this ledger: no list of tables, no triggers to go round."""
    wait_for_merges(stores.events)
    with sqlite3.connect(request.work / _BEFORE) as kept:
        _with_driver(stores.ledger, lambda ledger: ledger.backup(kept))


def forget_invoices(request: CaseRequest, stores: Stores) -> None:
    """The stores as they were before any run."""
    stores.events.command("TRUNCATE TABLE rated_lines")
    with sqlite3.connect(request.work / _BEFORE) as kept:
        _with_driver(stores.ledger, kept.backup)


def _with_driver(ledger: Engine, work: Callable[[sqlite3.Connection], object]) -> None:
    connection = ledger.raw_connection()
    try:
        driver = connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise TypeError("this benchmark measures the embedded ledger.")
        work(driver)
    finally:
        connection.close()
