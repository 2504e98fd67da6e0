"""New versions of documents in the audit trail, in the transaction that saves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from invoicing.audit_trail import Change, record_changes
from rating.plan_version import Entered, SavedDocument


def entered_by(actor: str, object_kind: str, *, now: datetime) -> Entered:
    """What a save calls, so that ``actor`` stands in the audit trail for each document that is new or another
    than before. The trail names versions; what each said is kept with the documents themselves."""

    def enter(connection: Connection, saved: Sequence[SavedDocument]) -> None:
        changes = [_saved(one, actor, object_kind) for one in saved if one.created]
        record_changes(connection, changes, now=now)

    return enter


def _saved(one: SavedDocument, actor: str, object_kind: str) -> Change:
    before = None if one.version == 1 else {"version": one.version - 1}
    return Change(actor, "saved", object_kind, one.key, before, {"version": one.version}, "")
