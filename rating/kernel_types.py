"""The flat arrays that ``rating/kernels.py`` takes and gives, as named tuples numba can look into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Prices(NamedTuple):
    """One entry a price: its model, its numbers, and the steps around it. Pairs are (low, high).

    fits: every number fits the words here; a price that does not sends its rows to the reference.
    price: unit price, package price or percent; extra: package size or fixed amount an event.
    convert_multiply / convert_divide / convert_step: quantity x multiply / divide, rounded to a
    whole number, x step, all scaled; divide 0: no conversion.
    prorated: the price itself is for a whole period; minimum and maximum always are.
    minor_unit: 10**(12 - digits), a minor unit at scale 12.
    """

    model: NDArray[np.int8]
    fits: NDArray[np.bool_]
    price: NDArray[np.uint64]
    extra: NDArray[np.uint64]
    package_up: NDArray[np.bool_]
    flat: NDArray[np.uint64]
    free_units: NDArray[np.uint64]
    convert_multiply: NDArray[np.uint64]
    convert_divide: NDArray[np.uint64]
    convert_step: NDArray[np.uint64]
    convert_round: NDArray[np.int8]
    has_minimum: NDArray[np.bool_]
    minimum: NDArray[np.uint64]
    has_maximum: NDArray[np.bool_]
    maximum: NDArray[np.uint64]
    prorated: NDArray[np.bool_]
    minor_unit: NDArray[np.uint64]
    rounding: NDArray[np.int8]
    tier_start: NDArray[np.int64]
    tier_up_to: NDArray[np.uint64]
    tier_price: NDArray[np.uint64]
    tier_flat: NDArray[np.uint64]


class Rows(NamedTuple):
    """What to price: index into Prices, quantity (low, high; two's complement), events, days."""

    price_row: NDArray[np.int32]
    quantity: NDArray[np.uint64]
    event_count: NDArray[np.uint64]
    days: NDArray[np.int64]
    full_days: NDArray[np.int64]


class Results(NamedTuple):
    """Per row: rated quantity and amount (low, high), minor units, status, and where its tier rows
    start; per tier row: number, units and amount (low, high)."""

    status: NDArray[np.int8]
    rated_quantity: NDArray[np.uint64]
    amount: NDArray[np.uint64]
    amount_minor: NDArray[np.int64]
    tier_start: NDArray[np.int64]
    tier_number: NDArray[np.uint16]
    tier_units: NDArray[np.uint64]
    tier_amount: NDArray[np.uint64]
