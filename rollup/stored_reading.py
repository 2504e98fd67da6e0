"""Reads what is stored of the kept periods of a calendar. Which are kept: ``stored_usage.py``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array
from ingest.clickhouse import EventStore
from ingest.meter import Meter
from rollup.partial_query import stored_usage_query
from rollup.query import aggregate_of
from rollup.stored_sums import read_sums
from rollup.usage_table import MeterUsage, usable_usage

ROLLUPS_COLUMNS_SQL: Final = "rollup_id UInt64, period_key UInt32"
_FOUND: Final = pa.schema([("rollup_id", pa.uint64()), ("period_key", pa.uint32())])


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What stored usage knows of a calendar.

    parts: usage of the kept meters in the kept periods, numbered by their places among those asked.
    missing: CALENDAR_SCHEMA rows that are not kept. others: places of the meters to be counted from
    events: those that are not kept, and those that met events they cannot count, to name them.
    """

    parts: tuple[MeterUsage, ...]
    missing: pa.Table
    others: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Where the usage of a calendar stands: rollups (rollup_id, period_key) of the kept periods, places:
    number of a kept meter -> its place among those asked; and what is not kept, as in ``StoredAnswer``."""

    rollups: pa.Table
    missing: pa.Table
    places: Mapping[int, int]
    others: tuple[int, ...]


@dataclass(slots=True)
class Reading:
    """Calendars that are read one after the other: what arrived is added once, before the first.

    kept: the kept meters by number, None before the first. turnovers: of the ids at that time.
    """

    kept: Mapping[int, Meter] | None = None
    turnovers: int = 0


def nothing_found(calendar: pa.Table, others: Iterable[int]) -> Found:
    """Of a calendar of which nothing is kept."""
    return Found(_FOUND.empty_table(), calendar, {}, tuple(others))


def keys_between(rows: pa.Table, first: int, past: int) -> pa.Table:
    """The rows with period keys in [first, past), numbered from 0. rows: sorted by ``period_key``."""
    place = rows.schema.get_field_index("period_key")
    keys = one_array(rows["period_key"]).to_numpy()
    start, stop = np.searchsorted(keys, [first, past])
    part = rows.slice(start, stop - start).combine_chunks()
    return part.set_column(place, rows.schema.field(place), pa.array(keys[start:stop] - np.uint32(first)))


def shifted(rows: pa.Table, by: int) -> pa.Table:
    """The rows with ``period_key`` higher by that."""
    place = rows.schema.get_field_index("period_key")
    keys = one_array(rows["period_key"]).to_numpy() + np.uint32(by)
    return rows.set_column(place, rows.schema.field(place), pa.array(keys))


def read_found(store: EventStore, found: Found, meters: Sequence[Meter]) -> StoredAnswer:
    """The usage that stands there. meters: all that were asked for."""
    parts, short = _read_parts(store, found.rollups, found.places, meters)
    return StoredAnswer(tuple(parts), found.missing, tuple(sorted({*found.others, *short})))


def _read_parts(
    store: EventStore, found: pa.Table, places: Mapping[int, int], meters: Sequence[Meter]
) -> tuple[list[MeterUsage], set[int]]:
    """The usage of the periods found, and the places of meters that met unusable events."""
    parts: list[MeterUsage] = []
    short: set[int] = set()
    if not found.num_rows:
        return parts, short
    place_of = np.zeros(max(places) + 1, np.int32)
    place_of[list(places)] = list(places.values())
    shared = _has_equal(one_array(found["rollup_id"]).to_numpy())
    for group in _alike(places, meters):
        meter = meters[places[group[0]]]
        aggregate = aggregate_of(meter) or "count"
        if aggregate in ("count", "sum") and not meter.group_by and not shared:
            alike = {number: places[number] for number in group}
            part, unusable = read_sums(store, rollups=found, places=alike, summed=aggregate == "sum")
        else:
            answer = _read_group(store, found, group, aggregate, len(meter.group_by))
            numbers = place_of[one_array(answer["meter_number"]).to_numpy()]
            part, unusable = usable_usage(numbers, len(meter.group_by), answer)
        parts.append(_without(part, unusable))
        short |= unusable
    return parts, short


def _read_group(
    store: EventStore, found: pa.Table, group: Sequence[int], aggregate: str, dimensions: int
) -> pa.Table:
    bounds = pc.min_max(found["rollup_id"]).as_py()
    with store.scratch_table(ROLLUPS_COLUMNS_SQL, found) as name:
        query = stored_usage_query(
            meter_numbers=group,
            aggregate=aggregate,
            dimensions=dimensions,
            rollups=name,
            first=bounds["min"],
            last=bounds["max"],
        )
        return store.query(query.sql, query.parameters)


def _has_equal(ids: NDArray[np.uint64]) -> bool:
    ordered = np.sort(ids)
    return bool(np.any(ordered[1:] == ordered[:-1]))


def _alike(places: Mapping[int, int], meters: Sequence[Meter]) -> list[list[int]]:
    """Meter numbers in groups that one query and one part can answer; a meter with group keys alone."""
    groups: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, place in places.items():
        meter = meters[place]
        groups[aggregate_of(meter), meter.fraction_digits, meter.group_by and number].append(number)
    return list(groups.values())


def _without(part: MeterUsage, places: set[int]) -> MeterUsage:
    """The part without some of its meters."""
    if not places:
        return part
    kept = np.flatnonzero(~np.isin(part.meter_number, list(places)))
    rows = pa.array(kept)
    return MeterUsage(
        meter_number=part.meter_number[kept],
        period_key=part.period_key.take(rows),
        dimensions=[column.take(rows) for column in part.dimensions],
        quantity=part.quantity.take(rows),
        event_count=part.event_count.take(rows),
    )
