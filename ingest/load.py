"""The way of a batch into the store, top to bottom: decode, validate, hash, classify, insert, report.

Everything up to hashing works on the batch alone and runs in as many threads as callers have. From
classifying to remembering one batch goes at a time, under the context's lock. Events are on disk
when a report is returned (the tables' fsync settings). A kill between insert and remember loses
nothing: the gate is read from the table when the store is opened, and the resend counts as
duplicates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import Words, times_from_micros
from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.columnar_records import decode_table
from ingest.decode import decode_body
from ingest.errors import BrokenState
from ingest.event import STORED_EVENT_SCHEMA
from ingest.gate import CONFLICT, DUPLICATE, NEW, IdentityGate, Outcomes, open_gate
from ingest.identity import hash_events, identity_key
from ingest.meter import Meter
from ingest.meter_needs import meter_needs
from ingest.raw import RawBatch
from ingest.refusal import Problem, Refusal, refusals_table, refuse
from ingest.settings import IngestSettings
from ingest.validate import ValidatedBatch, validate_batch
from ingest.warm_up import warm_up

_CONFLICT: Final = Problem(
    "identity_conflict",
    "id",
    "An event with this source and id is on record with another body; the first one stays.",
    "the same body again, or an id of its own for another event.",
)


@dataclass(frozen=True, slots=True)
class IngestContext:
    """What ingesting needs besides the batch. One a process, shared by all threads.

    meters: called for every batch; gives the meters on record now.
    lock: held from classifying to remembering.
    correction_lock: held over a batch of corrections; taken before ``lock``.
    refusal_lock: held while refusals are settled; taken before both.
    """

    store: EventStore
    gate: IdentityGate
    key: bytes
    meters: Callable[[], tuple[Meter, ...]]
    settings: IngestSettings
    lock: threading.Lock = field(default_factory=threading.Lock)
    correction_lock: threading.Lock = field(default_factory=threading.Lock)
    refusal_lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of every record of a batch; the four outcomes add up to ``records``.

    refusals: rejected records and conflicts by line, the first of them when ``refusals_truncated``;
    all are in the ``refused_events`` table.
    """

    batch_id: str
    records: int
    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    refusals: tuple[Refusal, ...]
    refusals_truncated: bool

    def __post_init__(self) -> None:
        total = self.accepted + self.duplicates + self.conflicts + self.rejected
        if total != self.records:
            raise BrokenState(
                f"batch {self.batch_id}: {self.records} records came in and {total} have an outcome. "
                "Please report this as a defect, with the batch."
            )


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch judged and hashed, and not yet compared with what is on record."""

    raw: RawBatch
    valid: ValidatedBatch
    identities: Words
    body_hashes: Words


def open_ingest(
    store: EventStore, *, meters: Callable[[], tuple[Meter, ...]], settings: IngestSettings
) -> IngestContext:
    """Read the store's key and identities and be ready to ingest: kernels are compiled, too."""
    ingest = IngestContext(store, open_gate(store), identity_key(store), meters, settings)
    warm_up(ingest.key)
    return ingest


def ingest_batch(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str | None,
    received_at: datetime,
    ingest: IngestContext,
) -> IngestReport:
    """Take in a request body. It is one insert, so a crash leaves all of it or nothing.

    Raises UnreadableBody when the body as a whole cannot be read (see ``decode_body``); bad records
    in a readable body are in the report. StoreUnavailable and driver errors leave the batch undone
    or done, and the same batch may be sent again.
    """
    raw = decode_body(
        body, content_type=content_type, content_encoding=content_encoding, settings=ingest.settings
    )
    return ingest_raw(raw, received_at=received_at, ingest=ingest)


def ingest_table(table: pa.Table, *, received_at: datetime, ingest: IngestContext) -> IngestReport:
    """Take in an Arrow table of any length (columns as in ``ingest/columnar_records.py``).

    Lines in the report are row numbers from 1. Longer tables are several inserts, each all or
    nothing. Raises UnreadableBody for column types no event can have.
    """
    batch_id = uuid4().hex
    reports = list(
        ingest_slices(
            _table_slices(table, ingest.settings), batch_id=batch_id, received_at=received_at, ingest=ingest
        )
    )
    return merge_reports(reports, batch_id=batch_id, settings=ingest.settings)


def ingest_slices(
    slices: Iterator[RawBatch], *, batch_id: str, received_at: datetime, ingest: IngestContext
) -> Iterator[IngestReport]:
    """Take in the slices of one batch, each one insert; yields a report when a slice is on disk.

    While one slice is inserted the next is decoded, judged and hashed in a thread of its own.
    """

    def prepare_next() -> PreparedBatch | None:
        raw = next(slices, None)
        return None if raw is None else prepare_batch(raw, received_at=received_at, ingest=ingest)

    with ThreadPoolExecutor(1, thread_name_prefix="ingest-slices") as worker:
        ahead = worker.submit(prepare_next)
        part = 0
        while (prepared := ahead.result()) is not None:
            ahead = worker.submit(prepare_next)
            yield commit_batch(prepared, batch_id=batch_id, part=part, received_at=received_at, ingest=ingest)
            part += 1


