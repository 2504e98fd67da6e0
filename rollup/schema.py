"""The two tables of this room: the calendar it is handed and the usage it gives back."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ingest.event import QUANTITY_TYPE, TIMESTAMP

CALENDAR_SCHEMA: Final = pa.schema(
    [
        pa.field("period_key", pa.uint32(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("period_start", TIMESTAMP, nullable=False),
        pa.field("period_end", TIMESTAMP, nullable=False),
    ]
)
"""Which subject's time counts towards which period, half-open [period_start, period_end).

``period_key`` is the caller's number for a (contract, plan version, service period); several rows
may share it (a contract with several subjects): their usage is counted together, as one."""

USAGE_SCHEMA: Final = pa.schema(
    [
        pa.field("period_key", pa.uint32(), nullable=False),
        pa.field("meter_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("dimensions", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("quantity", QUANTITY_TYPE, nullable=False),
        pa.field("event_count", pa.uint64(), nullable=False),
    ]
)
"""Usage per period, meter and value of the meter's group keys (an absent property is the empty
text). Sorted by (period_key, meter in the order asked, dimensions). ``event_count`` is the number
of events behind the quantity; for time_weighted meters the number of level changes inside the
period, which may be 0 when a level is carried in."""

UNUSABLE_SCHEMA: Final = pa.schema(
    [
        pa.field("period_key", pa.uint32(), nullable=False),
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("event_count", pa.uint64(), nullable=False),
        pa.field("example_source", pa.string(), nullable=False),
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("reason_code", pa.string(), nullable=False),
    ]
)
"""Events a meter should count and cannot (no value, a factor that is no number, an unknown
operation). They are never counted as 0: the caller holds that period and says so."""
