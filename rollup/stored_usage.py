"""Usage that is added up as events arrive, so that closing a period does not read them again.

The unit is one subject, one period and one meter, not a day: a bill asks for exactly that, whatever the
time zone and anchor of its contract, and the rows read at closing then do not grow with the number of
events (ARCHITECTURE.md has the figures). Periods are kept because somebody who knows contracts asks for
them (``refresh``); any others are still counted from events.

What is stored always equals the events up to the watermark, a sequence number, with the corrections up
to another. ``refresh`` and ``read`` first add what arrived since, so an answer has every acknowledged
event in it; the periods a correction touches are counted again, and no others. All of it is derived:
``verify.py`` counts everything again and compares.

Killed at any point, it stays right: what new events add and the watermark are one block; a period or a
meter counted whole gets a number that nothing else has, and is read only once it is entered as kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.archives import read_archived
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from ingest.in_force import read_cut
from ingest.meter import Meter
from rollup import stored_rows
from rollup.banded_meter import is_stored
from rollup.calendar import CalendarFacts, check_calendar
from rollup.partial_query import Sequences
from rollup.partial_usage import partial_usage, periods_at_once
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_reading import Found, Reading, StoredAnswer, nothing_found, read_found
from rollup.stored_rows import ROWS_PER_BLOCK_MAX, Watermark

STEP_EVENTS_MAX: Final = 400_000
PERIODS_AT_ONCE: Final = 300_000


@dataclass(frozen=True, slots=True)
class Freshness:
    """sequence: the last event added up. behind: events stored since. periods, meters: how many are kept."""

    sequence: int
    behind: int
    periods: int
    meters: int


class StoredUsage:
    """One a process, shared by all threads; one of them at the tables at a time."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self._lock = threading.RLock()
        self._tidy = False
        self._turnovers = 0

    def refresh(self, *, calendar: pa.Table, meters: Sequence[Meter]) -> None:
        """Add what arrived, then keep the periods of ``calendar`` and the meters that are not kept yet.

        calendar: CALENDAR_SCHEMA; its period keys do not matter. Meters that are not kept: ``is_stored``. Nor
        are periods that reach into archived time and were not kept before.
        """
        with self._lock:
            if not self._tidy:
                self._turnovers += 1
                stored_rows.delete_unread_rows(self.store)
                self._tidy = True
            watermark = self.catch_up()
            kept = stored_rows.read_meters(self.store)
            known = {meter.meter_id for meter in kept.values()}
            first = stored_rows.next_meter_number(self.store)
            archived = read_archived(self.store)
            # Of a type with archived events no meter can be added up whole any more.
            new = [
                m
                for m in meters
                if is_stored(m) and m.meter_id not in known and m.event_type not in archived.before
            ]
            if new:
                numbered = dict(enumerate(new, start=first))
                self._count(stored_rows.kept_periods(self.store), numbered, watermark)
                stored_rows.add_meters(self.store, numbered)
                kept |= numbered
            begun_later = pc.greater_equal(calendar["period_start"].cast(pa.int64()), archived.latest)
            self._keep_periods(calendar.filter(begun_later), kept, watermark)

    def catch_up(self) -> Watermark:
        """Add the events and corrections that came since the last time; returns how far that is."""
        with self._lock:
            watermark = stored_rows.read_watermark(self.store)
            meters = stored_rows.read_meters(self.store)
            newest = self._add_events(watermark, meters)
            # Asked after the newest event: a correction of a later event waits for that event.
            cut = read_cut(self.store, known_at=None)
            reached = Watermark(newest, cut.correction_sequence)
            if reached.corrections > watermark.corrections:
                touched = stored_rows.periods_touched(
                    self.store, after=watermark.corrections, up_to=reached.corrections
                )
                self._count_again(touched, meters, reached)
                stored_rows.set_corrections(self.store, reached.corrections)
            return reached

    def _add_events(self, watermark: Watermark, meters: Mapping[int, Meter]) -> int:
        after = watermark.events
        newest = stored_rows.newest_events(self.store, after=after)
        cut = replace(read_cut(self.store, known_at=None), correction_sequence=watermark.corrections)
        step = STEP_EVENTS_MAX if meters else newest - after
        while after < newest:
            through = min(after + step, newest)
            periods = stored_rows.periods_of_new_events(self.store, after=after, through=through)
            added = partial_usage(
                self.store, periods=periods, meters=meters, sequences=Sequences(after, through, cut)
            )
            if added.num_rows > ROWS_PER_BLOCK_MAX:
                step = _smaller(step)
                continue
            stored_rows.add_rows(self.store, added, events=through)
            after = through
        return newest

    def read(self, *, calendar: pa.Table, facts: CalendarFacts, meters: Sequence[Meter]) -> StoredAnswer:
        """Usage of the periods and meters that are kept, with every event acknowledged before.

        calendar: CALENDAR_SCHEMA. facts: what its check found. Rows of one period_key are counted as
        one. Where another process writes to the store nothing is known here: what arrived cannot be added.
        """
        with self._lock:
            found = self._find(self._kept_meters(Reading()), calendar, facts, meters)
            return read_found(self.store, found, meters)

    def is_whole(self, *, calendar: pa.Table, facts: CalendarFacts, meters: Sequence[Meter]) -> bool:
        """Whether ``read`` would leave nothing to be counted from events."""
        with self._lock:
            found = self._find(self._kept_meters(Reading()), calendar, facts, meters)
            return not found.missing.num_rows and not found.others

    def read_whole(
        self, reading: Reading, *, calendar: pa.Table, facts: CalendarFacts, meters: Sequence[Meter]
    ) -> StoredAnswer | None:
        """As ``read``, of one of the calendars of a reading; None when one of its periods or meters is not
        kept, so that it needs a pass over events.

        Every event acknowledged before the first calendar was read is in it, later ones may be.
        """
        with self._lock:
            found = self._find(self._kept_meters(reading), calendar, facts, meters)
            if found.missing.num_rows or found.others:
                return None
            return read_found(self.store, found, meters)

    def _kept_meters(self, reading: Reading) -> Mapping[int, Meter]:
        """The kept meters by number, after what arrived was added: before the first calendar of a reading,
        and again where ids may have changed hands since. None where another process writes."""
        if self.store.turn() is None:
            return {}
        if reading.kept is None or reading.turnovers != self._turnovers:
            self.catch_up()
            reading.kept, reading.turnovers = stored_rows.read_meters(self.store), self._turnovers
        return reading.kept

    def _find(
        self, known: Mapping[int, Meter], calendar: pa.Table, facts: CalendarFacts, meters: Sequence[Meter]
    ) -> Found:
        """Which meters and periods are kept. known: the kept meters by number."""
        numbers = {meter.meter_id: (n, meter) for n, meter in known.items()}
        places: dict[int, int] = {}
        for place, meter in enumerate(meters):
            number, kept = numbers.get(meter.meter_id, (0, None))
            if kept == meter:
                places[number] = place
        others = tuple(sorted(set(range(len(meters))) - set(places.values())))
        if not places:
            return nothing_found(calendar, others)
        found, missing = stored_rows.find_periods(self.store, calendar, facts)
        if missing.num_rows:
            # A period_key of several subjects is one sum: it is read whole or not at all.
            keys = missing["period_key"].combine_chunks()
            missing = calendar.filter(pc.is_in(calendar["period_key"], value_set=keys))
            found = found.filter(pc.invert(pc.is_in(found["period_key"], value_set=keys)))
        return Found(found, missing, places, others)

    @contextmanager
    def at_rest(self) -> Iterator[Watermark]:
        """Add what arrived, then let nobody add more while the block runs; yields the watermark."""
        with self._lock:
            yield self.catch_up()

    def freshness(self) -> Freshness:
        """How far stored usage is, without adding anything."""
        with self._lock:
            watermark = stored_rows.read_watermark(self.store)
            newest = stored_rows.newest_events(self.store, after=watermark.events)
            return Freshness(
                sequence=watermark.events,
                behind=newest - watermark.events,
                periods=stored_rows.count_periods(self.store),
                meters=len(stored_rows.read_meters(self.store)),
            )

    def _keep_periods(self, calendar: pa.Table, meters: Mapping[int, Meter], watermark: Watermark) -> None:
        numbers = pa.array(np.arange(calendar.num_rows, dtype=np.uint32))
        calendar = calendar.set_column(0, CALENDAR_SCHEMA.field("period_key"), numbers)
        facts = check_calendar(calendar)
        if not facts.rows:
            return
        _, missing = stored_rows.find_periods(self.store, calendar, facts)
        # Ids of one subject stand together: a block of contracts then reads one stretch of rows.
        fields = ["subject", "period_start", "period_end"]
        missing = missing.group_by(fields).aggregate([]).sort_by([(name, "ascending") for name in fields])
        self._count_again(missing, meters, watermark)

    def _count_again(self, periods: pa.Table, meters: Mapping[int, Meter], watermark: Watermark) -> None:
        """Count whole periods under new ids, and then let those be read instead of any earlier ones.

        periods: subject, period_start, period_end, each once.
        """
        if not periods.num_rows:
            return
        if pc.min(periods["period_start"].cast(pa.int64())).as_py() < read_archived(self.store).latest:
            raise BrokenState(
                "a period whose events are archived would have to be counted again. Put the events back: "
                "`ratemill events restore FOLDER`."
            )
        self._turnovers += 1
        first = stored_rows.next_rollup_id(self.store)
        ids = pa.array(np.arange(first, first + periods.num_rows, dtype=np.uint64))
        keys = pa.array(np.arange(periods.num_rows, dtype=np.uint32))
        named = [periods[name] for name in ("subject", "period_start", "period_end")]
        numbered = pa.table([keys, *named, ids], schema=stored_rows.KEPT_SCHEMA)
        self._count(numbered, meters, watermark)
        stored_rows.add_periods(self.store, numbered)

    def _count(self, periods: pa.Table, meters: Mapping[int, Meter], watermark: Watermark) -> None:
        """Store the usage of whole periods, counted from events up to the watermark."""
        sequences = whole_count(self.store, watermark)
        for part in periods_at_once(periods, PERIODS_AT_ONCE):
            counted = partial_usage(self.store, periods=part, meters=meters, sequences=sequences)
            stored_rows.add_rows(self.store, counted, events=None)


def whole_count(store: EventStore, watermark: Watermark) -> Sequences:
    """All events in force at a watermark."""
    cut = replace(read_cut(store, known_at=None), correction_sequence=watermark.corrections)
    return Sequences(0, watermark.events, cut)


def _smaller(step: int) -> int:
    if step == 1:
        raise BrokenState(
            "one event falls into more periods than a block of stored usage holds; keep fewer periods."
        )
    return max(step // 2, 1)
