"""Corrections: events amended and cancelled, and what became of an event."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import STORED_EXAMPLE
from api.routes.events import EVENT_EXAMPLE, REPORT_EXAMPLE, report_response
from api.routing import Actor, DocumentBody, State, declared
from api.trail import CORRECTIONS, enter_changes
from ingest.correct import correct_events
from ingest.history import event_history, list_corrections

router = APIRouter()

AMENDMENT_EXAMPLE: Final[dict[str, Any]] = {
    "source": EVENT_EXAMPLE["source"],
    "id": "fix-2026-0017",
    "kind": "amend",
    "corrects": EVENT_EXAMPLE["id"],
    "reason": "distance was sent in kilometres, ticket 4711",
    "value": "870",
}
CANCELLATION_EXAMPLE: Final[dict[str, Any]] = {
    "source": EVENT_EXAMPLE["source"],
    "id": "fix-2026-0018",
    "kind": "cancel",
    "corrects": "2013-01-01-AA1141",
    "reason": "the flight never left the ground",
}
_CORRECTION: Final[dict[str, Any]] = {
    **{name: AMENDMENT_EXAMPLE[name] for name in ("source", "id", "kind", "corrects", "reason")},
    "type": EVENT_EXAMPLE["type"],
    "subject": EVENT_EXAMPLE["subject"],
    "sequence": 12,
    "corrected_at": "2026-11-23T09:00:00Z",
    "batch_id": "0193a1c2f0d87c1f",
}
_AMENDED: Final[dict[str, Any]] = {
    **STORED_EXAMPLE,
    "id": AMENDMENT_EXAMPLE["id"],
    "value": AMENDMENT_EXAMPLE["value"],
    "sequence": 12,
}
_REPORT: Final[dict[str, Any]] = {**REPORT_EXAMPLE, "accepted": 2, "rejected": 0, "refusals": []}
_NDJSON: Final = "".join(json.dumps(one) + "\n" for one in (AMENDMENT_EXAMPLE, CANCELLATION_EXAMPLE))


@router.post(
    "/v1/corrections",
    **declared(
        "send_corrections",
        "ingest",
        summary="Amend and cancel events",
        tag="events",
        example=_REPORT,
        problems=(400, 413, 415, 422),
        body={
            "application/json": [AMENDMENT_EXAMPLE, CANCELLATION_EXAMPLE],
            "application/x-ndjson": _NDJSON,
        },
    ),
)
async def send_corrections(state: State, request: Request, body: DocumentBody, actor: Actor) -> Response:
    """`corrects` is the id of an event of the same `source`, however often it was corrected before. An
    amendment says what is to be different: `value`, `time`, or `properties` (all of them, they replace those
    of the event); type and subject cannot be amended. A cancelled event counts no more, for good.

    A correction has an id of its own, so sending a batch again is safe. All that are accepted come into
    force in one step and are on disk when the answer arrives. One object, an array or NDJSON, plain, gzip
    or zstd, up to 20,000 of them."""
    report = await state.in_thread(
        correct_events,
        body,
        content_type=request.headers.get("content-type", ""),
        content_encoding=request.headers.get("content-encoding"),
        received_at=state.clock.now(),
        ingest=state.ingest,
    )
    state.metrics.corrections.add(report)
    if report.accepted:
        await state.in_thread(
            enter_changes,
            state,
            actor=actor,
            action="corrected",
            kind=CORRECTIONS,
            object_ids=[report.batch_id],
            after={"accepted": report.accepted},
        )
    return report_response(report, refusals_max=state.ingest.settings.refusals_reported_max)


@router.get(
    "/v1/corrections",
    **declared(
        "list_corrections",
        "read",
        summary="Corrections of events",
        tag="events",
        example={"items": [_CORRECTION], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    source: str | None = None,
    subject: str | None = None,
    kind: Literal["amend", "cancel", "insert", "withdraw"] | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Latest first, each with its reason and the event it corrects. `insert` and `withdraw` are the work of
    backfills: an event came into force, or left."""
    after = read_cursor(cursor, fields=1)
    found = list_corrections(
        state.event_store,
        limit=limit + 1,
        source=source,
        subject=subject,
        kind=kind,
        after=None if after is None else int(after[0]),
    )
    answer = page(found, limit=limit, position=lambda item: (item.sequence,))
    answer["items"] = [asdict(item) for item in answer["items"]]
    return ExactJSON(answer)


@router.get(
    "/v1/events/history",
    **declared(
        "event_history",
        "read",
        summary="What became of an event",
        tag="events",
        example={
            "sent": {**STORED_EXAMPLE, "state": "amended"},
            "in_force": _AMENDED,
            "corrections": [_CORRECTION],
            "versions": [_AMENDED],
        },
        problems=(404, 422),
    ),
)
def history(
    state: State,
    source: str,
    event_id: Annotated[str, Query(alias="id", description="The event's, or that of a correction of it.")],
) -> ExactJSON:
    """As it was sent, the version in force (null when it is cancelled), every correction with its reason,
    and every version an amendment made, oldest first."""
    return ExactJSON(asdict(event_history(state.event_store, source=source, id=event_id)))
