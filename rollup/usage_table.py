"""Puts what the queries answer into the two tables of this room. Whole columns, no loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array
from ingest.event import QUANTITY_SCALE, QUANTITY_TYPE
from ingest.meter import Meter
from rollup.schema import UNUSABLE_SCHEMA, USAGE_SCHEMA

DIMENSIONS_TYPE = USAGE_SCHEMA.field("dimensions").type
_WORD = USAGE_SCHEMA.field("meter_id").type


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """The usage of one meter, or of several that have the same group keys and fraction digits; all
    columns have one length. Rows of one period and meter stand in the order of their dimensions.

    meter_number: place of each row's meter in the order asked, int32.
    dimensions: one text column a group key of the meter.
    """

    meter_number: NDArray[np.int32]
    period_key: pa.Array
    dimensions: Sequence[pa.Array]
    quantity: pa.Array
    event_count: pa.Array


def usable_usage(
    meter_number: NDArray[np.int32], dimensions: int, answer: pa.Table
) -> tuple[MeterUsage, set[int]]:
    """The rows of an answer that have usable events, and the meters that met unusable ones.

    answer: period_key, dimension_0 ..., event_count, number_count (the usable), quantity; sorted as in
    MeterUsage. meter_number: of each row.
    """
    short = pc.not_equal(answer["number_count"], answer["event_count"]).to_numpy()
    kept, numbers = answer, meter_number
    if short.any():
        usable = pc.greater(answer["number_count"], 0)
        kept, numbers = answer.filter(usable), meter_number[usable.to_numpy()]
    usage = MeterUsage(
        meter_number=numbers,
        period_key=one_array(kept["period_key"]),
        dimensions=[one_array(kept[f"dimension_{place}"]) for place in range(dimensions)],
        quantity=one_array(kept["quantity"]),
        event_count=one_array(kept["number_count"]),
    )
    return usage, set(np.unique(meter_number[short]).tolist())


def arrange_usage(meters: Sequence[Meter], parts: Sequence[MeterUsage]) -> pa.Table:
    """All parts as one USAGE_SCHEMA table, sorted by period_key, meter, dimensions."""
    parts = [part for part in parts if len(part.period_key)]
    if not parts:
        return USAGE_SCHEMA.empty_table()
    numbers = np.concatenate([part.meter_number for part in parts])
    keys = _one([part.period_key.cast(pa.uint32()) for part in parts])
    order = _sorted_order(keys.to_numpy(), numbers, len(meters))
    quantity = _one(
        [round_quantity(part.quantity, meters[part.meter_number[0]].fraction_digits) for part in parts]
    )
    words = pa.array([meter.meter_id for meter in meters], pa.string())
    columns = [
        keys,
        pa.DictionaryArray.from_arrays(pa.array(numbers), words),
        _dimensions(meters, parts),
        quantity,
        _one([part.event_count.cast(pa.uint64()) for part in parts]),
    ]
    if order is not None:
        columns = [_taken(column, pa.array(order)) for column in columns]
    return pa.Table.from_arrays(columns, schema=USAGE_SCHEMA)


def _taken(column: pa.Array, order: pa.Array) -> pa.Array:
    if pa.types.is_map(column.type) and len(column.items) == 0:
        return column  # all maps are empty: their order cannot matter
    return column.take(order)


def arrange_unusable(meters: Sequence[Meter], parts: Sequence[tuple[int, pa.Table]]) -> pa.Table:
    """Unusable events of some meters, each given with the meter's place, as one UNUSABLE_SCHEMA
    table sorted by period_key, meter, reason_code."""
    if not parts:
        return UNUSABLE_SCHEMA.empty_table()
    tables = []
    for number, part in parts:
        named = part.append_column(
            "meter_id", pa.array([meters[number].meter_id] * part.num_rows, pa.string())
        )
        tables.append(named.select(UNUSABLE_SCHEMA.names).cast(UNUSABLE_SCHEMA))
    table = pa.concat_tables(tables)
    numbers = np.repeat([number for number, _ in parts], [part.num_rows for _, part in parts])
    sort = [("period_key", "ascending"), ("meter_number", "ascending"), ("reason_code", "ascending")]
    order = pc.sort_indices(table.append_column("meter_number", pa.array(numbers)), sort_keys=sort)
    return table.take(order)


def round_quantity(quantity: pa.Array, fraction_digits: int) -> pa.Array:
    """Decimal(38, 12) rounded half-up, away from zero, to so many digits; the type stays."""
    if fraction_digits < QUANTITY_SCALE:
        rounded = pc.round(quantity, ndigits=fraction_digits, round_mode="half_towards_infinity")
        return rounded.cast(QUANTITY_TYPE)
    return quantity


def _sorted_order(keys: NDArray[Any], numbers: NDArray[Any], meters: int) -> NDArray[np.int64] | None:
    """Stable order by (key, number); None when the rows have it. One sort of packed integers instead of a
    sort of rows: 1 M rows take 0.05 s, a stable argsort 0.09 s."""
    rows = len(keys)
    rises = keys[1:] > keys[:-1]
    if np.all(rises | ((keys[1:] == keys[:-1]) & (numbers[1:] >= numbers[:-1]))):
        return None
    low, middle = max(rows - 1, 1).bit_length(), max(meters - 1, 1).bit_length()
    if int(keys.max()).bit_length() + middle + low > 64:
        return np.lexsort((numbers, keys)).astype(np.int64)
    packed = keys.astype(np.uint64) << np.uint64(middle + low)
    packed |= numbers.astype(np.uint64) << np.uint64(low)
    packed |= np.arange(rows, dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64((1 << low) - 1)).astype(np.int64)


def _dimensions(meters: Sequence[Meter], parts: Sequence[MeterUsage]) -> pa.Array:
    pieces = []
    for part in parts:
        names = meters[part.meter_number[0]].group_by
        pieces.append(dimension_maps(names, part.dimensions, len(part.period_key)))
    return _one(pieces)


def _one(arrays: Sequence[pa.Array]) -> pa.Array:
    """The arrays as one, without a copy of a single one."""
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def dimension_maps(names: Sequence[str], values: Sequence[pa.Array], rows: int) -> pa.Array:
    """One map a row from one text column a name, in the order of the names."""
    width = len(names)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    keys = pa.array(list(names), pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    if width == 0:
        return pa.MapArray.from_arrays(offsets, keys, pa.array([], pa.string())).cast(DIMENSIONS_TYPE)
    # Column after column becomes row after row: entry (row, key) stands at key * rows + row.
    places = np.arange(rows * width).reshape(width, rows).T.ravel()
    items = pa.concat_arrays(list(values)).take(pa.array(places))
    return pa.MapArray.from_arrays(offsets, keys, items).cast(DIMENSIONS_TYPE)
