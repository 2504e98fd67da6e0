"""Reads the stored rows of meters that count or sum without group keys: nearly all rows of a big run.

The engine would answer the same with a join and a GROUP BY. Rows are few per key (one, unless events came
late) and come in the order of their periods, so one loop puts them into their places and adds them up
(``stored_kernels.py``): 0.25 s of processor time for 1.6 M rows with reading them, 1.9 s in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array
from ingest.clickhouse import EventStore
from ingest.event import QUANTITY_TYPE
from rollup.stored_kernels import add_up_rows, count_rows, place_rows
from rollup.usage_table import MeterUsage

_IDS_NAMED_MAX: Final = 10_000
"""Up to so many periods the store is told them, so that it reads only their rows."""
_GAP_MIN: Final = 8192
_STRETCHES_MAX: Final = 64


class Sums(NamedTuple):
    """What the kernels fill, a row each; ``start``: where the rows of each period_key begin. total: (rows, 2)
    words, low first; (0, 2) when only counts are asked."""

    start: NDArray[np.int64]
    key: NDArray[np.uint32]
    meter: NDArray[np.int32]
    events: NDArray[np.uint64]
    total: NDArray[np.uint64]


def read_sums(
    store: EventStore, *, rollups: pa.Table, places: Mapping[int, int], summed: bool
) -> tuple[MeterUsage, set[int]]:
    """Usage in the periods of ``rollups``, by period_key and place, and the places of meters that met events
    they cannot count (their rows mean nothing). quantity: the total if ``summed``, else the count.

    rollups: (rollup_id, period_key), each id once; several may share a period_key. places: meter number ->
    its place in the order asked.
    """
    ids = one_array(rollups["rollup_id"]).to_numpy()
    order = np.argsort(ids)
    ids, keys = ids[order], one_array(rollups["period_key"]).to_numpy()[order]
    where, parameters = stretches(ids)
    where += " AND meter_number IN ({numbers:Array(UInt32)})"
    parameters["numbers"] = list(places)
    if len(ids) <= _IDS_NAMED_MAX:
        where += " AND rollup_id IN ({ids:Array(UInt64)})"
        parameters["ids"] = str(ids.tolist())  # as the driver would write it, one number after the other
    total = ", total" if summed else ""
    rows = store.query(
        f"SELECT rollup_id, meter_number, event_count, number_count != event_count AS short{total}\n"
        f"FROM usage_rollups WHERE {where}",
        parameters,
    )
    place_of = np.zeros(max(places) + 1, np.int32)
    place_of[list(places)] = list(places.values())
    batches = [batch for batch in rows.to_batches() if batch.num_rows]
    return add_up_batches(batches, ids, keys, place_of, summed=summed), _short(batches, ids, places)


def add_up_batches(
    batches: list[pa.RecordBatch],
    ids: NDArray[np.uint64],
    keys: NDArray[np.uint32],
    place_of: NDArray[np.int32],
    *,
    summed: bool,
) -> MeterUsage:
    """One row a (period_key, place). batches: rollup_id, meter_number, event_count, short, and total if
    ``summed``, in any order; the faster the more they ascend. ids: ascending, with the ``keys`` they mean."""
    named, keys = _numbered(keys)
    start = np.zeros(len(named) + 1, np.int64)
    owners = []
    for batch in batches:
        owner = np.empty(batch.num_rows, np.uint32)
        count_rows(batch["rollup_id"].to_numpy(), ids, keys, owner, start)
        owners.append(owner)
    np.cumsum(start, out=start)
    count = int(start[-1])
    sums = Sums(
        start=start,
        key=np.empty(count, np.uint32),
        meter=np.empty(count, np.int32),
        events=np.empty(count, np.uint64),
        total=np.empty((count if summed else 0, 2), np.uint64),
    )
    after = start.copy()
    nothing = np.zeros((0, 2), np.uint64)
    for batch, owner in zip(batches, owners, strict=True):
        totals = _words(batch["total"]) if summed else nothing
        meters, events = batch["meter_number"].to_numpy(), batch["event_count"].to_numpy()
        place_rows(owner, meters, events, totals, place_of, after, sums)
    left = add_up_rows(sums)
    counts = pa.array(sums.events[:left])
    return MeterUsage(
        meter_number=sums.meter[:left],
        period_key=pa.array(named[sums.key[:left]]),
        dimensions=[],
        quantity=_decimals(sums.total[:left])
        if summed
        else counts.cast(pa.decimal128(20, 0)).cast(QUANTITY_TYPE),
        event_count=counts,
    )


def stretches(ids: NDArray[np.uint64]) -> tuple[str, dict[str, Any]]:
    """A condition that holds for the ids and few others: the subjects of a block stand together in each month
    that was kept at once, and the store skips what lies between. ids: ascending."""
    gaps = np.flatnonzero(np.diff(ids) > _GAP_MIN) + 1
    if len(gaps) >= _STRETCHES_MAX:
        gaps = gaps[:0]
    firsts, lasts = ids[np.append(0, gaps)], ids[np.append(gaps, len(ids)) - 1]
    parts, parameters = [], dict[str, Any]()
    for number, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        parts.append(f"rollup_id BETWEEN {{first_{number}:UInt64}} AND {{last_{number}:UInt64}}")
        parameters[f"first_{number}"], parameters[f"last_{number}"] = first, last
    return f"({' OR '.join(parts)})", parameters


def _numbered(keys: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The distinct keys in order, and the place of each among them. Keys that count the rows of a calendar,
    as nearly all do, need no search."""
    if int(keys.max()) < 2 * len(keys):
        return np.arange(int(keys.max()) + 1, dtype=np.uint32), keys
    named, places = np.unique(keys, return_inverse=True)
    return named, places.astype(np.uint32)


def _short(batches: list[pa.RecordBatch], ids: NDArray[np.uint64], places: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    for batch in batches:
        rows = np.flatnonzero(batch["short"].to_numpy(zero_copy_only=False))
        if len(rows):
            asked = np.isin(batch["rollup_id"].to_numpy()[rows], ids)
            numbers = np.unique(batch["meter_number"].to_numpy()[rows[asked]]).tolist()
            found |= {places[number] for number in numbers}
    return found


def _words(totals: pa.Array) -> NDArray[np.uint64]:
    words = np.frombuffer(totals.buffers()[1], np.uint64).reshape(-1, 2)
    return words[totals.offset : totals.offset + len(totals)]


def _decimals(words: NDArray[np.uint64]) -> pa.Array:
    return pa.Array.from_buffers(QUANTITY_TYPE, len(words), [None, pa.py_buffer(words)])
