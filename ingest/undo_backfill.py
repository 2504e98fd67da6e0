"""Puts a backfill back: every event it touched counts again as it did before, as one correction of its own.

The versions that left are not revived, because a number never comes into force twice; copies of them come,
in their order. Among events of equal time a copy comes when the undoing came, like any new version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ingest.backfill import BackfillReport, BackfillScope, Making, refuse_archived, report_of, write_changes
from ingest.backfill_plan import BackfillPlan, Change, ChangeKind, Standing, sums_of
from ingest.backfill_store import DID_HAPPEN_SQL, StoredBackfill, find_backfill, read_versions
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState, Conflict, NotFound
from ingest.load import IngestContext
from ingest.refusal import shown

_TOUCHED_SQL = "SELECT event_identity FROM superseded_events WHERE batch_id = {batch_id:String}"


def undo_backfill(
    backfill_id: str, *, undo_id: str, reason: str, received_at: datetime, ingest: IngestContext
) -> BackfillReport:
    """Put the backfill back; in force and on disk when this returns. Again with the same id does nothing.

    An undoing is a backfill on record like any other, and can be put back itself. Raises NotFound; Conflict
    when it was put back under another id (``backfill_undone``) or when an event it touched was changed
    since (``backfill_changed_since``): what changed it has to be put back first.
    """
    with ingest.correction_lock:
        found = find_backfill(ingest.store, backfill_id)
        if found is None:
            raise NotFound(
                f"there is no backfill {backfill_id!r} in force; `ratemill events backfills` lists them."
            )
        repeated = _repeated(found, undo_id, ingest.store)
        if repeated is not None:
            return repeated
        scope = BackfillScope(found.type, found.subjects, found.time_from, found.time_to)
        refuse_archived(scope, ingest)
        rows = ingest.store.query(
            "SELECT toString(kind) AS kind, sequence, correction_sequence, event_identity "
            "FROM superseded_events WHERE batch_id = {batch_id:String} ORDER BY correction_sequence",
            {"batch_id": found.batch_id},
        ).to_pylist()
        _refuse_changed(ingest.store, found, last=max(row["correction_sequence"] for row in rows))
        plan = _plan(ingest.store, found, rows)
        made = Making(undo_id, scope, reason, undoes=backfill_id, digest="")
        with ingest.alone():
            write_changes(plan, made, received_at=received_at, ingest=ingest)
    return report_of(plan, undo_id, applied=True)


def _repeated(found: StoredBackfill, undo_id: str, store: EventStore) -> BackfillReport | None:
    known = find_backfill(store, undo_id)
    if known is not None and known.undoes == found.backfill_id:
        plan = BackfillPlan()
        return report_of(plan, undo_id, applied=True, repeated=True)
    if known is not None:
        raise Conflict(
            f"backfill {undo_id!r} is on record and is something else. Give the undoing an id of its own.",
            reason_code="backfill_exists",
        )
    if found.undone_by:
        raise Conflict(
            f"backfill {found.backfill_id!r} was put back by {found.undone_by!r} already.",
            reason_code="backfill_undone",
        )
    return None


def _refuse_changed(store: EventStore, found: StoredBackfill, *, last: int) -> None:
    """Later changes of the same events stand in the way, except backfills that were put back themselves."""
    pairs = store.query(
        f"SELECT backfill_id, batch_id, undoes FROM backfills WHERE {DID_HAPPEN_SQL}"
    ).to_pylist()
    undone = {row["undoes"]: row for row in pairs if row["undoes"]}
    settled: list[str] = []
    for row in pairs:
        undoing = undone.get(row["backfill_id"])
        if undoing is not None and undoing["backfill_id"] not in undone:
            settled += [row["batch_id"], undoing["batch_id"]]
    changed = store.query(
        "SELECT toString(source) AS source, event_id, correction_id FROM superseded_events "
        f"WHERE event_identity IN ({_TOUCHED_SQL}) AND correction_sequence > {{last:UInt64}} "
        "AND NOT has({settled:Array(String)}, toString(batch_id)) ORDER BY correction_sequence LIMIT 1",
        {"batch_id": found.batch_id, "last": last, "settled": settled},
    ).to_pylist()
    if changed:
        one = changed[0]
        raise Conflict(
            f"event {shown(one['event_id'])} of {shown(one['source'])} was changed by "
            f"{shown(one['correction_id'])} after backfill {found.backfill_id!r}. Put back or cancel first "
            "what came later.",
            reason_code="backfill_changed_since",
        )


def _plan(store: EventStore, found: StoredBackfill, rows: Sequence[Mapping[str, Any]]) -> BackfillPlan:
    """What was added leaves, what was amended or withdrawn is as before, what had come back leaves again."""
    now = _versions_now(store, found.batch_id)
    old = {row["event_identity"]: row["sequence"] for row in rows if row["kind"] != "insert"}
    versions = read_versions(store, [*now.values(), *old.values()])
    missing = {*now.values(), *old.values()} - versions.keys()
    if missing:
        raise BrokenState(
            f"{len(missing)} versions that backfill {found.backfill_id!r} changed are not in the store, the "
            f"first with number {min(missing)}. Restore the event store from a backup."
        )
    gone_before = _gone_before(store, rows)
    plan = BackfillPlan()
    restored: list[tuple[int, Change]] = []
    for row in rows:
        identity = row["event_identity"]
        current = versions[now[identity]]
        if row["kind"] == "insert" or (row["kind"] == "amend" and row["sequence"] in gone_before):
            plan.changes.append(_change(current, None))
        else:
            restored.append((row["sequence"], _change(current, versions[old[identity]])))
    # Copies take numbers in the order in which what they are copies of had come.
    restored.sort(key=lambda one: one[0])
    plan.changes += [change for _, change in restored]
    in_force = [versions[now[row["event_identity"]]].content for row in rows if row["kind"] != "withdraw"]
    plan.sums = sums_of(in_force, [change.after for _, change in restored if change.after is not None])
    return plan


def _versions_now(store: EventStore, batch_id: str) -> dict[bytes, int]:
    """Of the events that the backfill touched, the version in force or, of one that left, its last."""
    rows = store.query(
        "SELECT event_identity, argMax(if(kind = 'withdraw', sequence, correction_sequence), "
        "correction_sequence) AS version FROM superseded_events "
        f"WHERE event_identity IN ({_TOUCHED_SQL}) GROUP BY event_identity",
        {"batch_id": batch_id},
    ).to_pylist()
    return {row["event_identity"]: row["version"] for row in rows}


def _gone_before(store: EventStore, rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """Of the versions that the backfill amended, those that were not in force when it came."""
    first = min(row["correction_sequence"] for row in rows)
    amended = [row["sequence"] for row in rows if row["kind"] == "amend"]
    found = store.query(
        "SELECT DISTINCT sequence FROM superseded_events "
        "WHERE has({amended:Array(UInt64)}, sequence) AND correction_sequence < {first:UInt64}",
        {"amended": amended, "first": first},
    )
    return set(found["sequence"].to_pylist())


def _change(before: Standing, after: Standing | None) -> Change:
    kind: ChangeKind = "withdraw" if after is None else "amend"
    content = None if after is None else after.content
    return Change(kind, before.source, before.event_id, before.identity, before, content)
