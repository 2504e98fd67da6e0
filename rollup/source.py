"""From a usage row back to the events it was counted from: proof of what was billed.

The same filters, keys and rules as the roll-up itself, so over all pages the number of rows equals
the row's ``event_count`` and, for a sum, the numbers add up to its quantity. For a time_weighted
meter these are the level changes inside the period; the level carried in came from before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from ingest.archives import read_archived
from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.errors import InvalidInput
from ingest.event import QUANTITY_TYPE, TIMESTAMP
from ingest.in_force import read_cut
from ingest.meter import Meter
from rollup.query import source_query

SOURCE_SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("time", TIMESTAMP, nullable=False),
        pa.field("sequence", pa.uint64(), nullable=False),
        pa.field("value", QUANTITY_TYPE, nullable=True),
        pa.field("properties", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("number", QUANTITY_TYPE, nullable=True),
    ]
)
"""``number``: what the event contributes to the aggregation (1 for count, the level or difference
sent for time_weighted); null for unique_count, whose text stands in the properties."""

SOURCE_LIMIT_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class SourceCursor:
    """The last event of a page; the next page starts behind it."""

    time: datetime
    sequence: int


def events_behind(
    store: EventStore,
    *,
    meter: Meter,
    subjects: Sequence[str],
    period_start: datetime,
    period_end: datetime,
    dimensions: Mapping[str, str],
    limit: int,
    after: SourceCursor | None,
    known_at: datetime | None = None,
) -> pa.Table:
    """One page of usable events of a usage row, as SOURCE_SCHEMA, by (time, sequence).

    dimensions: a value for each of the meter's group keys, as the usage row has them.
    limit: rows a page, 1 to SOURCE_LIMIT_MAX; a page with fewer rows is the last.
    after: ``next_cursor`` of the page before, None for the first.
    known_at: as it was known at that instant, see ``roll_up_usage``.
    Raises InvalidInput for other dimensions than the meter's, a limit out of range, or a period that
    does not end after it starts.
    """
    if set(dimensions) != set(meter.group_by):
        raise InvalidInput(
            f"the dimensions {sorted(dimensions)} are not the group keys of meter {meter.meter_id!r}; "
            f"give a value for each of {list(meter.group_by)}.",
            reason_code="wrong_dimensions",
        )
    if not 1 <= limit <= SOURCE_LIMIT_MAX:
        raise InvalidInput(
            f"a page of {limit} events cannot be given; ask for 1 to {SOURCE_LIMIT_MAX}.",
            reason_code="limit_out_of_range",
        )
    if period_start >= period_end:
        raise InvalidInput(
            f"the period from {period_start} to {period_end} is empty; it must end after it starts.",
            reason_code="empty_period",
        )
    read_archived(store).refuse(meter.event_type, to_micros(period_start))
    query = source_query(
        meter=meter,
        subjects=subjects,
        start_micros=to_micros(period_start),
        end_micros=to_micros(period_end),
        dimensions=[dimensions[key] for key in meter.group_by],
        limit=limit,
        after=None if after is None else (to_micros(after.time), after.sequence),
        cut=read_cut(store, known_at=known_at),
    )
    return store.query(query.sql, query.parameters).cast(SOURCE_SCHEMA)


def next_cursor(page: pa.Table) -> SourceCursor | None:
    """Where the page after ``page`` starts; None when ``page`` is empty."""
    if page.num_rows == 0:
        return None
    last = page.slice(page.num_rows - 1).select(["time", "sequence"]).to_pylist()[0]
    return SourceCursor(time=last["time"], sequence=last["sequence"])
