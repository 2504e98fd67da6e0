"""Contracts as arrays: their first and last days, what is settled, and their period boundaries.

Dates are int64 days since 1970. A contract's boundaries are looked up, not walked: contracts whose
cadence has the same phase (monthly on the 15th) share one array of boundaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from invoicing.plan_schedule import PlanSchedule
from rollup.period import billing_boundaries, cadence_step, find_time_zone

Days = NDArray[np.int64]
_FAR: Final = np.iinfo(np.int64).max
_NEVER: Final = np.iinfo(np.int64).min
_EPOCH: Final = date(1970, 1, 1)
_PERIOD_MAX: Final = timedelta(days=740)
"""More than the longest billing period has."""


@dataclass(frozen=True, slots=True)
class ContractDates:
    """One entry a contract, in the order they were given.

    track: the one of the schedule that prices it. end: _FAR when it has none. last_day: the latest billing
    date that is due. settled: the latest settled one, _NEVER for none. phase: which of ``boundaries`` is its.
    """

    track: NDArray[np.int64]
    start: Days
    end: Days
    last_day: Days
    settled: Days
    boundaries: list[Days]
    phase: NDArray[np.int64]


def read_contract_dates(
    contracts: pa.Table, schedule: PlanSchedule, settled: pa.Table, *, as_of: date, now: datetime | None
) -> ContractDates:
    """Contracts (as ``load_contracts`` gives them) as arrays; see ``due_service_periods`` for the rest."""
    start = as_days(contracts["start_date"])
    end = as_days(contracts["end_date"])
    zones = contracts["time_zone"].combine_chunks().dictionary_encode()
    last_days = [_last_day(zone, as_of, now) for zone in zones.dictionary.to_pylist()]
    last_day = np.array(last_days, np.int64)[word_numbers(zones)]
    phase, boundaries = _boundaries_by_phase(contracts, start, last_day)
    return ContractDates(
        track=_tracks(contracts, schedule),
        start=start,
        end=end,
        last_day=last_day,
        settled=_last_settled(contracts, settled),
        boundaries=boundaries,
        phase=phase,
    )


def _tracks(contracts: pa.Table, schedule: PlanSchedule) -> NDArray[np.int64]:
    plans = contracts["plan_id"].combine_chunks().dictionary_encode()
    of_plan = [schedule.plan_tracks.get(name, -1) for name in plans.dictionary.to_pylist()]
    tracks: NDArray[np.int64] = np.array(of_plan, np.int64)[word_numbers(plans)]
    if schedule.contract_tracks:
        ids = list(schedule.contract_tracks)
        places = pc.index_in(contracts["contract_id"], value_set=pa.array(ids, pa.string()))
        own = pc.fill_null(places.cast(pa.int64()), -1).to_numpy()
        of_contract = np.array([schedule.contract_tracks[key] for key in ids], np.int64)
        tracks = np.where(own >= 0, of_contract[own], tracks)
    return tracks


def _last_day(time_zone: str, as_of: date, now: datetime | None) -> int:
    if now is None:
        return _day_number(as_of)
    return min(_day_number(as_of), _day_number(now.astimezone(find_time_zone(time_zone)).date()))


def _last_settled(contracts: pa.Table, settled: pa.Table) -> Days:
    last = pa.table({"contract_id": settled["contract_id"], "day": as_dates(settled["billing_date"])})
    last = last.group_by("contract_id").aggregate([("day", "max")])
    places = pc.index_in(contracts["contract_id"], value_set=flat(last, "contract_id"))
    return as_days(pc.take(flat(last, "day_max"), places), missing=_NEVER)


def _boundaries_by_phase(
    contracts: pa.Table, start: Days, last_day: Days
) -> tuple[NDArray[np.int64], list[Days]]:
    """The class of each contract and the boundaries of each class, from before its first start on."""
    cadences = contracts["cadence"].combine_chunks().dictionary_encode()
    anchors = as_days(contracts["anchor_date"])
    names = cadences.dictionary.to_pylist()
    phases = _phases(word_numbers(cadences), names, anchors)
    distinct, first_places, phase = np.unique(phases, return_index=True, return_inverse=True)
    boundaries = []
    for number, place in enumerate(first_places[: distinct.size]):
        members = phase == number
        first, last = int(start[members].min()), int(max(last_day[members].max(), start[members].max()))
        found = billing_boundaries(
            cadence=names[word_numbers(cadences)[place]],
            anchor_date=_date_of(int(anchors[place])),
            first=_date_of(first),
            # One period past the last one, so that the period after the last due date is known.
            last=_date_of(last) + _PERIOD_MAX,
        )
        boundaries.append(np.array(found, dtype="datetime64[D]").astype(np.int64))
    return phase.astype(np.int64), boundaries


def _phases(cadence: NDArray[np.int64], names: Sequence[str], anchors: Days) -> NDArray[np.int64]:
    """A number for cadence and phase: monthly anchors on the 15th of any month are the same."""
    months = anchors.astype("datetime64[D]").astype("datetime64[M]")
    day_of_month = anchors - months.astype("datetime64[D]").astype(np.int64)
    phases = np.zeros(anchors.size, np.int64)
    for code, name in enumerate(names):
        unit, count = cadence_step(name)
        inside = anchors % (7 * count)
        if unit == "months":
            inside = (months.astype(np.int64) % count) * 31 + day_of_month
        phases = np.where(cadence == code, code * 1_000 + inside, phases)
    return phases


def flat(table: pa.Table, name: str | int) -> pa.Array:
    """A column of a table as one array."""
    column = table.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def as_dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO text or dates, as date32."""
    return column.cast(pa.date32())


def as_days(column: pa.ChunkedArray, missing: int = _FAR) -> Days:
    """Dates or ISO text as int64 days since 1970; ``missing`` stands for null."""
    numbers = as_dates(column).cast(pa.int32()).cast(pa.int64())
    days: Days = pc.fill_null(numbers, missing).to_numpy()
    return days


def word_numbers(words: pa.DictionaryArray) -> NDArray[np.int64]:
    """The place of each word in the dictionary, as int64."""
    places: NDArray[np.int64] = words.indices.to_numpy().astype(np.int64)
    return places


def _day_number(day: date) -> int:
    return (day - _EPOCH).days


def _date_of(number: int) -> date:
    return _EPOCH + timedelta(days=number)
