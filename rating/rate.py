"""Usage and service periods in, rated lines out: the entry of this room.

``rate_usage`` reads top to bottom: which charges are due on which period, which price applies,
price them all at once, take off the discounts, raise to the minimum spend, build the table. It is a
pure function of its tables; the same rows in any order give the same lines.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pyarrow as pa

from ingest.errors import InvalidInput
from rating.batch import price_batch
from rating.compile import PriceBook
from rating.discount_lines import discount_lines
from rating.due_charges import DueCharges, due_charges
from rating.line_table import build_lines, build_unrated
from rating.minimum_spend import minimum_spend_lines
from rating.period_columns import PeriodColumns, read_periods
from rollup.schema import USAGE_SCHEMA


@dataclass(frozen=True, slots=True)
class RatedLines:
    """lines: RATED_LINE_SCHEMA, sorted by (period_key, charge, dimensions), minimum spend last.
    unrated: UNRATED_SCHEMA, usage that a charge covers and no price of it fits. Nothing is in both,
    and usage of a charge is in one of them unless quantity and event count are zero."""

    lines: pa.Table
    unrated: pa.Table


def rate_usage(
    *,
    periods: pa.Table,
    usage: pa.Table,
    price_book: PriceBook,
    run_id: str,
    threads: int | None = None,
) -> RatedLines:
    """Price everything due on the service periods.

    periods: SERVICE_PERIOD_SCHEMA. usage: USAGE_SCHEMA, of arrears periods; usage of a meter that
    no charge of the period's plan prices gives no line. threads: how many slices run at a time
    (default: one a processor); the result does not depend on it. Raises InvalidInput when a table
    has other columns, BrokenState when a period names a plan version the book does not hold.
    """
    _check_columns(usage)
    period_columns: PeriodColumns = read_periods(periods, price_book)
    due: DueCharges = due_charges(period_columns, usage, price_book)
    slices = threads if threads is not None else os.cpu_count() or 1
    priced = price_batch(due.rows, price_book.prices, price_book.terms, threads=slices)
    priced, discounts = discount_lines(period_columns, due, priced, price_book)
    minimum = minimum_spend_lines(period_columns, due, priced, price_book, threads=slices)
    lines = build_lines(
        period_columns, due, priced, discounts, minimum, price_book, run_id=run_id, threads=slices
    )
    return RatedLines(lines, build_unrated(period_columns, due, priced, minimum, price_book))


def _check_columns(usage: pa.Table) -> None:
    if usage.schema.names != USAGE_SCHEMA.names:
        raise InvalidInput(
            f"the usage table has the columns {usage.schema.names}; rating needs {USAGE_SCHEMA.names}."
        )
