"""The way of corrections into the store: decode, find what they correct, judge, write, report.

Corrections go one batch at a time. An accepted amendment becomes a row of ``events`` that counts only
once its row of ``superseded_events`` is there, and a cancellation is a row there alone. All rows of
the second table are one block, written last: at that moment, and not before, the whole batch is in
force. A kill before it leaves replacements that nothing counts and no correction: the resend is new.
A kill after it leaves all of it, and the resend is a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa

from ingest.archives import TIME_IS_ARCHIVED, read_archived
from ingest.arrow_buffers import Words
from ingest.clock import from_micros, to_micros
from ingest.correction import (
    AMEND,
    Correction,
    as_decimal,
    hash_corrections,
    read_correction,
)
from ingest.event import QUANTITY_SCALE, STORED_EVENT_SCHEMA, TIMESTAMP
from ingest.event_versions import EventVersion, FoundVersions, find_versions
from ingest.gate import CONFLICT, DUPLICATE, NEW
from ingest.judge import needs_problem
from ingest.load import IngestContext, IngestReport
from ingest.meter_needs import MeterNeeds, meter_needs
from ingest.record_batch import SentRecord, read_records
from ingest.refusal import Problem, Refusal, refusals_table, refuse, shown

REPLACEMENT_SCHEMA: Final = pa.schema(
    [*STORED_EVENT_SCHEMA, pa.field("replaces", pa.uint64(), nullable=False)]
)
"""A row of ``events`` written by an amendment. ``replaces``: sequence of the row it takes the place of."""

SUPERSEDED_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("type", "subject")),
        pa.field("time", TIMESTAMP, nullable=False),
        pa.field("sequence", pa.uint64(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("source", "event_id")),
        pa.field("event_identity", pa.binary(16), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("kind", "reason", "correction_id")),
        pa.field("correction_identity", pa.binary(16), nullable=False),
        pa.field("body_hash", pa.uint64(), nullable=False),
        pa.field("correction_sequence", pa.uint64(), nullable=False),
        pa.field("replacement_time", TIMESTAMP, nullable=True),
        pa.field("corrected_at", TIMESTAMP, nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
    ]
)
"""The columns of ``superseded_events``; the migration says what they mean."""

_CONFLICT: Final = Problem(
    "identity_conflict",
    "id",
    "An event or a correction with this source and id is on record with another body; the first one stays.",
    "the same body again, or an id of its own for another correction.",
)


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A readable correction with its hashes; identities as 16 bytes."""

    correction: Correction
    identity: bytes
    body_hash: int
    event_identity: bytes


@dataclass(slots=True)
class _Judged:
    """What becomes of a batch; ``versions`` and ``taken`` move on with every correction accepted."""

    versions: dict[bytes, EventVersion]
    corrected_events: dict[bytes, str]
    taken: dict[bytes, int] = field(default_factory=dict)
    accepted: list[_Hashed] = field(default_factory=list)
    replacements: list[dict[str, Any]] = field(default_factory=list)
    superseded: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    duplicates: int = 0


def correct_events(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str | None,
    received_at: datetime,
    ingest: IngestContext,
) -> IngestReport:
    """Take in a body of corrections. In force and on disk when this returns, all that were accepted.

    A later correction of a batch applies to what the earlier ones left. Refused ones are in the report
    and in ``refused_events``, with the reason codes of ``ingest/refusal.py``. Raises UnreadableBody when
    the body as a whole cannot be read; an error of the store leaves the batch undone or done, and the
    same batch may be sent again.
    """
    sent = read_records(
        body,
        content_type=content_type,
        content_encoding=content_encoding,
        settings=ingest.settings,
        records_max=ingest.settings.corrections_max,
        read=read_correction,
    )
    batch_id = uuid4().hex
    with ingest.correction_lock:
        hashed = _hash(sent, ingest.key)
        found = find_versions(ingest.store, {one.event_identity for one in hashed.values()})
        with ingest.alone():
            judged = _judge(sent, hashed, found, received_at=received_at, batch_id=batch_id, ingest=ingest)
            # Before the inserts: what fails in wording a refusal must not hide that corrections landed.
            refused_rows = refusals_table(judged.refusals, batch_id=batch_id, refused_at=received_at)
            _write(judged, batch_id=batch_id, ingest=ingest)
    if judged.refusals:
        ingest.store.insert("refused_events", refused_rows, token=batch_id)
    conflicts = sum(refusal.outcome == "conflict" for refusal in judged.refusals)
    limit = ingest.settings.refusals_reported_max
    return IngestReport(
        batch_id=batch_id,
        records=len(sent),
        accepted=len(judged.accepted),
        duplicates=judged.duplicates,
        conflicts=conflicts,
        rejected=len(judged.refusals) - conflicts,
        refusals=tuple(judged.refusals[:limit]),
        refusals_truncated=len(judged.refusals) > limit,
    )


