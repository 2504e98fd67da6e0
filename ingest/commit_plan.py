"""What a commit will do, from prepared batches and their outcomes: pure, tables and values in and out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.arrow_buffers import Words, times_from_micros
from ingest.clock import to_micros
from ingest.errors import BrokenState
from ingest.event import STORED_EVENT_SCHEMA
from ingest.gate import CONFLICT, DUPLICATE, NEW, Outcomes
from ingest.raw import RawBatch
from ingest.refusal import Problem, Refusal, refusals_table, refuse
from ingest.validate import ValidatedBatch

_CONFLICT: Final = Problem(
    "identity_conflict",
    "id",
    "An event with this source and id is on record with another body; the first one stays.",
    "the same body again, or an id of its own for another event.",
)

_BATCH_ID: Final = pa.field("batch_id", pa.dictionary(pa.int32(), pa.string()), nullable=False)
_INSERTED_SCHEMA: Final = STORED_EVENT_SCHEMA.set(STORED_EVENT_SCHEMA.get_field_index("batch_id"), _BATCH_ID)

LineNumbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class JudgedRecords:
    """The records that are events, by line: lines uint64, outcomes NEW, DUPLICATE or CONFLICT, as many."""

    lines: LineNumbers
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of every record of a batch; the four outcomes add up to ``records``.

    refusals: rejected records and conflicts by line, the first of them when ``refusals_truncated``;
    all are in the ``refused_events`` table.
    judged: the outcome of each record that was not rejected; None in a report over several inserts.
    """

    batch_id: str
    records: int
    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    refusals: tuple[Refusal, ...]
    refusals_truncated: bool
    judged: JudgedRecords | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        total = self.accepted + self.duplicates + self.conflicts + self.rejected
        if total != self.records:
            raise BrokenState(
                f"batch {self.batch_id}: {self.records} records came in and {total} have an outcome. "
                "Please report this as a defect, with the batch."
            )


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One sender's batch among those decoded together.

    line_offset: what its first line's number was raised by, so that lines differ between parts; a
    part has the lines above its offset up to the next part's.
    refusals_max: how many refusals its report lists.
    """

    batch_id: str
    line_offset: int
    refusals_max: int


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Records judged and hashed, and not yet compared with what is on record.

    parts: whose records they are, in the order of their lines; at least one.
    """

    raw: RawBatch
    valid: ValidatedBatch
    identities: Words
    body_hashes: Words
    parts: tuple[BatchPart, ...]
    received_at: datetime

    @property
    def record_count(self) -> int:
        return self.raw.record_count


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part with its outcomes. counts: of its events, NEW, DUPLICATE and CONFLICT. refusals: its own, by
    line as its sender counts. rows: of its events among those of the batch, half-open."""

    part: BatchPart
    received_at: datetime
    judged: JudgedRecords
    counts: tuple[int, int, int]
    rejected: int
    refusals: tuple[Refusal, ...]
    rows: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What a commit will do, and nothing done yet but that the gate remembers.

    events: what to insert, ``events`` without the columns that have defaults.
    """

    parts: tuple[tuple[PlannedPart, ...], ...]
    events: pa.Table
    token: str

    @property
    def flat_parts(self) -> list[PlannedPart]:
        """The parts of all batches, in order."""
        return [part for parts in self.parts for part in parts]


def refused_rows(plan: CommitPlan) -> pa.Table | None:
    """What was refused, as it is kept; None when nothing was."""
    refused = [
        refusals_table(part.refusals, batch_id=part.part.batch_id, refused_at=part.received_at)
        for part in plan.flat_parts
        if part.refusals
    ]
    return pa.concat_tables(refused).combine_chunks() if refused else None


def new_events(
    batches: Sequence[PreparedBatch],
    parts: Sequence[Sequence[PlannedPart]],
    kept: Sequence[npt.NDArray[np.int64]],
    identities: Words,
    body_hashes: Words,
    first_sequence: int,
) -> pa.Table:
    """The events of the ``kept`` rows of each batch, as they are stored."""
    count = len(body_hashes)
    if not count:
        return _INSERTED_SCHEMA.empty_table()
    pairs = [(batch, rows) for batch, rows in zip(batches, kept, strict=True) if len(rows)]
    # One chunk, because the store makes a block of each and only one block is atomic.
    events = pa.concat_tables([_taken(batch.valid.events, rows) for batch, rows in pairs]).combine_chunks()
    added = [
        pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(np.ascontiguousarray(identities))]),
        pa.array(body_hashes, pa.uint64()),
        pa.array(np.arange(first_sequence, first_sequence + count, dtype=np.uint64)),
        *_origins(parts, kept),
    ]
    return pa.table([*events.columns, *added], schema=_INSERTED_SCHEMA)


