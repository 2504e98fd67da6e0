"""Runs the kernels over a batch: slices in threads, and the rows they cannot hold by the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.event import QUANTITY_SCALE
from rating.added_rows import AddedRows, price_added_rows
from rating.counted_rows import price_counted_rows
from rating.event_bounds import USAGE_CHANGED
from rating.kernel_types import Prices, Results, Rows
from rating.kernels import NEGATIVE_QUANTITY, OK, PRICED, TOO_LARGE, measure_rows, price_rows
from rating.reference import Priced, PriceTerms
from rating.short_kernel import price_short_rows
from rating.slices import in_slices
from rating.special_price import NO_INPUTS, Inputs, price_line
from rating.unrateable import Unrateable

_CHANGED: Final = 4
"""A status beside those of ``rating/kernels.py``, of rows that never reach them."""
UNRATED_CODES: Final = {
    NEGATIVE_QUANTITY: "negative_quantity",
    TOO_LARGE: "amount_too_large",
    _CHANGED: USAGE_CHANGED,
}
"""Status of a row that has no price -> reason_code of its unrated row."""
NOTHING_SPECIAL: Final[Mapping[int, Inputs]] = {}
_SCALE: Final = 10**QUANTITY_SCALE
_WIDE: Final = Context(prec=60)


@dataclass(frozen=True, slots=True)
class PricedRows:
    """``results`` of every row in order; ``unrated`` marks those without a price."""

    results: Results
    unrated: NDArray[np.bool_]


def price_batch(
    rows: Rows,
    prices: Prices,
    terms: Sequence[PriceTerms],
    *,
    threads: int,
    inputs: Mapping[int, Inputs] = NOTHING_SPECIAL,
) -> PricedRows:
    """Price every row. ``terms`` are the same prices for the reference, one a price row. inputs: by row, of
    those that need more than their quantity; they go to ``rating/special_price.py``.

    A row is never lost: its status is OK, or says why it has no price.
    """
    count = len(rows.price_row)
    status = np.empty(count, np.int8)
    rated_quantity = np.zeros((count, 2), np.uint64)
    tier_start = np.zeros(count + 1, np.int64)
    tier_count = tier_start[1:]  # summed up in place: fresh memory costs as much as the arithmetic
    in_slices(
        lambda first, last: measure_rows(rows, prices, status, rated_quantity, tier_count, first, last),
        count,
        threads,
    )
    exact: dict[int, Priced] = {}
    priced_before = _special_rows(rows, prices, terms, inputs, threads=threads) if inputs else []
    if inputs:
        status[list(inputs)] = TOO_LARGE
    for part in priced_before:
        status[part.rows] = PRICED
        tier_count[part.rows] = np.diff(part.results.tier_start)
    for row in np.flatnonzero(status == TOO_LARGE).tolist():
        _by_reference(row, rows, terms, status, exact, inputs.get(row, NO_INPUTS))
        tier_count[row] = len(exact[row].tiers) if row in exact else 0
    np.cumsum(tier_count, out=tier_count)
    tier_total = int(tier_start[-1])
    results = Results(
        status=status,
        rated_quantity=rated_quantity,
        amount=np.zeros((count, 2), np.uint64),
        amount_minor=np.zeros(count, np.int64),
        tier_start=tier_start,
        tier_number=np.zeros(tier_total, np.uint16),
        tier_units=np.zeros((tier_total, 2), np.uint64),
        tier_amount=np.zeros((tier_total, 2), np.uint64),
    )
    settled = np.array(sorted(exact), np.int64)
    status[settled] = TOO_LARGE  # price_rows leaves them alone

    def price(first: int, last: int) -> None:
        price_short_rows(rows, prices, results, first, last)
        if np.any(status[first:last] == OK):
            price_rows(rows, prices, results, first, last)

    for part in priced_before:
        part.put(results)
        status[part.rows] = PRICED
    in_slices(price, count, threads)
    status[status == PRICED] = OK
    for row in np.flatnonzero(status == TOO_LARGE).tolist():
        if row not in exact:
            _by_reference(row, rows, terms, status, exact, inputs.get(row, NO_INPUTS))
    for row, priced in exact.items():
        _put(row, priced, results)
    return PricedRows(results, status != OK)


def _special_rows(
    rows: Rows,
    prices: Prices,
    terms: Sequence[PriceTerms],
    inputs: Mapping[int, Inputs],
    *,
    threads: int,
) -> list[AddedRows]:
    """Those of the rows in ``inputs`` that need not go to the reference."""
    added = price_added_rows(rows, prices, inputs, threads=threads)
    counted = price_counted_rows(rows, terms, inputs)
    return [part for part in (added, counted) if part is not None]


def _by_reference(
    row: int,
    rows: Rows,
    terms: Sequence[PriceTerms],
    status: NDArray[np.int8],
    exact: dict[int, Priced],
    inputs: Inputs,
) -> None:
    try:
        exact[row] = price_line(
            terms[int(rows.price_row[row])],
            quantity=_decimal(rows.quantity[row]),
            event_count=int(rows.event_count[row]),
            share=Fraction(int(rows.days[row]), int(rows.full_days[row])),
            inputs=inputs,
        )
    except Unrateable as error:
        codes = {code: number for number, code in UNRATED_CODES.items()}
        status[row] = codes[error.reason_code]


def _put(row: int, priced: Priced, results: Results) -> None:
    results.status[row] = OK
    results.rated_quantity[row] = _pair(priced.rated_quantity)
    results.amount[row] = _pair(priced.amount)
    results.amount_minor[row] = priced.amount_minor
    first = int(results.tier_start[row])
    for at, (tier, amount) in enumerate(zip(priced.tiers, priced.tier_amounts(), strict=True), start=first):
        results.tier_number[at] = tier.number
        results.tier_units[at] = _pair(tier.units)
        results.tier_amount[at] = _pair(amount)


def _decimal(words: NDArray[np.uint64]) -> Decimal:
    number = int(words[0]) | int(words[1]) << 64
    if number >= 1 << 127:
        number -= 1 << 128
    return Decimal(number).scaleb(-QUANTITY_SCALE, context=_WIDE)


def _pair(number: Fraction) -> tuple[int, int]:
    scaled = number.numerator * _SCALE // number.denominator % (1 << 128)
    return scaled & (2**64 - 1), scaled >> 64
