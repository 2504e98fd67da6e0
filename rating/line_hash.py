"""128-bit hashes of columns: the ids of rated lines and of what they were computed from.

The same columns give the same hash in every process, thread, batch and row order, because a row's
hash depends on nothing but its own values. Each value enters as 64-bit words (a text as its own
128-bit hash), each word passes a full mix of both halves. Not keyed: an id must be the same in
every store, and it only has to tell our own lines apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array, text_buffers
from ingest.compiled import compiled
from rating.slices import in_slices
from rating.wide import Word

Hashes = NDArray[np.uint64]

_SEED_LOW: Final = np.uint64(0x6A09E667F3BCC908)  # fraction of the square root of 2
_SEED_HIGH: Final = np.uint64(0xBB67AE8584CAA73B)  # fraction of the square root of 3
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)  # both: splitmix64, Steele et al. 2014
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_S27: Final = np.uint64(27)
_S30: Final = np.uint64(30)
_S31: Final = np.uint64(31)
_MASK: Final = 2**64 - 1
_BLOCK_ROWS: Final = 16_384
"""Rows whose hashes stay in the processor's cache from the first column to the last."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The column ``words[rows]``, without making it. words: (any, n) uint64; -1 is its last row."""

    words: NDArray[np.uint64]
    rows: NDArray[np.int64]


def hash_columns(columns: Sequence[NDArray[np.uint64] | Gathered], *, threads: int = 1) -> Hashes:
    """Hash rows of ``uint64`` columns, each of shape (rows,) or (rows, n). Returns (rows, 2).

    The first column says how many rows there are; a later one of a single row stands for all.
    """
    parts = [part if isinstance(part, Gathered) else _as_words(part) for part in columns]
    width = np.uint64(sum((part.words if isinstance(part, Gathered) else part).shape[1] for part in parts))
    count = len(parts[0].rows) if isinstance(parts[0], Gathered) else len(parts[0])
    hashes = np.empty((count, 2), np.uint64)

    def work(first: int, last: int) -> None:
        for start in range(first, last, _BLOCK_ROWS):
            end = min(start + _BLOCK_ROWS, last)
            _start(hashes, width, start, end)
            for part in parts:
                if isinstance(part, Gathered):
                    _absorb_gathered(hashes, part.words, part.rows, start, end)
                else:
                    _absorb(hashes, part, 0 if len(part) == 1 else 1, start, end)

    in_slices(work, count, threads)
    return hashes


def _as_words(column: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(column if column.ndim == 2 else column[:, np.newaxis])


def hash_all(texts: Sequence[str]) -> Hashes:
    """Hashes of texts, (texts, 2)."""
    return hash_texts(pa.array(texts, pa.string()))


def hash_texts(column: Any) -> Hashes:
    """Hashes of an Arrow string column, (rows, 2)."""
    offsets, data = text_buffers(one_array(column))
    hashes = np.empty((len(offsets) - 1, 2), np.uint64)
    _hash_texts(offsets, data, hashes)
    return hashes


def hash_text(text: str) -> tuple[int, int]:
    """The hash of one text as two integers; equal to that of ``hash_texts``."""
    data = text.encode()
    low, high = int(_SEED_LOW) ^ len(data), int(_SEED_HIGH)
    for start in range(0, len(data), 8):
        word = int.from_bytes(data[start : start + 8], "little")
        low, high = _mixed(low, high, word)
    return low, high


def hash_maps(column: Any) -> Hashes:
    """Hashes of an Arrow map column of texts, entry by entry in stored order, (rows, 2); when all
    maps are empty a single row that stands for all."""
    maps = one_array(column)
    if not has_entries(maps):
        return hash_all([""])  # what an empty map gives too: the seeds, of no word
    names, items = hash_texts(maps.keys), hash_texts(maps.items)
    offsets = maps.offsets.to_numpy().astype(np.int64)
    hashes = np.empty((len(maps), 2), np.uint64)
    _hash_maps(offsets, names, items, hashes)
    return hashes


def has_entries(maps: Any) -> bool:
    """Whether any map of the Arrow array holds anything."""
    return len(maps) > 0 and maps.offsets[0].as_py() != maps.offsets[len(maps)].as_py()


def _mixed(low: int, high: int, word: int) -> tuple[int, int]:
    low = _scrambled_int((low ^ word) + int(_GOLDEN) + high)
    high = _scrambled_int((high + word) * int(_GOLDEN) ^ low)
    return low, high


def _scrambled_int(value: int) -> int:
    value &= _MASK
    value = (value ^ (value >> 30)) * int(_MIX_1) & _MASK
    value = (value ^ (value >> 27)) * int(_MIX_2) & _MASK
    return value ^ (value >> 31)


@compiled
def _scrambled(value: Word) -> Word:
    value = (value ^ (value >> _S30)) * _MIX_1
    value = (value ^ (value >> _S27)) * _MIX_2
    return value ^ (value >> _S31)


@compiled
def _mix(low: Word, high: Word, word: Word) -> tuple[Word, Word]:
    low = _scrambled((low ^ word) + _GOLDEN + high)
    high = _scrambled((high + word) * _GOLDEN ^ low)
    return low, high


@compiled
def _start(hashes: Any, words: Word, first: int, last: int) -> None:
    for row in range(first, last):
        hashes[row, 0] = _SEED_LOW ^ words
        hashes[row, 1] = _SEED_HIGH


@compiled
def _absorb(hashes: Any, words: Any, step: int, first: int, last: int) -> None:
    for row in range(first, last):
        low, high = hashes[row, 0], hashes[row, 1]
        for position in range(words.shape[1]):
            low, high = _mix(low, high, words[row * step, position])
        hashes[row, 0] = low
        hashes[row, 1] = high


@compiled
def _absorb_gathered(hashes: Any, words: Any, rows: Any, first: int, last: int) -> None:
    for row in range(first, last):
        low, high = hashes[row, 0], hashes[row, 1]
        at = rows[row]
        for position in range(words.shape[1]):
            low, high = _mix(low, high, words[at, position])
        hashes[row, 0] = low
        hashes[row, 1] = high


@compiled
def _hash_texts(offsets: Any, data: Any, hashes: Any) -> None:
    for row in range(len(hashes)):
        start, end = offsets[row], offsets[row + 1]
        low, high = _SEED_LOW ^ np.uint64(end - start), _SEED_HIGH
        for block in range(start, end, 8):
            word = np.uint64(0)
            for position in range(min(block + 8, end) - 1, block - 1, -1):
                word = (word << np.uint64(8)) | np.uint64(data[position])
            low, high = _mix(low, high, word)
        hashes[row, 0] = low
        hashes[row, 1] = high


@compiled
def _hash_maps(offsets: Any, names: Any, items: Any, hashes: Any) -> None:
    for row in range(len(hashes)):
        start, end = offsets[row], offsets[row + 1]
        low, high = _SEED_LOW ^ np.uint64(end - start), _SEED_HIGH
        for entry in range(start, end):
            low, high = _mix(low, high, names[entry, 0])
            low, high = _mix(low, high, names[entry, 1])
            low, high = _mix(low, high, items[entry, 0])
            low, high = _mix(low, high, items[entry, 1])
        hashes[row, 0] = low
        hashes[row, 1] = high
