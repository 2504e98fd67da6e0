"""Counts live figures from the store: what counters hold when they begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Final

import pyarrow as pa

from ingest.archives import read_archived
from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from rollup.counted_events import Parameters, counted_events_sql
from rollup.live_counter import LiveCounter, LiveEvent
from rollup.partial_query import Sequences
from rollup.partial_usage import partial_usage
from rollup.stored_rows import KEPT_SCHEMA

Counted = Mapping[Meter, Sequence[tuple[tuple[str, ...], LiveCounter]]]
"""Counters by meter, each with its subjects."""

_WIDE: Final = Context(prec=60)
"""The default context would round a total of more than 28 digits."""


def count_into(store: EventStore, *, counted: Counted, sequences: Sequences) -> None:
    """Add the events of ``sequences`` to the counters. One query a meter, whatever the number of counters.
    Raises Conflict for time whose events are archived."""
    archived = read_archived(store)
    for meter, counters in counted.items():
        first = min((counter.start_micros for _, counter in counters), default=0)
        archived.refuse(meter.event_type, first)
        if meter.aggregation == "time_weighted":
            _count_levels(store, meter, counters, sequences)
        else:
            _count_partials(store, meter, counters, sequences)


def _count_partials(
    store: EventStore,
    meter: Meter,
    counters: Sequence[tuple[tuple[str, ...], LiveCounter]],
    sequences: Sequences,
) -> None:
    rows = [(subject, counter) for subjects, counter in counters for subject in subjects]
    if not rows:
        return
    # Group keys split what a limit takes together.
    whole = meter.model_copy(update={"group_by": ()})
    periods = pa.table(
        [
            list(range(len(rows))),
            [subject for subject, _ in rows],
            [from_micros(counter.start_micros) for _, counter in rows],
            [from_micros(counter.end_micros) for _, counter in rows],
            list(range(len(rows))),
        ],
        schema=KEPT_SCHEMA,
    )
    found = partial_usage(store, periods=periods, meters={0: whole}, sequences=sequences)
    for row in found.to_pylist():
        counter = rows[row["rollup_id"]][1]
        part = LiveCounter(meter, counter.start_micros, counter.end_micros)
        part.event_count = row["number_count"]
        part.unusable_events = row["event_count"] - row["number_count"]
        if row["number_count"]:
            part.total = _scaled(row["total"]) or 0
            part.highest = _scaled(row["highest"])
            latest = row["latest"]
            if latest is not None:
                number = _scaled(latest["value"]) or 0
                part.latest = (to_micros(latest["time"]), latest["sequence"], number)
            part.distinct = set(row["distinct_values"] or ())
        counter.merge(part)


def _count_levels(
    store: EventStore,
    meter: Meter,
    counters: Sequence[tuple[tuple[str, ...], LiveCounter]],
    sequences: Sequences,
) -> None:
    """Levels need every change since the first: there are few, and they are replayed one by one."""
    of_subject: dict[str, list[LiveCounter]] = {}
    for subjects, counter in counters:
        for subject in subjects:
            of_subject.setdefault(subject, []).append(counter)
    parameters = Parameters()
    events = counted_events_sql(meter, sequences.cut, parameters)
    arrived = sequences.arrived_sql(parameters)
    subjects_table = pa.table({"subject": pa.array(sorted(of_subject), pa.string())})
    with store.scratch_table("subject String", subjects_table) as name:
        found = store.query(
            "SELECT toString(e.subject) AS subject, toUnixTimestamp64Micro(e.time) AS micros,\n"
            "    e.sequence AS sequence, e.value AS value, e.properties AS properties\n"
            f"FROM (\n{events}\n) AS e\n"
            f"WHERE e.subject IN (SELECT subject FROM {name}) AND {arrived}",
            parameters.values,
        ).to_pylist()
    for row in found:
        scaled = _scaled(row["value"])
        properties = dict(row["properties"])
        event = LiveEvent(row["subject"], row["micros"], row["sequence"], scaled, properties)
        for counter in of_subject[row["subject"]]:
            counter.add(event)


def _scaled(value: Decimal | None) -> int | None:
    return None if value is None else int(value.scaleb(QUANTITY_SCALE, _WIDE))