def ingest_raw(raw: RawBatch, *, received_at: datetime, ingest: IngestContext) -> IngestReport:
    """Take in decoded records, at most ``insert_rows_max`` of them, as one insert."""
    prepared = prepare_batch(raw, received_at=received_at, ingest=ingest)
    return commit_batch(prepared, batch_id=uuid4().hex, part=0, received_at=received_at, ingest=ingest)


def prepare_batch(raw: RawBatch, *, received_at: datetime, ingest: IngestContext) -> PreparedBatch:
    """Judge and hash; reads nothing but the batch and the meters."""
    valid = validate_batch(raw, received_at=received_at, needs=meter_needs(ingest.meters()))
    identities, body_hashes = hash_events(valid.events, time_given=valid.time_given, key=ingest.key)
    return PreparedBatch(raw, valid, identities, body_hashes)


def commit_batch(
    prepared: PreparedBatch, *, batch_id: str, part: int, received_at: datetime, ingest: IngestContext
) -> IngestReport:
    """Classify, insert what is new, keep what is refused. On disk when this returns.

    part: number of this insert among those of the batch.
    """
    token = f"{batch_id}-{part}"
    with ingest.lock:
        if ingest.gate.stale:
            ingest.gate.reload(ingest.store)
        outcomes = ingest.gate.classify(prepared.identities, prepared.body_hashes)
        # Before the insert: what fails in wording a refusal must not hide that events landed.
        refusals = _with_conflicts(prepared.raw, prepared.valid, outcomes)
        refused_rows = refusals_table(refusals, batch_id=batch_id, refused_at=received_at)
        _insert_new(
            prepared, outcomes, batch_id=batch_id, token=token, received_at=received_at, ingest=ingest
        )
    if refusals:
        ingest.store.insert("refused_events", refused_rows, token=token)
    return IngestReport(
        batch_id=batch_id,
        records=prepared.raw.record_count,
        accepted=int(np.count_nonzero(outcomes == NEW)),
        duplicates=int(np.count_nonzero(outcomes == DUPLICATE)),
        conflicts=int(np.count_nonzero(outcomes == CONFLICT)),
        rejected=len(prepared.valid.refusals),
        refusals=refusals[: ingest.settings.refusals_reported_max],
        refusals_truncated=len(refusals) > ingest.settings.refusals_reported_max,
    )


def merge_reports(reports: list[IngestReport], *, batch_id: str, settings: IngestSettings) -> IngestReport:
    """One report over several inserts of the same batch."""
    refusals = tuple(refusal for report in reports for refusal in report.refusals)
    limit = settings.refusals_reported_max
    return IngestReport(
        batch_id=batch_id,
        records=sum(report.records for report in reports),
        accepted=sum(report.accepted for report in reports),
        duplicates=sum(report.duplicates for report in reports),
        conflicts=sum(report.conflicts for report in reports),
        rejected=sum(report.rejected for report in reports),
        refusals=refusals[:limit],
        refusals_truncated=len(refusals) > limit or any(report.refusals_truncated for report in reports),
    )


def _table_slices(table: pa.Table, settings: IngestSettings) -> Iterator[RawBatch]:
    step = min(settings.insert_rows_max, settings.file_slice_records)
    for start in range(0, table.num_rows, step):
        part = table.slice(start, step)
        yield decode_table(part, lines=np.arange(start + 1, start + 1 + part.num_rows, dtype=np.uint64))


def _insert_new(
    prepared: PreparedBatch,
    outcomes: Outcomes,
    *,
    batch_id: str,
    token: str,
    received_at: datetime,
    ingest: IngestContext,
) -> None:
    new = np.flatnonzero(outcomes == NEW)
    if not len(new):
        return
    events, identities, body_hashes = prepared.valid.events, prepared.identities, prepared.body_hashes
    if len(new) < events.num_rows:
        events = events.take(pa.array(new))
        identities, body_hashes = identities[new], body_hashes[new]
    first = ingest.gate.next_sequence
    added = [
        pa.Array.from_buffers(
            pa.binary(16), len(new), [None, pa.py_buffer(np.ascontiguousarray(identities))]
        ),
        pa.array(body_hashes, pa.uint64()),
        pa.array(np.arange(first, first + len(new), dtype=np.uint64)),
        times_from_micros(np.full(len(new), to_micros(received_at), np.int64)),
        pa.array([batch_id], pa.string()).take(pa.array(np.zeros(len(new), np.int64))),
    ]
    stored = pa.table([*events.columns, *added], schema=STORED_EVENT_SCHEMA)
    try:
        ingest.store.insert("events", stored, token=token)
        ingest.gate.remember(identities, body_hashes)
    except BaseException:
        # Nobody knows whether the rows landed, or how much of them an interrupt let the gate
        # remember: the table is asked before the next batch.
        ingest.gate.mark_stale()
        raise


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
