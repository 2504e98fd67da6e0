"""Ratemill: what analysts and clerks wait for. Recognised against collected by month and customer, from the
journal; invoices by the words on them."""

from __future__ import annotations

import hashlib
import sys
import time

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.ours_stores import open_stores
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.postings import AS_OF, POSTING_CUSTOMERS, part_tables, posting_tables
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import frame_hash
from benchmarks.searchable import QUESTIONS, SEARCHED, fill_with_invoices
from invoicing.document_list import DocumentFilter, list_documents
from invoicing.revenue import RevenueQuestion
from invoicing.revenue_by_day import days_from_mirror
from invoicing.revenue_columns import revenue_from_mirror
from invoicing.search_index import catch_up
from invoicing.store import InvoiceFilter, list_invoices


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


def load_days(request: CaseRequest) -> None:
    """The same copy, and from which days its revenue is. Not timed."""
    load_revenue(request)
    with open_stores(request.work) as stores:
        for table in part_tables(POSTING_CUSTOMERS[request.size]):
            stores.events.insert("revenue_parts", table)
        wait_for_merges(stores.events)


def run_days(request: CaseRequest) -> Measured:
    """Every row of the report by day and product, a year of days; table by table, as an answer is sent. rows:
    journal lines."""
    question = RevenueQuestion(by="day", group="product", as_of=AS_OF)
    with open_stores(request.work) as stores:
        lines = stores.events.query(
            "SELECT count() AS lines, max(entry_number) AS last FROM journal_postings"
        )
        found: list[tuple[int, int, int]] = []

        def job() -> None:
            tables = days_from_mirror(stores.events, question, lines["last"][0].as_py())
            found.extend(map(_facts, tables))

        seconds = time_repeatedly(request, job, found.clear)
        return measured(
            request,
            seconds,
            exact=True,
            rows=int(lines["lines"][0].as_py()),
            hash_result=lambda: hashlib.sha256(repr(found).encode()).hexdigest(),
        )


def _facts(table: pa.Table) -> tuple[int, int, int]:
    """Rows, and what was recognised and is unbilled over all of them."""
    sums = (pc.sum(table[name]).as_py() for name in ("recognised_minor", "unbilled_minor"))
    return table.num_rows, *sums


def load_search(request: CaseRequest) -> None:
    """Issued invoices, written directly and taken into the index, whose speed is said beside the results."""
    with open_stores(request.work) as stores:
        fill_with_invoices(stores.ledger, SEARCHED[request.size])
        started = time.perf_counter()
        taken = catch_up(stores.ledger)
        sys.stderr.write(
            f"  {taken:,} documents taken in, {taken / (time.perf_counter() - started):,.0f}/s\n"
        )


def run_search(request: CaseRequest) -> Measured:
    """The first page of invoices and of documents for every question; all of them together are timed, and
    the slowest one is said. rows: documents searched."""
    found: dict[str, list[str]] = {}
    waited: dict[str, float] = {}
    with open_stores(request.work) as stores:

        def job() -> None:
            for what, words in QUESTIONS.items():
                started = time.perf_counter()
                invoices = list_invoices(stores.ledger, chosen=InvoiceFilter(search=words), limit=100)
                between = time.perf_counter()
                documents = list_documents(stores.ledger, chosen=DocumentFilter(search=words), limit=100)
                waited[f"invoices by {what}"] = between - started
                waited[f"documents by {what}"] = time.perf_counter() - between
                found[what] = [
                    *(str(one.number) for one in invoices.invoices),
                    *(one.number for one in documents.documents),
                ]

        seconds = time_repeatedly(request, job, found.clear)
        slowest = max(waited, key=lambda what: waited[what])
        sys.stderr.write(f"  slowest: {slowest}, {waited[slowest] * 1000:.0f} ms\n")
        if not all(found.values()):
            raise RuntimeError(f"a question found nothing: {[what for what in found if not found[what]]}")
        return measured(
            request,
            seconds,
            exact=True,
            rows=SEARCHED[request.size],
            hash_result=lambda: hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest(),
        )
