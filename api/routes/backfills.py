"""Backfills: what is in force of a type and time replaced by a file, and put back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Query, Request

from api.intake import place, receive
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import instant
from api.routes.events import EVENT_EXAMPLE
from api.routing import Actor, DocumentBody, State, declared
from api.state import Ratemill
from api.trail import BACKFILL, enter_changes
from ingest.backfill import BackfillScope, backfill_events
from ingest.backfill_store import StoredBackfill, list_backfills
from ingest.clock import to_micros
from ingest.document import Document, read_document, validate_document
from ingest.meter import Key
from ingest.undo_backfill import undo_backfill

router = APIRouter()

_REPORT: Final[dict[str, Any]] = {
    "backfill_id": "ticket-4711",
    "applied": True,
    "repeated": False,
    "kept": 0,
    "amended": 1,
    "added": 0,
    "withdrawn": 0,
    "count_before": 1,
    "count_after": 1,
    "value_before": "1400",
    "value_after": "1420",
    "sums": [
        {"subject": "UA", "count_before": 1, "count_after": 1, "value_before": "1400", "value_after": "1420"}
    ],
}
_STORED: Final[dict[str, Any]] = {
    **{name: part for name, part in _REPORT.items() if name not in ("applied", "repeated", "sums")},
    "batch_id": "0193a1c2f0d87c1e",
    "type": "landing",
    "subjects": ["UA"],
    "time_from": "2013-01-01T00:00:00Z",
    "time_to": "2013-01-02T00:00:00Z",
    "reason": "distances were wrong, ticket 4711",
    "undoes": "",
    "undone_by": "",
    "made_at": "2026-11-23T09:00:00Z",
}


class Undoing(Document):
    """Why a backfill is put back. id: of the undoing itself; left out, one is made."""

    reason: str
    id: Key | None = None


@router.post(
    "/v1/backfills",
    **declared(
        "make_backfill",
        "ingest",
        summary="Replace events of a time",
        tag="events",
        example=_REPORT,
        problems=(400, 409, 413, 415, 422, 429, 503),
        body={"application/json": [{**EVENT_EXAMPLE, "value": "1420"}]},
    ),
)
async def make_backfill(
    state: State,
    request: Request,
    actor: Actor,
    event_type: Annotated[str, Query(alias="type", min_length=1)],
    time_from: datetime,
    time_to: datetime,
    reason: Annotated[str, Query(description="Why, for those who read it later.", max_length=512)],
    backfill_id: Annotated[Key, Query(alias="id", description="Its own id; the same again does nothing.")],
    subject: Annotated[list[str] | None, Query(description="Left out: all subjects of the type.")] = None,
    dry_run: Annotated[bool, Query(description="Work it out and write nothing.")] = False,
) -> ExactJSON:
    """Everything in force of `type` (and of these subjects) in `[time_from, time_to)` is replaced by the
    events of the body, in any format of `POST /v1/events`: `[]` by nothing. All of it comes into force in
    one step, or nothing does. An event that is there already, word for word, is `kept`; one with the same
    `source` and `id` is `amended`; one that is not in the body is `withdrawn`. What arrives in that time
    later counts too.

    `sums` compare each subject's events and the sum of their values before and after."""
    start, end = instant(time_from, "time_from"), instant(time_to, "time_to")
    scope = BackfillScope(event_type, tuple(dict.fromkeys(subject or ())), start or time_from, end or time_to)
    with place(state) as held:
        body = await receive(request, state, held)
        report = await state.in_thread(
            backfill_events,
            body,
            content_type=request.headers.get("content-type", ""),
            content_encoding=request.headers.get("content-encoding"),
            backfill_id=backfill_id,
            scope=scope,
            reason=reason,
            dry_run=dry_run,
            received_at=state.clock.now(),
            ingest=state.ingest,
        )
    if report.applied and not report.repeated:
        await state.in_thread(_enter, state, actor, "replaced", backfill_id, reason)
    return ExactJSON(asdict(report))


@router.get(
    "/v1/backfills",
    **declared(
        "list_backfills",
        "read",
        summary="Backfills made",
        tag="events",
        example={"items": [_STORED], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    event_type: Annotated[str | None, Query(alias="type")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Latest first, with the reason, what it did, and which other one put it back (`undone_by`)."""
    after = read_cursor(cursor, fields=2)
    found = list_backfills(
        state.event_store,
        limit=limit + 1,
        type=event_type,
        after=None if after is None else (int(after[0]), str(after[1])),
    )
    answer = page(found, limit=limit, position=_position)
    answer["items"] = [_shown(one) for one in answer["items"]]
    return ExactJSON(answer)


@router.post(
    "/v1/backfills/{backfill_id}/undo",
    **declared(
        "undo_backfill",
        "ingest",
        summary="Put a backfill back",
        tag="events",
        example={**_REPORT, "backfill_id": "undo-4711"},
        problems=(400, 404, 409, 422, 503),
        body={"application/json": {"reason": "the file was of another month", "id": "undo-4711"}},
    ),
)
async def undo(state: State, backfill_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Everything it touched counts again as before, in one step. 409 when any of it was changed since: put
    that back first. An undoing is a backfill itself, and can be put back."""
    undoing = validate_document(Undoing, read_document(body), what="undoing")
    report = await state.in_thread(
        undo_backfill,
        backfill_id,
        undo_id=undoing.id or f"undo-{uuid4().hex}",
        reason=undoing.reason,
        received_at=state.clock.now(),
        ingest=state.ingest,
    )
    if not report.repeated:
        await state.in_thread(_enter, state, actor, "put_back", backfill_id, undoing.reason)
    return ExactJSON(asdict(report))


def _enter(state: Ratemill, actor: str, action: str, backfill_id: str, reason: str) -> None:
    enter_changes(state, actor=actor, action=action, kind=BACKFILL, object_ids=[backfill_id], reason=reason)


def _shown(one: StoredBackfill) -> dict[str, Any]:
    return {name: part for name, part in asdict(one).items() if name != "digest"}


def _position(one: StoredBackfill) -> tuple[int, str]:
    return to_micros(one.made_at), one.backfill_id
