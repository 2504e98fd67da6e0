"""The rows that put a backfill in force, from its changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import Words
from ingest.backfill_plan import Change
from ingest.clock import from_micros, to_micros
from ingest.correct import REPLACEMENT_SCHEMA, SUPERSEDED_SCHEMA
from ingest.correction import CANCEL, Correction, hash_corrections


@dataclass(frozen=True, slots=True)
class BackfillRows:
    """versions: REPLACEMENT_SCHEMA. superseded: SUPERSEDED_SCHEMA, one row a change. identities, body_hashes:
    what the gate is to remember, one a change. made_at: the one instant all of it is dated."""

    versions: pa.Table
    superseded: pa.Table
    identities: Words
    body_hashes: Words
    made_at: datetime


def rows_of_changes(
    changes: Sequence[Change],
    *,
    backfill_id: str,
    reason: str,
    batch_id: str,
    first_sequence: int,
    received_at: datetime,
    key: bytes,
) -> BackfillRows:
    """Number and date the changes; at least one. Dated no earlier than any version that leaves, so that at
    every instant of the past all of the backfill was known or nothing of it."""
    befores = [change.before.ingested_micros for change in changes if change.before is not None]
    made_at = from_micros(max([to_micros(received_at), *befores]))
    corrections = [
        Correction(
            change.source, f"{backfill_id}#{number}", CANCEL, change.event_id, reason, None, None, None
        )
        for number, change in enumerate(changes, 1)
    ]
    own_identities, own_hashes, _ = hash_corrections(corrections, key=key)
    identities, body_hashes = own_identities.copy(), own_hashes.copy()
    superseded: list[dict[str, Any]] = []
    versions: list[dict[str, Any]] = []
    for row, (change, correction) in enumerate(zip(changes, corrections, strict=True)):
        sequence = first_sequence + row
        own_identity = own_identities[row].tobytes()
        if change.kind == "insert":
            # An event of its own: its resend is a duplicate from now on, as of any other.
            identities[row] = np.frombuffer(change.identity, np.uint64)
            body_hashes[row] = change.body_hash
        superseded.append(
            _superseded(change, correction, sequence, own_identity, int(own_hashes[row]), made_at)
        )
        if change.after is not None:
            versions.append(
                _version(change, correction, sequence, own_identity, int(body_hashes[row]), made_at)
            )
    shared = {"batch_id": batch_id}
    return BackfillRows(
        versions=pa.Table.from_pylist([row | shared for row in versions], schema=REPLACEMENT_SCHEMA),
        superseded=pa.Table.from_pylist([row | shared for row in superseded], schema=SUPERSEDED_SCHEMA),
        identities=identities,
        body_hashes=body_hashes,
        made_at=made_at,
    )


def _superseded(
    change: Change, correction: Correction, sequence: int, identity: bytes, body_hash: int, made_at: datetime
) -> dict[str, Any]:
    here = change.before.content if change.before is not None else change.after
    time = from_micros(here.micros) if here is not None else made_at
    return {
        "type": here.type if here is not None else "",
        "subject": here.subject if here is not None else "",
        "time": time,
        "sequence": 0 if change.before is None else change.before.sequence,
        "source": change.source,
        "event_id": change.event_id,
        "event_identity": change.identity,
        "kind": change.kind,
        "reason": correction.reason,
        "correction_id": correction.id,
        "correction_identity": identity,
        "body_hash": body_hash,
        "correction_sequence": sequence,
        "replacement_time": None if change.after is None else from_micros(change.after.micros),
        "corrected_at": made_at,
    }


def _version(
    change: Change, correction: Correction, sequence: int, identity: bytes, body_hash: int, made_at: datetime
) -> dict[str, Any]:
    after, inserted = change.after, change.kind == "insert"
    return {
        "source": change.source,
        "id": change.event_id if inserted else correction.id,
        "type": after.type if after is not None else "",
        "subject": after.subject if after is not None else "",
        "time": from_micros(after.micros) if after is not None else made_at,
        "value": after.value if after is not None else None,
        "properties": list(after.properties) if after is not None else [],
        "identity": change.identity if inserted else identity,
        "body_hash": body_hash,
        "sequence": sequence,
        "ingested_at": made_at,
        # Its own number where there is none to replace: what is not 0 counts only once it is on record.
        "replaces": sequence if change.before is None else change.before.sequence,
    }
