"""Parquet and Arrow tables to raw batches. Their columns are typed; exact types stay typed.

``time`` is a timestamp with zone or RFC 3339 text, ``value`` a decimal, an integer or text, never
a binary float. ``properties`` is a map or a struct of texts; without it every other column is a
property of its name (``properties.NAME`` names NAME as well), null meaning not there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.arrow_buffers import PROPERTIES_TYPE, one_array, valid_flags
from ingest.errors import UnreadableBody
from ingest.event import QUANTITY_TYPE
from ingest.raw import EVENT_FIELDS, TEXT_FIELDS, RawBatch
from ingest.refusal import shown

PROPERTY_PREFIX: Final = "properties."


def decode_table(table: pa.Table, *, lines: npt.NDArray[np.uint64]) -> RawBatch:
    """Bring a table to RAW_SCHEMA. Raises UnreadableBody when a column has a type no event can have."""
    if len(set(table.column_names)) != table.num_columns:
        raise UnreadableBody(
            "a column name is there twice; each may be there once.", reason_code="wrong_column_type"
        )
    count = table.num_rows
    columns = [
        _required_text(name, one_array(table[name]))
        if name in table.column_names
        else pa.nulls(count, pa.string())
        for name in TEXT_FIELDS
    ]
    columns.append(
        _time(one_array(table["time"])) if "time" in table.column_names else pa.nulls(count, pa.string())
    )
    columns.append(
        _value(one_array(table["value"])) if "value" in table.column_names else pa.nulls(count, pa.string())
    )
    columns.append(_properties(table))
    names = list(EVENT_FIELDS)
    times = columns[names.index("time")]
    given = table.drop_columns(["time"]) if pa.types.is_timestamp(times.type) else table

    def record_text(row: int) -> str:
        record = given.slice(row, 1).to_pylist()[0] if given.num_columns else {}
        if given is not table:
            record["time"] = timestamp_text(times, row)
        return json.dumps(record, default=str, ensure_ascii=False)

    return RawBatch(pa.table(columns, names=names), lines, record_text)


def timestamp_text(times: Any, row: int) -> str | None:
    """A timestamp as RFC 3339 text in UTC, with all its digits; null is None.

    Arrow writes it: Python's datetime has no nanoseconds and ends in year 9999, and pyarrow asks
    pandas for the former. An instant that no calendar reaches stays ``<value out of range: ...>``.
    """
    # Through integers, because text of a timestamp with a zone needs the machine's time zone files.
    instant = times.slice(row, 1).cast(pa.int64()).cast(pa.timestamp(times.type.unit))
    text = instant.cast(pa.string())[0].as_py()
    return text if text is None or text.startswith("<") else f"{text.replace(' ', 'T')}Z"


def as_text(name: str, array: Any) -> Any:
    """Texts, whole numbers, decimals and booleans as ``pa.string()``."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(name, array.dictionary_decode())
    exact = (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )
    if not exact:
        raise _wrong_type(name, kind, "text, whole numbers, decimals or booleans")
    return array if pa.types.is_string(kind) else array.cast(pa.string())


def properties_from_columns(names: Sequence[str], arrays: Sequence[Any], count: int) -> Any:
    """A map array from one text column a property; null means the event does not have it."""
    order = sorted(range(len(names)), key=lambda column: names[column].encode())
    if not order:
        return pa.MapArray.from_arrays(
            pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()), pa.array([], pa.string())
        )
    present = np.column_stack([valid_flags(arrays[column]) for column in order])
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(present.sum(axis=1), out=offsets[1:])
    rows, places = np.nonzero(present)
    values = pa.concat_arrays([arrays[column] for column in order]).take(pa.array(places * count + rows))
    keys = pa.array([names[column] for column in order], pa.string()).take(pa.array(places))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, values)


def property_name(column: str) -> str:
    """``properties.region`` and ``region`` both name the property region."""
    return column.removeprefix(PROPERTY_PREFIX)


def _required_text(name: str, array: Any) -> Any:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        raise _wrong_type(name, kind, "text")
    return as_text(name, array)


def _time(array: Any) -> Any:
    if pa.types.is_timestamp(array.type):
        if array.type.tz is None:
            raise UnreadableBody(
                "the column time holds timestamps without a time zone, which name no instants. Write "
                "them as timestamps in UTC (Parquet: isAdjustedToUTC).",
                reason_code="wrong_column_type",
            )
        return array
    return _required_text("time", array)


def _value(array: Any) -> Any:
    kind = array.type
    if pa.types.is_decimal128(kind) or pa.types.is_integer(kind):
        try:
            return array.cast(QUANTITY_TYPE)
        except pa.ArrowInvalid:
            return array.cast(pa.string())  # too large or too precise somewhere: named row by row
    if pa.types.is_floating(kind):
        raise _wrong_type("value", kind, "decimals, whole numbers or text: a binary float is not exact")
    if pa.types.is_boolean(kind):
        raise _wrong_type("value", kind, "decimals, whole numbers or text")
    return as_text("value", array)


def _properties(table: pa.Table) -> Any:
    others = [name for name in table.column_names if name not in EVENT_FIELDS]
    if "properties" not in table.column_names:
        names = [property_name(name) for name in others]
        return properties_from_columns(
            names, [as_text(name, one_array(table[name])) for name in others], table.num_rows
        )
    if others:
        raise UnreadableBody(
            f"there is a column properties, and also {shown(others[0])} which no event has. Put it into "
            "properties, or leave properties out: then every other column is a property.",
            reason_code="unknown_field",
        )
    array = one_array(table["properties"])
    if pa.types.is_struct(array.type):
        parts = array.flatten()  # carries the struct's nulls down to its members
        names = [array.type.field(position).name for position in range(array.type.num_fields)]
        texts = [as_text(f"{PROPERTY_PREFIX}{name}", part) for name, part in zip(names, parts, strict=True)]
        return properties_from_columns(names, texts, table.num_rows)
    if pa.types.is_null(array.type):
        return properties_from_columns([], [], table.num_rows)
    if not pa.types.is_map(array.type):
        raise _wrong_type("properties", array.type, "a map or struct of texts")
    if array.null_count:
        array = pa.array([pairs or [] for pairs in array.to_pylist()], array.type)
    return pa.MapArray.from_arrays(
        array.offsets, as_text("properties", array.keys), as_text("properties", array.items)
    ).cast(PROPERTIES_TYPE)


def _wrong_type(name: str, kind: Any, expected: str) -> UnreadableBody:
    return UnreadableBody(
        f"the column {shown(name)} has type {kind}. Expected: {expected}.", reason_code="wrong_column_type"
    )
