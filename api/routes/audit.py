"""The audit trail: who changed what."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import Instant, instant
from api.routing import State, declared
from invoicing.audit_trail import AuditFilter, list_entries

router = APIRouter()

_ENTRY: Final[dict[str, Any]] = {
    "sequence": 17,
    "occurred_at": "2013-02-01T09:30:00+00:00",
    "actor": "finance",
    "action": "issued",
    "object_kind": "invoice",
    "object_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "before": {"state": "draft"},
    "after": {"state": "issued", "number": "INV-2013-000001"},
    "reason": "",
    "entry_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


@router.get(
    "/v1/audit",
    **declared(
        "list_audit_entries",
        "read",
        summary="The audit trail",
        tag="audit",
        example={"items": [_ENTRY], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    actor: str | None = None,
    action: str | None = None,
    object_kind: str | None = None,
    object_id: str | None = None,
    time_from: Instant = None,
    time_to: Instant = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Newest first: who did what to which object, what it was and what it became, and why. Entries are only
    added; each one's hash covers the entry before."""
    position = read_cursor(cursor, fields=1)
    entries = list_entries(
        state.ledger,
        chosen=AuditFilter(
            actor=actor,
            action=action,
            object_kind=object_kind,
            object_id=object_id,
            occurred_from=instant(time_from, "time_from"),
            occurred_to=instant(time_to, "time_to"),
        ),
        limit=limit + 1,
        before_sequence=None if position is None else int(position[0]),
    )
    items = [entry.to_dict() for entry in entries]
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["sequence"],)))
