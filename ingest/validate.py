"""Raw records in, events out, and for every other record the reason it is refused.

The whole table is checked by kernels; the rows they do not recognise are judged one by one in
``ingest/judge.py``, which accepts the unusual (``1e3``, ``+01.50``, year 1970) and words the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingest.arrow_buffers import (
    PROPERTIES_TYPE,
    Flags,
    Integers,
    Words,
    decimal_words,
    decimals_from_words,
    one_array,
    text_buffers,
    times_from_micros,
    valid_flags,
)
from ingest.clock import to_micros
from ingest.columnar_records import timestamp_text
from ingest.event import (
    EVENT_SCHEMA,
    OPERATION_PROPERTY,
    OPERATIONS,
    PROPERTIES_MAX,
    PROPERTY_VALUE_BYTES_MAX,
    QUANTITY_SCALE,
    TEXT_BYTES_MAX,
    TIME_MAX,
    TIME_MIN,
    VALUE_INTEGER_DIGITS_MAX,
)
from ingest.judge import JudgedRow, judge_row
from ingest.meter_needs import MeterNeeds
from ingest.parse_kernels import check_properties, find_property, parse_decimals, parse_times
from ingest.raw import TEXT_FIELDS, RawBatch, RawRow
from ingest.refusal import Problem, Refusal, refuse, shown

_WORD_MASK: Final = (1 << 64) - 1
_VALUE_LIMIT: Final = Decimal(10**VALUE_INTEGER_DIGITS_MAX)
_UNITS_A_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MICROS_A_SECOND: Final = 10**6


@dataclass(frozen=True, slots=True)
class ValidatedBatch:
    """events: EVENT_SCHEMA, in the order sent; rows: their rows in the raw batch; lines: their lines.

    time_given: false where the instant of receipt stands in for a time.
    refusals: decoding's and validation's, by line.
    """

    events: pa.Table
    rows: Integers
    lines: npt.NDArray[np.uint64]
    time_given: Flags
    refusals: tuple[Refusal, ...]


@dataclass(slots=True)
class _Columns:
    micros: Integers
    time_read: Flags
    time_given: Flags
    low: Words
    high: Words
    value_given: Flags
    properties: Any
    fine: Flags


def validate_batch(raw: RawBatch, *, received_at: datetime, needs: MeterNeeds) -> ValidatedBatch:
    """Judge every record of a batch; none is dropped and none is changed."""
    records = raw.records.combine_chunks()
    received_micros = to_micros(received_at)
    columns = _read_columns(raw, records, received_micros=received_micros)
    columns.fine &= _keeps_needs(records, columns, needs)
    refusals = list(raw.refused)
    patches: dict[int, JudgedRow] = {}
    for row in np.flatnonzero(~columns.fine).tolist():
        judged = _timestamp_problem(columns, one_array(records["time"]), row) or judge_row(
            _raw_row(records, row),
            received_micros=received_micros if raw.time_optional else None,
            needs=needs,
        )
        if isinstance(judged, Problem):
            refusals.append(refuse(int(raw.lines[row]), judged, raw.record_text(row)))
        else:
            patches[row] = judged
    _patch(columns, patches)
    events = _events(records, columns)
    kept = np.flatnonzero(columns.fine)
    if len(kept) < records.num_rows:
        events = events.take(pa.array(kept)).combine_chunks()
    refusals.sort(key=lambda refusal: refusal.line)
    return ValidatedBatch(events, kept, raw.lines[kept], columns.time_given[kept], tuple(refusals))


def _read_columns(raw: RawBatch, records: pa.Table, *, received_micros: int) -> _Columns:
    fine = np.ones(records.num_rows, np.bool_)
    for name in TEXT_FIELDS:
        array = one_array(records[name])
        sizes = np.diff(text_buffers(array)[0])
        fine &= valid_flags(array) & (sizes > 0) & (sizes <= TEXT_BYTES_MAX)
    times = one_array(records["time"])
    time_given = valid_flags(times)
    micros, time_read = _read_times(times)
    if raw.time_optional:
        micros[~time_given] = received_micros
        fine &= ~time_given | time_read
    else:
        fine &= time_given & time_read
    values = one_array(records["value"])
    value_given = valid_flags(values)
    low, high, read = _read_values(values)
    fine &= ~value_given | read
    properties = one_array(records["properties"])
    fine &= _properties_fine(properties)
    return _Columns(micros, time_read, time_given, low, high, value_given, properties, fine)


def _read_times(times: Any) -> tuple[Integers, Flags]:
    """Microseconds since 1970, and which of them were read and lie in the years accepted."""
    if pa.types.is_timestamp(times.type):
        return _read_timestamps(times)
    micros = np.zeros(len(times), np.int64)
    read = np.zeros(len(times), np.bool_)
    parse_times(*text_buffers(times), micros, read)
    return micros, read & (micros >= to_micros(TIME_MIN)) & (micros < to_micros(TIME_MAX))


def _read_timestamps(times: Any) -> tuple[Integers, Flags]:
    # The range is checked in the sender's own unit: seconds times a million may pass 64 bits.
    scale = _UNITS_A_SECOND[times.type.unit]
    units = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    first = to_micros(TIME_MIN) * scale // _MICROS_A_SECOND
    end = to_micros(TIME_MAX) * scale // _MICROS_A_SECOND
    inside = (units >= first) & (units < end)
    kept = np.where(inside, units, 0)
    if scale > _MICROS_A_SECOND:
        return kept // (scale // _MICROS_A_SECOND), inside
    return kept * (_MICROS_A_SECOND // scale), inside


def _timestamp_problem(columns: _Columns, times: Any, row: int) -> Problem | None:
    # Told here and not by the judge, who reads texts: not every timestamp can be written as one.
    if not pa.types.is_timestamp(times.type) or columns.time_read[row] or not columns.time_given[row]:
        return None
    message = f"time is {shown(str(timestamp_text(times, row)))}."
    return Problem(
        "time_out_of_range", "time", message, f"a time from {TIME_MIN.year} to {TIME_MAX.year - 1}."
    )


def _read_values(values: Any) -> tuple[Words, Words, Flags]:
    if pa.types.is_decimal(values.type):
        low, high = decimal_words(values)
        inside = pc.and_(
            pc.less(values, pa.scalar(_VALUE_LIMIT, values.type)),
            pc.greater(values, pa.scalar(-_VALUE_LIMIT, values.type)),
        )
        return low, high, inside.fill_null(False).to_numpy(zero_copy_only=False)
    low, high = np.zeros(len(values), np.uint64), np.zeros(len(values), np.uint64)
    read = np.zeros(len(values), np.bool_)
    parse_decimals(*text_buffers(values), VALUE_INTEGER_DIGITS_MAX, QUANTITY_SCALE, low, high, read)
    return low, high, read


def _properties_fine(properties: Any) -> Flags:
    fine = np.zeros(len(properties), np.bool_)
    list_offsets = properties.offsets.to_numpy().astype(np.int64)
    name_offsets, name_data = text_buffers(properties.keys)
    item_offsets, _ = text_buffers(properties.items)
    check_properties(
        list_offsets,
        name_offsets,
        name_data,
        item_offsets,
        PROPERTIES_MAX,
        TEXT_BYTES_MAX,
        PROPERTY_VALUE_BYTES_MAX,
        fine,
    )
    if properties.items.null_count:
        nulls = np.flatnonzero(~valid_flags(properties.items))
        rows = np.searchsorted(list_offsets, nulls, side="right") - 1
        fine[rows[(rows >= 0) & (rows < len(fine))]] = False
    return fine


def _keeps_needs(records: pa.Table, columns: _Columns, needs: MeterNeeds) -> Flags:
    # Only says which rows surely keep them; the others are judged one by one.
    fine = np.ones(records.num_rows, np.bool_)
    types = one_array(records["type"])
    if needs.value and not columns.value_given.all():
        fine &= columns.value_given | ~_type_in(types, needs.value)
    if needs.operation:
        of_type = _type_in(types, needs.operation)
        if of_type.any():
            fine &= ~of_type | _property_fine(columns.properties, OPERATION_PROPERTY, _is_operation)
    names = {name for wanted in needs.numbers.values() for name in wanted}
    for name in sorted(names):
        of_type = _type_in(types, {kind: "" for kind, wanted in needs.numbers.items() if name in wanted})
        if of_type.any():
            fine &= ~of_type | _property_fine(columns.properties, name, lambda texts: _read_values(texts)[2])
    return fine


def _type_in(types: Any, wanted: Mapping[str, str]) -> Flags:
    found = pc.is_in(types, value_set=pa.array(list(wanted), pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _is_operation(texts: Any) -> Flags:
    found = pc.is_in(texts, value_set=pa.array(OPERATIONS, pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _property_fine(properties: Any, name: str, check: Callable[[Any], Flags]) -> Flags:
    entries = np.empty(len(properties), np.int64)
    name_offsets, name_data = text_buffers(properties.keys)
    wanted = np.frombuffer(name.encode(), np.uint8)
    find_property(properties.offsets.to_numpy().astype(np.int64), name_offsets, name_data, wanted, entries)
    there = entries >= 0
    fine = ~there
    fine[there] = check(one_array(properties.items.take(pa.array(entries[there]))))
    return fine


def _raw_row(records: pa.Table, row: int) -> RawRow:
    source, event_id, kind, subject = (records[name][row].as_py() for name in TEXT_FIELDS)
    times, value = one_array(records["time"]), records["value"][row].as_py()
    time_text = timestamp_text(times, row) if pa.types.is_timestamp(times.type) else times[row].as_py()
    value_text = None if value is None else str(value)
    return source, event_id, kind, subject, time_text, value_text, records["properties"][row].as_py()


def _patch(columns: _Columns, patches: Mapping[int, JudgedRow]) -> None:
    if not patches:
        return
    position = np.arange(len(columns.fine))
    for number, (row, judged) in enumerate(patches.items()):
        columns.fine[row] = True
        columns.micros[row] = judged.micros
        if judged.scaled_value is not None:
            columns.low[row] = judged.scaled_value & _WORD_MASK
            columns.high[row] = (judged.scaled_value >> 64) & _WORD_MASK
        position[row] = len(position) + number
    lists = [list(judged.properties) for judged in patches.values()]
    both = pa.concat_arrays([columns.properties, pa.array(lists, PROPERTIES_TYPE)])
    columns.properties = both.take(pa.array(position))


def _events(records: pa.Table, columns: _Columns) -> pa.Table:
    arrays = [
        *(one_array(records[name]) for name in TEXT_FIELDS),
        times_from_micros(columns.micros),
        decimals_from_words(columns.low, columns.high, columns.value_given),
        columns.properties,
    ]
    return pa.table(arrays, schema=EVENT_SCHEMA)
