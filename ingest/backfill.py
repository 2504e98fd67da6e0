"""Replaces what is in force of a type and time by the events of a file, as one correction, and puts it back.

The way is that of corrections (``correct.py``): new versions are rows of ``events`` that nothing counts yet;
then all rows of ``superseded_events`` are one block, and that block is the switch. A reader sees all of the
backfill or nothing of it, a kill leaves all or nothing, and every total can be asked as it was before.

What is replaced is what is in force when the backfill begins; what arrives while it is at work stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa

from ingest.archives import TIME_IS_ARCHIVED, read_archived
from ingest.backfill_plan import BackfillPlan, Content, FileEvent, SubjectSum, plan_backfill
from ingest.backfill_rows import BackfillRows, rows_of_changes
from ingest.backfill_store import (
    BACKFILL_SCHEMA,
    find_backfill,
    read_in_force,
    read_withdrawn,
)
from ingest.clock import from_micros, to_micros
from ingest.commit import BatchPart, IngestContext
from ingest.decode import decode_body
from ingest.errors import BrokenState, Conflict, InvalidInput, Issue
from ingest.event import EVENT_SCHEMA
from ingest.gate import NEW
from ingest.load import prepare_batch
from ingest.refusal import Problem, shown

ISSUES_MAX: Final = 100
_WIDE: Final = Context(prec=60)


@dataclass(frozen=True, slots=True)
class BackfillScope:
    """What is replaced: events in force of ``type`` with a time in [time_from, time_to), of these subjects
    or, when there are none, of all."""

    type: str
    subjects: tuple[str, ...]
    time_from: datetime
    time_to: datetime


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What a backfill did, or would do when ``applied`` is false. repeated: it was on record already, so
    nothing was done. sums: per subject, of a repeated one empty."""

    backfill_id: str
    applied: bool
    repeated: bool
    kept: int
    amended: int
    added: int
    withdrawn: int
    count_before: int
    count_after: int
    value_before: Decimal
    value_after: Decimal
    sums: tuple[SubjectSum, ...]


def backfill_events(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str | None,
    backfill_id: str,
    scope: BackfillScope,
    reason: str,
    dry_run: bool,
    received_at: datetime,
    ingest: IngestContext,
) -> BackfillReport:
    """Replace what is in force in the scope by the events of the body. In force and on disk at its return.

    The same id with the same body and scope again does nothing and says so. dry_run: work it out and
    write nothing. Raises InvalidInput with the records that are wrong, and then nothing was done; Conflict
    (``backfill_exists``) for an id on record with something else; UnreadableBody.
    """
    _check_scope(scope, reason)
    digest = _digest(body, scope)
    refuse_archived(scope, ingest)
    if (known := _repeated(ingest, backfill_id, digest)) is not None:
        return known
    limits = replace(ingest.settings, batch_records_max=ingest.settings.backfill_rows_max)
    raw = decode_body(body, content_type=content_type, content_encoding=content_encoding, settings=limits)
    part = BatchPart(backfill_id, 0, ISSUES_MAX)
    prepared = prepare_batch(raw, (part,), received_at=received_at, ingest=ingest)
    _refuse(
        [
            (one.line, Problem(one.reason_code, one.field, one.message, one.expected))
            for one in prepared.valid.refusals
        ]
    )
    sent = _file_events(
        prepared.valid.events, prepared.valid.lines, prepared.identities, prepared.body_hashes
    )
    _refuse([(one.line, problem) for one in sent if (problem := _outside(one.content, scope))])
    with ingest.correction_lock:
        in_force = read_in_force(
            ingest.store,
            event_type=scope.type,
            subjects=scope.subjects,
            time_from=scope.time_from,
            time_to=scope.time_to,
        )
        _refuse_too_many(len(in_force) + len(sent), ingest)
        with ingest.alone():
            known_ids = _on_record(prepared.identities, prepared.body_hashes, sent, ingest)
            elsewhere = known_ids - {one.identity for one in in_force}
            withdrawn = read_withdrawn(ingest.store, elsewhere) if elsewhere else {}
            plan = plan_backfill(in_force=in_force, sent=sent, known=known_ids, withdrawn=withdrawn)
            _refuse(plan.problems)
            if not dry_run and plan.changes:
                made = Making(backfill_id, scope, reason, undoes="", digest=digest)
                write_changes(plan, made, received_at=received_at, ingest=ingest)
    return report_of(plan, backfill_id, applied=not dry_run)


