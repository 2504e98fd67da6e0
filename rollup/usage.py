"""Live usage for people and programs: what was used between two instants, in windows.

It is the roll-up of a billing run over a calendar of windows made here, so what a customer sees and
what is billed are counted by the same code. An event is seen as soon as its batch is acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.archives import TIME_IS_ARCHIVED, read_archived
from ingest.asked_events import AskedEvents
from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.errors import InvalidInput
from ingest.event import QUANTITY_TYPE, TIMESTAMP
from ingest.in_force import read_cut
from ingest.meter import Meter
from rollup.archived_time import is_level
from rollup.period import billing_boundaries, find_time_zone, local_midnights_micros
from rollup.query import subjects_query
from rollup.roll_up import RolledUp, roll_up_usage
from rollup.schema import CALENDAR_SCHEMA, UNUSABLE_SCHEMA
from rollup.stored_usage import StoredUsage

Window = Literal["minute", "hour", "day", "month"]

MINUTE_MICROS: Final = 60_000_000
HOUR_MICROS: Final = 3_600_000_000
WINDOWS_MAX: Final = 20_000
CALENDAR_ROWS_MAX: Final = 2_000_000
"""Windows x subjects of one question; beyond it the answer is for a report, not for a page."""

LIVE_USAGE_SCHEMA: Final = pa.schema(
    [
        pa.field("window_start", TIMESTAMP, nullable=False),
        pa.field("window_end", TIMESTAMP, nullable=False),
        pa.field("dimensions", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("quantity", QUANTITY_TYPE, nullable=False),
        pa.field("event_count", pa.uint64(), nullable=False),
    ]
)
LIVE_UNUSABLE_SCHEMA: Final = pa.schema(
    [*LIVE_USAGE_SCHEMA][:2]
    + [field for field in UNUSABLE_SCHEMA if field.name not in ("period_key", "meter_id")]
)


@dataclass(frozen=True, slots=True)
class LiveUsage:
    """usage: LIVE_USAGE_SCHEMA, by window and dimensions; a window without usage has no row.
    unusable: LIVE_UNUSABLE_SCHEMA, the events that should count and cannot."""

    usage: pa.Table
    unusable: pa.Table


def query_usage(
    store: EventStore,
    *,
    meter: Meter,
    subject: str | None,
    time_from: datetime,
    time_to: datetime,
    window: Window | None,
    time_zone: str,
    group_by: Sequence[str] | None,
    known_at: datetime | None = None,
    stored: StoredUsage | None = None,
) -> LiveUsage:
    """Usage of ``meter`` on [time_from, time_to), per window, with every event acknowledged before.

    subject: one subject; None counts all of them together.
    window: minutes, or local hours, days or months of ``time_zone``, the first and last cut to the time
        asked; None is one window.
    group_by: property names to split by, instead of the meter's own group keys; None keeps those.
    known_at: as it was known at that instant, see ``roll_up_usage``.
    stored: usage added up before, from which archived time is answered, where it has exactly that period.
    Raises InvalidInput for an empty time, an unknown zone, or a question too large to answer at once,
    Conflict for archived time that is not added up.
    """
    edges = window_edges(time_from=time_from, time_to=time_to, window=window, time_zone=time_zone)
    if group_by is not None:
        meter = meter.model_copy(update={"group_by": tuple(dict.fromkeys(group_by))})
    asked = AskedEvents.counted([meter], None if subject is None else [subject])
    with store.one_question(asked):
        rolled = _rolled_up(store, meter, subject, edges, known_at, None if group_by is not None else stored)
    return LiveUsage(
        usage=_with_windows(rolled.usage, edges).select(LIVE_USAGE_SCHEMA.names).cast(LIVE_USAGE_SCHEMA),
        unusable=_with_windows(rolled.unusable, edges)
        .select(LIVE_UNUSABLE_SCHEMA.names)
        .cast(LIVE_UNUSABLE_SCHEMA),
    )


def _rolled_up(
    store: EventStore,
    meter: Meter,
    subject: str | None,
    edges: NDArray[np.int64],
    known_at: datetime | None,
    stored: StoredUsage | None,
) -> RolledUp:
    """Usage of the windows between ``edges``, of one subject or all of them together. stored: None counts
    events, and refuses archived time."""
    archived = read_archived(store)
    reaches = archived.reaches(meter.event_type, 0 if is_level(meter) else int(edges[0]))
    if subject is None or stored is None or not reaches:
        archived.refuse(meter.event_type, 0 if is_level(meter) else int(edges[0]))
        stored = None
    if subject is None:
        query = subjects_query(
            meter=meter,
            start_micros=int(edges[0]),
            end_micros=int(edges[-1]),
            cut=read_cut(store, known_at=known_at),
        )
        subjects = store.query(query.sql, query.parameters)["subject"].combine_chunks()
    else:
        subjects = pa.array([subject], pa.string())
    calendar = _calendar(edges, subjects)
    rolled = roll_up_usage(store, calendar=calendar, meters=[meter], known_at=known_at, stored=stored)
    if TIME_IS_ARCHIVED in rolled.unusable["reason_code"].to_pylist():
        archived.refuse(meter.event_type, 0)
    return rolled


def window_edges(
    *, time_from: datetime, time_to: datetime, window: Window | None, time_zone: str
) -> NDArray[np.int64]:
    """The instants between which the windows lie, strictly increasing microseconds; see query_usage."""
    zone = find_time_zone(time_zone)
    start, stop = to_micros(time_from), to_micros(time_to)
    if start >= stop:
        raise InvalidInput(
            f"the time from {time_from} to {time_to} is empty; `to` must lie after `from`.",
            reason_code="empty_period",
        )
    if window is None:
        return np.array([start, stop], dtype=np.int64)
    first, last = time_from.astimezone(zone).date(), time_to.astimezone(zone).date()
    if window not in get_args(Window):
        raise InvalidInput(
            f"{window!r} is not a window; use {', '.join(get_args(Window))}.", reason_code="unknown_window"
        )
    if window == "minute":
        return _minutes(start, stop)
    days = (last - first).days + 2
    if days * (24 if window == "hour" else 1) > WINDOWS_MAX and window != "month":
        raise InvalidInput(
            f"{days} days in windows of one {window} are more than {WINDOWS_MAX} windows; "
            "ask for a shorter time or a larger window.",
            reason_code="too_many_windows",
        )
    if window == "month":
        dates = billing_boundaries(
            cadence="monthly", anchor_date=date(first.year, first.month, 1), first=first, last=last
        )
    else:
        dates = [first + timedelta(days=number) for number in range(days)]
    marks = local_midnights_micros(dates, time_zone)
    if window == "hour":
        marks = _hours(marks)
    inner = marks[(marks > start) & (marks < stop)]
    return np.unique(np.concatenate([np.array([start]), inner, np.array([stop])])).astype(np.int64)


def _minutes(start: int, stop: int) -> NDArray[np.int64]:
    """The full minutes between, and both ends. Zones differ from UTC by whole minutes since 1972, so a
    minute begins at the same instant everywhere."""
    first = start // MINUTE_MICROS + 1
    if stop // MINUTE_MICROS - first > WINDOWS_MAX:
        raise InvalidInput(
            f"the time from {from_micros(start)} to {from_micros(stop)} has more than {WINDOWS_MAX} minutes; "
            "ask for a shorter time or a larger window.",
            reason_code="too_many_windows",
        )
    inner = np.arange(first, -(-stop // MINUTE_MICROS), dtype=np.int64) * MINUTE_MICROS
    return np.concatenate([np.array([start]), inner, np.array([stop])]).astype(np.int64)


def _hours(midnights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every full hour since each midnight, up to the next."""
    counts = -(-np.diff(midnights) // HOUR_MICROS)
    day = np.repeat(np.arange(len(counts)), counts)
    hour = np.arange(len(day)) - np.repeat(np.cumsum(counts) - counts, counts)
    hours: NDArray[np.int64] = midnights[:-1][day] + hour * HOUR_MICROS
    return hours


def _calendar(edges: NDArray[np.int64], subjects: pa.Array) -> pa.Table:
    windows, count = len(edges) - 1, len(subjects)
    if windows * count > CALENDAR_ROWS_MAX:
        raise InvalidInput(
            f"{windows} windows of {count} subjects are too many to count at once; "
            "ask for one subject, a shorter time or a larger window.",
            reason_code="too_many_windows",
        )
    window = np.repeat(np.arange(windows), count)
    columns = [
        pa.array(window.astype(np.uint32)),
        subjects.take(pa.array(np.tile(np.arange(count), windows))),
        pa.array(edges[:-1][window]).cast(TIMESTAMP),
        pa.array(edges[1:][window]).cast(TIMESTAMP),
    ]
    return pa.Table.from_arrays(columns, schema=CALENDAR_SCHEMA)


def _with_windows(table: pa.Table, edges: NDArray[np.int64]) -> pa.Table:
    starts, ends = pa.array(edges[:-1]).cast(TIMESTAMP), pa.array(edges[1:]).cast(TIMESTAMP)
    table = table.append_column("window_start", pc.take(starts, table["period_key"]))
    return table.append_column("window_end", pc.take(ends, table["period_key"]))
