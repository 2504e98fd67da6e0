"""Goal: columns keep their rows together when they are sorted, rounded and made into maps."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.event import QUANTITY_TYPE
from rollup.reference import rounded
from rollup.schema import UNUSABLE_SCHEMA, USAGE_SCHEMA
from rollup.usage_table import (
    MeterUsage,
    _sorted_order,
    arrange_unusable,
    arrange_usage,
    dimension_maps,
    round_quantity,
)

from .support import meter, shown


def quantities(*texts: str) -> pa.Array:
    return pa.array([Decimal(text) for text in texts], QUANTITY_TYPE)


def test_parts_become_one_sorted_table() -> None:
    meters = [meter("a", "t", "sum", fraction_digits=1), meter("b", "t", "sum", group_by=["y", "x"])]
    parts = [
        MeterUsage(
            np.full(2, 1, np.int32),
            pa.array([5, 5], pa.uint32()),
            (pa.array(["1", "1"]), pa.array(["2", "3"])),
            quantities("1.25", "2.5"),
            pa.array([1, 2], pa.uint64()),
        ),
        MeterUsage(
            np.full(2, 0, np.int32),
            pa.array([7, 5], pa.uint32()),
            (),
            quantities("1.25", "-1.25"),
            pa.array([3, 4], pa.uint64()),
        ),
    ]
    table = arrange_usage(meters, parts)
    assert table.schema.equals(USAGE_SCHEMA)
    assert shown(table) == [
        (5, "a", {}, "-1.3", 4),
        (5, "b", {"y": "1", "x": "2"}, "1.25", 1),
        (5, "b", {"y": "1", "x": "3"}, "2.5", 2),
        (7, "a", {}, "1.3", 3),
    ]
    assert [list(dict(row).keys()) for row in table["dimensions"].to_pylist()][1] == ["y", "x"]


def test_nothing_is_an_empty_table() -> None:
    assert arrange_usage([], []).schema.equals(USAGE_SCHEMA)
    assert arrange_unusable([], []).schema.equals(UNUSABLE_SCHEMA)


def test_maps_keep_the_order_of_the_names() -> None:
    values = [pa.array(["1", "2", "3"]), pa.array(["a", "b", "c"])]
    assert dimension_maps(["n", "m"], values, 3).to_pylist() == [
        [("n", "1"), ("m", "a")],
        [("n", "2"), ("m", "b")],
        [("n", "3"), ("m", "c")],
    ]
    assert dimension_maps([], [], 2).to_pylist() == [[], []]


@settings(max_examples=200)
@given(
    scaled=st.integers(-(10**32), 10**32),
    fraction_digits=st.integers(0, 12),
)
def test_rounding_is_half_up_away_from_zero(scaled: int, fraction_digits: int) -> None:
    exact = Fraction(scaled, 10**12)
    found = round_quantity(pa.array([rounded(exact, 12)], QUANTITY_TYPE), fraction_digits)
    assert found.type == QUANTITY_TYPE
    assert found.to_pylist() == [rounded(exact, fraction_digits)]


@settings(max_examples=200)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0, 1, 77, 2**32 - 1, 2**63]), st.integers(0, 6)), min_size=1, max_size=40
    )
)
def test_order_is_stable_for_small_and_huge_keys(rows: list[tuple[int, int]]) -> None:
    keys = np.array([key for key, _ in rows], np.uint64)
    numbers = np.array([number for _, number in rows], np.int32)
    right = sorted(range(len(rows)), key=lambda row: rows[row])
    order = _sorted_order(keys, numbers, 7)
    assert (list(range(len(rows))) if order is None else order.tolist()) == right
