"""Refused records settled: sent again, mended or as they were, or dismissed with a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field

from api.json import ExactJSON
from api.routes.events import EVENT_EXAMPLE
from api.routing import Actor, DocumentBody, State, declared
from api.trail import REFUSED_EVENT, enter_changes
from ingest.document import Document, read_document, validate_document
from ingest.replay import dismiss_refused, replay_refused

router = APIRouter()

_REPLAY: Final[dict[str, Any]] = {"refusal_id": "0193a1c2f0d87c1e-2", "record": EVENT_EXAMPLE}
_ANSWER: Final[dict[str, Any]] = {
    "records": 1,
    "repaired": 0,
    "already_repaired": 0,
    "refused": 1,
    "items": [
        {
            "line": 1,
            "refusal_id": "0193a1c2f0d87c1e-2",
            "outcome": "refused",
            "reason_code": "no_such_refusal",
            "field": "refusal_id",
            "message": "there is no refused record '0193a1c2f0d87c1e-2'.",
            "expected": "a refusal_id of GET /v1/events/refused.",
        }
    ],
}


class Dismissal(Document):
    """Refused records of which nothing will come, and why."""

    refusal_ids: Annotated[list[str], Field(max_length=10_000)]
    reason: str


@router.post(
    "/v1/events/refused/replay",
    **declared(
        "replay_refused_events",
        "ingest",
        summary="Repair refused records",
        tag="events",
        example=_ANSWER,
        problems=(400, 413, 415, 422),
        body={"application/json": [_REPLAY]},
    ),
)
async def replay(state: State, request: Request, body: DocumentBody) -> ExactJSON:
    """`record` is the mended event, CloudEvent or correction; left out, the refused one is sent as it was.
    Sending it again is safe. What is refused again stays open, with the reason in the answer. One
    object, an array or NDJSON, up to 1,000 of them."""
    items = await state.in_thread(
        replay_refused,
        body,
        content_type=request.headers.get("content-type", ""),
        content_encoding=request.headers.get("content-encoding"),
        received_at=state.clock.now(),
        ingest=state.ingest,
    )
    counted = Counter(item.outcome for item in items)
    counts = {outcome: counted[outcome] for outcome in ("repaired", "already_repaired", "refused")}
    return ExactJSON({"records": len(items), **counts, "items": [asdict(item) for item in items]})


@router.post(
    "/v1/events/refused/dismiss",
    **declared(
        "dismiss_refused_events",
        "ingest",
        summary="Dismiss refused records",
        tag="events",
        example={"dismissed": 0},
        problems=(400, 404, 409, 422),
        body={"application/json": {"refusal_ids": [], "reason": "test traffic of the old gateway"}},
    ),
)
async def dismiss(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """All of them or none. They stay readable with the reason, and may still be repaired."""
    wanted = validate_document(Dismissal, read_document(body), what="the dismissal")
    dismissed = await state.in_thread(
        dismiss_refused,
        wanted.refusal_ids,
        reason=wanted.reason,
        dismissed_at=state.clock.now(),
        ingest=state.ingest,
    )
    await state.in_thread(
        enter_changes,
        state,
        actor=actor,
        action="dismissed",
        kind=REFUSED_EVENT,
        object_ids=dismissed,
        reason=wanted.reason,
    )
    return ExactJSON({"dismissed": len(dismissed)})
