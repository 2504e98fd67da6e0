"""Goal: eight bytes at a time find and copy exactly what one byte at a time does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.json_records import line_breaks
from ingest.json_scan import copy_spans, scan_string

# Bytes next to those that are looked for, and with the high bit set, so that a borrow or a carry would show.
TEXTS = st.lists(
    st.sampled_from([0, 9, 10, 11, 31, 32, 33, 34, 35, 91, 92, 93, 127, 128, 138, 162, 220, 255])
).map(bytes)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_line_ends_are_where_they_are(body: bytes) -> None:
    assert line_breaks(body).tolist() == [at for at, byte in enumerate(body) if byte == 10]


def string_end(body: bytes) -> int:
    for at, byte in enumerate(body):
        if byte == 34:
            return at
        if byte == 92 or byte < 32:
            return -1
    return -1


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_a_text_ends_at_the_first_quote_with_nothing_special_before(body: bytes) -> None:
    assert scan_string(np.frombuffer(body, np.uint8), 0, len(body)) == string_end(body)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_copies_are_the_bytes(body: bytes, spans: list[tuple[int, int]]) -> None:
    parts = [body[start : start + size] for start, size in spans]
    starts = np.array([start for start, _ in spans], np.int64)
    sizes = np.array([len(part) for part in parts], np.int64)
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    data = np.empty(int(offsets[-1]), np.uint8)
    copy_spans(np.frombuffer(body, np.uint8), starts, sizes, offsets, data)
    assert data.tobytes() == b"".join(parts)
