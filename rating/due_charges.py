"""Which charges are due on which period, at which price: the rows the kernels will price.

Usage and licence charges are due where there is usage of their meter in a period of their timing;
recurring charges on every period of their timing, unprorated ones where a billing period begins; one-time
charges on the contract's first period of their timing. Usage that is nothing (quantity 0 from no event) is no
line, unless its charge is due without usage too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.arrow_buffers import decimal_words, one_array
from rating.charge_index import FIXED_SLOTS, ChargeIndex
from rating.compile import NO_PRICE, PriceBook
from rating.formula_rows import FormulaRows, formula_rows
from rating.kernel_types import Rows
from rating.line_hash import Hashes, hash_maps
from rating.period_columns import PeriodColumns, dictionary_codes


@dataclass(frozen=True, slots=True)
class DueCharges:
    """One entry a line to be, sorted by (period, charge order, usage row).

    period, charge: rows of the periods and of the book's charges. source: the usage row behind it,
    -1 for a fixed charge, a formula or one without usage. rows: the same for the kernels.
    unmatched_*: usage rows of a matrix charge that no cell matches: they will be unrated.
    dimensions: the usage table's map column; dimension_hash: (usage rows, 2), or (1, 2) for all when
    no usage has any. formulas: what the rows of formulas are made of; None when the book has none.
    """

    period: NDArray[np.int64]
    charge: NDArray[np.int64]
    source: NDArray[np.int64]
    rows: Rows
    unmatched_source: NDArray[np.int64]
    unmatched_charge: NDArray[np.int64]
    usage_period: NDArray[np.int64]
    usage_quantity: NDArray[np.uint64]
    dimensions: Any
    dimension_hash: Hashes
    formulas: FormulaRows | None


def due_charges(periods: PeriodColumns, usage: pa.Table, price_book: PriceBook) -> DueCharges:
    """See the module; columns as in ``rate_usage``."""
    index = price_book.index
    usage_period = np.asarray(one_array(usage["period_key"]).to_numpy(), np.int64)
    periods.check_keys(usage_period)
    low, high = decimal_words(one_array(usage["quantity"]))
    usage_quantity = np.stack([low, high], axis=1)
    event_count = one_array(usage["event_count"]).to_numpy().astype(np.uint64)
    dimensions = one_array(usage["dimensions"])
    dimension_hash = hash_maps(dimensions)

    counted = (low != 0) | (high != 0) | (event_count != 0)
    source, charge = _usage_charges(periods, usage, usage_period, counted, index)
    price_row = index.price_row[charge].copy()
    _resolve_matrix(source, charge, price_row, dimensions, dimension_hash, price_book)
    matched = price_row != NO_PRICE
    unmatched = np.flatnonzero(~matched)
    unmatched_source, unmatched_charge = source[unmatched], charge[unmatched]
    if len(unmatched):
        source, charge, price_row = source[matched], charge[matched], price_row[matched]

    fixed_period, fixed_charge, fixed_quantity = _without_usage(periods, usage_period[source], charge, index)
    fixed_events = np.zeros(len(fixed_period), np.uint64)
    formulas = formula_rows(periods, usage, price_book) if index.formula_charges else None
    if formulas is not None:
        fixed_period = np.concatenate([fixed_period, formulas.period])
        fixed_charge = np.concatenate([fixed_charge, formulas.charge])
        fixed_quantity = np.concatenate([fixed_quantity, formulas.quantity])
        fixed_events = np.concatenate([fixed_events, formulas.event_count])
    every_row = len(source) == usage.num_rows and np.array_equal(source, np.arange(len(source)))
    rows = slice(None) if every_row else source  # a slice copies nothing
    period = _joined(usage_period[rows], fixed_period)
    charge = _joined(charge, fixed_charge)
    price_row = _joined(price_row, index.price_row[fixed_charge])
    quantity = _joined(usage_quantity[rows], fixed_quantity)
    events = _joined(event_count[rows], fixed_events)
    source = _joined(source, np.full(len(fixed_period), -1, np.int64))

    order = _line_order(period, index.order[charge])
    if order is not None:
        period, charge, source, price_row = period[order], charge[order], source[order], price_row[order]
        quantity, events = quantity[order], events[order]
    days, full_days = periods.days[period], periods.full_days[period]
    undivided = index.is_one_time | index.is_unprorated
    if undivided.any():
        whole = undivided[charge]
        days[whole] = full_days[whole] = 1
    return DueCharges(
        period=period,
        charge=charge,
        source=source,
        rows=Rows(
            price_row=price_row,
            quantity=quantity,
            event_count=events,
            days=days,
            full_days=full_days,
        ),
        unmatched_source=unmatched_source,
        unmatched_charge=unmatched_charge,
        usage_period=usage_period,
        usage_quantity=usage_quantity,
        dimensions=dimensions,
        dimension_hash=dimension_hash,
        formulas=formulas,
    )


def _joined(of_usage: NDArray[Any], fixed: NDArray[Any]) -> Any:
    return np.concatenate([of_usage, fixed]) if len(fixed) else of_usage


def _usage_charges(
    periods: PeriodColumns,
    usage: pa.Table,
    usage_period: NDArray[np.int64],
    counted: NDArray[np.bool_],
    index: ChargeIndex,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(usage row, charge row) of every pair in which the charge prices the usage's meter."""
    codes, words = dictionary_codes(usage["meter_id"])
    if not len(codes) or not index.meter_codes:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    book_codes = np.array([index.meter_codes.get(word, -1) for word in words], np.int64)[codes]
    in_advance = index.is_licence_in_advance
    timely = counted & (book_codes >= 0)
    if not in_advance.any():
        timely &= periods.arrears[usage_period]
    wanted = np.flatnonzero(timely)
    key = periods.plan_row[usage_period[wanted]] * len(index.meter_codes) + book_codes[wanted]
    position, slot = expanded(index.usage_start, key)
    source, charge = wanted[position], index.usage_charge[slot]
    if in_advance.any():
        period = usage_period[source]
        due = periods.arrears[period] != in_advance[charge]
        if index.is_unprorated.any():
            due &= ~index.is_unprorated[charge] | periods.begins()[period]
        source, charge = source[due], charge[due]
    return source, charge


