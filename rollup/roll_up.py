"""The story of this room: events of the store become usage per period and meter.

What comes in: a calendar (which subject's time counts towards which period) and meters. What comes
out: one row a period, meter and value of its group keys; and the events that should have counted
and could not, by reason. Nothing is written. The same events give the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.archives import read_archived
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from ingest.event import QUANTITY_TYPE
from ingest.in_force import EventCut, read_cut
from ingest.meter import Meter
from rollup.archived_time import archived_rows, split_archived
from rollup.banded_meter import BandedMeter
from rollup.bands_query import free_bands_query
from rollup.calendar import CALENDAR_COLUMNS_SQL, CalendarFacts, check_calendar
from rollup.level_usage import roll_up_levels
from rollup.parts_query import parts_query
from rollup.query import (
    aggregate_of,
    is_plain,
    meter_usage_query,
    plain_usage_query,
    unusable_query,
)
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_reading import Reading, StoredAnswer, keys_between, shifted
from rollup.stored_usage import StoredUsage
from rollup.usage_table import MeterUsage, arrange_unusable, arrange_usage, usable_usage


@dataclass(frozen=True, slots=True)
class RolledUp:
    """usage: USAGE_SCHEMA. unusable: UNUSABLE_SCHEMA; when it has rows for a period, that period's
    usage is not whole and must not be billed as if it were."""

    usage: pa.Table
    unusable: pa.Table


NOTHING_STORED: Final = StoredAnswer((), CALENDAR_SCHEMA.empty_table(), ())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a roll-up runs: the store, the calendar's scratch table and what was found of it, and the
    versions of events that count."""

    store: EventStore
    calendar: str
    facts: CalendarFacts
    cut: EventCut


def roll_up_usage(
    store: EventStore,
    *,
    calendar: pa.Table,
    meters: Sequence[Meter],
    stored: StoredUsage | None = None,
    known_at: datetime | None = None,
) -> RolledUp:
    """Count the events of the store into the periods of ``calendar``, by each of ``meters``.

    calendar: CALENDAR_SCHEMA rows. Rows that share a period_key are counted together, as one.
    stored: usage added up before, read wherever it has the period and the meter; None counts events.
    The answer is the same.
    known_at: count what had come in up to that instant, events and corrections; None for all of it. What
    was known earlier is always counted from events.
    Returns usage sorted by (period_key, meter in the order given, dimensions); a period and meter
    without usable events has no row. Raises BrokenState for a calendar that contradicts itself or
    a meter given twice.
    """
    facts = check_calendar(calendar)
    _check_meters(meters)
    answer = NOTHING_STORED
    if facts.rows and meters:
        answer = StoredAnswer((), calendar, tuple(range(len(meters))))
        if stored is not None and known_at is None:
            answer = stored.read(calendar=calendar, facts=facts, meters=meters)
    return _completed(store, calendar, meters, answer, known_at)


def is_stored_whole(stored: StoredUsage, *, calendar: pa.Table, meters: Sequence[Meter]) -> bool:
    """Whether ``roll_up_usage`` reads no events for it. calendar: CALENDAR_SCHEMA."""
    facts = check_calendar(calendar)
    return not facts.rows or not meters or stored.is_whole(calendar=calendar, facts=facts, meters=meters)


def roll_up_in_blocks(
    store: EventStore,
    *,
    blocks: Iterable[tuple[pa.Table, Sequence[Meter]]],
    meters: Sequence[Meter],
    stored: StoredUsage | None,
) -> Iterator[RolledUp]:
    """The same of several calendars, each taken and counted when it is asked for.

    blocks: each calendar, sorted by ``period_key``, with those of ``meters`` that are wanted in it. From the
    first that is not stored whole all the rest are taken at once and counted in one pass over the events.
    """
    _check_meters(meters)
    reading = Reading()
    coming = iter(blocks)
    for calendar, wanted in coming:
        facts = check_calendar(calendar)
        answer: StoredAnswer | None = None if facts.rows and wanted else NOTHING_STORED
        if answer is None and stored is not None:
            answer = stored.read_whole(reading, calendar=calendar, facts=facts, meters=wanted)
        if answer is None:
            yield from _roll_up_together(store, [(calendar, wanted), *coming], meters, stored)
            return
        yield _completed(store, calendar, wanted, answer, None)


