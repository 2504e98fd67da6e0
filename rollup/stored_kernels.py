"""The two loops of reading stored usage: which kept period is asked, and rows put in order and added up.

Neither hashes a row of usage or sorts one: both sides come in runs that ascend, so a row is found beside the
one before it and put straight into its place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.arrow_buffers import Bytes
from ingest.byte_words import load_word
from ingest.compiled import compiled

NOT_KEPT: Final = -1
NOT_ASKED: Final = np.uint32(2**32 - 1)
"""No ``period_key``: keys number the rows of a calendar."""
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)
_ONE: Final = np.uint64(1)


@compiled
def match_periods(kept: Any, ids: Any, kept_hash: Any, asked: Any, asked_hash: Any, found: Any) -> None:
    """found[row] = place among the kept of equal words with the highest id, or NOT_KEPT.

    kept, asked: (rows, n) words, all that a period is told by. *_hash: their ``hash_rows``.
    """
    size = 16
    while size < 2 * len(ids):
        size *= 2
    slots = np.full(size, NOT_KEPT, np.int32)
    mask = np.uint64(size - 1)
    width = kept.shape[1]
    for row in range(len(ids)):
        slot = kept_hash[row] & mask
        while slots[slot] != NOT_KEPT:
            other, same = slots[slot], 0
            while same < width and kept[other, same] == kept[row, same]:
                same += 1
            if same == width:
                break
            slot = (slot + _ONE) & mask
        if slots[slot] == NOT_KEPT or ids[slots[slot]] < ids[row]:
            slots[slot] = row
    for row in range(len(found)):
        slot = asked_hash[row] & mask
        while slots[slot] != NOT_KEPT:
            other, same = slots[slot], 0
            while same < width and kept[other, same] == asked[row, same]:
                same += 1
            if same == width:
                break
            slot = (slot + _ONE) & mask
        found[row] = slots[slot]


@compiled
def text_words(offsets: Any, data: Any, words: Any) -> None:
    """Write each text into its row of words: its length, then its bytes, zeros behind them.

    offsets: into data, one more than rows. data: the bytes of all texts, ``padded``. words: (rows, n), of
    zeros, wide enough for the longest.
    """
    for row in range(len(offsets) - 1):
        start, after = offsets[row], offsets[row + 1]
        words[row, 0] = np.uint64(after - start)
        place = 1
        while start + 8 <= after:
            words[row, place] = load_word(data, start)
            start += 8
            place += 1
        if start < after:
            words[row, place] = load_word(data, start) & ((_ONE << np.uint64((after - start) * 8)) - _ONE)


def padded(data: Bytes) -> Bytes:
    """The bytes with eight zeros behind them, so that a word can be loaded where any of them stands."""
    found = np.zeros(len(data) + 8, np.uint8)
    found[: len(data)] = data
    return found


@compiled
def hash_rows(words: Any, hashes: Any) -> None:
    """One number for each row of words, equal for equal rows."""
    for row in range(len(hashes)):
        value = _ONE
        for place in range(words.shape[1]):
            value = (value ^ words[row, place]) * _MULTIPLIER
            value ^= value >> _HALF
        value *= _MULTIPLIER
        hashes[row] = value ^ (value >> _HALF)


@compiled
def count_rows(rollup_ids: Any, ids: Any, keys: Any, owner: Any, counts: Any) -> None:
    """owner[row] = the period_key of its rollup_id, or NOT_ASKED; counts[key + 1] grows by its rows.

    ids: ascending, each once; keys: the period_key of each.
    """
    at = 0
    for row in range(len(rollup_ids)):
        wanted = rollup_ids[row]
        if ids[at] != wanted:
            if at + 1 < len(ids) and ids[at + 1] == wanted:
                at += 1
            else:
                at = min(np.searchsorted(ids, wanted), len(ids) - 1)
        if ids[at] == wanted:
            owner[row] = keys[at]
            counts[np.int64(keys[at]) + 1] += 1
        else:
            owner[row] = NOT_ASKED


@compiled
def place_rows(
    owner: Any, meters: Any, events: Any, totals: Any, place_of: Any, after: Any, sums: Any
) -> None:
    """Put the rows among those of their period, by meter. after[key]: where its next row goes; it moves on.

    place_of: by meter number, the order of the meters. totals: (rows, 2) words; none when ``sums`` has none.
    """
    for row in range(len(owner)):
        if owner[row] == NOT_ASKED:
            continue
        place = place_of[meters[row]]
        slot = after[owner[row]]
        after[owner[row]] = slot + 1
        first = sums.start[owner[row]]
        while slot > first and sums.meter[slot - 1] > place:
            _move(sums, slot - 1, slot)
            slot -= 1
        sums.key[slot], sums.meter[slot], sums.events[slot] = owner[row], place, events[row]
        if len(sums.total):
            sums.total[slot, 0], sums.total[slot, 1] = totals[row, 0], totals[row, 1]


@compiled
def add_up_rows(sums: Any) -> int:
    """Add rows of one period and meter, which stand together; returns how many are left, at the front.

    Totals are added modulo 2**128 like the engine's own. Quantities are bounded at the door, so the sum of
    all events fits (``ingest/event.py``).
    """
    left = 0
    for row in range(len(sums.key)):
        if left and sums.key[left - 1] == sums.key[row] and sums.meter[left - 1] == sums.meter[row]:
            sums.events[left - 1] += sums.events[row]
            if len(sums.total):
                low = sums.total[left - 1, 0] + sums.total[row, 0]
                high = sums.total[left - 1, 1] + sums.total[row, 1]
                if low < sums.total[row, 0]:
                    high += _ONE
                sums.total[left - 1, 0], sums.total[left - 1, 1] = low, high
            continue
        if left < row:
            _move(sums, row, left)
        left += 1
    return left


@compiled
def _move(sums: Any, row: int, slot: int) -> None:
    sums.key[slot], sums.meter[slot], sums.events[slot] = sums.key[row], sums.meter[row], sums.events[row]
    if len(sums.total):
        sums.total[slot, 0], sums.total[slot, 1] = sums.total[row, 0], sums.total[row, 1]
