"""Ratemill: what analysts wait for. Recognised against collected by month and customer, from the journal."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from benchmarks.ours_stores import open_stores
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.postings import AS_OF, POSTING_CUSTOMERS, posting_tables
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import frame_hash
from invoicing.revenue import RevenueQuestion
from invoicing.revenue_answer import revenue_from_mirror


def load_revenue(request: CaseRequest) -> None:
    """The copy of the journal that reports read, written directly. Not timed."""
    with open_stores(request.work) as stores:
        for table in posting_tables(POSTING_CUSTOMERS[request.size]):
            stores.events.insert("journal_postings", table)
        wait_for_merges(stores.events)


def run_revenue(request: CaseRequest) -> Measured:
    """Every row of the report, both bridges checked. rows: journal lines."""
    question = RevenueQuestion(by="month", group="customer", as_of=AS_OF)
    found: list[pa.Table] = []
    with open_stores(request.work) as stores:
        seconds = time_repeatedly(
            request, lambda: found.append(revenue_from_mirror(stores.events, question)), found.clear
        )
        lines = stores.events.query("SELECT count() AS lines FROM journal_postings")["lines"][0].as_py()
        return measured(
            request,
            seconds,
            exact=True,
            rows=int(lines),
            hash_result=lambda: frame_hash(pl.DataFrame(found[-1])),
        )
