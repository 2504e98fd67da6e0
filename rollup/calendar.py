"""Checks the calendar this room is handed, and says how events may be joined to it.

The caller makes the calendar from contracts. A row that runs backwards or two rows that would count
the same event twice into one period are defects of ours, not of the customer: BrokenState, no usage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.errors import BrokenState
from rollup.schema import CALENDAR_SCHEMA

CALENDAR_COLUMNS_SQL: Final = (
    "period_key UInt32, subject LowCardinality(String), "
    "period_start DateTime64(6, 'UTC'), period_end DateTime64(6, 'UTC')"
)
"""The calendar as a table of the store. Subjects as codes: the join then takes half the time."""


@dataclass(frozen=True, slots=True)
class CalendarFacts:
    """What a checked calendar allows the queries to do.

    start_micros, end_micros: the whole span, so that the store can skip events outside it.
    subjects: number of different subjects.
    in_turn: some subject has several rows and none of them overlap (consecutive periods): the one
        period of an event is then found by its time (ASOF) instead of trying all of them.
    only: the period_key and subject of a calendar of a single row: it needs no table and no join.
    """

    rows: int
    subjects: int
    start_micros: int
    end_micros: int
    in_turn: bool
    only: tuple[int, str] | None = None


def check_calendar(calendar: pa.Table) -> CalendarFacts:
    """Check CALENDAR_SCHEMA rows; raises BrokenState naming the first row that is wrong.

    Wrong are: other columns, an empty field, ``period_start >= period_end``, and rows of the same
    period_key and subject that overlap. Rows of different period keys may overlap.
    """
    if not calendar.schema.equals(CALENDAR_SCHEMA):
        raise BrokenState(
            f"the calendar has the columns {calendar.schema.names}; "
            "build it with rollup.schema.CALENDAR_SCHEMA."
        )
    for name in calendar.schema.names:
        if calendar[name].null_count:
            raise BrokenState(f"the calendar column {name} has empty fields; every row needs all four.")
    if calendar.num_rows == 0:
        return CalendarFacts(rows=0, subjects=0, start_micros=0, end_micros=0, in_turn=False)
    starts, ends = _micros(calendar, "period_start"), _micros(calendar, "period_end")
    if (starts >= ends).any():
        row = calendar.slice(int(np.argmax(starts >= ends)), 1).to_pylist()[0]
        raise BrokenState(
            f"the calendar row of period {row['period_key']}, subject {row['subject']!r} starts at "
            f"{row['period_start']} and ends at {row['period_end']}; a period must end after it starts."
        )
    runs = pc.run_end_encode(calendar["subject"].combine_chunks())
    codes = runs.values.dictionary_encode()  # numbered as they are met
    lengths = np.diff(runs.run_ends.to_numpy(), prepend=0)
    subjects = len(codes.dictionary)
    in_turn = False
    if subjects < calendar.num_rows:
        keys = calendar["period_key"].to_numpy()
        in_turn = _is_disjoint(calendar, keys, np.repeat(codes.indices.to_numpy(), lengths), starts, ends)
    return CalendarFacts(
        rows=calendar.num_rows,
        subjects=subjects,
        start_micros=int(starts.min()),
        end_micros=int(ends.max()),
        in_turn=in_turn,
        only=(calendar["period_key"][0].as_py(), codes.dictionary[0].as_py())
        if calendar.num_rows == 1
        else None,
    )


def _micros(calendar: pa.Table, name: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = calendar[name].cast(pa.int64()).to_numpy()
    return values


def _is_disjoint(
    calendar: pa.Table, keys: NDArray[Any], subjects: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any]
) -> bool:
    """Whether no subject is in two rows at once. In rows sorted by start, any overlap shows between
    neighbours. Raises BrokenState when the two rows share a period key as well."""
    if np.all(subjects[1:] >= subjects[:-1]):  # one stretch each: nearly always in turn already
        same = subjects[1:] == subjects[:-1]
        if not np.any(same & (starts[1:] < ends[:-1])):
            return True
    order = np.lexsort((starts, keys, subjects))
    same = (subjects[order][1:] == subjects[order][:-1]) & (keys[order][1:] == keys[order][:-1])
    twice = same & (starts[order][1:] < ends[order][:-1])
    if twice.any():
        row = calendar.slice(int(order[int(np.argmax(twice)) + 1]), 1).to_pylist()[0]
        raise BrokenState(
            f"the calendar has subject {row['subject']!r} twice in period {row['period_key']} at "
            f"{row['period_start']}; its usage would be counted twice. Name each subject once a contract."
        )
    order = np.lexsort((starts, subjects))
    same = subjects[order][1:] == subjects[order][:-1]
    return not bool((same & (starts[order][1:] < ends[order][:-1])).any())