def _roll_up_together(
    store: EventStore,
    blocks: Sequence[tuple[pa.Table, Sequence[Meter]]],
    meters: Sequence[Meter],
    stored: StoredUsage | None,
) -> Iterator[RolledUp]:
    """The calendars as one, their keys one after the other; each gets its part of the answer."""
    wanted = {meter.meter_id for _, some in blocks for meter in some}
    edges = [0]
    for calendar, _ in blocks:
        past = pc.max(calendar["period_key"]).as_py()
        edges.append(edges[-1] + (0 if past is None else past + 1))
    rolled = roll_up_usage(
        store,
        calendar=pa.concat_tables(
            [shifted(block[0], first) for block, first in zip(blocks, edges, strict=False)]
        ),
        meters=[meter for meter in meters if meter.meter_id in wanted],
        stored=stored,
    )
    for edge in pairwise(edges):
        yield RolledUp(keys_between(rolled.usage, *edge), keys_between(rolled.unusable, *edge))


def _completed(
    store: EventStore,
    calendar: pa.Table,
    meters: Sequence[Meter],
    answer: StoredAnswer,
    known_at: datetime | None,
) -> RolledUp:
    """What is stored of a calendar, and the rest counted from events. A meter that met unusable events is
    counted from them in all periods, to name them."""
    parts, unusable = list(answer.parts), list[tuple[int, pa.Table]]()
    wanted = {number: meters[number] for number in answer.others}
    kept = {number: meter for number, meter in enumerate(meters) if number not in wanted}
    if kept and answer.missing.num_rows:
        _count_events(store, answer.missing, kept, read_cut(store, known_at=known_at), parts, unusable)
    if wanted:
        _count_events(store, calendar, wanted, read_cut(store, known_at=known_at), parts, unusable)
    return RolledUp(arrange_usage(meters, parts), arrange_unusable(meters, unusable))


def _count_events(
    store: EventStore,
    calendar: pa.Table,
    meters: dict[int, Meter],
    cut: EventCut,
    parts: list[MeterUsage],
    unusable: list[tuple[int, pa.Table]],
) -> None:
    """Count events of the meters, given by their places, into all periods of the calendar."""
    if not calendar.num_rows or not meters:
        return
    calendar, meters = _without_archived(store, calendar, meters, cut, parts, unusable)
    if not meters:
        return
    facts = check_calendar(calendar)
    with _calendar_table(store, calendar, facts) as name:
        place = _Place(store, name, facts, cut)
        plain = {number: meter for number, meter in meters.items() if is_plain(meter)}
        suspects = _roll_up_plain(place, plain, parts)
        levels = {n: meter for n, meter in meters.items() if meter.aggregation == "time_weighted"}
        for number, meter in meters.items():
            if number in plain or number in levels:
                continue
            if _roll_up_one(place, number, meter, parts):
                suspects.append(number)
        for number in suspects:
            query = unusable_query(meter=meters[number], calendar=name, facts=facts, cut=cut)
            unusable.append((number, store.query(query.sql, query.parameters)))
    unusable += roll_up_levels(
        store, calendar=calendar, end_micros=facts.end_micros, cut=cut, levels=levels, parts=parts
    )


@contextmanager
def _calendar_table(store: EventStore, calendar: pa.Table, facts: CalendarFacts) -> Iterator[str]:
    """The name of the calendar's scratch table; a calendar of one row has none."""
    if facts.only is not None:
        yield ""
        return
    with store.scratch_table(CALENDAR_COLUMNS_SQL, calendar) as name:
        yield name


