"""The independent computation the proof compares with: numpy integers and Python integers only.

It shares no code with ``rollup`` and ``rating``: usage is summed from the generator's numbers,
resends are dropped by event number (not by id), months are found by comparing instants, prices come
from the generator's integers and every amount is a quotient of Python integers, rounded half up
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks.canonical import (
    EVENT_TYPES,
    MONTH_STARTS,
    NANOS,
    SLICE_ROWS,
    Int64s,
    Workload,
    contract_names,
    event_numbers,
    sent_order,
)
from benchmarks.canonical_plans import (
    BOUND_SCALE,
    FLAT_SCALE,
    MINOR_DIGITS,
    MODELS,
    PACKAGE_UNITS,
    PRICE_SCALE,
    TIERS,
    PriceNumbers,
    contract_plans,
    price_numbers,
)
from ingest.clock import to_micros

_MONTHS: Final = len(MONTH_STARTS) - 1
_AMOUNT_DIGITS: Final = 9 + PRICE_SCALE
"""Amounts are whole numbers of 10**-17: quantity in 10**-9 times price in 10**-8."""
_BOUND_TO_NANOS: Final = 10 ** (9 - BOUND_SCALE)
_FLAT_TO_AMOUNT: Final = 10 ** (_AMOUNT_DIGITS - FLAT_SCALE)
_PRICE_TO_AMOUNT: Final = 10 ** (_AMOUNT_DIGITS - PRICE_SCALE)


@dataclass(frozen=True, slots=True)
class ExactUsage:
    """One entry a (contract, type, month) that has events. quantity_nanos: Python integers."""

    contract: Int64s
    type: Int64s
    month: Int64s
    events: Int64s
    quantity_nanos: list[int]


def exact_usage(workload: Workload) -> ExactUsage:
    """Sum the values of every distinct event that is sent."""
    kinds = len(EVENT_TYPES)
    cells = workload.contracts * kinds * _MONTHS
    # Whole units and billionths apart: each sum stays far below 2**63, so int64 is exact.
    whole = np.zeros(cells, np.int64)
    nanos = np.zeros(cells, np.int64)
    events = np.zeros(cells, np.int64)
    month_ends = np.array([to_micros(start) for start in MONTH_STARTS[1:]], np.int64)
    distinct = np.unique(sent_order(workload))
    for start in range(0, len(distinct), SLICE_ROWS):
        part = event_numbers(workload, distinct[start : start + SLICE_ROWS])
        month = np.searchsorted(month_ends, part.time_micros, "right")
        cell = (part.contract * kinds + part.type) * _MONTHS + month
        np.add.at(whole, cell, part.value_nanos // NANOS)
        np.add.at(nanos, cell, part.value_nanos % NANOS)
        np.add.at(events, cell, 1)
    used = np.flatnonzero(events)
    quantity = [
        units * NANOS + rest for units, rest in zip(whole[used].tolist(), nanos[used].tolist(), strict=True)
    ]
    return ExactUsage(
        used // (kinds * _MONTHS), used // _MONTHS % kinds, used % _MONTHS, events[used], quantity
    )


def exact_lines(workload: Workload) -> pl.DataFrame:
    """contract_id, meter_id, period_start (date), amount_minor, event_count; one row a rated line."""
    usage = exact_usage(workload)
    pricer = _Pricer(price_numbers(workload))
    plan = contract_plans(workload)[usage.contract]
    amounts = [
        pricer.amount_minor(p, charge, quantity)
        for p, charge, quantity in zip(plan.tolist(), usage.type.tolist(), usage.quantity_nanos, strict=True)
    ]
    starts = pl.Series([start.date() for start in MONTH_STARTS[:-1]])
    names: Any = pl.from_arrow(contract_names(usage.contract))
    return pl.DataFrame(
        {
            "contract_id": names,
            "meter_id": pl.Series(EVENT_TYPES).gather(usage.type),
            "period_start": starts.gather(usage.month),
            "amount_minor": pl.Series(amounts, dtype=pl.Int64),
            "event_count": pl.Series(usage.events),
        }
    )


class _Pricer:
    """Prices quantities in nanos by plan and charge number; amounts in whole minor units."""

    def __init__(self, numbers: PriceNumbers) -> None:
        self._model = numbers.model.tolist()
        self._bounds = (numbers.bounds * _BOUND_TO_NANOS).tolist()
        self._prices = numbers.prices.tolist()
        self._flats = numbers.flats.tolist()
        self._digits = [MINOR_DIGITS[currency] for currency in numbers.currency.tolist()]

    def amount_minor(self, plan: int, charge: int, quantity: int) -> int:
        model = MODELS[self._model[plan][charge]]
        prices, flats = self._prices[plan][charge], self._flats[plan][charge]
        if model == "per_unit":
            amount = quantity * prices[0]
        elif model == "flat":
            amount = prices[0] * _PRICE_TO_AMOUNT
        elif model == "package":
            packages = -(-quantity // (PACKAGE_UNITS * NANOS))
            amount = packages * prices[0] * _PRICE_TO_AMOUNT
        elif model == "graduated":
            amount = _graduated(quantity, self._bounds[plan][charge], prices, flats)
        else:
            tier = sum(1 for bound in self._bounds[plan][charge] if quantity > bound)
            unit_price = prices[tier] if model == "volume" else 0
            amount = quantity * unit_price + flats[tier] * _FLAT_TO_AMOUNT
        return _half_up(amount * 10 ** self._digits[plan], 10**_AMOUNT_DIGITS)


def _graduated(quantity: int, bounds: list[int], prices: list[int], flats: list[int]) -> int:
    amount = below = 0
    for tier in range(TIERS):
        if quantity <= below:
            break
        upper = min(quantity, bounds[tier]) if tier < TIERS - 1 else quantity
        amount += (upper - below) * prices[tier] + flats[tier] * _FLAT_TO_AMOUNT
        below = upper
    return amount


def _half_up(amount: int, unit: int) -> int:
    """Whole units of a non-negative amount, a half rounded up."""
    return (2 * amount + unit) // (2 * unit)
