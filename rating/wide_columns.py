"""Columns of 128-bit integers as ``uint64`` arrays of shape (rows, 2), low word first."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.compiled import compiled
from ingest.event import QUANTITY_SCALE, QUANTITY_TYPE
from rating.wide import multiply_words, negate_128, subtract_128

Pairs = NDArray[np.uint64]

_EXACT: Final = Context(prec=100, traps=[Inexact])


def scaled_integer(number: Decimal) -> int:
    """number x 10**12 as an integer, without its digits past the twelfth (towards zero)."""
    return int(number.scaleb(QUANTITY_SCALE, context=_EXACT))


def integer_of(words: NDArray[np.uint64]) -> int:
    """One pair as an integer."""
    number = int(words[0]) | int(words[1]) << 64
    return number - (1 << 128) if number >= 1 << 127 else number


def words_of(number: int) -> tuple[int, int]:
    """One integer below 2**127 as a pair."""
    return number % (1 << 64), number % (1 << 128) >> 64


def decimal_column(pairs: Pairs) -> Any:
    """The pairs as an Arrow decimal128(38, 12) array over the same memory."""
    return pa.Array.from_buffers(QUANTITY_TYPE, len(pairs), [None, pa.py_buffer(np.ascontiguousarray(pairs))])


def pairs_of_integers(numbers: NDArray[np.int64], *, scale: NDArray[np.int64] | int) -> Pairs:
    """number x scale, exactly; scale is positive."""
    pairs = np.empty((len(numbers), 2), np.uint64)
    scales = np.broadcast_to(np.asarray(scale, np.int64), numbers.shape).astype(np.uint64)
    _multiply(np.abs(numbers).astype(np.uint64), numbers < 0, scales, pairs)
    return pairs


def subtract_pairs(left: Pairs, right: Pairs) -> Pairs:
    """left - right, row by row."""
    pairs = np.empty_like(left)
    _subtract(left, right, pairs)
    return pairs


@compiled
def _multiply(magnitudes: Any, negative: Any, scales: Any, pairs: Any) -> None:
    for row in range(len(magnitudes)):
        low, high = multiply_words(magnitudes[row], scales[row])
        if negative[row]:
            low, high = negate_128(low, high)
        pairs[row, 0] = low
        pairs[row, 1] = high


@compiled
def _subtract(left: Any, right: Any, pairs: Any) -> None:
    for row in range(len(left)):
        low, high = subtract_128(left[row, 0], left[row, 1], right[row, 0], right[row, 1])
        pairs[row, 0] = low
        pairs[row, 1] = high
