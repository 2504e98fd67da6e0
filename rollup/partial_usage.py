"""What a range of events contributes to periods and meters, as rows that add up (ROLLUP_SCHEMA)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from rollup.calendar import CALENDAR_COLUMNS_SQL, CalendarFacts, check_calendar
from rollup.partial_query import Sequences, meter_partial_query, partial_columns, plain_partial_query
from rollup.query import is_plain
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_rows import ROLLUP_SCHEMA


def partial_usage(
    store: EventStore, *, periods: pa.Table, meters: Mapping[int, Meter], sequences: Sequences
) -> pa.Table:
    """ROLLUP_SCHEMA rows of the events of ``sequences`` in ``periods``; none where nothing happened.

    periods: CALENDAR_SCHEMA and rollup_id, ``period_key`` 0, 1, 2 ... in row order. meters: by number.
    """
    if not periods.num_rows or not meters:
        return ROLLUP_SCHEMA.empty_table()
    calendar = periods.select(CALENDAR_SCHEMA.names)
    facts = check_calendar(calendar)
    ids = periods["rollup_id"].combine_chunks()
    with store.scratch_table(CALENDAR_COLUMNS_SQL, calendar) as name:
        parts = _plain_parts(store, name, facts, ids, meters, sequences)
        for number, meter in meters.items():
            if not is_plain(meter):
                query = meter_partial_query(meter=meter, calendar=name, facts=facts, sequences=sequences)
                answer = store.query(query.sql, query.parameters)
                parts.append(_rows(answer, ids, number, meter, dimensions=True))
    return pa.concat_tables(parts)


def _plain_parts(
    store: EventStore,
    calendar: str,
    facts: CalendarFacts,
    rollup_ids: pa.Array,
    meters: Mapping[int, Meter],
    sequences: Sequences,
) -> list[pa.Table]:
    """Event types whose plain meters need the same columns are read together."""
    plain = {number: meter for number, meter in meters.items() if is_plain(meter)}
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for meter in plain.values():
        wanted[meter.event_type] |= set(partial_columns(meter))
    types_of: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for event_type in sorted(wanted):
        types_of[tuple(sorted(wanted[event_type]))].append(event_type)
    parts = [ROLLUP_SCHEMA.empty_table()]
    for columns, event_types in types_of.items():
        query = plain_partial_query(
            event_types=event_types, columns=columns, calendar=calendar, facts=facts, sequences=sequences
        )
        answer = store.query(query.sql, query.parameters).combine_chunks()
        types = answer["type_number"].to_numpy()
        for number, meter in plain.items():
            if meter.event_type in event_types:
                mine = np.flatnonzero(types == event_types.index(meter.event_type))
                parts.append(_rows(answer.take(pa.array(mine)), rollup_ids, number, meter, dimensions=False))
    return parts


def _rows(answer: pa.Table, rollup_ids: pa.Array, number: int, meter: Meter, *, dimensions: bool) -> pa.Table:
    """An answer in the columns of ROLLUP_SCHEMA; those the meter has no use for are null."""
    count = answer.num_rows
    filled = {"event_count", "number_count", "sequence_max", *partial_columns(meter)}
    if dimensions:
        filled.add("dimensions")
    columns: list[pa.Array | pa.ChunkedArray] = []
    for field in ROLLUP_SCHEMA:
        if field.name == "rollup_id":
            columns.append(rollup_ids.take(answer["period_key"].combine_chunks()))
        elif field.name == "meter_number":
            columns.append(pa.repeat(pa.scalar(number, pa.uint32()), count))
        elif field.name in filled:
            # Every event of a count is usable, with a value or without.
            counted = field.name == "number_count" and meter.aggregation == "count"
            columns.append(answer["event_count" if counted else field.name].cast(field.type))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.Table.from_arrays(columns, schema=ROLLUP_SCHEMA)


def periods_at_once(periods: pa.Table, rows: int) -> Sequence[pa.Table]:
    """The periods in slices of at most ``rows``, each with period keys from 0."""
    slices = []
    for start in range(0, periods.num_rows, rows):
        part = periods.slice(start, rows).combine_chunks()
        keys = pa.array(np.arange(part.num_rows, dtype=np.uint32))
        slices.append(part.set_column(0, part.schema.field("period_key"), keys))
    return slices
