"""Which identities may have been seen: a blocked Bloom filter, 27 bits an identity, one memory access each.

It never says no of an identity that was added. Of others it says "perhaps" about once in 25,000 when full.
An identity is a keyed hash already, so its own bits choose the block and the bits in it.

It grows by further filters a quarter as large as all before, because a full one cannot be made larger
without the identities that went into it: asking then looks into each, and a restart makes them one again.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.arrow_buffers import Words
from ingest.compiled import compiled

Flags = npt.NDArray[np.bool_]

BITS_PER_IDENTITY: Final = 27
FIRST_CAPACITY: Final = 1 << 20
_WORDS_PER_BLOCK: Final = 8
_BLOCK_BITS: Final = 64 * _WORDS_PER_BLOCK
_GROWTH_PARTS: Final = 4


class IdentityFilter:
    """Not thread safe. expected: identities that are about to be added, so that one filter holds them."""

    def __init__(self, expected: int) -> None:
        capacity = max(FIRST_CAPACITY, expected + expected // _GROWTH_PARTS)
        self._filters: list[Words] = [_empty_filter(capacity)]
        self._capacity = capacity
        self._room = capacity

    @property
    def bytes_held(self) -> int:
        """Memory of the filters."""
        return sum(words.nbytes for words in self._filters)

    def add(self, identities: Words) -> None:
        """Take in identities: uint64 (rows, 2)."""
        start = 0
        while start < len(identities):
            if not self._room:
                self._room = max(FIRST_CAPACITY, self._capacity // _GROWTH_PARTS)
                self._capacity += self._room
                self._filters.append(_empty_filter(self._room))
            taken = identities[start : start + self._room]
            _add(self._filters[-1], taken)
            self._room -= len(taken)
            start += len(taken)

    def may_hold(self, identities: Words) -> Flags:
        """Whether each identity may have been added; False is certain."""
        found = np.zeros(len(identities), np.bool_)
        for words in self._filters:
            _ask(words, identities, found)
        return found


def _empty_filter(capacity: int) -> Words:
    blocks = capacity * BITS_PER_IDENTITY // _BLOCK_BITS + 1
    return np.zeros((blocks, _WORDS_PER_BLOCK), np.uint64)


@compiled
def _block(low: np.uint64, blocks: int) -> np.int64:
    # The upper half of the word, scaled to the number of blocks: below 2**32 of them, which 8 x 10**10
    # identities would take. The lower half chooses the slot in the exact set.
    return np.int64(((low >> np.uint64(32)) * np.uint64(blocks)) >> np.uint64(32))


@compiled
def _add(words: Words, identities: Words) -> None:
    for row in range(len(identities)):
        block = _block(identities[row, 0], len(words))
        bits = identities[row, 1]
        for word in range(_WORDS_PER_BLOCK):
            words[block, word] |= np.uint64(1) << (bits & np.uint64(63))
            bits >>= np.uint64(6)


@compiled
def _ask(words: Words, identities: Words, found: Flags) -> None:
    for row in range(len(identities)):
        if found[row]:
            continue
        block = _block(identities[row, 0], len(words))
        bits = identities[row, 1]
        held = True
        for word in range(_WORDS_PER_BLOCK):
            if not (words[block, word] >> (bits & np.uint64(63))) & np.uint64(1):
                held = False
                break
            bits >>= np.uint64(6)
        found[row] = held
