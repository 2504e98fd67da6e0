"""The tables of stored usage in the event store: rows in, rows out. What they mean: ``stored_usage.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.arrow_buffers import one_array
from ingest.clickhouse import EventStore
from ingest.document import canonical_json
from ingest.event import QUANTITY_TYPE, TIMESTAMP
from ingest.in_force import touched_by_corrections
from ingest.meter import Meter
from rollup.banded_meter import read_meter
from rollup.calendar import CalendarFacts
from rollup.kept_periods import places_among
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_kernels import NOT_KEPT

ROLLUP_SCHEMA: Final = pa.schema(
    [
        pa.field("rollup_id", pa.uint64(), nullable=False),
        pa.field("meter_number", pa.uint32(), nullable=False),
        pa.field("dimensions", pa.list_(pa.string())),
        pa.field("event_count", pa.uint64(), nullable=False),
        pa.field("number_count", pa.uint64(), nullable=False),
        pa.field("total", QUANTITY_TYPE),
        pa.field("highest", QUANTITY_TYPE),
        pa.field("lowest", QUANTITY_TYPE),
        pa.field(
            "latest",
            pa.struct([("time", TIMESTAMP), ("sequence", pa.uint64()), ("value", QUANTITY_TYPE)]),
        ),
        pa.field("distinct_values", pa.list_(pa.string())),
        pa.field("sequence_max", pa.uint64(), nullable=False),
    ]
)
"""Rows of ``usage_rollups``; what a meter does not need is null here and empty in the store.

