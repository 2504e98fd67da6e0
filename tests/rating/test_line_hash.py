"""Goal: hashes of columns depend on the values of a row alone and tell rows apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.line_hash import Gathered, hash_all, hash_columns, hash_maps, hash_text, hash_texts


def test_a_text_has_one_hash_whoever_computes_it() -> None:
    assert [f"{half:016x}" for half in hash_text("contract-7")] == ["90d80f05173840e8", "c4d70042c27765a9"]


@given(st.lists(st.text(max_size=40), max_size=20))
@settings(max_examples=200, deadline=None)
def test_kernel_and_plain_python_agree(texts: list[str]) -> None:
    hashes = hash_texts(pa.array(texts, pa.string()))
    assert [tuple(int(half) for half in row) for row in hashes] == [hash_text(text) for text in texts]
    sliced = hash_texts(pa.array(["before", *texts], pa.string()).slice(1))
    np.testing.assert_array_equal(sliced, hashes)


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2))
@settings(max_examples=100, deadline=None)
def test_different_rows_differ(rows: set[tuple[int, int]]) -> None:
    columns = [np.array(column, np.uint64) for column in zip(*rows, strict=True)]
    assert len({tuple(row) for row in hash_columns(columns).tolist()}) == len(rows)


def test_a_gathered_column_and_one_row_for_all_hash_like_the_whole_column() -> None:
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**63, (7, 2)).astype(np.uint64)
    rows = rng.integers(-1, 7, 40_000)
    plain = rng.integers(0, 9, 40_000).astype(np.uint64)
    whole = hash_columns([words[rows], plain, np.repeat(words[:1], 40_000, axis=0)])
    for threads in (1, 3):
        short = hash_columns([Gathered(words, rows), plain, words[:1]], threads=threads)
        np.testing.assert_array_equal(short, whole)
    assert hash_columns([Gathered(words, rows[:0]), words[:1]]).shape == (0, 2)


def test_empty_maps_have_the_hash_of_the_empty_text() -> None:
    kind = pa.map_(pa.string(), pa.string())
    assert hash_maps(pa.array([[], []], kind)).tolist() == hash_all([""]).tolist()
    assert hash_maps(pa.array([[("a", "b")], []], kind))[1].tolist() == list(hash_text(""))
    assert hash_maps(pa.array([[("a", "b")], []], kind).slice(1)).tolist() == hash_all([""]).tolist()


def test_maps_that_could_be_confused_differ() -> None:
    kind = pa.map_(pa.string(), pa.string())
    rows = [
        [],
        [("a", "")],
        [("", "a")],
        [("a", "b")],
        [("ab", "")],
        [("a", "b"), ("c", "d")],
        [("a", "bcd")],
    ]
    hashes = hash_maps(pa.array(rows, kind))
    assert len({tuple(row) for row in hashes.tolist()}) == len(rows)
    np.testing.assert_array_equal(hash_maps(pa.array([[("x", "y")], *rows], kind).slice(1)), hashes)
