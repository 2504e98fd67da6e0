"""Reads the stored rows of meters that count or sum without group keys: nearly all rows of a big run.

The engine would answer the same with a join and a GROUP BY. Rows are few per key (one, unless events came
late), so taking them as they are and adding up here takes less than half the processor time: 0.8 s against
1.9 s for 1.6 M rows, on a busy machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.arrow_buffers import decimal_words, decimals_from_words, one_array
from ingest.clickhouse import EventStore
from ingest.event import QUANTITY_TYPE

_IDS_NAMED_MAX: Final = 10_000
"""Up to so many periods the store is told them, so that it reads only their rows."""
_HALF: Final = np.uint64(32)
_LOW_HALF: Final = np.uint64(2**32 - 1)


def read_sums(
    store: EventStore, *, rollups: pa.Table, meter_numbers: Sequence[int], summed: bool
) -> pa.Table:
    """Usage of these meters in the periods of ``rollups``: period_key, meter_number, event_count,
    number_count, quantity (the total if ``summed``, else the count). By period_key and meter_number.

    rollups: (rollup_id, period_key), each id once; several may share a period_key.
    """
    order = np.argsort(one_array(rollups["rollup_id"]).to_numpy())
    ids = one_array(rollups["rollup_id"]).to_numpy()[order]
    where = (
        "rollup_id >= {first:UInt64} AND rollup_id <= {last:UInt64} "
        "AND meter_number IN ({numbers:Array(UInt32)})"
    )
    parameters: dict[str, Any] = {"first": ids[0], "last": ids[-1], "numbers": list(meter_numbers)}
    if len(ids) <= _IDS_NAMED_MAX:
        where += " AND rollup_id IN ({ids:Array(UInt64)})"
        parameters["ids"] = ids.tolist()
    total = ", total" if summed else ""
    rows = store.query(
        f"SELECT rollup_id, meter_number, event_count, number_count{total} FROM usage_rollups WHERE {where}",
        parameters,
    )
    found = one_array(rows["rollup_id"]).to_numpy()
    place = np.minimum(np.searchsorted(ids, found), len(ids) - 1)
    if not np.array_equal(ids[place], found):
        kept = ids[place] == found
        rows, place = rows.filter(pa.array(kept)), place[kept]
    period_key = one_array(rollups["period_key"]).to_numpy()[order][place]
    return _added_up(rows, period_key, summed=summed)


def _added_up(rows: pa.Table, period_key: NDArray[np.uint32], *, summed: bool) -> pa.Table:
    """One row a (period_key, meter)."""
    number = one_array(rows["meter_number"]).to_numpy()
    counts = [one_array(rows[name]).to_numpy() for name in ("event_count", "number_count")]
    key = period_key.astype(np.uint64) << _HALF | number
    # The store gives a few ascending runs, and a merge sort takes those as they are: 0.05 s for
    # 1.6 M rows, 0.2 s for a sort that does not see them.
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])[: len(key)])
    if len(begins) == len(key):
        counts = [column[order] for column in counts]
        totals = one_array(rows["total"]).take(pa.array(order)) if summed else None
    else:
        counts = [np.add.reduceat(column[order], begins) for column in counts]
        totals = _sum_decimals(one_array(rows["total"]), order, begins) if summed else None
        key = key[begins]
    if totals is None:
        totals = pa.array(counts[1]).cast(pa.decimal128(20, 0)).cast(QUANTITY_TYPE)
    return pa.table(
        {
            "period_key": pa.array((key >> _HALF).astype(np.uint32)),
            "meter_number": pa.array((key & _LOW_HALF).astype(np.uint32)),
            "event_count": pa.array(counts[0]),
            "number_count": pa.array(counts[1]),
            "quantity": totals,
        }
    )


def _sum_decimals(totals: pa.Array, order: NDArray[np.int64], begins: NDArray[np.int64]) -> pa.Array:
    """The sums of runs, modulo 2**128 like the engine's own: halves of words are added, so that no carry
    is lost. Quantities are bounded at the door, so the sum of all events fits (``ingest/event.py``)."""
    low, high = (words[order] for words in decimal_words(totals))
    quarter = np.add.reduceat(low & _LOW_HALF, begins)
    half = np.add.reduceat(low >> _HALF, begins) + (quarter >> _HALF)
    low_sum = (half << _HALF) | (quarter & _LOW_HALF)
    high_sum = np.add.reduceat(high, begins) + (half >> _HALF)
    return decimals_from_words(low_sum, high_sum, np.ones(len(begins), np.bool_))
