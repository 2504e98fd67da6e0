"""Periods whose events are partly in files: they are reported, never counted too small."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ingest.archives import TIME_IS_ARCHIVED, ArchivedTime
from ingest.meter import Meter


def is_level(meter: Meter) -> bool:
    """Whether a meter reads all history before a period."""
    return meter.aggregation == "time_weighted"


def split_archived(calendar: pa.Table, meter: Meter, archived: ArchivedTime) -> tuple[pa.Table, pa.Table]:
    """The rows of a calendar that a meter can count, and those it cannot; a period_key goes as a whole."""
    before = archived.before[meter.event_type]
    if is_level(meter):
        return calendar.slice(0, 0), calendar
    reaching = calendar.filter(pc.less(calendar["period_start"].cast(pa.int64()), before))
    hit = pc.is_in(calendar["period_key"], value_set=reaching["period_key"].combine_chunks())
    return calendar.filter(pc.invert(hit)), calendar.filter(hit)


def archived_rows(calendar: pa.Table) -> pa.Table:
    """One row a period_key, in the columns of ``unusable_query``. How many events are archived in it is not
    known here, so event_count is 0."""
    keys = pc.unique(calendar["period_key"])
    count = len(keys)
    return pa.table(
        {
            "period_key": keys,
            "event_count": pa.array([0] * count, pa.uint64()),
            "example_source": pa.array(["archive"] * count, pa.string()),
            "example_id": pa.array(["ratemill events archives"] * count, pa.string()),
            "reason_code": pa.array([TIME_IS_ARCHIVED] * count, pa.string()),
        }
    )