@dataclass(frozen=True, slots=True)
class Making:
    """A backfill that is about to be written: what stands in its row of ``backfills``."""

    backfill_id: str
    scope: BackfillScope
    reason: str
    undoes: str
    digest: str


def write_changes(plan: BackfillPlan, made: Making, *, received_at: datetime, ingest: IngestContext) -> None:
    """Put the changes of a plan in force, with both locks held. See the module for the order."""
    batch_id = uuid4().hex
    rows = rows_of_changes(
        plan.changes,
        backfill_id=made.backfill_id,
        reason=made.reason,
        batch_id=batch_id,
        first_sequence=ingest.gate.next_sequence,
        received_at=received_at,
        key=ingest.key,
    )
    record = _record(plan, made, batch_id, rows)
    try:
        ingest.store.insert("backfills", record, token=batch_id)
        if rows.versions.num_rows:
            ingest.store.insert("events", rows.versions, token=batch_id)
        ingest.store.insert("superseded_events", rows.superseded, token=batch_id)
        ingest.gate.remember(rows.identities, rows.body_hashes)
        touched = rows.superseded.select(["type", "subject"]).to_pylist()
        places = {(row["type"], row["subject"]) for row in touched}
        for listener in ingest.listeners:
            listener.versions_changed(places, ingest.gate.next_sequence - 1)
    except BaseException:
        ingest.landing_unknown()
        raise


def report_of(
    plan: BackfillPlan, backfill_id: str, *, applied: bool, repeated: bool = False
) -> BackfillReport:
    """The report of a plan."""
    counts, values = _totals(plan)
    return BackfillReport(
        backfill_id=backfill_id,
        applied=applied,
        repeated=repeated,
        kept=plan.kept,
        amended=plan.count("amend"),
        added=plan.count("insert"),
        withdrawn=plan.count("withdraw"),
        count_before=counts[0],
        count_after=counts[1],
        value_before=values[0],
        value_after=values[1],
        sums=plan.sums,
    )


def _record(plan: BackfillPlan, made: Making, batch_id: str, rows: BackfillRows) -> pa.Table:
    report = report_of(plan, made.backfill_id, applied=True)
    row: dict[str, Any] = {name: getattr(report, name) for name in ("kept", "amended", "added", "withdrawn")}
    row |= {
        name: getattr(report, name) for name in ("count_before", "count_after", "value_before", "value_after")
    }
    row |= {"backfill_id": made.backfill_id, "batch_id": batch_id, "reason": made.reason}
    row |= {"type": made.scope.type, "subjects": list(made.scope.subjects)}
    row |= {"time_from": made.scope.time_from, "time_to": made.scope.time_to}
    row |= {"undoes": made.undoes, "digest": made.digest, "made_at": rows.made_at}
    return pa.Table.from_pylist([row], schema=BACKFILL_SCHEMA)


def _totals(plan: BackfillPlan) -> tuple[tuple[int, int], tuple[Decimal, Decimal]]:
    before, after = Decimal(0), Decimal(0)
    for one in plan.sums:
        before, after = _WIDE.add(before, one.value_before), _WIDE.add(after, one.value_after)
    counts = sum(one.count_before for one in plan.sums), sum(one.count_after for one in plan.sums)
    return counts, (before, after)


def _check_scope(scope: BackfillScope, reason: str) -> None:
    if scope.time_from >= scope.time_to:
        raise InvalidInput(
            f"the time from {scope.time_from} to {scope.time_to} is empty; `to` must lie after `from`.",
            reason_code="empty_period",
        )
    if not reason.strip():
        raise InvalidInput(
            "a backfill needs a reason, for those who read later why it was made.",
            reason_code="reason_missing",
        )


def refuse_archived(scope: BackfillScope, ingest: IngestContext) -> None:
    """Raise Conflict (``time_is_archived``) for a time whose events are in files."""
    before = read_archived(ingest.store).latest
    if to_micros(scope.time_from) < before:
        raise Conflict(
            f"events before {from_micros(before).isoformat()} are archived and cannot be replaced. Put them "
            "back "
            "first: `ratemill events restore FOLDER`.",
            reason_code=TIME_IS_ARCHIVED,
        )


