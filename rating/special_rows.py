"""What lines are computed from beside their quantity, gathered from usage for the rows that need it.

Most price books hold no such price, and then none of this runs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.errors import BrokenState
from rating.compile import PriceBook
from rating.due_charges import DueCharges
from rating.event_bounds import band_inputs
from rating.event_tiers import tier_inputs
from rating.level_tiers import input_name
from rating.period_columns import PeriodColumns
from rating.pool_rows import pooled_rows
from rating.price_plan import WIDER_SPANS
from rating.special_price import BEFORE_EVENTS, BEFORE_QUANTITY, Inputs
from rating.usage_rows import Dimensions, Usage, usage_of
from rating.wider_usage import WiderUsage
from rollup.banded_meter import BAND_KEY


def special_inputs(
    periods: PeriodColumns,
    due: DueCharges,
    usage: pa.Table,
    price_book: PriceBook,
    wider: WiderUsage | None,
) -> dict[int, Inputs]:
    """The inputs of every row of ``due`` that has some, by row. Raises BrokenState when a charge counts more
    than its period and ``wider`` was not given."""
    found: dict[int, Inputs] = dict(_formula_inputs(due, price_book))
    if price_book.special.any():
        rows = np.flatnonzero(price_book.special[due.rows.price_row])
        found.update(_event_inputs(rows, due, usage, price_book))
        for row, more in chain(
            _level_inputs(rows, due, usage, price_book),
            _earlier_inputs(rows, due, price_book, wider),
            pooled_rows(rows, periods, due, price_book, wider, found),
        ):
            found[row] = {**found.get(row, {}), **more}
    return found


def _earlier_inputs(
    rows: NDArray[np.int64], due: DueCharges, price_book: PriceBook, wider: WiderUsage | None
) -> Iterator[tuple[int, Inputs]]:
    """What was counted before the period, of the rows before which anything could be."""
    known: dict[str, Usage] = {}
    for row in rows.tolist():
        counts = price_book.terms[int(due.rows.price_row[row])].tiers_count
        if counts not in WIDER_SPANS:
            continue
        if wider is None:
            raise BrokenState(
                f"a charge counts its tiers over the {counts.replace('_', ' ')}, and what came before its "
                "period was not given; gather it with invoicing.wider_periods."
            )
        earlier, period = wider.earlier[counts], int(due.period[row])
        if period >= len(earlier.begun) or not earlier.begun[period]:
            continue
        if counts not in known:
            known[counts] = usage_of(earlier.usage, price_book.index.meter_codes)
        charge = price_book.charges[int(due.charge[row])].charge
        source = int(due.source[row])
        own = tuple(due.dimensions[source].as_py()) if source >= 0 else ()
        quantity, events = known[counts].get((period, charge.meter_id or "", own), (Decimal(0), 0))
        yield row, {BEFORE_QUANTITY: quantity, BEFORE_EVENTS: Decimal(events)}


def _formula_inputs(due: DueCharges, price_book: PriceBook) -> Iterator[tuple[int, Inputs]]:
    """What the meters of formulas counted."""
    if due.formulas is not None and len(due.formulas.period):
        for row in np.flatnonzero(price_book.index.is_formula[due.charge]).tolist():
            yield row, due.formulas.inputs[int(due.period[row]), int(due.charge[row])]


def _level_inputs(
    rows: NDArray[np.int64], due: DueCharges, usage: pa.Table, price_book: PriceBook
) -> Iterator[tuple[int, Inputs]]:
    """What a level has in each tier. Raises BrokenState when a meter that reads it was left out."""
    if not price_book.level_meters:
        return
    meter_ids = {meter_id for own in price_book.level_meters.values() for meter_id in own}
    read = usage_of(usage, meter_ids)
    for row in rows.tolist():
        meters = price_book.level_meters.get(int(due.rows.price_row[row]))
        if meters is None:
            continue
        source = int(due.source[row])
        own = tuple(due.dimensions[source].as_py()) if source >= 0 else ()
        nothing = (Decimal(0), 0)
        parts = [read.get((int(due.period[row]), meter_id, own), nothing)[0] for meter_id in meters]
        yield row, {input_name(number): part for number, part in enumerate(parts, start=1)}


def _event_inputs(
    rows: NDArray[np.int64], due: DueCharges, usage: pa.Table, price_book: PriceBook
) -> Iterator[tuple[int, Inputs]]:
    """Events by the bounds of their amount, or by the tier they reach. Raises BrokenState when a meter that
    counts them was left out."""
    meters = price_book.event_meters
    counted = usage_of(usage, set(meters.values()))
    known = {banded_id for _, banded_id, _ in counted}
    bands: dict[tuple[int, str, Dimensions], dict[str, tuple[Decimal, int]]] = {}
    for (period, banded_id, dimensions), used in counted.items():
        own = tuple(pair for pair in dimensions if pair[0] != BAND_KEY)
        bands.setdefault((period, banded_id, own), {})[dict(dimensions)[BAND_KEY]] = used
    for row in rows.tolist():
        meter_id = meters.get(int(due.rows.price_row[row]))
        if meter_id is None:
            continue
        if meter_id not in known and due.rows.event_count[row]:
            raise BrokenState(
                "events are to be priced each by itself, and none were counted by the size of their value; "
                "roll up with the meters of rating.priced_meters."
            )
        source = int(due.source[row])
        own = tuple(due.dimensions[source].as_py()) if source >= 0 else ()
        found = bands.get((int(due.period[row]), meter_id, own), {})
        terms = price_book.terms[int(due.rows.price_row[row])]
        yield row, tier_inputs(terms.price, found) if terms.tiers_count == "event" else band_inputs(found)