rollup_id: one subject and period. dimensions: values of the meter's group keys, in their order.
number_count: usable events among event_count. latest: of equal times the last to arrive.
sequence_max: the last event behind the row."""

KEPT_SCHEMA: Final = pa.schema([*CALENDAR_SCHEMA, pa.field("rollup_id", pa.uint64(), nullable=False)])
"""Periods that are kept. ``period_key`` numbers the rows from 0."""
_NO_PERIODS: Final = pa.schema([*KEPT_SCHEMA][1:]).empty_table()

_SUBJECTS_NAMED_MAX: Final = 1_000
"""Up to so many the store is told their names; to read a list of 8,000 takes it longer than a whole month."""
ROWS_PER_BLOCK_MAX: Final = 400_000
"""An insert is all or nothing only while it is one block."""

_WATERMARK_ID: Final = 0
_EVENTS, _CORRECTIONS = 0, 1
"""meter_number of the two watermark rows."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """events: sequence of the last event that is in what is stored. corrections: number of the last
    correction."""

    events: int
    corrections: int


def read_watermark(store: EventStore) -> Watermark:
    """How far stored usage is; nothing before the first refresh."""
    sql = (
        "SELECT meter_number, max(sequence_max) AS reached FROM usage_rollups "
        f"WHERE rollup_id = {_WATERMARK_ID} GROUP BY meter_number"
    )
    reached = {row["meter_number"]: int(row["reached"]) for row in store.query(sql).to_pylist()}
    return Watermark(reached.get(_EVENTS, 0), reached.get(_CORRECTIONS, 0))


def newest_events(store: EventStore, *, after: int) -> int:
    """The last event's sequence, or ``after`` when there is none later. Replacements are not asked: a
    correction is there when its row of superseded_events is."""
    sql = "SELECT max(sequence) AS newest FROM events WHERE sequence > {after:UInt64} AND replaces = 0"
    return max(after, int(store.query(sql, {"after": after})["newest"][0].as_py()))


def add_rows(store: EventStore, rows: pa.Table, *, events: int | None) -> None:
    """Add ROLLUP_SCHEMA rows to what is stored. With a watermark of ``events`` they are one block with
    it: all or nothing, and at most ``ROWS_PER_BLOCK_MAX`` rows."""
    if events is not None:
        rows = pa.concat_tables([rows, _watermark_row(_EVENTS, events)])
    for start in range(0, rows.num_rows, ROWS_PER_BLOCK_MAX + 1):
        store.insert("usage_rollups", rows.slice(start, ROWS_PER_BLOCK_MAX + 1).combine_chunks())


def set_corrections(store: EventStore, corrections: int) -> None:
    """Say that all corrections up to that number are in what is stored."""
    store.insert("usage_rollups", _watermark_row(_CORRECTIONS, corrections))


def _watermark_row(of: int, reached: int) -> pa.Table:
    row = {"rollup_id": _WATERMARK_ID, "meter_number": of, "event_count": 0, "number_count": 0}
    return pa.Table.from_pylist([{**row, "sequence_max": reached}], schema=ROLLUP_SCHEMA)


def next_rollup_id(store: EventStore) -> int:
    """An id that no stored row has, not even one that a killed refresh left behind."""
    sql = (
        "SELECT greatest((SELECT max(rollup_id) FROM usage_rollups), "
        "(SELECT max(rollup_id) FROM rollup_periods)) + 1 AS next"
    )
    return int(store.query(sql)["next"][0].as_py())


def add_periods(store: EventStore, periods: pa.Table) -> None:
    """Say that these periods (KEPT_SCHEMA) are kept, each under its id; from now on they are read."""
    rows = periods.select(["period_start", "period_end", "subject", "rollup_id"])
    for start in range(0, rows.num_rows, ROWS_PER_BLOCK_MAX):
        store.insert("rollup_periods", rows.slice(start, ROWS_PER_BLOCK_MAX).combine_chunks())


def find_periods(store: EventStore, calendar: pa.Table, facts: CalendarFacts) -> tuple[pa.Table, pa.Table]:
    """Which rows of a calendar are kept: (rollup_id, period_key) of those that are, and the others as
    CALENDAR_SCHEMA."""
    where = f"WHERE period_start >= {_instant('first')} AND period_end <= {_instant('last')}"
    parameters: dict[str, Any] = {"first": facts.start_micros, "last": facts.end_micros}
    if facts.subjects <= _SUBJECTS_NAMED_MAX:
        where += " AND subject IN ({subjects:Array(String)})"
        parameters["subjects"] = pc.unique(calendar["subject"]).to_pylist()
    else:
        ends = pc.min_max(calendar["subject"]).as_py()
        where += " AND subject >= {least:String} AND subject <= {greatest:String}"
        parameters["least"], parameters["greatest"] = ends["min"], ends["max"]
    # Not FINAL: of equal periods ``places_among`` takes the one with the highest id, as FINAL would.
    kept = store.query(
        "SELECT CAST(subject AS String) AS subject, period_start, period_end, rollup_id\n"
        f"FROM rollup_periods {where}",
        parameters,
    )
    ids, place = one_array(kept["rollup_id"]).to_numpy(), places_among(kept, calendar)
    is_kept = place != NOT_KEPT
    if is_kept.all():
        found = {"rollup_id": pa.array(ids[place]), "period_key": one_array(calendar["period_key"])}
        return pa.table(found), CALENDAR_SCHEMA.empty_table()
    keys = one_array(calendar["period_key"]).to_numpy()[is_kept]
    found = {"rollup_id": pa.array(ids[place[is_kept]]), "period_key": pa.array(keys)}
    return pa.table(found), calendar.filter(pa.array(~is_kept)).combine_chunks()


def periods_of_new_events(store: EventStore, *, after: int, through: int) -> pa.Table:
    """Kept periods that events of these sequences may fall into: CALENDAR_SCHEMA and rollup_id."""
    window = "sequence > {after:UInt64} AND sequence <= {through:UInt64}"
    bounds = store.query(
        "SELECT toUnixTimestamp64Micro(min(time)) AS first, toUnixTimestamp64Micro(max(time)) AS last,\n"
        f"    count() AS events FROM events WHERE {window}",
        {"after": after, "through": through},
    ).to_pylist()[0]
    if not bounds["events"]:
        return _numbered(_NO_PERIODS)
    return _kept(
        store,
        f"WHERE period_start <= {_instant('last')} AND period_end > {_instant('first')}\n"
        f"    AND subject IN (SELECT subject FROM events WHERE {window})",
        {"after": after, "through": through, "first": bounds["first"], "last": bounds["last"]},
    )


def periods_touched(store: EventStore, *, after: int, up_to: int) -> pa.Table:
    """Kept periods in which corrections numbered in (after, up_to] changed what counts: CALENDAR_SCHEMA
    and rollup_id."""
    touched = touched_by_corrections(store, after=after, up_to=up_to).select(["subject", "time"])
    with store.scratch_table("subject String, time DateTime64(6, 'UTC')", touched) as name:
        ids = (
            f"SELECT p.rollup_id FROM rollup_periods AS p INNER JOIN {name} AS t ON p.subject = t.subject\n"
            "WHERE t.time >= p.period_start AND t.time < p.period_end"
        )
        return _kept(store, f"WHERE rollup_id IN ({ids})", {})


def count_periods(store: EventStore) -> int:
    """How many periods are kept."""
    return int(store.query("SELECT count() AS kept FROM rollup_periods FINAL")["kept"][0].as_py())


def kept_periods(store: EventStore) -> pa.Table:
    """All kept periods: CALENDAR_SCHEMA and rollup_id."""
    return _kept(store, "", {})


def _instant(name: str) -> str:
    """SQL of a parameter in microseconds, whatever time zone the server keeps."""
    return f"fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')"


def _kept(store: EventStore, where: str, parameters: dict[str, Any]) -> pa.Table:
    sql = (
        "SELECT CAST(subject AS String) AS subject, period_start, period_end, rollup_id\n"
        f"FROM rollup_periods FINAL {where}\nORDER BY rollup_id"
    )
    return _numbered(store.query(sql, parameters))


def _numbered(periods: pa.Table) -> pa.Table:
    keys = pa.array(np.arange(periods.num_rows, dtype=np.uint32))
    return periods.add_column(0, "period_key", keys).cast(KEPT_SCHEMA)


def read_meters(store: EventStore) -> dict[int, Meter]:
    """The kept meters by their numbers."""
    found = store.query("SELECT meter_number, document FROM rollup_meters ORDER BY meter_number").to_pylist()
    return {row["meter_number"]: read_meter(row["document"]) for row in found}


def next_meter_number(store: EventStore) -> int:
    """A number that no stored row has, not even one that a killed refresh left behind."""
    sql = (
        "SELECT greatest((SELECT max(meter_number) FROM usage_rollups), "
        "(SELECT max(meter_number) FROM rollup_meters)) + 1 AS next"
    )
    return int(store.query(sql)["next"][0].as_py())


def add_meters(store: EventStore, meters: Mapping[int, Meter]) -> None:
    """Say that these meters are kept, in all kept periods; from now on they are read."""
    columns = {
        "meter_id": pa.array([meter.meter_id for meter in meters.values()], pa.string()),
        "meter_number": pa.array(list(meters), pa.uint32()),
        "document": pa.array([canonical_json(meter) for meter in meters.values()], pa.string()),
    }
    store.insert("rollup_meters", pa.table(columns))


def delete_unread_rows(store: EventStore) -> None:
    """Forget rows that are not read any more: of periods counted anew, and of killed refreshes."""
    unread = (
        "rollup_id > 0 AND (rollup_id NOT IN (SELECT rollup_id FROM rollup_periods FINAL)\n"
        "    OR meter_number NOT IN (SELECT meter_number FROM rollup_meters))"
    )
    if store.query(f"SELECT 1 FROM usage_rollups WHERE {unread} LIMIT 1").num_rows:
        store.delete("usage_rollups", unread, key="concat(toString(rollup_id), '/', toString(meter_number))")


def states_table_sql(store: EventStore) -> str:
    """The columns of usage_rollups with their types, for a table of the same shape."""
    sql = (
        "SELECT name, type FROM system.columns\n"
        "WHERE database = currentDatabase() AND table = 'usage_rollups' ORDER BY position"
    )
    return ", ".join(f"{row['name']} {row['type']}" for row in store.query(sql).to_pylist())
