"""Eight bytes at a time in compiled code: loads at any position, copies, and where a byte stands in a word.

numba has no unaligned loads and copies short texts byte by byte: a text of 17 bytes takes 50 ns so, and 10
this way. None of these checks its bounds, as nothing in a kernel does: the caller keeps ``at + 8`` inside.
They can be called from kernels only (``@compiled``).
"""

# ruff: noqa: ARG001 - numba reads how many arguments there are and passes types

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ingest.arrow_buffers import Bytes
from ingest.compiled import compiled

_LOW_BITS: Final = np.uint64(0x0101010101010101)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_THREE: Final = np.uint64(3)


def _pointer(context: Any, builder: Any, array: Any, value: Any, at: Any) -> Any:
    return builder.gep(context.make_array(array)(context, builder, value).data, [at])


def _load_word(_typing: Any, body: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], *arguments)
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(body, types.int64), generate


def _copy_bytes(_typing: Any, target: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to_array, to_at, from_array, from_at, count = arguments
        to_place = _pointer(context, builder, signature.args[0], to_array, to_at)
        from_place = _pointer(context, builder, signature.args[2], from_array, from_at)
        copy: Any = cgutils.raw_memcpy
        copy(builder, to_place, from_place, count, 1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), generate


def _count_trailing_zeros(_typing: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


load_word: Final[Callable[[Bytes, int], np.uint64]] = cast(Any, intrinsic(_load_word))
"""load_word(body, at): the bytes body[at:at + 8] as a word, the first one lowest."""
copy_bytes: Final[Callable[[Bytes, int, Bytes, int, int], None]] = cast(Any, intrinsic(_copy_bytes))
"""copy_bytes(target, at, source, start, size): target[at:at + size] = source[start:start + size], of two
different arrays."""
_trailing_zeros: Final[Callable[[np.uint64], np.uint64]] = cast(Any, intrinsic(_count_trailing_zeros))


@compiled
def repeated(byte: int) -> np.uint64:
    """A word of eight times the byte."""
    return np.uint64(byte) * _LOW_BITS


@compiled
def zero_bytes(word: np.uint64) -> np.uint64:
    """A word whose lowest set bit is in the first byte of ``word`` that is zero; 0 without one."""
    return (word - _LOW_BITS) & ~word & _HIGH_BITS


@compiled
def bytes_below(word: np.uint64, limit: int) -> np.uint64:
    """The same for the first byte below ``limit``, which is at most 128."""
    return (word - repeated(limit)) & ~word & _HIGH_BITS


@compiled
def first_byte(marks: np.uint64) -> Any:
    """Which byte (from 0) the lowest set bit is in; marks is not 0."""
    return np.int64(_trailing_zeros(marks) >> _THREE)
