"""The way of a batch into the store, top to bottom: decode, validate, hash, classify, insert, report.

Everything up to hashing works on the batch alone and runs in as many threads as callers have. Then one
commit is classified at a time, while the one before it is inserted (``ingest/commit.py``).
Events are on disk when a report is returned (the tables' fsync settings). A kill at any point loses
nothing: the gate is read from the table when the store is opened, and a resend of what landed counts as
duplicates. Requests of a server share commits: ``ingest/group_commit.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from uuid import uuid4

import numpy as np
import pyarrow as pa

from ingest.bounded_gate import BoundedGate
from ingest.clickhouse import EventStore
from ingest.columnar_records import decode_table
from ingest.commit import (
    BatchPart,
    IngestContext,
    IngestReport,
    PreparedBatch,
    abandon_commit,
    begin_commit,
    commit_batches,
    finish_commit,
)
from ingest.decode import decode_body
from ingest.gate import IdentityGate
from ingest.identity import hash_events, identity_key
from ingest.meter import Meter
from ingest.meter_needs import meter_needs
from ingest.raw import RawBatch
from ingest.settings import IngestSettings
from ingest.validate import validate_batch
from ingest.warm_up import warm_up

__all__ = [
    "IngestContext",
    "IngestReport",
    "ingest_batch",
    "ingest_raw",
    "ingest_slices",
    "ingest_table",
    "merge_reports",
    "open_ingest",
    "prepare_batch",
]


def open_ingest(
    store: EventStore, *, meters: Callable[[], tuple[Meter, ...]], settings: IngestSettings
) -> IngestContext:
    """Read the store's key and identities and be ready to ingest: kernels are compiled, too."""
    ingest = IngestContext(store, open_gate(store, settings), identity_key(store), meters, settings)
    warm_up(ingest.key)
    return ingest


def open_gate(store: EventStore, settings: IngestSettings) -> IdentityGate:
    """The gate of that store, of the kind that the settings name, read from what is on record."""
    bounded = settings.gate == "bounded"
    gate = BoundedGate(store, waiting_max=settings.identities_waiting_max) if bounded else IdentityGate()
    gate.reload(store)
    return gate


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

    While one slice is inserted the next is classified, and the one after it decoded, judged and hashed.
    """
    part = BatchPart(batch_id, 0, ingest.settings.refusals_reported_max)

    def prepare_next() -> PreparedBatch | None:
        raw = next(slices, None)
        return None if raw is None else prepare_batch(raw, (part,), received_at=received_at, ingest=ingest)

    with (
        ThreadPoolExecutor(1, thread_name_prefix="ingest-prepare") as preparing,
        ThreadPoolExecutor(1, thread_name_prefix="ingest-insert") as inserting,
    ):
        ahead = preparing.submit(prepare_next)
        under_way: Future[list[IngestReport]] | None = None
        while (prepared := _ready(ahead)) is not None:
            ahead = preparing.submit(prepare_next)
            before, under_way = under_way, _commit_in(inserting, prepared, ingest)
            if before is not None:
                yield from before.result()
        if under_way is not None:
            yield from under_way.result()
        ahead.result()  # raises when the slice after the last good one could not be read


def _ready(ahead: Future[PreparedBatch | None]) -> PreparedBatch | None:
    """What is prepared, when it is; None at the end and when it cannot be read."""
    return None if ahead.exception() else ahead.result()


def _commit_in(
    inserting: ThreadPoolExecutor, prepared: PreparedBatch, ingest: IngestContext
) -> Future[list[IngestReport]]:
    started = begin_commit([prepared], ingest=ingest)
    try:
        return inserting.submit(finish_commit, started, ingest=ingest)
    except BaseException:
        abandon_commit(ingest=ingest)
        raise


def ingest_raw(raw: RawBatch, *, received_at: datetime, ingest: IngestContext) -> IngestReport:
    """Take in decoded records, at most ``insert_rows_max`` of them, as one insert."""
    part = BatchPart(uuid4().hex, 0, ingest.settings.refusals_reported_max)
    prepared = prepare_batch(raw, (part,), received_at=received_at, ingest=ingest)
    (report,) = commit_batches([prepared], ingest=ingest)
    return report


def prepare_batch(
    raw: RawBatch, parts: tuple[BatchPart, ...], *, received_at: datetime, ingest: IngestContext
) -> PreparedBatch:
    """Judge and hash; reads nothing but the batch and the meters. parts: as in ``PreparedBatch``."""
    valid = validate_batch(raw, received_at=received_at, needs=meter_needs(ingest.meters()))
    identities, body_hashes = hash_events(valid.events, time_given=valid.time_given, key=ingest.key)
    return PreparedBatch(raw, valid, identities, body_hashes, parts, received_at)


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
