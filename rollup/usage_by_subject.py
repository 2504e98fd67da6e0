"""Live usage for callers who ask for several subjects, or for each subject apart, in one question.

The same roll-up and the same windows as ``rollup/usage.py``; here a period of the calendar may be a window
of one subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.archives import read_archived
from ingest.asked_events import AskedEvents
from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.errors import InvalidInput
from ingest.event import TIMESTAMP
from ingest.in_force import IN_FORCE_SQL, read_cut
from ingest.meter import Meter
from rollup.archived_time import is_level
from rollup.query import subjects_query
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA
from rollup.usage import CALENDAR_ROWS_MAX, MINUTE_MICROS, Window, window_edges

_WIDEST: Final = {"hour": timedelta(hours=3), "day": timedelta(days=3), "month": timedelta(days=63)}
"""More than the longest window of each kind, clock changes included."""


@dataclass(frozen=True, slots=True)
class Windows:
    """``edges``: where counting is cut, microseconds; the first and last window may be cut short by the
    time asked. ``bounds``: the same windows whole, as (start, end) instants."""

    edges: NDArray[np.int64]
    bounds: tuple[tuple[datetime, datetime], ...]


@dataclass(frozen=True, slots=True)
class UsageBySubject:
    """usage: USAGE_SCHEMA and unusable: UNUSABLE_SCHEMA of ``roll_up_usage``, where
    ``period_key`` = window x len(subjects) + subject when each subject was counted apart, else the window."""

    usage: pa.Table
    unusable: pa.Table
    subjects: tuple[str, ...]


def tumbling_windows(
    *, time_from: datetime, time_to: datetime, window: Window | None, time_zone: str
) -> Windows:
    """The windows on [time_from, time_to). Without ``window`` it is one, as long as the time asked.

    Raises InvalidInput for an empty time, an unknown zone or more than WINDOWS_MAX windows.
    """
    if window is None:
        edges = window_edges(time_from=time_from, time_to=time_to, window=None, time_zone=time_zone)
        return Windows(edges, ((time_from, time_to),))
    edges = window_edges(time_from=time_from, time_to=time_to, window=window, time_zone=time_zone)
    if window == "minute":
        first = int(edges[0]) // MINUTE_MICROS * MINUTE_MICROS
        whole = first + np.arange(len(edges), dtype=np.int64) * MINUTE_MICROS
    else:
        wider = window_edges(
            time_from=time_from - _WIDEST[window],
            time_to=time_to + _WIDEST[window],
            window=window,
            time_zone=time_zone,
        )[1:-1]
        before, after = wider[wider <= edges[0]][-1:], wider[wider >= edges[-1]][:1]
        whole = np.concatenate([before, edges[1:-1], after])
    instants = [from_micros(mark) for mark in whole.tolist()]
    return Windows(edges, tuple(pairwise(instants)))


def query_usage_by_subject(
    store: EventStore,
    *,
    meter: Meter,
    edges: NDArray[np.int64],
    subjects: Sequence[str] | None,
    apart: bool,
) -> UsageBySubject:
    """Usage of ``meter`` per window between ``edges``, microseconds, with every event acknowledged before.

    subjects: only these; None is every subject with events of the meter's type.
    apart: each subject by itself, or all of them together.
    Raises InvalidInput for a question too large to answer at once.
    """
    with store.one_question(AskedEvents.counted([meter], subjects)):
        return _counted(store, meter, edges, subjects, apart=apart)


def _counted(
    store: EventStore, meter: Meter, edges: NDArray[np.int64], subjects: Sequence[str] | None, *, apart: bool
) -> UsageBySubject:
    read_archived(store).refuse(meter.event_type, 0 if is_level(meter) else int(edges[0]))
    if subjects is None:
        query = subjects_query(
            meter=meter,
            start_micros=int(edges[0]),
            end_micros=int(edges[-1]),
            cut=read_cut(store, known_at=None),
        )
        subjects = store.query(query.sql, query.parameters)["subject"].to_pylist()
    names = tuple(dict.fromkeys(subjects))
    windows, count = len(edges) - 1, len(names)
    if windows * count > CALENDAR_ROWS_MAX:
        raise InvalidInput(
            f"{windows} windows of {count} subjects are too many to count at once; "
            "ask for fewer subjects, a shorter time or a larger window.",
            reason_code="too_many_windows",
        )
    rows = np.arange(windows * count)
    window = rows // max(count, 1)
    columns = [
        pa.array((rows if apart else window).astype(np.uint32)),
        pa.array(names, pa.string()).take(pa.array(rows % max(count, 1))),
        pa.array(edges[:-1][window]).cast(TIMESTAMP),
        pa.array(edges[1:][window]).cast(TIMESTAMP),
    ]
    calendar = pa.Table.from_arrays(columns, schema=CALENDAR_SCHEMA)
    rolled = roll_up_usage(store, calendar=calendar, meters=[meter])
    return UsageBySubject(rolled.usage, rolled.unusable, names)


def time_span(
    store: EventStore, *, event_type: str, time_from: datetime | None = None
) -> tuple[datetime, datetime] | None:
    """[first, after last) of the events of a type; None without any. Raises Conflict when some
    from ``time_from`` on (None: any) are archived."""
    read_archived(store).refuse(event_type, 0 if time_from is None else to_micros(time_from))
    found = store.query(
        "SELECT toUnixTimestamp64Micro(min(time)) AS first, toUnixTimestamp64Micro(max(time)) AS last, "
        f"count() AS events FROM events WHERE type = {{event_type:String}} AND {IN_FORCE_SQL}",
        {"event_type": event_type},
    ).to_pylist()[0]
    if not found["events"]:
        return None
    return from_micros(found["first"]), from_micros(found["last"] + 1)
