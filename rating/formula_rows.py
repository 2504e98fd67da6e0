"""The rows of charges whose quantity is a formula of meters: one a period in which any of them was used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rating.compile import PriceBook
from rating.formula import formula_meters, formula_quantity
from rating.period_columns import PeriodColumns
from rating.special_price import Inputs
from rating.unrateable import Unrateable
from rating.usage_rows import usage_of
from rating.wide_columns import scaled_integer, words_of


@dataclass(frozen=True, slots=True)
class FormulaRows:
    """One entry a row in the arrays. inputs: by (period, charge row), what the meters counted. refused:
    (period, charge row, reason code) of those that have no quantity."""

    period: NDArray[np.int64]
    charge: NDArray[np.int64]
    quantity: NDArray[np.uint64]
    event_count: NDArray[np.uint64]
    inputs: Mapping[tuple[int, int], Inputs]
    refused: Sequence[tuple[int, int, str]]


def formula_rows(periods: PeriodColumns, usage: pa.Table, price_book: PriceBook) -> FormulaRows:
    """The rows of every arrears period, by period and charge."""
    by_plan = price_book.index.formula_charges
    wanted = np.flatnonzero(periods.arrears & np.isin(periods.plan_row, list(by_plan))) if by_plan else ()
    meter_ids = {
        meter_id
        for rows in by_plan.values()
        for row in rows
        for meter_id in price_book.charges[row].charge.meter_ids()
    }
    used = usage_of(usage, meter_ids) if len(wanted) else {}
    keys: list[tuple[int, int]] = []
    quantities: list[tuple[int, int]] = []
    events: list[int] = []
    inputs: dict[tuple[int, int], Inputs] = {}
    refused: list[tuple[int, int, str]] = []
    for period in np.asarray(wanted, np.int64).tolist():
        for row in by_plan[int(periods.plan_row[period])]:
            charge = price_book.charges[row].charge
            found = {name: used.get((period, name, ())) for name in formula_meters(charge.formula)}
            counted = [one for one in found.values() if one is not None and (one[0] or one[1])]
            if not counted and charge.zero_usage == "skip":
                continue
            values = {name: Decimal(0) if one is None else one[0] for name, one in found.items()}
            try:
                quantity = formula_quantity(charge.formula or "", values)
            except Unrateable as error:
                refused.append((period, row, error.reason_code))
                continue
            keys.append((period, row))
            quantities.append(words_of(scaled_integer(quantity)))
            events.append(sum(count for _, count in counted))
            inputs[period, row] = values
    pairs = np.array(keys, np.int64).reshape(-1, 2)
    return FormulaRows(
        pairs[:, 0],
        pairs[:, 1],
        np.array(quantities, np.uint64).reshape(-1, 2),
        np.array(events, np.uint64),
        inputs,
        refused,
    )
