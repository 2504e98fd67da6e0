"""Ratemill: usage in memory to amounts (the kernels alone) and to whole rated lines (the room's entry)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.by_level import plan_versions_by_level
from benchmarks.canonical_plans import meter_documents
from benchmarks.mixed_tiers import mixed_plan_versions
from benchmarks.rating_data import as_periods_and_usage, first_amounts, plan_versions, read_usage
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import amounts_hash
from ingest.meter import Meter
from rating.batch import price_batch
from rating.compile import PriceBook, compile_price_book
from rating.kernel_types import Rows
from rating.plan_version import PlanVersion
from rating.rate import rate_usage

RATED_LINES_MAX: Final = 2_400_000
"""A rated line with its texts, hashes and tier rows takes about half a kilobyte in memory."""


def run_amounts(request: CaseRequest) -> Measured:
    """Quantities and price rows as arrays to amounts, tier rows included."""
    return _amounts(request, plan_versions(request.workload))


def run_amounts_by_level(request: CaseRequest) -> Measured:
    """The same with the prices of ``by_level.py``."""
    return _amounts(request, plan_versions_by_level(request.workload))


def _amounts(request: CaseRequest, versions: Sequence[PlanVersion]) -> Measured:
    usage = read_usage(request)
    book = _book(versions)
    rows = _kernel_rows(usage, book)
    found: dict[str, Any] = {}

    def job() -> None:
        found["priced"] = price_batch(rows, book.prices, book.terms, threads=os.cpu_count() or 1)

    seconds = time_repeatedly(request, job, found.clear)
    return measured(
        request,
        seconds,
        exact=True,
        rows=len(usage),
        hash_result=lambda: amounts_hash(
            first_amounts(np.arange(len(usage)), found["priced"].results.amount_minor)
        ),
    )


def run_mixed_amounts(request: CaseRequest) -> Measured:
    """The same with the prices of ``mixed_tiers.py``."""
    return _amounts(request, mixed_plan_versions(request.workload))


def run_rated_lines(request: CaseRequest) -> Measured:
    """USAGE_SCHEMA and SERVICE_PERIOD_SCHEMA tables to RATED_LINE_SCHEMA."""
    return _rated_lines(request, plan_versions(request.workload))


def run_rated_lines_by_level(request: CaseRequest) -> Measured:
    """The same with the prices of ``by_level.py``."""
    return _rated_lines(request, plan_versions_by_level(request.workload))


def _rated_lines(request: CaseRequest, versions: Sequence[PlanVersion]) -> Measured:
    periods, usage = as_periods_and_usage(read_usage(request, rows_max=RATED_LINES_MAX))
    book = _book(versions)
    found: dict[str, pa.Table] = {}

    def job() -> None:
        rated = rate_usage(periods=periods, usage=usage, price_book=book, run_id="benchmark")
        found["lines"] = rated.lines

    seconds = time_repeatedly(request, job, found.clear)
    return measured(
        request,
        seconds,
        exact=True,
        rows=len(usage),
        # Lines come in the order of periods and of the plan's charges, which is the order of the rows.
        hash_result=lambda: amounts_hash(
            first_amounts(np.arange(len(usage)), found["lines"]["amount_minor"].to_numpy())
        ),
    )


def _book(versions: Sequence[PlanVersion]) -> PriceBook:
    meters = {text["meter_id"]: Meter.model_validate(text) for text in meter_documents()}
    return compile_price_book(versions, meters)


def _kernel_rows(usage: pa.Table, book: PriceBook) -> Rows:
    names = {number: plan_id for (plan_id, _, _), number in book.plan_rows.items()}
    known = {(names[row.plan_row], row.charge.meter_id): row.price_row for row in book.charges}
    plans = usage["plan_id"].combine_chunks().dictionary_encode()
    meters = usage["meter_id"].combine_chunks().dictionary_encode()
    grid = np.array(
        [
            [known[plan, meter] for meter in meters.dictionary.to_pylist()]
            for plan in plans.dictionary.to_pylist()
        ],
        np.int32,
    )
    count = len(usage)
    quantity = np.frombuffer(usage["quantity"].combine_chunks().buffers()[1], np.uint64)
    return Rows(
        price_row=grid[plans.indices.to_numpy(), meters.indices.to_numpy()],
        quantity=quantity[: 2 * count].reshape(count, 2),
        event_count=np.ones(count, np.uint64),
        days=np.full(count, 31, np.int64),
        full_days=np.full(count, 31, np.int64),
    )
