"""Lays periods of many kinds over the time of each subject, so that an event meets one row of a table.

Periods overlap: a contract and its billing periods, several contracts of a subject. Here the whole time
of each subject is cut wherever anything begins or ends. Each piece has a *coverage*: the set of classes
of periods that lie over it. There are few different ones, so events are counted by coverage and
what becomes of them is decided afterwards, once a coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.clock import to_micros
from ingest.errors import BrokenState
from ingest.event import TIME_MAX, TIME_MIN, TIMESTAMP

Outcome = Literal["billed", "unbilled", "not_billable"]

CLASSED_PERIODS_SCHEMA: Final = pa.schema(
    [
        pa.field("subject", pa.string(), nullable=False),
        pa.field("period_start", TIMESTAMP, nullable=False),
        pa.field("period_end", TIMESTAMP, nullable=False),
        pa.field("class_number", pa.int32(), nullable=False),
    ]
)
"""Half-open periods [period_start, period_end) of a subject, each of one class; they may overlap."""

PIECE_COLUMNS_SQL: Final = (
    "subject LowCardinality(String), piece_start DateTime64(6, 'UTC'), coverage UInt32, "
    "billed_micros Array(Int64)"
)
SUBJECT_UNKNOWN: Final = 0
"""The coverage number of subjects without any period."""
SUBJECT_KNOWN: Final = 1
"""The coverage number of time that no period of the subject lies over."""

_Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PeriodClass:
    """What becomes of the events that a kind of period counts.

    outcome: ``billed``, ``unbilled``, or ``not_billable`` (then it counts no meter). reason_code: why it
    is not billed; empty when it is. meter_ids: the meters it counts by. billed_at_micros: of a billed
    one, the instant up to which events had to come in to be on the bill; else None.
    """

    outcome: Outcome
    reason_code: str
    meter_ids: frozenset[str]
    billed_at_micros: int | None


@dataclass(frozen=True, slots=True)
class Pieces:
    """table: (subject, piece_start, coverage, billed_micros), one row a piece; a piece lasts until the
    next one of its subject begins, and the first begins with time itself. coverages: class numbers of
    each coverage, ascending. billed_micros: the
    ``billed_at_micros`` of the coverage's billed classes, latest first."""

    table: pa.Table
    coverages: Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Marks:
    """subject, time: of each mark, sorted so. begin, end: the marks where each period begins and ends."""

    subject: _Whole
    time: _Whole
    begin: _Whole
    end: _Whole


def lay_pieces(periods: pa.Table, classes: Sequence[PeriodClass]) -> Pieces:
    """Cut the time of each subject in CLASSED_PERIODS_SCHEMA rows. Raises BrokenState for another
    schema or a period that does not end after it starts."""
    if not periods.schema.equals(CLASSED_PERIODS_SCHEMA):
        raise BrokenState(
            f"classed periods have the columns {periods.schema.names}; use CLASSED_PERIODS_SCHEMA."
        )
    words = periods["subject"].combine_chunks().dictionary_encode()
    first, last = to_micros(TIME_MIN), to_micros(TIME_MAX)
    starts = np.maximum(periods["period_start"].cast(pa.int64()).to_numpy(), first)
    ends = np.minimum(periods["period_end"].cast(pa.int64()).to_numpy(), last)
    if (starts >= ends).any():
        row = periods.slice(int(np.argmax(starts >= ends)), 1).to_pylist()[0]
        raise BrokenState(
            f"a period of subject {row['subject']!r} starts at {row['period_start']} and ends at "
            f"{row['period_end']}; a period must end after it starts."
        )
    marks = _mark(words.indices.to_numpy().astype(np.int64), len(words.dictionary), starts, ends)
    coverage, coverages = _coverages(marks, periods["class_number"].to_numpy())
    kept = np.flatnonzero(marks.time < last)
    billed = pa.array([_billed_micros(one, classes) for one in coverages], pa.list_(pa.int64()))
    columns = {
        "subject": words.dictionary.take(pa.array(marks.subject[kept])),
        "piece_start": pa.array(marks.time[kept]).cast(TIMESTAMP),
        "coverage": pa.array(coverage[kept].astype(np.uint32)),
        "billed_micros": billed.take(pa.array(coverage[kept])),
    }
    return Pieces(pa.table(columns), coverages)


def _mark(owner: _Whole, subjects: int, starts: _Whole, ends: _Whole) -> _Marks:
    """Every instant at which anything of a subject begins or ends, all time included, each once."""
    everybody, ones = np.arange(subjects, dtype=np.int64), np.ones(subjects, np.int64)
    owners = np.concatenate([owner, owner, everybody, everybody])
    times = np.concatenate([starts, ends, ones * to_micros(TIME_MIN), ones * to_micros(TIME_MAX)])
    order = np.lexsort((times, owners))
    owners, times = owners[order], times[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (owners[1:] != owners[:-1]) | (times[1:] != times[:-1])
    place = np.zeros(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    count = len(owner)
    return _Marks(owners[new], times[new], place[:count], place[count : 2 * count])


def _coverages(marks: _Marks, class_numbers: _Whole) -> tuple[_Whole, list[tuple[int, ...]]]:
    """The coverage number of the piece after each mark, and what each number stands for."""
    counts = marks.end - marks.begin
    row = np.repeat(np.arange(len(counts)), counts)
    piece = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + marks.begin[row]
    sets = (
        pl.DataFrame({"piece": piece, "class": class_numbers[row].astype(np.int64)})
        .unique()
        .sort("piece", "class")
        .group_by("piece", maintain_order=True)
        .agg("class")
        .with_columns(words=pl.col("class").cast(pl.List(pl.String)).list.join(","))
    )
    known = sets["words"].unique(maintain_order=True).to_list()
    numbers = {words: number for number, words in enumerate(known, start=SUBJECT_KNOWN + 1)}
    coverage = np.full(len(marks.time), SUBJECT_KNOWN, np.int64)
    places = sets["words"].replace_strict(numbers, return_dtype=pl.Int64) if numbers else sets["piece"]
    coverage[sets["piece"].to_numpy()] = places.to_numpy()
    return coverage, [(), (), *(tuple(map(int, words.split(","))) for words in known)]


def billed_classes(coverage: Sequence[int], classes: Sequence[PeriodClass]) -> list[PeriodClass]:
    """The billed classes of a coverage in the order of ``billed_micros``: billed last comes first."""
    billed = [classes[number] for number in coverage if classes[number].outcome == "billed"]
    return sorted(billed, key=lambda one: one.billed_at_micros or 0, reverse=True)


def _billed_micros(coverage: Sequence[int], classes: Sequence[PeriodClass]) -> list[int]:
    return [one.billed_at_micros or 0 for one in billed_classes(coverage, classes)]
