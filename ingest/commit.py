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
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import numpy as np

from ingest.clickhouse import EventStore
from ingest.commit_plan import (
    BatchPart,
    CommitPlan,
    IngestReport,
    JudgedRecords,
    PreparedBatch,
    new_events,
    plan_parts,
    refused_rows,
    report_of_part,
)
from ingest.event_log import LogEntry
from ingest.gate import NEW, IdentityGate
from ingest.landing import Landing
from ingest.meter import Meter
from ingest.settings import IngestSettings

__all__ = [
    "BatchPart",
    "IngestContext",
    "IngestReport",
    "JudgedRecords",
    "PreparedBatch",
    "StartedCommit",
    "abandon_commit",
    "begin_commit",
    "commit_batches",
    "finish_commit",
    "log_commit",
]

LOGGED_ROWS_MAX: Final = 200_000
"""Commits with more events are one good block for the engine, which the log would only write twice."""


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
        """No commit is under way while the block runs and nothing waits in the log; yields the gate as the
        table is. What the block writes under later numbers comes into the engine after all before it.

        Raises StoreUnavailable when another process writes to the store.
        """
        with self.planning, self.inserting:
            self.store.settle()
            _renew_gate(self)
            yield self.gate


@dataclass(frozen=True, slots=True)
class StartedCommit:
    """A commit whose turn it is to be inserted: nobody else is until it is finished or abandoned."""

    plan: CommitPlan


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


def log_commit(started: StartedCommit, *, ingest: IngestContext) -> list[IngestReport]:
    """As ``finish_commit``, by the log in front of the embedded engine; large commits go past it.

    A small insert takes the engine several syncs and files, the log one of each; and what is logged is
    inserted in fewer, larger blocks.
    """
    plan, lander = started.plan, ingest.store.lander
    if lander is None or plan.events.num_rows > LOGGED_ROWS_MAX:
        return finish_commit(started, ingest=ingest)
    try:
        refused = refused_rows(plan)
        if plan.events.num_rows or refused is not None:
            lander.append(LogEntry(plan.token, plan.events, refused))
            _tell(plan, ingest)
    except BaseException:
        ingest.landing_unknown()
        raise
    finally:
        ingest.inserting.release()
    return [report_of_part(part) for part in plan.flat_parts]


def finish_commit(started: StartedCommit, *, ingest: IngestContext) -> list[IngestReport]:
    """Insert what is new, let the next commit begin, keep what is refused. On disk when this returns.

    When the insert fails, nobody knows whether the rows landed: the gate is marked stale, and the table is
    asked before the next batch.
    """
    plan = started.plan
    try:
        if plan.events.num_rows:
            ingest.store.settle()  # events come into the engine by their numbers
            ingest.store.insert("events", plan.events, token=plan.token)
            _tell(plan, ingest)
    except BaseException:
        ingest.landing_unknown()
        raise
    finally:
        ingest.inserting.release()
    return _report_planned(plan, ingest=ingest)


def _tell(plan: CommitPlan, ingest: IngestContext) -> None:
    if plan.events.num_rows:
        for listener in ingest.listeners:
            listener.events_landed(plan.events)


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


def _plan(batches: Sequence[PreparedBatch], *, ingest: IngestContext) -> CommitPlan:
    """Compare with what is on record and put together what is new; last of all, let the gate remember it."""
    gate = ingest.gate
    identities = np.concatenate([batch.identities for batch in batches])
    body_hashes = np.concatenate([batch.body_hashes for batch in batches])
    outcomes = gate.classify(identities, body_hashes)
    split = np.split(outcomes, np.cumsum([len(batch.body_hashes) for batch in batches])[:-1])
    parts = tuple(tuple(plan_parts(batch, own)) for batch, own in zip(batches, split, strict=True))
    new = outcomes == NEW
    if not new.all():
        identities, body_hashes = identities[new], body_hashes[new]
    kept = [np.flatnonzero(own == NEW) for own in split]
    events = new_events(batches, parts, kept, identities, body_hashes, gate.next_sequence)
    try:
        gate.remember(identities, body_hashes)
    except BaseException:
        gate.mark_stale()  # an interrupt may have come in the middle
        raise
    return CommitPlan(parts, events, uuid4().hex)


def _report_planned(plan: CommitPlan, *, ingest: IngestContext) -> list[IngestReport]:
    """Keep the refused records and report, one report a part, in order."""
    refused = refused_rows(plan)
    if refused is not None:
        ingest.store.insert("refused_events", refused, token=plan.token)
    return [report_of_part(part) for part in plan.flat_parts]
