"""Where every event went: billed, not billable or not billed yet, to the last event and unit.

Each accepted event is in exactly one outcome, by its version in force (a cancelled event by the one it
had last), and ``value_total`` adds up ``value`` as it was sent. Asked in this order:

    not_billable  cancelled           the event was cancelled
                  type_unmatched      no meter counts its type
                  subject_unmatched   no contract has its subject
    billed                            a period that is billed counts it, and it was there in time, or in time
                                      for the bill that adjusts it
    unbilled      late                a period that is billed counts it, but it came in afterwards
                  amended_later       the same of a version that an amendment made
                  late_ignored        the same of either, where the contract lets late usage be
                  (of the period)     a period that is not billed counts it
    not_billable  filtered_out        its period's meters of its type all leave it out by their filters
                  no_charge           nothing in its period is charged by a meter of its type
                  outside_contract    no contract of its subject covers its time

An event that several periods count (a subject of two contracts, two meters of one type) is billed when
one of them billed it. The parts are counted by one query joined to the periods and compared with
a plain count of the same events, and both with what was accepted: a difference is BrokenState.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.errors import BrokenState
from ingest.in_force import SENT_SQL, EventCut, ended_sql, in_force_sql, read_cut
from ingest.meter import Meter
from rollup.counted_events import Parameters, filter_sql
from rollup.coverage import (
    PIECE_COLUMNS_SQL,
    SUBJECT_UNKNOWN,
    Outcome,
    PeriodClass,
    billed_classes,
    lay_pieces,
)
from rollup.stored_rows import newest_events

CANCELLED: Final = "cancelled"
TYPE_UNMATCHED: Final = "type_unmatched"
SUBJECT_UNMATCHED: Final = "subject_unmatched"
OUTSIDE_CONTRACT: Final = "outside_contract"
NO_CHARGE: Final = "no_charge"
FILTERED_OUT: Final = "filtered_out"
LATE: Final = "late"
AMENDED_LATER: Final = "amended_later"
LATE_IGNORED: Final = "late_ignored"
OUTCOME_REASONS: Final = {
    CANCELLED: "The event was cancelled.",
    TYPE_UNMATCHED: "No meter counts the type of the event.",
    SUBJECT_UNMATCHED: "No contract has the subject of the event.",
    OUTSIDE_CONTRACT: "No contract of the subject covers the time of the event.",
    NO_CHARGE: "No charge in the event's period is priced by a meter of its type.",
    FILTERED_OUT: "The meters that price the event's type leave it out by their filters.",
    LATE: "The event came in after its period was billed.",
    AMENDED_LATER: "The event was amended after its period was billed.",
    LATE_IGNORED: "The event came in or was amended after its period was billed, and the contract says "
    "`late_usage: ignore`.",
}

_WIDE: Final = Context(prec=60)
_Sums = dict[Any, tuple[int, Decimal]]


@dataclass(frozen=True, slots=True)
class Part:
    """The events of one type that had the same outcome. value_total: exact, 0 when none has a value."""

    type: str
    outcome: Outcome
    reason_code: str
    event_count: int
    value_total: Decimal


@dataclass(frozen=True, slots=True)
class TypeTotal:
    """All accepted events of one type; the sum of its parts."""

    type: str
    event_count: int
    value_total: Decimal


@dataclass(frozen=True, slots=True)
class Completeness:
    """parts, types: sorted. as_of_sequence: the last event and correction that were looked at."""

    as_of_sequence: int
    parts: tuple[Part, ...]
    types: tuple[TypeTotal, ...]


@dataclass(frozen=True, slots=True)
class _Population:
    """Conditions on ``events`` e for the events asked about; ``cancelled`` is SQL that is true of those."""

    conditions: Sequence[str]
    cancelled: str


def account_for_events(
    store: EventStore,
    *,
    periods: pa.Table,
    classes: Sequence[PeriodClass],
    meters: Sequence[Meter],
    time_from: datetime | None,
    time_to: datetime | None,
) -> Completeness:
    """Account for every event with a time in [time_from, time_to); None has no bound.

    periods: CLASSED_PERIODS_SCHEMA, over all time of every contract's subjects. classes: by number; of
    several unbilled ones that count an event, the first gives the reason. meters: all there are.
    Raises BrokenState when the parts do not sum to the whole.
    """
    cut = read_cut(store, known_at=None)
    through = max(newest_events(store, after=0), cut.correction_sequence)
    filtered = [meter for meter in meters if meter.filters]
    pieces = lay_pieces(periods, classes)
    parameters = Parameters()
    population = _population(cut, through, time_from, time_to, parameters)
    with store.scratch_table(PIECE_COLUMNS_SQL, pieces.table) as name:
        counted = store.query(_parts_sql(name, population, filtered, parameters), parameters.values)
    of_type: defaultdict[str, list[Meter]] = defaultdict(list)
    for meter in meters:
        of_type[meter.event_type].append(meter)
    sums: _Sums = {}
    for row in counted.to_pylist():
        coverage = None if row["coverage"] == SUBJECT_UNKNOWN else pieces.coverages[row["coverage"]]
        passed = frozenset(filtered[place - 1].meter_id for place in row["passed"])
        outcome = _outcome(row, passed, of_type[row["type"]], coverage, classes)
        _add(sums, (row["type"], *outcome), row["event_count"], row["value_total"])
    parts = tuple(
        Part(event_type, outcome, reason, *sums[event_type, outcome, reason])
        for event_type, outcome, reason in sorted(sums)
    )
    types = _totals(store, population, parameters)
    _check(parts, types)
    if time_from is None and time_to is None:
        _check_accepted(store, types, through)
    return Completeness(through, parts, types)


def _outcome(
    row: Mapping[str, Any],
    passed: frozenset[str],
    meters: Sequence[Meter],
    coverage: Sequence[int] | None,
    classes: Sequence[PeriodClass],
) -> tuple[Outcome, str]:
    """Outcome and reason of the events of one row; see the module.

    passed: meters with filters that count them. meters: all of their type. coverage: None for an unknown
    subject.
    """
    if row["cancelled"]:
        return "not_billable", CANCELLED
    if not meters:
        return "not_billable", TYPE_UNMATCHED
    if coverage is None:
        return "not_billable", SUBJECT_UNMATCHED
    counting = passed.union(meter.meter_id for meter in meters if not meter.filters)
    billed = billed_classes(coverage, classes)
    if any(one.meter_ids & counting for one in billed[: row["in_time"]]):
        return "billed", ""
    late = [one for one in billed if one.meter_ids & counting]
    if late:
        reason = AMENDED_LATER if row["amended"] else LATE
        return "unbilled", LATE_IGNORED if all(one.reason_code == LATE_IGNORED for one in late) else reason
    for number in coverage:
        if classes[number].outcome == "unbilled" and classes[number].meter_ids & counting:
            return "unbilled", classes[number].reason_code
    if not coverage:
        return "not_billable", OUTSIDE_CONTRACT
    charged = any(meter.meter_id in classes[number].meter_ids for number in coverage for meter in meters)
    return "not_billable", FILTERED_OUT if charged else NO_CHARGE


def _population(
    cut: EventCut,
    through: int,
    time_from: datetime | None,
    time_to: datetime | None,
    parameters: Parameters,
) -> _Population:
    types = sorted(cut.corrected_types)
    in_force = in_force_sql(cut, event_types=types, types_sql=parameters.texts(types), table="e.")
    cancelled = (
        f"e.sequence IN ({ended_sql(f'correction_sequence <= {cut.correction_sequence:d}')})"
        if types
        else "false"
    )
    conditions = [f"e.sequence <= {through:d}", f"(({' AND '.join(in_force)}) OR {cancelled})"]
    if time_from is not None:
        conditions.append(f"e.time >= {parameters.instant(to_micros(time_from))}")
    if time_to is not None:
        conditions.append(f"e.time < {parameters.instant(to_micros(time_to))}")
    return _Population(conditions, cancelled)


def _parts_sql(
    pieces: str, population: _Population, filtered: Sequence[Meter], parameters: Parameters
) -> str:
    """One pass over the events. passed: places, from 1, of the filtered meters that count the event."""
    passed = [
        f"if({' AND '.join([f'e.type = {parameters.text(meter.event_type)}', *tests])}, {place}, 0)"
        for place, meter in enumerate(filtered, start=1)
        for tests in [[filter_sql(one, parameters) for one in meter.filters]]
    ]
    places = f"arrayFilter(place -> place > 0, [{', '.join(passed)}])" if passed else "emptyArrayUInt32()"
    return (
        "SELECT toString(e.type) AS type, p.coverage AS coverage,\n"
        "    arrayCount(one -> one >= toUnixTimestamp64Micro(e.ingested_at), p.billed_micros) AS in_time,\n"
        f"    e.replaces > 0 AS amended, {population.cancelled} AS cancelled,\n"
        f"    CAST({places} AS Array(UInt32)) AS passed,\n"
        "    count() AS event_count, sum(e.value) AS value_total\n"
        f"FROM events AS e ASOF LEFT JOIN {pieces} AS p\n"
        "    ON e.subject = p.subject AND e.time >= p.piece_start\n"
        f"WHERE {' AND '.join(population.conditions)}\n"
        "GROUP BY type, coverage, in_time, amended, cancelled, passed"
    )


def _totals(store: EventStore, population: _Population, parameters: Parameters) -> tuple[TypeTotal, ...]:
    sql = (
        "SELECT toString(e.type) AS type, count() AS event_count, sum(e.value) AS value_total\n"
        f"FROM events AS e WHERE {' AND '.join(population.conditions)}\nGROUP BY type ORDER BY type"
    )
    rows = store.query(sql, parameters.values).to_pylist()
    return tuple(TypeTotal(row["type"], row["event_count"], row["value_total"] or Decimal(0)) for row in rows)


def _add(sums: _Sums, key: Any, count: int, total: Decimal | None) -> None:
    before = sums.get(key, (0, Decimal(0)))
    sums[key] = (before[0] + count, _WIDE.add(before[1], total or Decimal(0)))


def _check(parts: Iterable[Part], types: Iterable[TypeTotal]) -> None:
    sums: _Sums = {}
    for part in parts:
        _add(sums, part.type, part.event_count, part.value_total)
    whole = {total.type: (total.event_count, total.value_total) for total in types}
    for name in sorted(sums.keys() | whole.keys()):
        if sums.get(name) != whole.get(name):
            raise BrokenState(
                f"of the events of type {name!r} the parts come to {sums.get(name)} (events, units) and "
                f"the whole to {whole.get(name)}. Report this; nothing was changed."
            )


def _check_accepted(store: EventStore, types: Iterable[TypeTotal], through: int) -> None:
    """Every event as it was sent is one of those looked at, whatever corrected it."""
    sql = f"SELECT toString(type) AS type, count() AS sent FROM events\nWHERE {SENT_SQL} AND "
    rows = store.query(f"{sql}sequence <= {through:d} GROUP BY type").to_pylist()
    sent: defaultdict[str, int] = defaultdict(int, {row["type"]: row["sent"] for row in rows})
    for total in types:
        if sent.pop(total.type, 0) != total.event_count:
            raise BrokenState(
                f"of type {total.type!r} {total.event_count} events are in force or cancelled, and another "
                "number was accepted. Run `ratemill rollup verify` and restore the event store from a backup."
            )
    if sent:
        raise BrokenState(f"accepted events of type {min(sent)!r} are neither in force nor cancelled.")
