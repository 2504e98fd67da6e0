"""From prepared batches to events on disk: classify, word the conflicts, remember, insert, report.

One or many batches are one insert, so a crash leaves all of them or nothing. What can fail in words does
so before anything lands. While one commit is inserted the next is classified, against a gate that
knows the first already; inserts follow one another in the order of their sequence numbers, so whoever sees
an event in the store sees all before it. A commit is answered after its own insert, hence after those
before it: a duplicate of an event that is still being written is not told before that is on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.arrow_buffers import Words, times_from_micros
from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.errors import BrokenState
from ingest.event import STORED_EVENT_SCHEMA
from ingest.gate import CONFLICT, DUPLICATE, NEW, IdentityGate, Outcomes
from ingest.landing import Landing
from ingest.meter import Meter
from ingest.raw import RawBatch
from ingest.refusal import Problem, Refusal, refusals_table, refuse
from ingest.settings import IngestSettings
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
class IngestContext:
    """What ingesting needs besides the batch. One a process, shared by all threads.

    meters: called for every batch; gives the meters on record now.
    planning: held from classifying until the insert may begin. inserting: held while it runs; taken while
        ``planning`` is held, so that commits are inserted in the order they were classified.
    correction_lock: held over a batch of corrections; taken before ``planning``.
    refusal_lock: held while refusals are settled; taken before all.
    listeners: told of what came on record, with ``inserting`` held.
    """

    store: EventStore
    gate: IdentityGate
    key: bytes
    meters: Callable[[], tuple[Meter, ...]]
    settings: IngestSettings
    planning: threading.Lock = field(default_factory=threading.Lock)
    inserting: threading.Lock = field(default_factory=threading.Lock)
    correction_lock: threading.Lock = field(default_factory=threading.Lock)
    refusal_lock: threading.Lock = field(default_factory=threading.Lock)
    listeners: list[Landing] = field(default_factory=list)

    def landing_unknown(self) -> None:
        """An insert failed and may have landed: the table is asked before the next batch."""
        self.gate.mark_stale()
        for listener in self.listeners:
            listener.landing_unknown()

    @contextmanager
    def alone(self) -> Iterator[IdentityGate]:
        """No commit is under way while the block runs; yields the gate as the table is.

        Raises StoreUnavailable when another process writes to the store.
        """
        with self.planning, self.inserting:
            _renew_gate(self)
            yield self.gate


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
class _PlannedPart:
    """A part with its outcomes. refusals: its own, by line as its sender counts. rows: of its events
    among those of the batch, half-open."""

    part: BatchPart
    received_at: datetime
    records: int
    judged: JudgedRecords
    rejected: int
    refusals: tuple[Refusal, ...]
    rows: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _CommitPlan:
    """What a commit will do, and nothing done yet but that the gate remembers.

    events: what to insert, ``events`` without the columns that have defaults.
    """

    parts: tuple[tuple[_PlannedPart, ...], ...]
    events: pa.Table
    token: str


@dataclass(frozen=True, slots=True)
class StartedCommit:
    """A commit whose turn it is to be inserted: nobody else is until it is finished or abandoned."""

    plan: _CommitPlan


def commit_batches(batches: Sequence[PreparedBatch], *, ingest: IngestContext) -> list[IngestReport]:
    """Classify, insert what is new, keep what is refused. On disk when this returns.

    batches: at most ``insert_rows_max`` records together, classified in this order. Returns one
    report a part, in order.
    """
    return finish_commit(begin_commit(batches, ingest=ingest), ingest=ingest)


def begin_commit(batches: Sequence[PreparedBatch], *, ingest: IngestContext) -> StartedCommit:
    """Classify while the commit before is inserted; returns when that has ended. The caller must finish or
    abandon what is begun, in any thread; until then every other commit waits.

    Raises what classifying or wording raises, with nothing done, or StoreUnavailable when another process
    writes to the store.
    """
    with ingest.planning:
        if _is_outdated(ingest):
            with ingest.inserting:
                _renew_gate(ingest)
        plan = _plan(batches, ingest=ingest)
        held = False
        try:
            held = ingest.inserting.acquire()
            if _is_outdated(ingest):
                # The insert before failed, or the turn at writing changed: what was remembered is not so.
                _renew_gate(ingest)
                plan = _plan(batches, ingest=ingest)
            return StartedCommit(plan)
        except BaseException:
            ingest.gate.mark_stale()
            if held:
                ingest.inserting.release()
            raise


def finish_commit(started: StartedCommit, *, ingest: IngestContext) -> list[IngestReport]:
    """Insert what is new, let the next commit begin, keep what is refused. On disk when this returns.

    When the insert fails, nobody knows whether the rows landed: the gate is marked stale, and the table is
    asked before the next batch.
    """
    plan = started.plan
    try:
        if plan.events.num_rows:
            ingest.store.insert("events", plan.events, token=plan.token)
            for listener in ingest.listeners:
                listener.events_landed(plan.events)
    except BaseException:
        ingest.landing_unknown()
        raise
    finally:
        ingest.inserting.release()
    return _report_planned(plan, ingest=ingest)


def abandon_commit(*, ingest: IngestContext) -> None:
    """Give up a commit that was begun and will not be finished: nothing of it is stored."""
    ingest.gate.mark_stale()
    ingest.inserting.release()


def _is_outdated(ingest: IngestContext) -> bool:
    """Whether the gate may not be as the table is. Raises StoreUnavailable when another process writes."""
    return ingest.store.writing.claim() != ingest.gate.turn or ingest.gate.stale


def _renew_gate(ingest: IngestContext) -> None:
    """Read the gate again if it may not be as the table is; while nothing is being inserted."""
    if _is_outdated(ingest):
        ingest.gate.reload(ingest.store)


def _plan(batches: Sequence[PreparedBatch], *, ingest: IngestContext) -> _CommitPlan:
    """Compare with what is on record and put together what is new; last of all, let the gate remember it."""
    gate = ingest.gate
    identities = np.concatenate([batch.identities for batch in batches])
    body_hashes = np.concatenate([batch.body_hashes for batch in batches])
    outcomes = gate.classify(identities, body_hashes)
    split = np.split(outcomes, np.cumsum([len(batch.body_hashes) for batch in batches])[:-1])
    parts = tuple(tuple(_plan_parts(batch, own)) for batch, own in zip(batches, split, strict=True))
    new = outcomes == NEW
    if not new.all():
        identities, body_hashes = identities[new], body_hashes[new]
    kept = [np.flatnonzero(own == NEW) for own in split]
    events = _new_events(batches, parts, kept, identities, body_hashes, gate.next_sequence)
    try:
        gate.remember(identities, body_hashes)
    except BaseException:
        gate.mark_stale()  # an interrupt may have come in the middle
        raise
    return _CommitPlan(parts, events, uuid4().hex)


def _new_events(
    batches: Sequence[PreparedBatch],
    parts: Sequence[Sequence[_PlannedPart]],
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


def _report_planned(plan: _CommitPlan, *, ingest: IngestContext) -> list[IngestReport]:
    """Keep the refused records and report, one report a part, in order."""
    planned = [part for parts in plan.parts for part in parts]
    refused = [
        refusals_table(part.refusals, batch_id=part.part.batch_id, refused_at=part.received_at)
        for part in planned
        if part.refusals
    ]
    if refused:
        rows = pa.concat_tables(refused).combine_chunks()
        ingest.store.insert("refused_events", rows, token=plan.token)
    return [_report(part) for part in planned]


def _report(planned: _PlannedPart) -> IngestReport:
    refusals, limit = planned.refusals, planned.part.refusals_max
    outcomes = planned.judged.outcomes
    return IngestReport(
        batch_id=planned.part.batch_id,
        records=planned.records,
        accepted=int(np.count_nonzero(outcomes == NEW)),
        duplicates=int(np.count_nonzero(outcomes == DUPLICATE)),
        conflicts=int(np.count_nonzero(outcomes == CONFLICT)),
        rejected=planned.rejected,
        refusals=refusals[:limit],
        refusals_truncated=len(refusals) > limit,
        judged=planned.judged,
    )


def _plan_parts(batch: PreparedBatch, outcomes: Outcomes) -> Iterator[_PlannedPart]:
    refusals = _with_conflicts(batch.raw, batch.valid, outcomes)
    rejected = _numbers([refusal.line for refusal in batch.valid.refusals])
    refused = _numbers([refusal.line for refusal in refusals])
    offsets = [part.line_offset for part in batch.parts[1:]]
    rows = _bounds(batch.valid.lines, offsets)
    of_rejected, of_refused = _bounds(rejected, offsets), _bounds(refused, offsets)
    for number, part in enumerate(batch.parts):
        first, end = rows[number], rows[number + 1]
        own_rejected = of_rejected[number + 1] - of_rejected[number]
        yield _PlannedPart(
            part,
            batch.received_at,
            end - first + own_rejected,
            JudgedRecords(batch.valid.lines[first:end] - np.uint64(part.line_offset), outcomes[first:end]),
            own_rejected,
            _own_lines(refusals[of_refused[number] : of_refused[number + 1]], part.line_offset),
            (first, end),
        )


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
    parts: Sequence[Sequence[_PlannedPart]], kept: Sequence[npt.NDArray[np.int64]]
) -> Iterator[pa.Array]:
    """The columns ingested_at and batch_id of the kept rows."""
    counts, batch_ids, micros = [], [], []
    for own, rows in zip(parts, kept, strict=True):
        for planned in own:
            first, end = np.searchsorted(rows, planned.rows).tolist()
            counts.append(end - first)
            batch_ids.append(planned.part.batch_id)
            micros.append(to_micros(planned.received_at))
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
