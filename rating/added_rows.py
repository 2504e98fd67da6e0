"""The rows of a batch that go on from what came before, priced by the kernels and put in their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating.added_kernel import price_added
from rating.kernel_types import Prices, Results, Rows
from rating.kernels import OK
from rating.special_price import BEFORE_EVENTS, BEFORE_QUANTITY, POOL_QUANTITY, Inputs
from rating.wide_columns import scaled_integer, words_of


@dataclass(frozen=True, slots=True)
class AddedRows:
    """rows: places in the batch, ascending. results: of these alone, all of them priced."""

    rows: NDArray[np.int64]
    results: Results

    def put(self, results: Results) -> None:
        """Copy into the results of the batch, whose tier rows have room for them."""
        for name in ("status", "rated_quantity", "amount", "amount_minor"):
            getattr(results, name)[self.rows] = getattr(self.results, name)
        counts = np.diff(self.results.tier_start)
        shift = np.repeat(results.tier_start[self.rows] - self.results.tier_start[:-1], counts)
        places = np.arange(len(shift)) + shift
        for name in ("tier_number", "tier_units", "tier_amount"):
            getattr(results, name)[places] = getattr(self.results, name)


def price_added_rows(
    rows: Rows, prices: Prices, inputs: Mapping[int, Inputs], *, threads: int
) -> AddedRows | None:
    """Those of the rows in ``inputs`` that the kernels can price; None when there are none."""
    alone = (row for row, found in inputs.items() if BEFORE_QUANTITY in found and POOL_QUANTITY not in found)
    chosen = np.array(sorted(alone), np.int64)
    if not len(chosen):
        return None
    numbers = [scaled_integer(inputs[row][BEFORE_QUANTITY]) for row in chosen.tolist()]
    before = np.array([words_of(number) for number in numbers], np.uint64)
    events = np.array([int(inputs[row][BEFORE_EVENTS]) for row in chosen.tolist()], np.uint64)
    priced = price_added(_taken(rows, chosen), before, events, prices, threads=threads)
    if np.all(priced.status == OK):
        return AddedRows(chosen, priced)
    kept = np.flatnonzero(priced.status == OK)
    return AddedRows(chosen[kept], _of_rows(priced, kept)) if len(kept) else None


def _taken(rows: Rows, chosen: NDArray[np.int64]) -> Rows:
    return Rows(
        rows.price_row[chosen],
        rows.quantity[chosen],
        rows.event_count[chosen],
        rows.days[chosen],
        rows.full_days[chosen],
    )


def _of_rows(results: Results, kept: NDArray[np.int64]) -> Results:
    """The results of some rows, their tier rows behind each other."""
    counts = np.diff(results.tier_start)[kept]
    tier_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    places = np.arange(tier_start[-1]) + np.repeat(results.tier_start[kept] - tier_start[:-1], counts)
    return Results(
        status=results.status[kept],
        rated_quantity=results.rated_quantity[kept],
        amount=results.amount[kept],
        amount_minor=results.amount_minor[kept],
        tier_start=tier_start,
        tier_number=results.tier_number[places],
        tier_units=results.tier_units[places],
        tier_amount=results.tier_amount[places],
    )
