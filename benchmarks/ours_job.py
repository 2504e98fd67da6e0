"""Ratemill: stored events to stored rated lines, and stored events to usage.

The job starts from opened stores, as a billing run does: contracts and plans are read from the
ledger, due periods found, usage rolled up, priced, and rated lines written and on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import polars as pl
import pyarrow as pa

from benchmarks.canonical import MONTH_STARTS
from benchmarks.ours_stores import Stores, ingest_workload, open_stores, save_documents
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import explained_hash, lines_hash, usage_hash
from ingest.meter_store import list_meters
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.due import calendar_of, due_service_periods
from invoicing.pricing import price_blocks
from invoicing.run_blocks import slices_of_contracts
from rating.store import start_writing
from rollup.roll_up import RolledUp, roll_up_usage
from rollup.stored_usage import StoredUsage

RUN_ID: Final = "benchmark"
CONTRACTS_AT_ONCE: Final = 25_000


def load_job(request: CaseRequest) -> None:
    """Fill both stores through their entries, add usage up as a server does by itself, then let running
    merges end. Not timed here: ``ingest`` and ``rollup`` are benchmarks of their own."""
    with open_stores(request.work) as stores:
        save_documents(stores, request.workload)
        ingest_workload(stores, request.workload)
        keep_usage(stores)
        wait_for_merges(stores.events)


def keep_usage(stores: Stores) -> None:
    """Keep every month's periods, a month at a time, as they begin."""
    stored = StoredUsage(stores.events)
    for months in range(1, len(MONTH_STARTS)):
        periods, subjects = _due(stores, months)
        calendar = calendar_of(periods=periods, contract_subjects=subjects)
        stored.refresh(calendar=calendar, meters=list_meters(stores.ledger))


def run_job(request: CaseRequest) -> Measured:
    """Stored usage to stored rated lines; compared line by line, tier rows included."""
    return _run(request, "SELECT * FROM rated_lines FINAL", explained_hash, from_events=False)


def run_job_from_events(request: CaseRequest) -> Measured:
    """The same without stored usage: every event is read again."""
    return _run(request, "SELECT * FROM rated_lines FINAL", explained_hash, from_events=True)


def run_bare_job(request: CaseRequest) -> Measured:
    """The same work and the same stored lines; compared by amounts alone, all that bare peers store."""
    lines = "SELECT contract_id, meter_id, period_start, amount_minor FROM rated_lines FINAL"
    return _run(request, lines, lines_hash, from_events=False)


def run_add_up(request: CaseRequest) -> Measured:
    """Stored events to stored usage, all at once: what keeping it costs when nothing was kept."""
    with open_stores(request.work) as stores:
        seconds = time_repeatedly(request, lambda: keep_usage(stores), lambda: _forget_usage(stores))
        rows = "SELECT sum(number_count) AS events, sum(total) AS total FROM usage_rollups"
        return measured(
            request, seconds, exact=True, hash_result=lambda: str(stores.events.query(rows).to_pylist())
        )


def _forget_usage(stores: Stores) -> None:
    for table in ("usage_rollups", "rollup_periods", "rollup_meters"):
        stores.events.command(f"TRUNCATE TABLE {table}")


def run_rollup(request: CaseRequest) -> Measured:
    """Stored events to the usage table in this process (the same stores as the job's)."""
    found: dict[str, RolledUp] = {}
    with open_stores(request.work) as stores:
        periods, subjects = _due(stores, request.months)
        calendar = calendar_of(periods=periods, contract_subjects=subjects)
        meters = list_meters(stores.ledger)

        def job() -> None:
            found["usage"] = roll_up_usage(stores.events, calendar=calendar, meters=meters)

        seconds = time_repeatedly(request, job, found.clear)
    return measured(
        request,
        seconds,
        exact=True,
        hash_result=lambda: usage_hash(_with_subjects(found["usage"].usage, calendar)),
    )


def _run(
    request: CaseRequest, read: str, hash_lines: Callable[[pa.Table], str], *, from_events: bool
) -> Measured:
    with open_stores(request.work) as stores:
        stored = None if from_events else StoredUsage(stores.events)
        seconds = time_repeatedly(
            request,
            lambda: price_months(stores, months=request.months, stored=stored),
            lambda: stores.events.command("TRUNCATE TABLE rated_lines"),
        )
        return measured(
            request, seconds, exact=True, hash_result=lambda: hash_lines(stores.events.query(read))
        )


def price_months(stores: Stores, *, months: int, stored: StoredUsage | None) -> int:
    """Price everything due up to the end of that month and store the lines; how many there are.

    stored: where usage is read from; None counts events. A block of lines is written while the next is
    priced.
    """
    catalogue = load_billing_catalogue(stores.ledger)
    lines, unpriced, writes = 0, 0, []
    for priced in price_blocks(
        event_store=stores.events,
        blocks=(
            _due_periods(catalogue, contracts, months)
            for contracts in slices_of_contracts(catalogue.contracts, CONTRACTS_AT_ONCE)
        ),
        subjects=catalogue.subjects,
        meters=catalogue.meters,
        price_book=catalogue.price_book,
        run_id=RUN_ID,
        stored_usage=stored,
    ):
        writes.append(start_writing(stores.events, priced.lines))
        lines += len(priced.lines)
        unpriced += len(priced.unrated) + len(priced.unusable)
    for write in writes:
        write.wait()
    if unpriced:
        raise RuntimeError("the canonical workload has no usage that cannot be priced; something is wrong.")
    return lines


def _due(stores: Stores, months: int) -> tuple[pa.Table, pa.Table]:
    """The arrears periods of the billed months, and the subjects of all contracts."""
    catalogue = load_billing_catalogue(stores.ledger)
    return _due_periods(catalogue, catalogue.contracts, months), catalogue.subjects


def _due_periods(catalogue: BillingCatalogue, contracts: pa.Table, months: int) -> pa.Table:
    end = MONTH_STARTS[months]
    return due_service_periods(
        contracts=contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=end.date(),
        now=end + timedelta(hours=12),
        invoice_days=catalogue.invoice_days,
    )


def _with_subjects(usage: pa.Table, calendar: pa.Table) -> pa.Table:
    rows: Any = pl.from_arrow(usage.select(["period_key", "meter_id", "quantity"]))
    keys: Any = pl.from_arrow(calendar.select(["period_key", "subject", "period_start"]))
    joined: pa.Table = rows.join(keys, on="period_key").to_arrow()
    return joined
