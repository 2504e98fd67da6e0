"""Compiles the kernels of this room before they are needed, on usage that nobody has."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa

from ingest.event import QUANTITY_TYPE, TIMESTAMP
from ingest.meter import Meter
from rollup.kept_periods import places_among
from rollup.levels import read_levels
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_sums import add_up_batches

_METER = Meter(meter_id="warm-up", event_type="warm-up", aggregation="time_weighted", reading="average")


def warm_up() -> None:
    """Read one level with one event that counts and one that cannot, and two stored rows; no store is
    touched."""
    events = pa.table(
        {
            "subject_number": pa.array([0, 0], pa.uint32()),
            "time_micros": pa.array([1, 2], pa.int64()),
            "sequence": pa.array([1, 2], pa.uint64()),
            "value": pa.array([Decimal(1), None], QUANTITY_TYPE),
            "operation": pa.array([0, 0], pa.uint8()),
        }
    )
    calendar = pa.table(
        [
            pa.array([0, 1], pa.uint32()),
            pa.array(["warm-up", "warm-up"]),
            pa.array([0, 2], TIMESTAMP),
            pa.array([2, 4], TIMESTAMP),
        ],
        schema=CALENDAR_SCHEMA,
    )
    read_levels(
        meter=_METER, meter_number=0, events=events, calendar=calendar, subject_numbers=np.zeros(2, np.int64)
    )
    ids = pa.array([1, 2], pa.uint64())
    places_among(calendar.append_column("rollup_id", ids), calendar)
    stored = {
        "rollup_id": ids,
        "meter_number": pa.array([0, 0], pa.uint32()),
        "event_count": ids,
        "total": pa.array([Decimal(1), Decimal(2)], QUANTITY_TYPE),
    }
    batches = pa.table(stored).to_batches()
    for summed in (False, True):
        add_up_batches(
            batches,
            np.arange(1, 3, dtype=np.uint64),
            np.zeros(2, np.uint32),
            np.zeros(1, np.int32),
            summed=summed,
        )
