"""Reads the events of levels (licence seats) from the store and has them read (``levels.py``)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from ingest.in_force import EventCut
from ingest.meter import Meter
from rollup.holding import Holding
from rollup.levels import read_levels
from rollup.query import SUBJECT_COLUMNS_SQL, event_names_query, level_events_query
from rollup.usage_table import MeterUsage


def roll_up_levels(
    store: EventStore,
    *,
    calendar: pa.Table,
    end_micros: int,
    cut: EventCut,
    levels: Mapping[int, Meter],
    parts: list[MeterUsage],
    holding: Holding | None = None,
) -> list[tuple[int, pa.Table]]:
    """Answer time_weighted meters, given by their places: their usage is added to ``parts``. Returns their
    unusable events. holding: what counts of each row of the calendar, None for all."""
    if not levels:
        return []
    words = calendar["subject"].combine_chunks().dictionary_encode()
    numbers = words.indices.to_numpy().astype(np.int64)
    subjects = pa.table(
        {
            "subject": words.dictionary,
            "subject_number": pa.array(np.arange(len(words.dictionary)), pa.uint32()),
        }
    )
    unusable = []
    with store.scratch_table(SUBJECT_COLUMNS_SQL, subjects) as name:
        for number, meter in levels.items():
            query = level_events_query(meter=meter, subjects=name, end_micros=end_micros, cut=cut)
            usage, spoiled = read_levels(
                meter=meter,
                meter_number=number,
                events=store.query(query.sql, query.parameters),
                calendar=calendar,
                subject_numbers=numbers,
                holding=holding,
            )
            parts.append(usage)
            if spoiled.num_rows:
                unusable.append((number, _with_examples(store, meter, spoiled)))
    return unusable


def _with_examples(store: EventStore, meter: Meter, spoiled: pa.Table) -> pa.Table:
    """Put (source, id) beside the sequence of each example event."""
    sequences = pa.table({"sequence": spoiled["sequence"].unique()})
    with store.scratch_table("sequence UInt64", sequences) as name:
        query = event_names_query(meter=meter, sequences=name)
        names = store.query(query.sql, query.parameters)
    joined = spoiled.join(names, keys="sequence", join_type="inner")
    if joined.num_rows != spoiled.num_rows:
        raise BrokenState(
            f"events of meter {meter.meter_id!r} vanished or share a sequence number while they were read. "
            "Run the roll-up again; if it says so again, the event store is damaged."
        )
    return joined.drop_columns(["sequence"])