def report_of_part(planned: PlannedPart) -> IngestReport:
    """What became of the records of one part."""
    refusals, limit = planned.refusals, planned.part.refusals_max
    first, end = planned.rows
    accepted, duplicates, conflicts = planned.counts
    return IngestReport(
        batch_id=planned.part.batch_id,
        records=end - first + planned.rejected,
        accepted=accepted,
        duplicates=duplicates,
        conflicts=conflicts,
        rejected=planned.rejected,
        refusals=refusals[:limit],
        refusals_truncated=len(refusals) > limit,
        judged=planned.judged,
    )


def plan_parts(batch: PreparedBatch, outcomes: Outcomes) -> Iterator[PlannedPart]:
    """The parts of a batch with their outcomes. outcomes: of its events."""
    refusals = _with_conflicts(batch.raw, batch.valid, outcomes)
    rejected = _numbers([refusal.line for refusal in batch.valid.refusals])
    refused = _numbers([refusal.line for refusal in refusals])
    offsets = [part.line_offset for part in batch.parts[1:]]
    rows = _bounds(batch.valid.lines, offsets)
    of_rejected, of_refused = _bounds(rejected, offsets), _bounds(refused, offsets)
    own_lines = batch.valid.lines - np.repeat(_numbers([0, *offsets]), np.diff(rows))
    # Counted for all parts at once: most have one record, and there are hundreds.
    counts = [_counts_between(outcomes == outcome, rows) for outcome in (NEW, DUPLICATE, CONFLICT)]
    for number, (part, *own) in enumerate(zip(batch.parts, *counts, strict=True)):
        first, end = rows[number], rows[number + 1]
        yield PlannedPart(
            part,
            batch.received_at,
            JudgedRecords(own_lines[first:end], outcomes[first:end]),
            (own[0], own[1], own[2]),
            of_rejected[number + 1] - of_rejected[number],
            _own_lines(refusals[of_refused[number] : of_refused[number + 1]], part.line_offset),
            (first, end),
        )


def _counts_between(flags: npt.NDArray[np.bool_], bounds: Sequence[int]) -> list[int]:
    """How many are set between each bound and the next."""
    before = np.concatenate([[0], np.cumsum(flags)])[list(bounds)]
    counts: list[int] = np.diff(before).tolist()
    return counts


def _numbers(lines: Sequence[int]) -> LineNumbers:
    return np.array(lines, np.uint64)


def _bounds(lines: LineNumbers, offsets: Sequence[int]) -> list[int]:
    """Where each part begins among sorted lines, and where the last one ends."""
    inner = np.searchsorted(lines, _numbers(offsets), side="right").tolist()
    return [0, *inner, len(lines)]


def _own_lines(refusals: tuple[Refusal, ...], line_offset: int) -> tuple[Refusal, ...]:
    if not line_offset:
        return refusals
    return tuple(replace(refusal, line=refusal.line - line_offset) for refusal in refusals)


def _taken(events: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    return events if len(rows) == events.num_rows else events.take(pa.array(rows))


def _origins(
    parts: Sequence[Sequence[PlannedPart]], kept: Sequence[npt.NDArray[np.int64]]
) -> Iterator[pa.Array]:
    """The columns ingested_at and batch_id of the kept rows."""
    counts, batch_ids, micros = [], [], []
    for own, rows in zip(parts, kept, strict=True):
        edges = np.searchsorted(rows, [own[0].rows[0], *(planned.rows[1] for planned in own)])
        counts += np.diff(edges).tolist()
        batch_ids += [planned.part.batch_id for planned in own]
        micros += [to_micros(own[0].received_at)] * len(own)  # of one batch, so one instant
    yield times_from_micros(np.repeat(np.array(micros, np.int64), counts))
    # The store keeps it as a dictionary too; as texts it would be hashed again for every row.
    numbers = pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
    yield pa.DictionaryArray.from_arrays(numbers, pa.array(batch_ids, pa.string()))


def _with_conflicts(raw: RawBatch, valid: ValidatedBatch, outcomes: Outcomes) -> tuple[Refusal, ...]:
    conflicts = [
        refuse(
            int(valid.lines[event]), _CONFLICT, raw.record_text(int(valid.rows[event])), outcome="conflict"
        )
        for event in np.flatnonzero(outcomes == CONFLICT).tolist()
    ]
    if not conflicts:
        return valid.refusals
    return tuple(sorted([*valid.refusals, *conflicts], key=lambda refusal: refusal.line))