def _hash(sent: Sequence[SentRecord[Correction]], key: bytes) -> dict[int, _Hashed]:
    """The readable corrections by their place in the batch."""
    readable = {place: one.read for place, one in enumerate(sent) if isinstance(one.read, Correction)}
    if not readable:
        return {}
    identities, body_hashes, event_identities = hash_corrections(list(readable.values()), key=key)
    return {
        place: _Hashed(
            correction, identities[row].tobytes(), int(body_hashes[row]), event_identities[row].tobytes()
        )
        for row, (place, correction) in enumerate(readable.items())
    }


def _judge(
    sent: Sequence[SentRecord[Correction]],
    hashed: dict[int, _Hashed],
    found: FoundVersions,
    *,
    received_at: datetime,
    batch_id: str,
    ingest: IngestContext,
) -> _Judged:
    judged = _Judged(dict(found.events), dict(found.corrections))
    needs = meter_needs(ingest.meters())
    archived_before = read_archived(ingest.store).latest
    received_micros = to_micros(received_at)
    on_record = _on_record(hashed, ingest)
    for place, record in enumerate(sent):
        if isinstance(record.read, Problem):
            judged.refusals.append(refuse(record.line, record.read, record.text))
            continue
        one = hashed[place]
        outcome = _outcome(one, judged, on_record[place])
        if outcome == DUPLICATE:
            judged.duplicates += 1
        elif outcome == CONFLICT:
            judged.refusals.append(refuse(record.line, _CONFLICT, record.text, outcome="conflict"))
        elif problem := _archive_problem(one, judged, archived_before, ingest) or _problem(
            one, judged, needs
        ):
            judged.refusals.append(refuse(record.line, problem, record.text))
        else:
            _accept(one, judged, ingest.gate.next_sequence, received_micros, batch_id)
    return judged


def _on_record(hashed: dict[int, _Hashed], ingest: IngestContext) -> dict[int, int]:
    """What each correction is beside what was on record before the batch, by its place."""
    if not hashed:
        return {}
    outcomes = ingest.gate.classify_alone(*_words(list(hashed.values())))
    return dict(zip(hashed, outcomes.tolist(), strict=True))


def _outcome(one: _Hashed, judged: _Judged, on_record: int) -> int:
    known = judged.taken.get(one.identity)
    if known is not None:
        return DUPLICATE if known == one.body_hash else CONFLICT
    return on_record


def _archive_problem(
    one: _Hashed, judged: _Judged, archived_before: int, ingest: IngestContext
) -> Problem | None:
    """Why this correction would change time whose events are in files: it could not be counted again."""
    if not archived_before:
        return None
    version = judged.versions.get(one.event_identity)
    gone = version is None and one.event_identity not in judged.corrected_events
    words = np.frombuffer(one.event_identity, np.uint64).reshape(1, 2).copy()
    archived = gone and ingest.gate.classify(words, np.zeros(1, np.uint64))[0] != NEW
    times = [one.correction.micros, None if version is None else version.micros]
    if not archived and not any(time is not None and time < archived_before for time in times):
        return None
    before = from_micros(archived_before).isoformat().replace("+00:00", "Z")
    message = f"time before {before} is archived, and what was added up of it stands."
    expected = "the events put back first: `ratemill events restore FOLDER`."
    return Problem(TIME_IS_ARCHIVED, "corrects" if archived else "time", message, expected)


