"""Usage in memory for questions that cannot wait: "may this customer use one more?" in well under 10 ms.

A counter is made when somebody first asks for it: it is counted from the store up to one event, and every
event that lands from then on is added before its sender is answered, so it always holds the last event
acknowledged. A correction of an event that a counter may hold throws the counter away; so does an insert of
which nobody knows whether it landed, and another process's turn at writing. It is then counted again when it
is asked for. Nothing here is on disk.

Locks: those of ``IngestContext`` before the one here. A counter is entered with no commit under way,
together with the number of the last event on record; those up to it are counted from the store, those behind
it are told.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ingest.archives import read_archived
from ingest.commit import IngestContext
from ingest.event import QUANTITY_SCALE
from ingest.gate import IdentityGate
from ingest.in_force import read_cut
from ingest.meter import Meter
from rollup.live_count import count_into
from rollup.live_counter import LiveCounter, LiveEvent, LiveReading
from rollup.partial_query import Sequences
from rollup.query import is_plain

COUNTERS_MAX: Final = 200_000
"""About 1 KB each; beyond it the counters that are there longest are forgotten."""
TRIES_MAX: Final = 20

_COLUMNS: Final = ("type", "subject", "time", "sequence", "value", "properties")
_Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LiveKey:
    """One figure: what ``subjects`` used by a meter on [start_micros, end_micros), together."""

    meter: Meter
    subjects: tuple[str, ...]
    start_micros: int
    end_micros: int


@dataclass(slots=True)
class _Kept:
    """A counter, whether it is whole yet, and whether what it holds may be wrong."""

    counter: LiveCounter
    ready: bool = False
    spoiled: bool = False


@dataclass(slots=True)
class _Known:
    """Everything that is forgotten at once when another process has written. sequence: the last event or
    correction that counters hold. types: of events that any counter takes; types_by_properties: those of
    which some counter looks at the properties."""

    turn: int | None = None
    sequence: int = 0
    kept: dict[LiveKey, _Kept] = field(default_factory=dict)
    at: defaultdict[_Place, dict[LiveKey, _Kept]] = field(default_factory=lambda: defaultdict(dict))
    types: set[str] = field(default_factory=set)
    types_by_properties: set[str] = field(default_factory=set)


class LiveUsage:
    """One a process, a listener of its ``ingest``. Every method may be called from any thread."""

    def __init__(self, ingest: IngestContext) -> None:
        self._ingest = ingest
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._known = _Known()
        ingest.listeners.append(self)

    def read(self, keys: Sequence[LiveKey], *, at_micros: int) -> tuple[list[LiveReading], int]:
        """The figures of ``keys``, and the number of the last event or correction that is in them.

        at_micros: the instant at which levels are read. Raises StoreUnavailable when another process
        writes to the store: then this one does not hear of its events; Conflict for archived time.
        """
        turn = self._ingest.store.writing.claim()
        for _ in range(TRIES_MAX):
            with self._lock:
                if self._known.turn == turn:
                    found = [self._known.kept.get(key) for key in keys]
                    if all(one is not None and one.ready for one in found):
                        readings = [one.counter.reading(at_micros=at_micros) for one in found if one]
                        return readings, self._known.sequence
            self.keep(keys)
        # Corrections come faster than they can be counted: count once with nothing else under way.
        with self._opening, self._ingest.alone() as gate:
            counters, sequence = self._count_at_rest(keys, gate)
            return [one.reading(at_micros=at_micros) for one in counters], sequence

    def keep_countable(self, keys: Iterable[LiveKey]) -> None:
        """``keep``, without the figures that reach into archived time: whoever asks for one is told."""
        archived = read_archived(self._ingest.store)
        self.keep([key for key in keys if not archived.reaches(key.meter.event_type, key.start_micros)])

    def keep(self, keys: Iterable[LiveKey]) -> None:
        """Count the figures that are not kept yet, one query a meter. Raises Conflict for archived time."""
        with self._opening:
            with self._ingest.alone() as gate:
                # The gate's next number says what is on record: nothing is being inserted.
                sequence = gate.next_sequence - 1
                with self._lock:
                    if self._known.turn != gate.turn:
                        self._known = _Known(turn=gate.turn)
                    self._known.sequence = max(self._known.sequence, sequence)
                    entered = {key: self._enter(key) for key in keys if key not in self._known.kept}
            if not entered:
                return
            counted = {key: _empty(key) for key in entered}
            try:
                cut = read_cut(self._ingest.store, known_at=None)
                sequences = Sequences(0, sequence, cut)
                count_into(self._ingest.store, counted=_grouped(counted), sequences=sequences)
            except BaseException:
                with self._lock:
                    for key in entered:
                        self._drop(key)
                raise
            with self._lock:
                for key, kept in entered.items():
                    if not kept.spoiled:
                        kept.counter.merge(counted[key])
                        kept.ready = True
                self._forget_oldest()

    def drop_ended(self, *, now_micros: int) -> None:
        """Forget the figures of periods that have ended."""
        with self._lock:
            for key in [key for key in self._known.kept if key.end_micros <= now_micros]:
                self._drop(key)

    def events_landed(self, events: pa.Table) -> None:
        """See ``Landing``."""
        last = events["sequence"][-1].as_py()
        with self._lock:
            self._known.sequence = max(self._known.sequence, last)
            types = pa.array(sorted(self._known.types), pa.string())
            by_properties = set(self._known.types_by_properties)
        if not len(types):
            return
        # Nobody enters a counter meanwhile: a commit is under way.
        chosen = events.select(_COLUMNS).filter(pc.is_in(events["type"], value_set=types))
        if not chosen.num_rows:
            return
        places = list(zip(chosen["type"].to_pylist(), chosen["subject"].to_pylist(), strict=True))
        at = self._known.at
        rows = [row for row, place in enumerate(places) if place in at]
        if not rows:
            return
        told = list(_events(chosen.take(pa.array(rows)), by_properties))
        with self._lock:
            for row, event in zip(rows, told, strict=True):
                for kept in at.get(places[row], {}).values():
                    kept.counter.add(event)

    def versions_changed(self, places: Iterable[_Place], last_sequence: int) -> None:
        """See ``Landing``."""
        with self._lock:
            self._known.sequence = max(self._known.sequence, last_sequence)
            for place in places:
                for key in list(self._known.at.get(place, ())):
                    self._drop(key)

    def landing_unknown(self) -> None:
        """See ``Landing``."""
        with self._lock:
            for kept in self._known.kept.values():
                kept.spoiled = True
            self._known = _Known()

    def _count_at_rest(self, keys: Sequence[LiveKey], gate: IdentityGate) -> tuple[list[LiveCounter], int]:
        cut = read_cut(self._ingest.store, known_at=None)
        counted = {key: _empty(key) for key in keys}
        sequences = Sequences(0, gate.next_sequence - 1, cut)
        count_into(self._ingest.store, counted=_grouped(counted), sequences=sequences)
        return [counted[key] for key in keys], gate.next_sequence - 1

    def _enter(self, key: LiveKey) -> _Kept:
        kept = self._known.kept[key] = _Kept(_empty(key))
        self._known.types.add(key.meter.event_type)
        if not is_plain(key.meter.model_copy(update={"group_by": ()})):
            self._known.types_by_properties.add(key.meter.event_type)
        for subject in key.subjects:
            self._known.at[key.meter.event_type, subject][key] = kept
        return kept

    def _drop(self, key: LiveKey) -> None:
        kept = self._known.kept.pop(key, None)
        if kept is None:
            return
        kept.spoiled = True
        for subject in key.subjects:
            place = (key.meter.event_type, subject)
            here = self._known.at.get(place, {})
            here.pop(key, None)
            if not here:
                self._known.at.pop(place, None)

    def _forget_oldest(self) -> None:
        while len(self._known.kept) > COUNTERS_MAX:
            self._drop(next(iter(self._known.kept)))


def _empty(key: LiveKey) -> LiveCounter:
    return LiveCounter(key.meter, key.start_micros, key.end_micros)


def _grouped(
    counted: Mapping[LiveKey, LiveCounter],
) -> dict[Meter, list[tuple[tuple[str, ...], LiveCounter]]]:
    groups: defaultdict[Meter, list[tuple[tuple[str, ...], LiveCounter]]] = defaultdict(list)
    for key, counter in counted.items():
        groups[key.meter].append((key.subjects, counter))
    return dict(groups)


def _events(rows: pa.Table, by_properties: set[str]) -> Iterable[LiveEvent]:
    """The rows as counters take them; properties are not read where no counter looks at them: that takes
    longer than everything else here."""
    columns: list[Any] = [rows["subject"].to_pylist(), rows["time"].cast(pa.int64()).to_pylist()]
    columns += [rows["sequence"].to_pylist(), rows["value"].to_pylist()]
    needed = not by_properties.isdisjoint(pc.unique(rows["type"]).to_pylist())
    columns.append(map(dict, rows["properties"].to_pylist()) if needed else repeat({}, rows.num_rows))
    for subject, micros, sequence, value, properties in zip(*columns, strict=True):
        scaled = None if value is None else int(value.scaleb(QUANTITY_SCALE))
        yield LiveEvent(subject, micros, sequence, scaled, properties)
