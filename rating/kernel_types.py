"""The flat arrays that ``rating/kernels.py`` takes and gives, as named tuples numba can look into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Prices(NamedTuple):
    """One entry a price: its tiers, and the steps around them. Pairs are (low, high).

    fits: every number fits the words here; a price that does not sends its rows to the reference.
    plain: no percentage and no amount an event, and small amounts: rating/short_kernel.py may try.
    graduated: each unit is priced in its own tier; else one tier prices all, and a price without
    tiers is a single open one. per_cent: tier prices are percentages, tier flats hundredfold.
    takes_negative: a quantity below zero has a meaning. zero_reaches: nothing used reaches a tier.
    fixed, free_events: an amount for each event but so many.
    convert_multiply / convert_divide / convert_step: quantity x multiply / divide, rounded to a
    whole number, x step, all scaled; divide 0: no conversion.
    prorated: the price itself is for a whole period; minimum and maximum always are.
    minor_unit: 10**(12 - digits), a minor unit at scale 12.
    tier_start: where a price's tiers begin; its last one has no bound. tier_size: units in a
    package, of which tier_price then is the price; 0: sold by the unit. tier_up: a started package
    counts.
    """

    fits: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    graduated: NDArray[np.bool_]
    per_cent: NDArray[np.bool_]
    takes_negative: NDArray[np.bool_]
    zero_reaches: NDArray[np.bool_]
    fixed: NDArray[np.uint64]
    free_events: NDArray[np.uint64]
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
    tier_size: NDArray[np.uint64]
    tier_up: NDArray[np.bool_]


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
