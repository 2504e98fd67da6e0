"""Goal: the loops that read stored usage give what dictionaries and whole numbers give, in any row order."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.event import QUANTITY_TYPE
from rollup.kept_periods import places_among
from rollup.stored_kernels import NOT_KEPT
from rollup.stored_sums import add_up_batches, stretches

WIDE = Context(prec=60)
INSTANTS = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
SPANS = [(INSTANTS[0], INSTANTS[1]), (INSTANTS[1], INSTANTS[2]), (INSTANTS[0], INSTANTS[2])]
SUBJECTS = ["", "a", "acme-00000001", "acme-00000002", "acme-0000000\0", "\0", "acht Byte", "ü" * 40]

stored_row = st.tuples(
    st.integers(1, 12),  # rollup_id
    st.integers(1, 4),  # meter number
    st.integers(1, 2**40),  # events
    st.integers(-(10**36), 10**36),  # total at scale 12
)
kept_row = st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(SPANS))


def batch(rows: list[tuple[int, int, int, int]]) -> pa.RecordBatch:
    ids, meters, events, totals = zip(*rows, strict=True)
    words = b"".join(total.to_bytes(16, "little", signed=True) for total in totals)
    decimals = pa.Array.from_buffers(QUANTITY_TYPE, len(rows), [None, pa.py_buffer(words)])
    columns = [
        pa.array(ids, pa.uint64()),
        pa.array(meters, pa.uint32()),
        pa.array(events, pa.uint64()),
        decimals,
    ]
    return pa.record_batch(columns, ["rollup_id", "meter_number", "event_count", "total"])


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(stored_row, min_size=1, max_size=40),
    cut=st.integers(0, 40),
    keys=st.dictionaries(st.integers(1, 12), st.sampled_from([0, 1, 2, 3, 90, 2**32 - 2]), min_size=1),
    in_order=st.booleans(),
)
def test_rows_are_added_up_by_period_and_meter(
    rows: list[tuple[int, int, int, int]], cut: int, keys: dict[int, int], in_order: bool
) -> None:
    if in_order:
        rows = sorted(rows)
    ids = sorted(keys)
    place_of = np.array([0, 3, 1, 0, 2], np.int32)  # the meters are asked in another order than numbered
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    for rollup_id, meter, events, total in rows:
        if rollup_id in keys:
            key = keys[rollup_id], int(place_of[meter])
            before = expected.get(key, (0, 0))
            expected[key] = before[0] + events, before[1] + total
    found = add_up_batches(
        [batch(part) for part in (rows[:cut], rows[cut:]) if part],
        np.array(ids, np.uint64),
        np.array([keys[rollup_id] for rollup_id in ids], np.uint32),
        place_of,
        summed=True,
    )
    totals = [int(number.scaleb(12, WIDE)) for number in found.quantity.to_pylist()]
    named = zip(found.period_key.to_pylist(), found.meter_number.tolist(), strict=True)
    sums = zip(found.event_count.to_pylist(), totals, strict=True)
    assert list(zip(named, sums, strict=True)) == sorted(expected.items())


def test_counts_need_no_totals() -> None:
    rows = batch([(2, 1, 5, 0), (1, 1, 7, 0), (2, 1, 1, 0)]).drop_columns(["total"])
    ids, keys = np.array([1, 2], np.uint64), np.array([1, 0], np.uint32)
    found = add_up_batches([rows], ids, keys, np.zeros(2, np.int32), summed=False)
    assert found.period_key.to_pylist() == [0, 1]
    assert [str(number) for number in found.quantity.to_pylist()] == ["6.000000000000", "7.000000000000"]


@settings(max_examples=150, deadline=None)
@given(kept=st.lists(kept_row, max_size=30), asked=st.lists(kept_row, min_size=1, max_size=30))
def test_a_period_is_found_by_its_whole_subject_and_times(
    kept: list[tuple[str, tuple[datetime, datetime]]], asked: list[tuple[str, tuple[datetime, datetime]]]
) -> None:
    ids = [(7 * number) % 31 for number in range(len(kept))]  # a later row may have an earlier id
    best: dict[tuple[str, tuple[datetime, datetime]], int] = {}
    for row, period in enumerate(kept):
        if period not in best or ids[row] > ids[best[period]]:
            best[period] = row
    places = places_among(
        periods(kept).append_column("rollup_id", pa.array(ids, pa.uint64())), periods(asked)
    )
    assert places.tolist() == [best.get(period, NOT_KEPT) for period in asked]


def periods(rows: list[tuple[str, tuple[datetime, datetime]]]) -> pa.Table:
    times = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "subject": pa.array([subject for subject, _ in rows], pa.string()),
            "period_start": pa.array([start for _, (start, _) in rows], times),
            "period_end": pa.array([end for _, (_, end) in rows], times),
        }
    )


@given(st.lists(st.integers(1, 2**63), min_size=1, max_size=200, unique=True))
def test_stretches_hold_every_id(drawn: list[int]) -> None:
    ids = np.array(sorted(drawn), np.uint64)
    condition, bounds = stretches(ids)
    firsts = [bounds[f"first_{number}"] for number in range(len(bounds) // 2)]
    lasts = [bounds[f"last_{number}"] for number in range(len(bounds) // 2)]
    assert condition.count("BETWEEN") == len(firsts) <= 64
    assert all(any(first <= one <= last for first, last in zip(firsts, lasts, strict=True)) for one in drawn)