def _digest(body: bytes, scope: BackfillScope) -> str:
    named = (scope.type, sorted(scope.subjects), to_micros(scope.time_from), to_micros(scope.time_to))
    return hashlib.sha256(repr(named).encode() + body).hexdigest()


def _repeated(ingest: IngestContext, backfill_id: str, digest: str) -> BackfillReport | None:
    known = find_backfill(ingest.store, backfill_id)
    if known is None:
        return None
    if known.digest != digest:
        raise Conflict(
            f"backfill {backfill_id!r} is on record with another type, time, subjects or file. Give this one "
            "an id of its own.",
            reason_code="backfill_exists",
        )
    if known.undone_by:
        raise Conflict(
            f"backfill {backfill_id!r} was put back by {known.undone_by!r}. To make it again, give it "
            "another id.",
            reason_code="backfill_undone",
        )
    figures = {name: getattr(known, name) for name in ("kept", "amended", "added", "withdrawn")}
    sides: dict[str, Any] = {
        name: getattr(known, name) for name in ("count_before", "count_after", "value_before", "value_after")
    }
    return BackfillReport(backfill_id, applied=True, repeated=True, **figures, **sides, sums=())


def _refuse(problems: Sequence[tuple[int, Problem]]) -> None:
    if not problems:
        return
    issues = [
        Issue(
            one.reason_code, f"line {line}{': ' + one.field if one.field else ''}", one.message, one.expected
        )
        for line, one in sorted(problems, key=lambda problem: problem[0])
    ]
    more = f" The first {ISSUES_MAX} are listed." if len(issues) > ISSUES_MAX else ""
    raise InvalidInput(
        f"{len(issues)} records cannot be part of this backfill, so nothing of it was done.{more} "
        f"{issues[0]}",
        reason_code="backfill_refused",
        issues=issues[:ISSUES_MAX],
    )


def _refuse_too_many(rows: int, ingest: IngestContext) -> None:
    most = ingest.settings.backfill_rows_max
    if rows > most:
        raise InvalidInput(
            f"the backfill has {rows:,} events to replace and to bring, and {most:,} come into force at once."
            " Make several of it, each of a shorter time or of fewer subjects.",
            reason_code="backfill_too_large",
        )


def _outside(content: Content, scope: BackfillScope) -> Problem | None:
    expected = "an event of what is replaced, or a backfill of more."
    if content.type != scope.type:
        return Problem("outside_backfill", "type", f"the type is {shown(content.type)}.", expected)
    if scope.subjects and content.subject not in scope.subjects:
        return Problem("outside_backfill", "subject", f"the subject is {shown(content.subject)}.", expected)
    if not to_micros(scope.time_from) <= content.micros < to_micros(scope.time_to):
        return Problem("outside_backfill", "time", "the time is outside.", expected)
    return None


def _file_events(events: pa.Table, lines: Any, identities: Any, body_hashes: Any) -> list[FileEvent]:
    columns = [events[name].to_pylist() for name in ("source", "id", "type", "subject")]
    columns.append(events["time"].cast(pa.int64()).to_pylist())
    columns += [events[name].to_pylist() for name in ("value", "properties")]
    if events.schema.names != EVENT_SCHEMA.names:
        raise BrokenState("validated events have other columns than events; report this.")
    sent = []
    for row, (source, event_id, kind, subject, micros, value, properties) in enumerate(
        zip(*columns, strict=True)
    ):
        content = Content(kind, subject, micros, value, tuple(map(tuple, properties)))
        identity = identities[row].tobytes()
        sent.append(FileEvent(int(lines[row]), source, event_id, identity, int(body_hashes[row]), content))
    return sent


def _on_record(
    identities: Any, body_hashes: Any, sent: Sequence[FileEvent], ingest: IngestContext
) -> frozenset[bytes]:
    """Identities of the file that the gate knows; of one that is twice in the file, whether it did before."""
    if not sent:
        return frozenset()
    first: dict[bytes, int] = {}
    for row, event in enumerate(sent):
        first.setdefault(event.identity, row)
    rows = np.array(sorted(first.values()))
    outcomes = ingest.gate.classify(
        np.ascontiguousarray(identities[rows]), np.ascontiguousarray(body_hashes[rows])
    )
    return frozenset(
        sent[row].identity for row, outcome in zip(rows, outcomes, strict=True) if outcome != NEW
    )
