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
from invoicing.billing_run import price_periods
from invoicing.due import calendar_of, due_service_periods
from rating.catalogue import load_plan_versions
from rating.compile import compile_price_book
from rating.contract_store import load_contract_subjects, load_contracts
from rating.store import write_rated_lines
from rollup.roll_up import RolledUp, roll_up_usage

RUN_ID: Final = "benchmark"
_NOTHING_SETTLED: Final = pa.schema(
    [("contract_id", pa.string()), ("billing_date", pa.date32())]
).empty_table()


def load_job(request: CaseRequest) -> None:
    """Fill both stores through their entries, then let running merges end. Not timed."""
    with open_stores(request.work) as stores:
        save_documents(stores, request.workload)
        ingest_workload(stores, request.workload)
        wait_for_merges(stores.events)


def run_job(request: CaseRequest) -> Measured:
    """Stored events to stored rated lines; compared line by line, tier rows included."""
    return _run(request, "SELECT * FROM rated_lines FINAL", explained_hash)


def run_bare_job(request: CaseRequest) -> Measured:
    """The same work and the same stored lines; compared by amounts alone, all that bare peers store."""
    lines = "SELECT contract_id, meter_id, period_start, amount_minor FROM rated_lines FINAL"
    return _run(request, lines, lines_hash)


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


def _run(request: CaseRequest, read: str, hash_lines: Callable[[pa.Table], str]) -> Measured:
    with open_stores(request.work) as stores:
        seconds = time_repeatedly(
            request,
            lambda: price_months(stores, months=request.months),
            lambda: stores.events.command("TRUNCATE TABLE rated_lines"),
        )
        return measured(
            request, seconds, exact=True, hash_result=lambda: hash_lines(stores.events.query(read))
        )


def price_months(stores: Stores, *, months: int) -> int:
    """Price everything due up to the end of that month and store the lines; how many there are."""
    periods, subjects = _due(stores, months)
    meters = list_meters(stores.ledger)
    book = compile_price_book(load_plan_versions(stores.ledger), {meter.meter_id: meter for meter in meters})
    priced = price_periods(
        event_store=stores.events,
        periods=periods,
        subjects=subjects,
        meters=meters,
        price_book=book,
        run_id=RUN_ID,
    )
    if len(priced.unrated) or len(priced.unusable):
        raise RuntimeError("the canonical workload has no usage that cannot be priced; something is wrong.")
    write_rated_lines(stores.events, priced.lines)
    return len(priced.lines)


def _due(stores: Stores, months: int) -> tuple[pa.Table, pa.Table]:
    """The arrears periods of the billed months, and the subjects of all contracts."""
    end = MONTH_STARTS[months]
    periods = due_service_periods(
        contracts=load_contracts(stores.ledger),
        plan_versions=load_plan_versions(stores.ledger),
        settled=_NOTHING_SETTLED,
        as_of=end.date(),
        now=end + timedelta(hours=12),
    )
    return periods, load_contract_subjects(stores.ledger)


def _with_subjects(usage: pa.Table, calendar: pa.Table) -> pa.Table:
    rows: Any = pl.from_arrow(usage.select(["period_key", "meter_id", "quantity"]))
    keys: Any = pl.from_arrow(calendar.select(["period_key", "subject", "period_start"]))
    joined: pa.Table = rows.join(keys, on="period_key").to_arrow()
    return joined
