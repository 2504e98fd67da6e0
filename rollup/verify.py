"""Proves stored usage: counts all of it again from events and compares every figure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingest.archives import read_archived
from ingest.clickhouse import EventStore
from ingest.event import TIMESTAMP
from rollup import stored_rows
from rollup.partial_usage import partial_usage, periods_at_once
from rollup.stored_usage import PERIODS_AT_ONCE, StoredUsage, whole_count

DIFFERENCES_SHOWN_MAX: Final = 100
_KEYS: Final = ("rollup_id", "meter_number", "dimensions")
_STATES_SQL: Final = """
    rollup_id, meter_number, CAST(dimensions AS Array(String)) AS dimensions,
    sum(event_count) AS events, sum(number_count) AS numbers, sum(total) AS total_sum,
    max(highest) AS highest_value, min(lowest) AS lowest_value,
    tupleElement(max(latest), 2) AS latest_sequence, tupleElement(max(latest), 3) AS latest_value,
    cityHash64(arraySort(groupUniqArrayArray(distinct_values))) AS distinct_hash,
    max(sequence_max) AS last_sequence"""


@dataclass(frozen=True, slots=True)
class Difference:
    """One usage row of which stored usage and events say different things.

    field: the first figure that differs; ``stored`` and ``counted`` as text, empty when there is no row.
    """

    meter_id: str
    subject: str
    period_start: Any
    period_end: Any
    dimensions: dict[str, str]
    field: str
    stored: str
    counted: str


@dataclass(frozen=True, slots=True)
class Verification:
    """sequence: events up to here were compared. periods: counted again; archived: those that cannot be,
    because some of their events are in files. rows: usage rows counted again. differences: how many
    of them differ; shown: the first of those."""

    sequence: int
    periods: int
    archived: int
    rows: int
    differences: int
    shown: tuple[Difference, ...]


def verify_stored_usage(stored: StoredUsage, *, before: datetime | None = None) -> Verification:
    """Count every kept period and meter again from events and compare. Nothing is changed.

    Ingest goes on meanwhile; events that arrive after the beginning are not looked at. before: only periods
    that begin before that instant.
    """
    with stored.at_rest() as watermark:
        store = stored.store
        kept, meters = stored_rows.kept_periods(store), stored_rows.read_meters(store)
        if before is not None:
            kept = kept.filter(pc.less(kept["period_start"], pa.scalar(before, TIMESTAMP)))
        whole = pc.greater_equal(kept["period_start"].cast(pa.int64()), read_archived(store).latest)
        periods = kept.filter(whole)
        sequences = whole_count(store, watermark)
        found = rows = 0
        shown: list[Difference] = []
        for part in periods_at_once(periods, PERIODS_AT_ONCE):
            counted = partial_usage(store, periods=part, meters=meters, sequences=sequences)
            there, again = _states(store, part, list(meters), counted)
            rows += len(again)
            different = _different(there, again)
            found += len(different)
            first = different.head(DIFFERENCES_SHOWN_MAX - len(shown)).to_dicts()
            shown += [_difference(row, part, meters) for row in first]
    return Verification(
        watermark.events, periods.num_rows, kept.num_rows - periods.num_rows, rows, found, tuple(shown)
    )


def _states(
    store: EventStore, periods: pa.Table, meter_numbers: list[int], counted: pa.Table
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every figure of these periods: as stored, and as counted. Both are read by one SELECT."""
    bounds = pc.min_max(periods["rollup_id"]).as_py()
    with store.scratch_table("rollup_id UInt64", periods.select(["rollup_id"])) as kept:
        where = (
            f"WHERE rollup_id >= {bounds['min']} AND rollup_id <= {bounds['max']}\n"
            f"    AND rollup_id IN (SELECT rollup_id FROM {kept})\n"
            "    AND meter_number IN ({numbers:Array(UInt32)})\n"
            f"GROUP BY {', '.join(_KEYS)}"
        )
        parameters = {"numbers": meter_numbers}
        stored: Any = store.query(f"SELECT {_STATES_SQL} FROM usage_rollups {where}", parameters)
        with store.scratch_table(stored_rows.states_table_sql(store), counted.combine_chunks()) as name:
            again: Any = store.query(f"SELECT {_STATES_SQL} FROM {name} {where}", parameters)
    return pl.DataFrame(stored), pl.DataFrame(again)


def _different(stored: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Rows of either side that the other has not, or has with other figures; suffix ``_counted``."""
    joined = stored.with_columns(there=True).join(
        counted.with_columns(there=True), on=_KEYS, how="full", coalesce=True, suffix="_counted"
    )
    figures = [name for name in counted.columns if name not in _KEYS]
    same = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(f"{name}_counted")) for name in ("there", *figures)
    )
    return joined.filter(~same).sort("rollup_id", "meter_number")


def _difference(row: dict[str, Any], periods: pa.Table, meters: Any) -> Difference:
    at = pc.index(periods["rollup_id"], pa.scalar(row["rollup_id"], pa.uint64())).as_py()
    period = periods.slice(at, 1).to_pylist()[0]
    meter = meters[row["meter_number"]]
    figures = [
        name for name in row if name not in _KEYS and not name.endswith("_counted") and name != "there"
    ]
    field = next((name for name in figures if row[name] != row[f"{name}_counted"]), figures[0])
    return Difference(
        meter_id=meter.meter_id,
        subject=period["subject"],
        period_start=period["period_start"],
        period_end=period["period_end"],
        dimensions=dict(zip(meter.group_by, row["dimensions"], strict=True)),
        field=field,
        stored="" if row["there"] is None else str(row[field]),
        counted="" if row["there_counted"] is None else str(row[f"{field}_counted"]),
    )
