"""Arrow arrays as the flat numpy arrays that kernels walk, and back, without copying."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.event import QUANTITY_TYPE, TIMESTAMP

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

PROPERTIES_TYPE: Final = pa.map_(pa.string(), pa.string())


def one_array(column: Any) -> Any:
    """A column as a single Arrow array, whether it came in one chunk or in many."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def text_buffers(array: Any) -> tuple[Integers, Bytes]:
    """A ``pa.string()`` or ``pa.binary()`` array as (offsets int64, one more than rows; bytes).

    The bytes are always read-only and the offsets never, whoever made the array: numba compiles a
    kernel anew (seconds) for every combination it meets.
    """
    _, offsets, data = array.buffers()
    if offsets is None or len(array) == 0:
        return np.zeros(len(array) + 1, np.int64), _read_only(np.zeros(0, np.uint8))
    positions = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return positions.astype(np.int64), _read_only(content)


def _read_only(content: Bytes) -> Bytes:
    view = content.view()
    view.flags.writeable = False
    return view


def decimal_words(array: Any) -> tuple[Words, Words]:
    """A decimal128 array as (low, high) 64-bit words of its two's complement; nulls hold anything."""
    if len(array) == 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    words = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)
    rows = words[array.offset : array.offset + len(array)]
    return rows[:, 0].copy(), rows[:, 1].copy()


def decimals_from_words(low: Words, high: Words, present: Flags) -> Any:
    """The quantity column of those words; null where ``present`` is false."""
    words = np.empty((len(low), 2), np.uint64)
    words[:, 0], words[:, 1] = low, high
    validity = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    return pa.Array.from_buffers(QUANTITY_TYPE, len(low), [validity, pa.py_buffer(words)])


def valid_flags(array: Any) -> Flags:
    """True where the array is not null."""
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return np.array(array.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def times_from_micros(micros: Integers) -> Any:
    """The timestamp column of those microseconds since 1970."""
    return pa.array(micros, pa.int64()).cast(TIMESTAMP)


def text_array(offsets: npt.NDArray[np.int32], data: Bytes, present: Flags | None = None) -> Any:
    """A ``pa.string()`` array over the given buffers; the bytes must be valid UTF-8."""
    validity = None
    if present is not None and not present.all():
        validity = pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    return pa.Array.from_buffers(
        pa.string(), len(offsets) - 1, [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