def _without_archived(
    store: EventStore,
    calendar: pa.Table,
    meters: dict[int, Meter],
    cut: EventCut,
    parts: list[MeterUsage],
    unusable: list[tuple[int, pa.Table]],
) -> tuple[pa.Table, dict[int, Meter]]:
    """What is left to count when the periods that reach into archived time are reported as unusable; of
    meters with archived events and no such period, nothing is taken out."""
    archived = read_archived(store)
    concerned = {number: one for number, one in meters.items() if one.event_type in archived.before}
    for number, meter in concerned.items():
        whole, reaching = split_archived(calendar, meter, archived)
        if not reaching.num_rows:
            continue
        unusable.append((number, archived_rows(reaching)))
        meters = {place: one for place, one in meters.items() if place != number}
        _count_events(store, whole, {number: meter}, cut, parts, unusable)
    return calendar, meters


def _check_meters(meters: Sequence[Meter]) -> None:
    seen: set[str] = set()
    for meter in meters:
        if meter.meter_id in seen:
            raise BrokenState(f"meter {meter.meter_id!r} was asked for twice in one roll-up; name it once.")
        seen.add(meter.meter_id)


def _roll_up_plain(place: _Place, plain: dict[int, Meter], parts: list[MeterUsage]) -> list[int]:
    """Answer the meters that share queries; returns the meters that met unusable events."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for meter in plain.values():
        wanted[meter.event_type] |= {aggregate_of(meter) or ""} - {""}
    types_of: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for event_type in sorted(wanted):
        types_of[tuple(sorted(wanted[event_type]))].append(event_type)
    suspects = []
    for aggregates, event_types in types_of.items():
        query = plain_usage_query(
            event_types=event_types,
            aggregates=aggregates,
            calendar=place.calendar,
            facts=place.facts,
            cut=place.cut,
        )
        answer = place.store.query(query.sql, query.parameters).combine_chunks()
        type_numbers = answer["type_number"].to_numpy()
        for number, meter in plain.items():
            if meter.event_type in event_types:
                rows = np.flatnonzero(type_numbers == event_types.index(meter.event_type))
                part = _part_of(answer, pa.array(rows), aggregate_of(meter))
                if _take_usable(number, meter, part, parts):
                    suspects.append(number)
    return suspects


def _roll_up_one(place: _Place, number: int, meter: Meter, parts: list[MeterUsage]) -> bool:
    """Answer a meter that needs a query of its own; returns whether it met unusable events."""
    if meter.parts is not None:
        query = parts_query(meter=meter, calendar=place.calendar, facts=place.facts, cut=place.cut)
    elif isinstance(meter, BandedMeter) and not meter.adds_up:
        query = free_bands_query(meter=meter, calendar=place.calendar, facts=place.facts, cut=place.cut)
    else:
        query = meter_usage_query(meter=meter, calendar=place.calendar, facts=place.facts, cut=place.cut)
    return _take_usable(number, meter, place.store.query(query.sql, query.parameters), parts)


def _take_usable(number: int, meter: Meter, answer: pa.Table, parts: list[MeterUsage]) -> bool:
    """Keep the rows of an answer that have usable events; returns whether it has unusable ones."""
    numbers = np.full(answer.num_rows, number, np.int32)
    usage, short = usable_usage(numbers, len(meter.group_by), answer)
    parts.append(usage)
    return bool(short)


def _part_of(answer: pa.Table, rows: pa.Array, aggregate: str | None) -> pa.Table:
    """One meter's rows of a shared answer, in the columns of ``meter_usage_query``. Without an
    aggregate the quantity is the number of events, and every event is usable."""
    names = ["period_key", "event_count", "number_count", "quantity"]
    if aggregate is None:
        part = answer.select(["period_key", "event_count", "event_count"]).take(rows)
        quantity = part.column(1).cast(pa.decimal128(20, 0)).cast(QUANTITY_TYPE)
        return pa.table([*part.columns, quantity], names=names)
    return answer.select([*names[:3], aggregate]).take(rows).rename_columns(names)
