"""QR codes (ISO/IEC 18004) of bytes, error correction M, with one mask: what segno makes, in far less time.

A printed run has a code on every page, and all codes of a size share all but their data. So segno draws the
fixed patterns once a size; here the data's parity is read from tables and its bits are put where they go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import segno
from numpy.typing import NDArray
from segno import consts

MASK: Final = 3
"""Any mask is readable; trying all eight for the fairest costs four times as long."""
_BLOCKS: Final = {
    1: (10, (16,)),
    2: (16, (28,)),
    3: (26, (44,)),
    4: (18, (32,) * 2),
    5: (24, (43,) * 2),
    6: (16, (27,) * 4),
    7: (18, (31,) * 4),
    8: (22, (38,) * 2 + (39,) * 2),
    9: (22, (36,) * 3 + (37,) * 2),
}
"""By version: parity bytes a block, data bytes of each block (ISO/IEC 18004, table 9, level M)."""
_BYTE_MODE: Final = 4
_PADS: Final = (0xEC, 0x11)
_FIELD: Final = 0x11D
"""The polynomial of the field of 256 that QR codes count in."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What all codes of a version share. modules: 1 dark, data not filled in. rows, columns: of the data
    bits, in order. masked: whether the mask turns each of them over."""

    modules: NDArray[np.uint8]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    masked: NDArray[np.uint8]


def qr_modules(content: bytes) -> NDArray[np.uint8]:
    """The modules of the smallest code, shape (side, side), 1 is dark, without a quiet zone."""
    version = _smallest_version(len(content))
    if version is None:  # seldom: a long name in letters of several bytes
        return np.array(_segno(content, None).matrix, dtype=np.uint8)
    pattern = _pattern(version)
    bits = np.unpackbits(_with_parity(_data_bytes(content, version), version))
    modules = pattern.modules.copy()
    values = pattern.masked.copy()  # what remains after the last byte is 0
    values[: len(bits)] ^= bits
    modules[pattern.rows, pattern.columns] = values
    return modules


def _smallest_version(count: int) -> int | None:
    """Mode and count take 12 bits up to version 9."""
    return next((number for number, (_, blocks) in _BLOCKS.items() if count + 2 <= sum(blocks)), None)


def _data_bytes(content: bytes, version: int) -> NDArray[np.uint8]:
    """Mode, count and content, then the pad bytes."""
    room = sum(_BLOCKS[version][1])
    bits = (_BYTE_MODE << 8 | len(content)) << 8 * len(content) | int.from_bytes(content)
    whole = (bits << 4).to_bytes(len(content) + 2)  # 12 bits before the content, 4 that end it
    filled = whole + b"\0" * (len(whole) < room)  # readers pass over it; segno writes it
    pads = bytes(_PADS[place % 2] for place in range(room - len(filled)))
    return np.frombuffer(filled + pads, dtype=np.uint8)


def _with_parity(data: NDArray[np.uint8], version: int) -> NDArray[np.uint8]:
    """Data and parity of all blocks, taken in turns."""
    parity_count, sizes = _BLOCKS[version]
    blocks, start = [], 0
    for size in sizes:
        blocks.append(data[start : start + size])
        start += size
    parities = [_parity(block, parity_count) for block in blocks]
    longest = max(sizes)
    turns = np.full((longest, len(sizes)), -1, dtype=np.int16)
    for place, block in enumerate(blocks):
        turns[: len(block), place] = block
    taken = turns.reshape(-1)
    return np.concatenate([taken[taken >= 0].astype(np.uint8), np.array(parities).T.reshape(-1)])


def _parity(block: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The Reed-Solomon parity of a block: each byte adds its own, so they are read from a table and added."""
    table = _parity_table(len(block), count)
    parity: NDArray[np.uint8] = np.bitwise_xor.reduce(table[np.arange(len(block)), block], axis=0)
    return parity


@cache
def _parity_table(size: int, count: int) -> NDArray[np.uint8]:
    """Shape (size, 256, count): the parity of one byte of that value at that place of a block."""
    powers, logs = _field()
    generator = [1]
    for root in range(count):  # times (x - 2**root)
        generator = [
            higher ^ _times(lower, int(powers[root]))
            for higher, lower in zip([*generator, 0], [0, *generator], strict=True)
        ]
    rest = generator[1:]
    table = np.zeros((size, 256, count), dtype=np.uint8)
    values = np.arange(1, 256)
    remainder = np.array(rest)
    for place in reversed(range(size)):
        products = powers[(logs[values][:, None] + logs[remainder][None, :]) % 255]
        table[place, 1:] = np.where(remainder == 0, 0, products)
        first, shifted = int(remainder[0]), [*remainder[1:].tolist(), 0]
        remainder = np.array(
            [lower ^ _times(first, factor) for lower, factor in zip(shifted, rest, strict=True)]
        )
    return table


def _times(left: int, right: int) -> int:
    powers, logs = _field()
    return int(powers[(logs[left] + logs[right]) % 255]) if left and right else 0


@cache
def _field() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Powers of 2 in the field, and their logarithms (that of 0 is never asked for)."""
    powers, logs = np.zeros(255, dtype=np.int64), np.zeros(256, dtype=np.int64)
    value = 1
    for exponent in range(255):
        powers[exponent], logs[value] = value, exponent
        value <<= 1
        if value > 255:
            value ^= _FIELD
    return powers, logs


@cache
def _pattern(version: int) -> _Pattern:
    """Drawn by segno. The data goes in columns two wide, from the right, up and down in turns."""
    drawn = _segno(b"", version)
    kinds = np.array([list(row) for row in drawn.matrix_iter(border=0, verbose=True)])
    is_data = (kinds == consts.TYPE_DATA_DARK) | (kinds == consts.TYPE_DATA_LIGHT)
    side = len(kinds)
    is_data[8, side - 9] = True  # segno counts the module before the format information to it
    spots = []
    upwards = True
    for right in (*range(side - 1, 6, -2), *range(5, 0, -2)):  # column 6 is a timing pattern
        rows = range(side - 1, -1, -1) if upwards else range(side)
        spots += [(row, column) for row in rows for column in (right, right - 1) if is_data[row, column]]
        upwards = not upwards
    rows_of, columns_of = np.array(spots).T
    masked = ((rows_of + columns_of) % 3 == 0).astype(np.uint8)
    return _Pattern(np.array(drawn.matrix, dtype=np.uint8), rows_of, columns_of, masked)


def _segno(content: bytes, version: int | None) -> Any:
    return segno.make_qr(content, error="m", boost_error=False, mode="byte", mask=MASK, version=version)
