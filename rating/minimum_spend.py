"""The line that raises a period's arrears charges to the plan's minimum spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rating.batch import PricedRows, price_batch
from rating.compile import NO_PRICE, PriceBook
from rating.due_charges import DueCharges
from rating.kernel_types import Rows
from rating.minor_sums import sums_by_group
from rating.period_columns import PeriodColumns
from rating.wide_columns import pairs_of_integers, subtract_pairs

_MINOR_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class MinimumLines:
    """One entry a line, in period order.

    reached: what the usage and licence lines of the period come to (rounded as billed); required:
    the minimum for its days; amount = required - reached; all at scale 12, (lines, 2).
    too_large: periods, in order, in which one of these does not fit minor units: they have no line and
    are unrated.
    """

    period: NDArray[np.int64]
    price_row: NDArray[np.int32]
    reached: NDArray[np.uint64]
    required: NDArray[np.uint64]
    amount: NDArray[np.uint64]
    amount_minor: NDArray[np.int64]
    too_large: NDArray[np.int64]


def minimum_spend_lines(
    periods: PeriodColumns, due: DueCharges, priced: PricedRows, price_book: PriceBook, *, threads: int
) -> MinimumLines:
    """A line for every arrears period whose plan has a minimum above what was reached, including
    periods without any usage. Compared in minor units, as billed; what does not fit them is
    ``too_large``, never left out."""
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
    reached_minor, wrapped = _reached_minor(periods, due, priced, price_book)
    reached_minor, wrapped = reached_minor[period], wrapped[period]
    required_minor = required.results.amount_minor
    room = _MINOR_MAX + np.minimum(reached_minor, 0)  # required - reached must fit as well
    too_large = required.unrated | wrapped | (required_minor > room)
    short = np.flatnonzero((reached_minor < required_minor) & ~too_large)
    reached = pairs_of_integers(
        reached_minor[short], scale=price_book.prices.minor_unit[rows.price_row[short]].astype(np.int64)
    )
    return MinimumLines(
        period=period[short],
        price_row=rows.price_row[short],
        reached=reached,
        required=required.results.amount[short],
        amount=subtract_pairs(required.results.amount[short], reached),
        amount_minor=required_minor[short] - reached_minor[short],
        too_large=period[too_large],
    )


def _reached_minor(
    periods: PeriodColumns, due: DueCharges, priced: PricedRows, price_book: PriceBook
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """By period: the sum of its usage and licence lines, and whether it is past 64 bits."""
    if not np.any(price_book.minimum_rows[periods.plan_row] != NO_PRICE):
        nothing = np.zeros(len(periods.period_key), np.int64)
        return nothing, nothing > 0
    metered = ~price_book.index.is_fixed[due.charge] & ~priced.unrated
    period, amount = due.period[metered], priced.results.amount_minor[metered]
    return sums_by_group(period, amount, len(periods.period_key))
