"""Usage and service periods in, rated lines out: the entry of this room.

``rate_usage`` reads top to bottom: which charges are due on which period, which price applies,
price them all at once, take off the discounts, round bills that are rounded as a whole, raise to the minimum
spend, build the table. It is a pure function of its tables; the same rows in any order give the same lines.
``rate_amounts`` goes the same way and ends with what the lines come to, for those who ask for many prices
and no line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.errors import InvalidInput
from rating.batch import PricedRows, price_batch
from rating.bill_rounding import round_bills
from rating.compile import PriceBook
from rating.discount_lines import DiscountRows, discount_lines
from rating.due_charges import DueCharges, due_charges
from rating.line_table import build_lines, build_unrated
from rating.minimum_spend import MinimumLines, minimum_spend_lines
from rating.minor_sums import sums_by_group
from rating.period_columns import PeriodColumns, read_periods
from rating.special_price import Inputs
from rating.special_rows import special_inputs
from rating.wider_usage import WiderUsage
from rollup.schema import USAGE_SCHEMA


@dataclass(frozen=True, slots=True)
class RatedLines:
    """lines: RATED_LINE_SCHEMA, sorted by (period_key, charge, dimensions), minimum spend last.
    unrated: UNRATED_SCHEMA, usage that a charge covers and no price of it fits. Nothing is in both,
    and usage of a charge is in one of them unless quantity and event count are zero."""

    lines: pa.Table
    unrated: pa.Table


@dataclass(frozen=True, slots=True)
class PeriodAmounts:
    """What the lines of each period come to, without the lines.

    amount_minor: one entry a period, in row order. too_large: where that is past 64 bits; the amount is 0
    there and means nothing. unrated: as in ``RatedLines``.
    """

    amount_minor: NDArray[np.int64]
    too_large: NDArray[np.bool_]
    unrated: pa.Table


@dataclass(frozen=True, slots=True)
class _Priced:
    periods: PeriodColumns
    due: DueCharges
    rows: PricedRows
    inputs: Mapping[int, Inputs]
    discounts: DiscountRows
    minimum: MinimumLines

    def own_lines(self, count: int) -> int | None:
        """How many lines are of the first ``count`` periods, with which they begin; None for all."""
        if self.periods.table.num_rows == count:
            return None
        own = (self.due.period < count) & ~self.rows.unrated
        return int(np.count_nonzero(own) + np.count_nonzero(self.minimum.period < count))


def rate_usage(
    *,
    periods: pa.Table,
    usage: pa.Table,
    price_book: PriceBook,
    run_id: str,
    threads: int | None = None,
    wider: WiderUsage | None = None,
) -> RatedLines:
    """Price everything due on the service periods.

    periods: SERVICE_PERIOD_SCHEMA. usage: USAGE_SCHEMA, of arrears periods, and of periods in
    advance that of licences billed so; usage of a meter that no charge of the period's plan and timing prices
    gives no line. threads: how many slices run at a time
    (default: one a processor); the result does not depend on it. wider: what charges count beyond the
    period, needed when one does. Raises InvalidInput when a table has other columns, BrokenState when a
    period names a plan version the book does not hold.
    """
    slices = threads if threads is not None else os.cpu_count() or 1
    priced = _price(periods, usage, price_book, slices, wider)
    lines = build_lines(
        priced.periods,
        priced.due,
        priced.rows,
        priced.inputs,
        priced.discounts,
        priced.minimum,
        price_book,
        run_id=run_id,
        threads=slices,
    )
    own = priced.own_lines(periods.num_rows)
    return RatedLines(lines if own is None else lines.slice(0, own), _unrated(priced, price_book, periods))


def rate_amounts(
    *,
    periods: pa.Table,
    usage: pa.Table,
    price_book: PriceBook,
    threads: int | None = None,
    wider: WiderUsage | None = None,
) -> PeriodAmounts:
    """What the lines that ``rate_usage`` would give come to, period by period; arguments and errors are its
    own."""
    slices = threads if threads is not None else os.cpu_count() or 1
    priced = _price(periods, usage, price_book, slices, wider)
    kept = ~priced.rows.unrated
    count = priced.periods.table.num_rows
    amount, too_large = sums_by_group(
        np.concatenate([priced.due.period[kept], priced.minimum.period]),
        np.concatenate([priced.rows.results.amount_minor[kept], priced.minimum.amount_minor]),
        count,
    )
    own = slice(0, periods.num_rows)
    return PeriodAmounts(amount[own], too_large[own], _unrated(priced, price_book, periods))


def _price(
    periods: pa.Table, usage: pa.Table, price_book: PriceBook, slices: int, wider: WiderUsage | None
) -> _Priced:
    _check_columns(usage)
    if wider is not None:
        periods, usage = wider.with_companions(periods, usage)
    period_columns: PeriodColumns = read_periods(periods, price_book)
    due: DueCharges = due_charges(period_columns, usage, price_book)
    inputs = special_inputs(period_columns, due, usage, price_book, wider)
    beside = {row: found for row, found in inputs.items() if price_book.special[due.rows.price_row[row]]}
    priced = price_batch(due.rows, price_book.prices, price_book.terms, threads=slices, inputs=beside)
    priced, discounts = discount_lines(period_columns, due, priced, price_book)
    priced, rounded = round_bills(period_columns, due, priced, price_book)
    for row, found in rounded.items():
        inputs[row] = {**inputs.get(row, {}), **found}
    minimum = minimum_spend_lines(period_columns, due, priced, price_book, threads=slices)
    return _Priced(period_columns, due, priced, inputs, discounts, minimum)


def _unrated(priced: _Priced, price_book: PriceBook, periods: pa.Table) -> pa.Table:
    unrated = build_unrated(priced.periods, priced.due, priced.rows, priced.minimum, price_book)
    if priced.periods.table.num_rows == periods.num_rows:
        return unrated
    return unrated.filter(pc.less(unrated["period_key"], periods.num_rows))


def _check_columns(usage: pa.Table) -> None:
    if usage.schema.names != USAGE_SCHEMA.names:
        raise InvalidInput(
            f"the usage table has the columns {usage.schema.names}; rating needs {USAGE_SCHEMA.names}."
        )
