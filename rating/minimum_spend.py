"""The line that raises a period's arrears charges to the plan's minimum spend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating.batch import PricedRows, price_batch
from rating.compile import NO_PRICE, PriceBook
from rating.due_charges import DueCharges
from rating.kernel_types import Rows
from rating.period_columns import PeriodColumns
from rating.wide_columns import pairs_of_integers, subtract_pairs


@dataclass(frozen=True, slots=True)
class MinimumLines:
    """One entry a line, in period order.

    reached: what the usage and licence lines of the period come to (rounded as billed); required:
    the minimum for its days; amount = required - reached; all at scale 12, (lines, 2).
    """

    period: NDArray[np.int64]
    price_row: NDArray[np.int32]
    reached: NDArray[np.uint64]
    required: NDArray[np.uint64]
    amount: NDArray[np.uint64]
    amount_minor: NDArray[np.int64]


def minimum_spend_lines(
    periods: PeriodColumns, due: DueCharges, priced: PricedRows, price_book: PriceBook, *, threads: int
) -> MinimumLines:
    """A line for every arrears period whose plan has a minimum above what was reached, including
    periods without any usage. Compared in minor units, as billed."""
    price_row = price_book.minimum_rows[periods.plan_row]
    period = np.flatnonzero(periods.arrears & (price_row != NO_PRICE))
    rows = Rows(
        price_row=price_row[period],
        quantity=pairs_of_integers(np.ones(len(period), np.int64), scale=10**12),
        event_count=np.zeros(len(period), np.uint64),
        days=periods.days[period],
        full_days=periods.full_days[period],
    )
    required = price_batch(rows, price_book.prices, price_book.terms, threads=threads)
    reached_minor = _reached_minor(len(periods.period_key), due, priced, price_book)[period]
    short = np.flatnonzero((reached_minor < required.results.amount_minor) & ~required.unrated)
    reached = pairs_of_integers(
        reached_minor[short], scale=price_book.prices.minor_unit[rows.price_row[short]].astype(np.int64)
    )
    return MinimumLines(
        period=period[short],
        price_row=rows.price_row[short],
        reached=reached,
        required=required.results.amount[short],
        amount=subtract_pairs(required.results.amount[short], reached),
        amount_minor=required.results.amount_minor[short] - reached_minor[short],
    )


def _reached_minor(
    period_count: int, due: DueCharges, priced: PricedRows, price_book: PriceBook
) -> NDArray[np.int64]:
    metered = ~price_book.index.is_fixed[due.charge] & ~priced.unrated
    reached = np.zeros(period_count, np.int64)
    np.add.at(reached, due.period[metered], priced.results.amount_minor[metered])
    return reached