def _problem(one: _Hashed, judged: _Judged, needs: MeterNeeds) -> Problem | None:
    """Why this correction cannot apply to what is on record."""
    correction = one.correction
    event_id = judged.corrected_events.get(one.event_identity)
    if event_id is not None:
        message = f"{shown(correction.corrects)} is itself a correction, of event {shown(event_id)}."
        expected = f"corrects: {shown(event_id)}; it applies to the version in force."
        return Problem("corrects_a_correction", "corrects", message, expected)
    version = judged.versions.get(one.event_identity)
    if version is None:
        message = (
            f"no event with source {shown(correction.source)} and id {shown(correction.corrects)} is here."
        )
        return Problem("no_such_event", "corrects", message, "the id of an event that was accepted before.")
    if version.cancelled_by is not None:
        message = f"{shown(correction.corrects)} is cancelled by {shown(version.cancelled_by)}."
        return Problem(
            "already_cancelled", "corrects", message, "an event that counts; send a new event instead."
        )
    if correction.kind == AMEND:
        amended = _amended(correction, version, received_micros=version.ingested_micros)
        value = None if amended.value is None else int(amended.value.scaleb(QUANTITY_SCALE))
        return needs_problem(version.type, value, dict(amended.properties), needs)
    return None


def _amended(correction: Correction, version: EventVersion, *, received_micros: int) -> EventVersion:
    """The event as it is with that amendment; dated no earlier than the version it follows."""
    scaled = correction.scaled_value
    return replace(
        version,
        micros=version.micros if correction.micros is None else correction.micros,
        value=version.value if scaled is None else as_decimal(scaled),
        properties=version.properties if correction.properties is None else correction.properties,
        ingested_micros=max(received_micros, version.ingested_micros),
    )


def _accept(one: _Hashed, judged: _Judged, first: int, received_micros: int, batch_id: str) -> None:
    """Write the rows of an accepted correction; ``first``: sequence of the first one of the batch."""
    correction, before = one.correction, judged.versions[one.event_identity]
    sequence = first + len(judged.accepted)
    after = replace(
        _amended(correction, before, received_micros=received_micros),
        sequence=sequence,
        cancelled_by=None if correction.kind == AMEND else correction.id,
    )
    corrected_at = from_micros(after.ingested_micros)
    replacement_time = from_micros(after.micros) if correction.kind == AMEND else None
    shared: dict[str, Any] = {"type": before.type, "subject": before.subject, "source": correction.source}
    shared |= {"body_hash": one.body_hash, "batch_id": batch_id}
    judged.superseded.append(
        shared
        | {
            "time": from_micros(before.micros),
            "sequence": before.sequence,
            "event_id": before.event_id,
            "event_identity": one.event_identity,
            "kind": correction.kind,
            "reason": correction.reason,
            "correction_id": correction.id,
            "correction_identity": one.identity,
            "correction_sequence": sequence,
            "replacement_time": replacement_time,
            "corrected_at": corrected_at,
        }
    )
    if correction.kind == AMEND:
        judged.replacements.append(
            shared
            | {
                "id": correction.id,
                "time": replacement_time,
                "value": after.value,
                "properties": list(after.properties),
                "identity": one.identity,
                "sequence": sequence,
                "ingested_at": corrected_at,
                "replaces": before.sequence,
            }
        )
    judged.accepted.append(one)
    judged.taken[one.identity] = one.body_hash
    judged.versions[one.event_identity] = after
    judged.corrected_events[one.identity] = before.event_id


def _write(judged: _Judged, *, batch_id: str, ingest: IngestContext) -> None:
    """First the replacements, which nothing counts yet, then in one block what puts all in force."""
    if not judged.accepted:
        return
    replacements = pa.Table.from_pylist(judged.replacements, schema=REPLACEMENT_SCHEMA)
    superseded = pa.Table.from_pylist(judged.superseded, schema=SUPERSEDED_SCHEMA)
    try:
        if replacements.num_rows:
            ingest.store.insert("events", replacements, token=batch_id)
        ingest.store.insert("superseded_events", superseded, token=batch_id)
        ingest.gate.remember(*_words(judged.accepted))
        places = {(row["type"], row["subject"]) for row in judged.superseded}
        for listener in ingest.listeners:
            listener.versions_changed(places, ingest.gate.next_sequence - 1)
    except BaseException:
        # Nobody knows what landed: the store is asked before the next batch.
        ingest.landing_unknown()
        raise


def _words(hashed: Sequence[_Hashed]) -> tuple[Words, Words]:
    """Identities and body hashes as the gate takes them."""
    identities = np.frombuffer(b"".join(one.identity for one in hashed), np.uint64).reshape(-1, 2)
    return identities.copy(), np.array([one.body_hash for one in hashed], np.uint64)
