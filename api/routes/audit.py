"""The audit trail: who changed what."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import Instant, instant
from api.routing import State, declared
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books

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
_SERIES: Final[dict[str, Any]] = {
    "series": "INV-2013",
    "count": 24,
    "first": "INV-2013-000001",
    "last": "INV-2013-000024",
    "first_date": "2013-02-01",
    "last_date": "2013-12-01",
    "chain_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "broken": None,
}
_PROOF: Final[dict[str, Any]] = {
    "proved": True,
    "documents": 24,
    "series": [_SERIES],
    "audit_trail": {
        **_SERIES,
        "series": "audit",
        "first": "1",
        "last": "24",
        "first_date": "2013-02-01T09:30:00+00:00",
        "last_date": "2013-12-01T09:30:00+00:00",
    },
    "broken": [],
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


@router.get(
    "/v1/audit/verify",
    **declared(
        "verify_books", "read", summary="Prove the books from what is stored", tag="audit", example=_PROOF
    ),
)
def verify(state: State) -> ExactJSON:
    """Reads every issued document and every audit entry: numbers without gap, dates that never fall, each
    text the one that was issued, chains and sums derived again. `broken` names the first thing that is wrong
    in each series; `proved` is true when there is none."""
    return ExactJSON(verify_books(state.ledger).to_dict())
