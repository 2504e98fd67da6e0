"""Moves events out of the store into files, and back. What may go is somebody else's decision.

    archive   files written and read back -> identities kept -> a row of ``archives`` is the switch -> deleted
    restore   files checked -> ``restoring`` -> rows inserted and compared -> ``restored`` is the switch

A kill before the switch leaves everything in the store; after it, the next start finishes what was begun
(``finish_archives``): an archive is completed, a half restored one is taken out again and may be restored
anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from ingest.archive_files import Manifest, Progress, read_file, read_manifest, write_archive
from ingest.archives import (
    ARCHIVED,
    REMOVED,
    RESTORED,
    RESTORING,
    StoredArchive,
    add_step,
    list_archives,
    remove_events,
)
from ingest.clock import to_micros
from ingest.commit import IngestContext
from ingest.errors import BrokenState, Conflict, NotFound
from ingest.in_force import read_cut, touched_by_corrections


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of the store: what arrived later is not archived. events: number of the last arrival.
    corrections: of the last correction."""

    events: int
    corrections: int


def take_snapshot(ingest: IngestContext) -> Snapshot:
    """Where the store is now."""
    with ingest.alone() as gate:
        last = gate.next_sequence - 1
        return Snapshot(last, read_cut(ingest.store, known_at=None).correction_sequence)


def archive_events(
    folder: Path,
    *,
    types: tuple[str, ...],
    time_before: datetime,
    snapshot: Snapshot,
    last_look: Callable[[], None],
    now: datetime,
    ingest: IngestContext,
    progress: Progress,
) -> StoredArchive:
    """Move the events of ``types`` before ``time_before`` that were there at the snapshot into files. Gone
    from the store, and safe in the files, when this returns.

    last_look: called with the store at rest before the switch; raises to stop it. Raises Conflict
    (``corrected_meanwhile``) when a correction touched that time since the snapshot: nothing was removed,
    and it can be done again with another folder.
    """
    archive_id = uuid4().hex
    manifest = write_archive(
        ingest.store,
        folder,
        archive_id=archive_id,
        types=types,
        time_before=time_before,
        through=snapshot.events,
        progress=progress,
    )
    _keep_identities(ingest, folder, manifest)
    begun = StoredArchive(
        archive_id=archive_id,
        step=0,
        state="",
        folder=str(folder),
        time_before=time_before,
        types=types,
        event_count=manifest.rows,
        manifest_hash=hashlib.sha256(manifest.to_bytes()).hexdigest(),
        made_at=now,
    )
    with ingest.correction_lock, ingest.alone():
        _refuse_corrected(ingest, snapshot, time_before)
        last_look()
        try:
            archive = add_step(ingest.store, begun, ARCHIVED, now=now)
            remove_events(ingest.store, archive_id)
            return add_step(ingest.store, archive, REMOVED, now=now)
        except BaseException:
            ingest.landing_unknown()
            raise


def restore_events(
    folder: Path, *, now: datetime, ingest: IngestContext, progress: Progress
) -> StoredArchive:
    """Put the events of a folder back into the store, the same rows. In the store when this returns.

    Raises NotFound for a folder without an archive of this store, Conflict (``archive_restored``) when it was
    put back already, BrokenState when a file is not as it was written: then nothing was changed.
    """
    manifest = read_manifest(folder)
    digest = hashlib.sha256(manifest.to_bytes()).hexdigest()
    known = {one.archive_id: one for one in list_archives(ingest.store)}
    archive = known.get(manifest.archive_id)
    if archive is None or archive.manifest_hash != digest:
        raise NotFound(
            f"the archive in {folder} is not one of this store; `ratemill events archives` lists those that "
            "are."
        )
    if archive.state == RESTORED:
        raise Conflict(f"the archive in {folder} was put back already.", reason_code="archive_restored")
    for file in manifest.files:
        read_file(ingest.store, folder, file)
    with ingest.correction_lock, ingest.alone():
        try:
            archive = add_step(ingest.store, archive, RESTORING, now=now)
            remove_events(ingest.store, archive.archive_id)
            for number, file in enumerate(manifest.files, 1):
                token = f"{archive.archive_id}/{archive.step}/{file.name}"
                ingest.store.insert("events", read_file(ingest.store, folder, file), token=token)
                progress("restore", number, len(manifest.files))
            _check_restored(ingest, archive)
            archive = add_step(ingest.store, archive, RESTORED, now=now)
        finally:
            # The gate counts each identity where it is now.
            ingest.landing_unknown()
    return archive


def _keep_identities(ingest: IngestContext, folder: Path, manifest: Manifest) -> None:
    for file in manifest.files:
        rows = read_file(ingest.store, folder, file)
        names = pa.array([manifest.archive_id] * rows.num_rows, pa.string())
        kept = rows.select(["identity", "body_hash", "sequence"]).add_column(0, "archive_id", names)
        token = f"{manifest.archive_id}/{file.name}"
        ingest.store.insert("archived_events", kept.combine_chunks(), token=token)


def _refuse_corrected(ingest: IngestContext, snapshot: Snapshot, time_before: datetime) -> None:
    reached = read_cut(ingest.store, known_at=None).correction_sequence
    touched = touched_by_corrections(ingest.store, after=snapshot.corrections, up_to=reached)
    if any(to_micros(time) < to_micros(time_before) for time in touched["time"].to_pylist()):
        raise Conflict(
            "an event of that time was corrected while the files were written; nothing was removed. Archive "
            "again, into another folder.",
            reason_code="corrected_meanwhile",
        )


def _check_restored(ingest: IngestContext, archive: StoredArchive) -> None:
    found = ingest.store.query(
        "SELECT count() AS rows FROM events WHERE sequence IN "
        f"(SELECT sequence FROM archived_events WHERE archive_id = '{archive.archive_id}')"
    ).to_pylist()[0]["rows"]
    if found != archive.event_count:
        raise BrokenState(
            f"{found} of the {archive.event_count} events of archive {archive.archive_id} came back. Start "
            "again: "
            "it is as before then, and can be restored anew."
        )
