"""GET /api/v1/events: what came in lately, as OpenMeter's clients ask for it.

Source: the API of OpenMeter v1. Events are listed as they were sent; corrections are ours and are not shown.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query

from api.compatible.events import OpenMeterRoute
from api.json import ExactJSON
from api.routes.event_lists import instant
from api.routing import State, declared
from ingest.document import decimal_text
from ingest.errors import InvalidInput
from ingest.query import StoredEvent, list_events

router = APIRouter(route_class=OpenMeterRoute)

LOOK_BACK: Final = timedelta(hours=72)
"""How far back the list goes when no time is given, as at OpenMeter."""
LIMIT_MAX: Final = 1_000

_LISTED: Final[dict[str, Any]] = {
    "event": {
        "id": "2013-01-01-DL462",
        "source": "tower/lga",
        "specversion": "1.0",
        "type": "landing",
        "subject": "DL",
        "time": "2013-01-01T11:30:00Z",
        "data": {"value": 762, "origin": "LGA"},
    },
    "ingestedAt": "2026-11-22T18:00:00Z",
    "storedAt": "2026-11-22T18:00:00Z",
}
When = Annotated[datetime | None, Query(description="RFC 3339 with a time zone.")]


@router.get(
    "/api/v1/events",
    **declared(
        "list_openmeter_events",
        "read",
        summary="Events that came in, for OpenMeter's clients",
        tag="compatible",
        example=[_LISTED],
        problems=(400,),
    ),
)
def list_openmeter_events(
    state: State,
    subject: str | None = None,
    event_id: Annotated[str | None, Query(alias="id")] = None,
    time_from: Annotated[datetime | None, Query(alias="from")] = None,
    time_to: Annotated[datetime | None, Query(alias="to")] = None,
    ingested_from: Annotated[datetime | None, Query(alias="ingestedAtFrom")] = None,
    ingested_to: Annotated[datetime | None, Query(alias="ingestedAtTo")] = None,
    customer_id: Annotated[list[str] | None, Query(alias="customerId")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 100,
) -> ExactJSON:
    """Latest time first. Without `from` and `ingestedAtFrom` those of the last 72 hours. `validationError`
    says that no meter counts the type."""
    if customer_id:
        raise InvalidInput(
            "customerId is not answered here; name the subject.", reason_code="filter_not_supported"
        )
    start, came = instant(time_from, "from"), instant(ingested_from, "ingestedAtFrom")
    if start is None and came is None and event_id is None:
        start = state.clock.now() - LOOK_BACK
    found = list_events(
        state.event_store,
        limit=limit,
        subject=subject,
        id=event_id,
        time_from=start,
        time_to=instant(time_to, "to"),
        ingested_from=came,
        ingested_to=instant(ingested_to, "ingestedAtTo"),
        as_sent=True,
    )
    known = {meter.event_type for meter in state.meters.current()}
    return ExactJSON([_listed(event, known) for event in found])


def _listed(event: StoredEvent, known_types: set[str]) -> dict[str, Any]:
    data: dict[str, Any] = dict(event.properties)
    if event.value is not None:
        data = {"value": orjson.Fragment(decimal_text(event.value)), **data}
    answer: dict[str, Any] = {
        "event": {
            "id": event.id,
            "source": event.source,
            "specversion": "1.0",
            "type": event.type,
            "subject": event.subject,
            "time": event.time,
            "data": data,
        },
        "ingestedAt": event.ingested_at,
        "storedAt": event.ingested_at,
    }
    if event.type not in known_types:
        answer["validationError"] = f"no meter counts events of type {event.type}"
    return answer