def _fixed_charges(periods: PeriodColumns, index: ChargeIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    key = periods.plan_row * FIXED_SLOTS + periods.arrears
    recurring, recurring_slot = expanded(index.fixed_start, key)
    if index.is_unprorated.any():
        due = ~index.is_unprorated[index.fixed_charge[recurring_slot]] | periods.begins()[recurring]
        recurring, recurring_slot = recurring[due], recurring_slot[due]
    first = np.flatnonzero(periods.first)
    one_time, one_time_slot = expanded(index.fixed_start, key[first] + 2)
    return (
        np.concatenate([recurring, first[one_time]]),
        index.fixed_charge[np.concatenate([recurring_slot, one_time_slot])],
    )


def _without_usage(
    periods: PeriodColumns, period: NDArray[np.int64], charge: NDArray[np.int64], index: ChargeIndex
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """(period, charge row, quantity) of the fixed charges, and of those that are due without usage where
    there is none. period, charge: the pairs with usage."""
    fixed_period, fixed_charge = _fixed_charges(periods, index)
    if not len(index.zero_charge):
        return fixed_period, fixed_charge, index.quantity[fixed_charge]
    zero_period, zero_charge = _unused_charges(periods, period, charge, index)
    nothing = np.zeros((len(zero_charge), 2), np.uint64)
    return (
        np.concatenate([fixed_period, zero_period]),
        np.concatenate([fixed_charge, zero_charge]),
        np.concatenate([index.quantity[fixed_charge], nothing]),
    )


def _unused_charges(
    periods: PeriodColumns, period: NDArray[np.int64], charge: NDArray[np.int64], index: ChargeIndex
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    arrears = np.flatnonzero(periods.arrears)
    position, slot = expanded(index.zero_start, periods.plan_row[arrears])
    due_period, due_charge = arrears[position], index.zero_charge[slot]
    count = len(index.price_row)
    unused = ~np.isin(due_period * count + due_charge, period * count + charge)
    return due_period[unused], due_charge[unused]


def expanded(start: NDArray[np.int64], key: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every (position in ``key``, slot) with slot in [start[key], start[key + 1])."""
    counts = start[key + 1] - start[key]
    if np.all(counts == 1):
        return np.arange(len(key)), start[key]
    position = np.repeat(np.arange(len(key)), counts)
    before = np.cumsum(counts) - counts
    slot = np.arange(len(position)) - before[position] + start[key][position]
    return position, slot


def _resolve_matrix(
    source: NDArray[np.int64],
    charge: NDArray[np.int64],
    price_row: NDArray[np.int32],
    dimensions: Any,
    dimension_hash: Hashes,
    price_book: PriceBook,
) -> None:
    """Give matrix rows the price row of their cell; one look-up a distinct combination."""
    matrix = np.flatnonzero(price_book.index.is_matrix[charge])
    if not len(matrix):
        return
    pairs = np.empty(len(matrix), [("charge", np.int64), ("low", np.uint64), ("high", np.uint64)])
    pairs["charge"] = charge[matrix]
    pairs["low"], pairs["high"] = np.broadcast_to(dimension_hash, (len(dimensions), 2))[source[matrix]].T
    _, examples, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    rows = source[matrix][examples]
    values = [dict(entry) for entry in dimensions.take(pa.array(rows)).to_pylist()]
    found = [
        price_book.charges[charge_row].resolve(entry)
        for charge_row, entry in zip(charge[matrix][examples].tolist(), values, strict=True)
    ]
    price_row[matrix] = np.array(found, np.int32)[inverse.reshape(-1)]


def _line_order(period: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The permutation that sorts by (period, order) and keeps the rest; None when sorted already."""
    key = period * (int(order.max(initial=0)) + 1) + order
    if np.all(key[1:] >= key[:-1]):
        return None
    return np.argsort(key, kind="stable")
