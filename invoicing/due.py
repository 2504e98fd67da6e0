"""What is due: the service periods a billing run has to price. Pure, whole tables at a time.

A contract's billing dates D are its start, every boundary of its cadence inside it, and its end.
On D the ``arrears`` row covers [date before D, D): what was used, known only now. The ``advance``
row covers [D, next date): what is paid before it is had. So a monthly contract from 15 January
billed in advance is billed on 15 January for 15 January to 14 February; in arrears it is billed
for the same days on 15 February.

Billing keeps its order: what lies before a contract's last settled billing date is done with.

Dates are int64 days since 1970 in here, see ``contract_dates.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.event import TIMESTAMP
from invoicing.contract_dates import (
    ContractDates,
    Days,
    as_dates,
    flat,
    read_contract_dates,
    word_numbers,
)
from invoicing.invoice_days import is_invoiced, rules_of, with_later_days
from invoicing.plan_schedule import ADVANCE, ARREARS, PlanSchedule, compile_plan_schedule
from rating.agreement import AgreedSegment, Agreement
from rating.invoice_day import InvoiceDayRule
from rating.plan_version import PlanVersion
from rating.proration import METHODS, shares
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.period import local_midnights_micros
from rollup.schema import CALENDAR_SCHEMA

MICROS: Final = 1_000_000
"""In a second."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Service periods as arrays: whole ones first, cut at plan versions and agreements later.
    whole_start, whole_end: the period of the cadence, which a contract may have only part of. version: the
    entry of the schedule. number, first_day: of the billing period."""

    contract: NDArray[np.int64]
    billing_date: Days
    arrears: NDArray[np.bool_]
    start: Days
    end: Days
    whole_start: Days
    whole_end: Days
    version: NDArray[np.int64]
    number: NDArray[np.int64]
    first_day: Days

    def take(self, places: NDArray[Any]) -> _Rows:
        return _Rows(*(getattr(self, name)[places] for name in self.__slots__))


def due_service_periods(
    *,
    contracts: pa.Table,
    plan_versions: Sequence[PlanVersion],
    settled: pa.Table,
    as_of: date,
    now: datetime | None = None,
    segments: Mapping[str, tuple[AgreedSegment, ...]] | None = None,
    agreements: Mapping[str, Agreement] | None = None,
    invoice_days: Mapping[str, InvoiceDayRule] | None = None,
) -> pa.Table:
    """The rows due on ``as_of``, as SERVICE_PERIOD_SCHEMA, by contract, billing date and time.

    contracts: as ``load_contracts`` gives them. settled: (contract_id, billing_date); only the
        latest date of a contract counts. Both dates may be date32 or ISO text.
    as_of: billing dates up to and including this local date are due.
    segments: what contracts agree beyond their plans, as ``load_segments`` gives it; None for nothing.
    agreements: by key, all that the segments name.
    invoice_days: by contract_id, of contracts whose dates are due on business days; None for none.
    now: when given, only days that have begun in the contract's own time zone are: with it a
        billing date is due from its local midnight on. None for plans ahead (previews, forecasts).

    Left out: contracts without a plan version in force on their first day (``without_plan`` names
    them), rows on which no charge of the plan version can fall, and rows without any time: a local
    day that a clock change skipped whole (Apia, 30 December 2011).
    """
    schedule = compile_plan_schedule(plan_versions, segments or {}, agreements or {})
    unplanned = without_plan(contracts, plan_versions)
    if unplanned.num_rows:
        dropped = pc.is_in(contracts["contract_id"], value_set=flat(unplanned, 0))
        contracts = contracts.filter(pc.invert(dropped))
    terms = read_contract_dates(contracts, schedule, settled, as_of=as_of, now=now)
    rules = rules_of(contracts["contract_id"].to_pylist(), invoice_days) if invoice_days else {}
    wide = with_later_days(terms, rules) if rules else terms
    rows = _split_at_versions(_due_rows(wide, schedule), wide, schedule)
    charged = schedule.charges(rows.version, arrears=rows.arrears)
    if not charged.all():
        rows = rows.take(np.flatnonzero(charged))
    if not _in_order(rows):
        rows = rows.take(np.lexsort((rows.start, ~rows.arrears, rows.billing_date, rows.contract)))
    if rules:
        rows = rows.take(
            np.flatnonzero(is_invoiced(rows.contract, rows.billing_date, rows.arrears, terms, rules))
        )
    return _periods_table(rows, terms, contracts, schedule)


def without_plan(contracts: pa.Table, plan_versions: Sequence[PlanVersion]) -> pa.Table:
    """Contracts no price covers on their first day: (contract_id, plan_id, start_date)."""
    earliest: dict[str, date] = {}
    for entry in plan_versions:
        known = earliest.get(entry.plan.plan_id, entry.plan.effective_from)
        earliest[entry.plan.plan_id] = min(known, entry.plan.effective_from)
    words = contracts["plan_id"].combine_chunks().dictionary_encode()
    firsts = [earliest.get(plan, date.max) for plan in words.dictionary.to_pylist()]
    first = pa.array(firsts, pa.date32()).take(words.indices)
    chosen = contracts.filter(pc.greater(first, as_dates(contracts["start_date"])))
    return chosen.select(["contract_id", "plan_id", "start_date"])


def calendar_of(*, periods: pa.Table, contract_subjects: pa.Table) -> pa.Table:
    """Which subject's usage counts towards which arrears row, as CALENDAR_SCHEMA.

    contract_subjects: (contract_id, subject). Contracts without subjects have no rows.
    """
    timing = periods["timing"].combine_chunks().dictionary_encode()
    is_arrears = np.array([word == ARREARS for word in timing.dictionary.to_pylist()], bool)
    chosen = is_arrears[timing.indices.to_numpy()]
    rows = periods.select(["period_key", "contract_id", "period_start", "period_end"])
    rows = rows if chosen.all() else rows.filter(pa.array(chosen))
    subjects = _only_subjects(rows["contract_id"].combine_chunks(), contract_subjects)
    if subjects is not None and np.all(np.diff(rows["period_key"].to_numpy().astype(np.int64)) > 0):
        joined = rows.append_column("subject", subjects)
    else:
        pairs = contract_subjects.select(["contract_id", "subject"])
        joined = rows.join(pairs, keys="contract_id", join_type="inner")
        joined = joined.sort_by([("period_key", "ascending"), ("subject", "ascending")])
    return joined.select(CALENDAR_SCHEMA.names).cast(CALENDAR_SCHEMA)


def _only_subjects(contract_ids: pa.Array, contract_subjects: pa.Table) -> pa.Array | None:
    """The subject of each row's contract, when all have just one and their order tells; else None. Nearly all
    contracts have one, and a join takes several times as long."""
    owners = contract_subjects["contract_id"].combine_chunks()
    if not pc.all(pc.less(owners.slice(0, max(len(owners) - 1, 0)), owners.slice(1)), min_count=0).as_py():
        return None
    runs = pc.run_end_encode(contract_ids)
    places = pc.index_in(runs.values, value_set=owners)
    if places.null_count:
        return None
    each = np.repeat(places.to_numpy(), np.diff(runs.run_ends.to_numpy(), prepend=0))
    return contract_subjects["subject"].combine_chunks().take(pa.array(each))


def _in_order(rows: _Rows) -> bool:
    """Whether the rows ascend by contract and billing date alone: one row a date, as of plans that charge
    only in arrears."""
    later = rows.contract[1:] > rows.contract[:-1]
    later |= (rows.contract[1:] == rows.contract[:-1]) & (rows.billing_date[1:] > rows.billing_date[:-1])
    return bool(later.all())


def _due_rows(terms: ContractDates, schedule: PlanSchedule) -> _Rows:
    """Every unsettled billing date up to the last day, with its arrears and its advance period; those of
    a timing that nothing is charged in are left out."""
    timings = bool(schedule.has_arrears.any()), bool(schedule.has_advance.any())
    parts = [
        _due_rows_of_phase(terms, np.flatnonzero(terms.phase == number), boundaries, timings)
        for number, boundaries in enumerate(terms.boundaries)
    ]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return _Rows(nothing, nothing, nothing.astype(bool), *[nothing] * 7)
    return _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Rows.__slots__))


def _due_rows_of_phase(
    terms: ContractDates, members: NDArray[np.int64], boundaries: Days, timings: tuple[bool, bool]
) -> _Rows:
    """timings: whether anything is charged in arrears, in advance."""
    start, end, last_day = terms.start[members], terms.end[members], terms.last_day[members]
    # Billing date number 0 is the start, 1 .. inside the boundaries strictly inside, then the end.
    first_inside = np.searchsorted(boundaries, start, "right")
    reach = np.minimum(end - 1, last_day)
    inside = np.maximum(np.searchsorted(boundaries, reach, "right") - first_inside, 0)
    ended = (end <= last_day).astype(np.int64)
    dates = np.where(start <= last_day, 1 + inside + ended, 0)
    owner = np.repeat(np.arange(members.size), dates)
    number = np.arange(owner.size) - np.repeat(np.cumsum(dates) - dates, dates)

    def date_number(owner: NDArray[np.int64], which: NDArray[np.int64]) -> Days:
        place = np.clip(first_inside[owner] + which - 1, 0, boundaries.size - 1)
        day = np.minimum(boundaries[place], end[owner])
        return np.where(which <= 0, start[owner], day)

    here = date_number(owner, number)
    open_date = here > terms.settled[members][owner]
    arrears = np.flatnonzero(open_date & (here > start[owner]) & timings[0])
    advance = np.flatnonzero(open_date & (here < end[owner]) & timings[1])
    chosen = np.concatenate([arrears, advance])
    is_arrears = np.arange(chosen.size) < arrears.size
    owner, number = owner[chosen], number[chosen] - is_arrears  # from here on of the period
    period_start, period_end = date_number(owner, number), date_number(owner, number + 1)
    holding = np.searchsorted(boundaries, period_start, "right") - 1
    return _Rows(
        contract=members[owner],
        billing_date=here[chosen],
        arrears=is_arrears,
        start=period_start,
        end=period_end,
        whole_start=boundaries[holding],
        whole_end=boundaries[holding + 1],
        version=np.zeros(period_start.size, np.int64),
        number=number,
        first_day=period_start,
    )


def _split_at_versions(rows: _Rows, terms: ContractDates, schedule: PlanSchedule) -> _Rows:
    """One row a plan version and agreement: cut where one takes effect strictly inside the period and changes
    what a row of that timing charges."""
    track = terms.track[rows.contract]
    first = schedule.in_force(track, rows.start)
    past_last = schedule.in_force(track, rows.end - 1) + 1
    parts = past_last - first
    if np.all(parts == 1):
        start = np.maximum(rows.start, schedule.effective[first]) if first.size else rows.start
        return replace(rows, start=start, version=first)
    split = rows.take(np.repeat(np.arange(parts.size), parts))
    version = (
        np.repeat(first, parts) + np.arange(split.start.size) - np.repeat(np.cumsum(parts) - parts, parts)
    )
    start, end = split.start, split.end
    if version.size:
        ends_here = version + 1 == np.repeat(past_last, parts)
        following = schedule.effective[np.minimum(version + 1, schedule.effective.size - 1)]
        start = np.maximum(start, schedule.effective[version])
        end = np.where(ends_here, end, following)
    if schedule.same_arrears.any() or schedule.same_advance.any():
        continues = np.where(split.arrears, schedule.same_arrears[version], schedule.same_advance[version])
        begins = np.flatnonzero((version == np.repeat(first, parts)) | ~continues)
        last_part = np.append(begins[1:], version.size)[: begins.size] - 1
        split, version, start, end = split.take(begins), version[begins], start[begins], end[last_part]
    return replace(split, start=start, end=end, version=version)


def _periods_table(
    rows: _Rows, terms: ContractDates, contracts: pa.Table, schedule: PlanSchedule
) -> pa.Table:
    zones = contracts["time_zone"].combine_chunks().dictionary_encode()
    zone = word_numbers(zones)[rows.contract]
    start, end = np.zeros(zone.size, np.int64), np.zeros(zone.size, np.int64)
    for number, name in enumerate(zones.dictionary.to_pylist()):
        members = np.flatnonzero(zone == number)
        start[members] = local_midnights_micros(rows.start[members].astype("datetime64[D]"), name)
        end[members] = local_midnights_micros(rows.end[members].astype("datetime64[D]"), name)
    days, full_days = _shares(rows, schedule, zone, zones.dictionary.to_pylist(), end - start)
    timing = pa.DictionaryArray.from_arrays(
        pa.array((~rows.arrears).astype(np.int32)), pa.array([ARREARS, ADVANCE])
    )
    columns = [
        pa.array(np.arange(zone.size, dtype=np.uint32)),
        contracts["contract_id"].combine_chunks().take(pa.array(rows.contract)),
        _words(schedule.plan[rows.version], schedule.plan_ids),
        pa.array(schedule.version[rows.version].astype(np.uint32)),
        _words(schedule.agreement[rows.version], schedule.agreements),
        timing,
        pa.array(rows.billing_date.astype(np.int32)).cast(pa.date32()),
        pa.array(start).cast(TIMESTAMP),
        pa.array(end).cast(TIMESTAMP),
        pa.array(days.astype(np.int32)),
        pa.array(full_days.astype(np.int32)),
        pa.array(rows.start == _begins(rows, terms, schedule)),
        pa.array(rows.number.astype(np.int32)),
        pa.array(rows.first_day.astype(np.int32)).cast(pa.date32()),
    ]
    periods = pa.Table.from_arrays(columns, schema=SERVICE_PERIOD_SCHEMA)
    some_time = start < end
    if some_time.all():
        return periods
    kept = periods.filter(pa.array(some_time))
    return kept.set_column(
        0, SERVICE_PERIOD_SCHEMA.field(0), pa.array(np.arange(kept.num_rows, dtype=np.uint32))
    )


def _begins(rows: _Rows, terms: ContractDates, schedule: PlanSchedule) -> Days:
    """The first day of the contract, or of the phase that brought the plan of each row."""
    starts = terms.start[rows.contract]
    if not schedule.has_phases:
        return starts
    return np.maximum(starts, schedule.plan_begins[rows.version])


def _shares(
    rows: _Rows, schedule: PlanSchedule, zone: NDArray[np.int64], zones: Sequence[str], micros: Days
) -> tuple[Days, Days]:
    """How much of its whole period each row is, counted as its plan prorates. micros: how long it is."""
    days, full_days = rows.end - rows.start, rows.whole_end - rows.whole_start
    if not schedule.proration.any():
        return days, full_days
    method = schedule.proration[rows.version]
    for number in np.flatnonzero(np.bincount(method, minlength=len(METHODS))[1:]) + 1:
        chosen = np.flatnonzero(method == number)
        if METHODS[number] == "by_second":
            for place, name in enumerate(zones):
                here = chosen[zone[chosen] == place]
                edges = (rows.whole_start[here], rows.whole_end[here])
                first, past = (local_midnights_micros(each.astype("datetime64[D]"), name) for each in edges)
                days[here], full_days[here] = micros[here] // MICROS, (past - first) // MICROS
            continue
        days[chosen], full_days[chosen] = shares(
            METHODS[number],
            start=rows.start[chosen],
            end=rows.end[chosen],
            whole_start=rows.whole_start[chosen],
            whole_end=rows.whole_end[chosen],
        )
    return days, full_days


def _words(numbers: NDArray[np.int64], words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), pa.array(words, pa.string()))
