"""Usage of a few meters as Python values, for the rows that are priced one by one."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import one_array
from rating.period_columns import dictionary_codes

Dimensions = tuple[tuple[str, str], ...]
Usage = dict[tuple[int, str, Dimensions], tuple[Decimal, int]]
"""(period key, meter_id, dimensions) -> (quantity, event count)."""


def usage_of(usage: pa.Table, meter_ids: Collection[str]) -> Usage:
    """The USAGE_SCHEMA rows of these meters."""
    codes, words = dictionary_codes(usage["meter_id"])
    if not len(codes):
        return {}
    wanted = np.array([word in meter_ids for word in words], np.bool_)
    rows = np.flatnonzero(wanted[codes])
    part = usage.take(pa.array(rows))
    quantities, maps = (one_array(part[name]).to_pylist() for name in ("quantity", "dimensions"))
    counts, keys = part["event_count"].to_pylist(), part["period_key"].to_pylist()
    return {
        (key, words[codes[row]], tuple(entries)): (quantity, count)
        for row, key, entries, quantity, count in zip(
            rows.tolist(), keys, maps, quantities, counts, strict=True
        )
    }
