"""Ratemill: a whole billing run, from events to numbered invoices in the ledger."""

from __future__ import annotations

import sys
from typing import Final

import polars as pl
import sqlalchemy as sa

from benchmarks.canonical import MONTH_STARTS
from benchmarks.canonical_plans import customer_documents
from benchmarks.ours_stores import NOW, Stores, ingest_workload, open_stores, save_documents
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import frame_hash
from invoicing.billing_run import BillingReport, BillingSettings, run_billing
from invoicing.customer_store import save_customers

# What a run writes, children first. Emptied between repetitions.
_WRITTEN: Final = (
    "invoice_lines",
    "invoices",
    "settled_billing_dates",
    "billing_runs",
    "number_series",
    "issued_documents",
    "audit_entries",
    "audit_chain",
)
_INVOICES: Final = (
    "SELECT contract_id, billing_date, number, currency, total_minor FROM invoices ORDER BY 1, 2"
)


def load(request: CaseRequest) -> None:
    """The stores of the job and a customer for each contract. Not timed."""
    with open_stores(request.work) as stores:
        save_documents(stores, request.workload)
        save_customers(stores.ledger, customer_documents(request.workload), now=NOW)
        ingest_workload(stores, request.workload)
        wait_for_merges(stores.events)


def run(request: CaseRequest) -> Measured:
    """``run_billing`` as of the end of the last billed month. rows: invoices issued."""
    reports: list[BillingReport] = []

    def job() -> None:
        reports.append(
            run_billing(
                run_id=None,
                as_of=MONTH_STARTS[request.months].date(),
                event_store=stores.events,
                ledger=stores.ledger,
                now=NOW,
                settings=BillingSettings(),
                progress=lambda _stage, _done, _all: None,
            )
        )

    with open_stores(request.work) as stores:
        seconds = time_repeatedly(request, job, lambda: _reset(stores))
        for stage, spent in reports[-1].stage_seconds.items():
            sys.stderr.write(f"  {stage}: {spent:.2f} s\n")
        return measured(
            request,
            seconds,
            exact=True,
            rows=reports[-1].issued,
            hash_result=lambda: frame_hash(pl.read_database(_INVOICES, stores.ledger.connect())),
        )


def _reset(stores: Stores) -> None:
    stores.events.command("TRUNCATE TABLE rated_lines")
    with stores.ledger.begin() as connection:
        guards = connection.execute(
            sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        ).all()
        for name, _ in guards:
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        for table in _WRITTEN:
            connection.execute(sa.text(f"DELETE FROM {table}"))
        connection.execute(sa.text("INSERT INTO audit_chain VALUES (1, 0, '')"))
        for _, statement in guards:
            connection.exec_driver_sql(statement)
