"""The lines that raise a period's arrears charges to the minimums of a plan: of groups, then of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rating.batch import PricedRows, price_batch
from rating.compile import NO_PRICE, PriceBook
from rating.due_charges import DueCharges, expanded
from rating.group_minimum import GroupIndex
from rating.kernel_types import Rows
from rating.minor_sums import sums_by_group
from rating.period_columns import PeriodColumns
from rating.wide_columns import pairs_of_integers, subtract_pairs

_MINOR_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class MinimumLines:
    """One entry a line, in period order; of one period the groups first.

    word: its entry in the words of lines. reached: what the usage and licence lines that count come to
    (rounded as billed); required: the minimum for the days of the period; amount = required - reached; all at
    scale 12, (lines, 2). too_large, too_large_word: periods, in order, in which one of these does not fit
    minor units: they have no line and are unrated.
    """

    period: NDArray[np.int64]
    word: NDArray[np.int64]
    price_row: NDArray[np.int32]
    reached: NDArray[np.uint64]
    required: NDArray[np.uint64]
    amount: NDArray[np.uint64]
    amount_minor: NDArray[np.int64]
    too_large: NDArray[np.int64]
    too_large_word: NDArray[np.int64]


def minimum_spend_lines(
    periods: PeriodColumns, due: DueCharges, priced: PricedRows, price_book: PriceBook, *, threads: int
) -> MinimumLines:
    """A line for every arrears period whose plan has a minimum above what was reached, including
    periods without any usage. Compared in minor units, as billed; what does not fit them is
    ``too_large``, never left out."""
    groups = price_book.groups
    of_groups = None
    if groups is not None:
        of_groups = _group_lines(periods, due, priced, price_book, groups, threads=threads)
    price_row = price_book.minimum_rows[periods.plan_row]
    period = np.flatnonzero(periods.arrears & (price_row != NO_PRICE))
    reached_minor, wrapped = _reached_minor(periods, due, priced, price_book, of_groups)
    word = len(price_book.charges) + periods.plan_row[period]
    of_plans = _raised(
        periods,
        price_book,
        period=period,
        word=word,
        price_row=price_row[period],
        reached_minor=reached_minor[period],
        wrapped=wrapped[period],
        threads=threads,
    )
    return of_plans if of_groups is None else _together(of_groups, of_plans)


def _raised(
    periods: PeriodColumns,
    price_book: PriceBook,
    *,
    period: NDArray[np.int64],
    word: NDArray[np.int64],
    price_row: NDArray[np.int32],
    reached_minor: NDArray[np.int64],
    wrapped: NDArray[np.bool_],
    threads: int,
) -> MinimumLines:
    """The lines of minimums, one entry each in the arguments, where less was reached."""
    rows = Rows(
        price_row=price_row,
        quantity=pairs_of_integers(np.ones(len(period), np.int64), scale=10**12),
        event_count=np.zeros(len(period), np.uint64),
        days=periods.days[period],
        full_days=periods.full_days[period],
    )
    required = price_batch(rows, price_book.prices, price_book.terms, threads=threads)
    required_minor = required.results.amount_minor
    room = _MINOR_MAX + np.minimum(reached_minor, 0)  # required - reached must fit as well
    too_large = required.unrated | wrapped | (required_minor > room)
    short = np.flatnonzero((reached_minor < required_minor) & ~too_large)
    reached = pairs_of_integers(
        reached_minor[short], scale=price_book.prices.minor_unit[rows.price_row[short]].astype(np.int64)
    )
    return MinimumLines(
        period=period[short],
        word=word[short],
        price_row=rows.price_row[short],
        reached=reached,
        required=required.results.amount[short],
        amount=subtract_pairs(required.results.amount[short], reached),
        amount_minor=required_minor[short] - reached_minor[short],
        too_large=period[too_large],
        too_large_word=word[too_large],
    )


def _group_lines(
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    price_book: PriceBook,
    groups: GroupIndex,
    *,
    threads: int,
) -> MinimumLines:
    """A (period, group) pair is told by one number: pairs are numbered in the order of their lines."""
    arrears = np.flatnonzero(periods.arrears)
    place, slot = expanded(groups.plan_start, periods.plan_row[arrears])
    period, count = arrears[place], len(groups.price_row)
    pair = period * count + slot
    in_arrears = periods.arrears[due.period] & ~price_book.index.is_fixed[due.charge]
    metered = np.flatnonzero(in_arrears & ~priced.unrated)
    line, member = expanded(groups.member_start, due.charge[metered])
    counted = np.searchsorted(pair, due.period[metered][line] * count + groups.member[member])
    amounts = priced.results.amount_minor[metered][line]
    reached_minor, wrapped = sums_by_group(counted, amounts, len(pair))
    return _raised(
        periods,
        price_book,
        period=period,
        word=len(price_book.charges) + len(price_book.versions) + slot,
        price_row=groups.price_row[slot],
        reached_minor=reached_minor,
        wrapped=wrapped,
        threads=threads,
    )


def _reached_minor(
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    price_book: PriceBook,
    of_groups: MinimumLines | None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """By period: the sum of its usage and licence lines and of the minimums of groups, and whether it is past
    64 bits."""
    if not np.any(price_book.minimum_rows[periods.plan_row] != NO_PRICE):
        nothing = np.zeros(len(periods.period_key), np.int64)
        return nothing, nothing > 0
    metered = ~price_book.index.is_fixed[due.charge] & ~priced.unrated
    period, amount = due.period[metered], priced.results.amount_minor[metered]
    if of_groups is not None:
        period = np.concatenate([period, of_groups.period])
        amount = np.concatenate([amount, of_groups.amount_minor])
    return sums_by_group(period, amount, len(periods.period_key))


def _together(first: MinimumLines, second: MinimumLines) -> MinimumLines:
    """Both in period order; of one period the first ones before the second."""
    columns = {
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in MinimumLines.__slots__
    }
    order = np.argsort(columns["period"], kind="stable")
    refused = np.argsort(columns["too_large"], kind="stable")
    return MinimumLines(
        **{
            name: column[refused if name.startswith("too_large") else order]
            for name, column in columns.items()
        }
    )
