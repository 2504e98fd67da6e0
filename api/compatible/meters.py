"""Meters and their usage as OpenMeter's clients ask for them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.compatible.events import OpenMeterRoute
from api.compatible.meter_query import (
    MeterQuery,
    answer_query,
    query_csv,
    query_json,
    query_of_document,
    query_of_url,
)
from api.json import ExactJSON
from api.routing import DocumentBody, State, declared
from api.state import Ratemill
from api.usage_table import UNUSABLE_HEADER, asked_form
from ingest.cloudevent_binary import read_json_object
from ingest.errors import NotFound
from ingest.media_type import CSV
from ingest.meter import Meter
from ingest.meter_store import get_meter, list_saved_meters

router = APIRouter(route_class=OpenMeterRoute)

_METER: Final[dict[str, Any]] = {
    "id": "landings",
    "slug": "landings",
    "name": "Landings",
    "aggregation": "COUNT",
    "eventType": "landing",
    "groupBy": {},
    "createdAt": "2026-11-22T18:00:00Z",
    "updatedAt": "2026-11-22T18:00:00Z",
}
_USAGE: Final[dict[str, Any]] = {
    "from": "2013-01-01T00:00:00Z",
    "to": "2013-02-01T00:00:00Z",
    "data": [
        {
            "value": 2,
            "windowStart": "2013-01-01T00:00:00Z",
            "windowEnd": "2013-02-01T00:00:00Z",
            "subject": "UA",
            "groupBy": {},
        }
    ],
    "unusable": [],
}
CSV_EXAMPLE: Final = """\
window_start,window_end,subject,customer_name,customer_email,value
2013-01-01T00:00:00Z,2013-02-01T00:00:00Z,UA,,,2
"""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@router.get(
    "/api/v1/meters",
    **declared(
        "list_openmeter_meters",
        "read",
        summary="All meters, for OpenMeter's clients",
        tag="compatible",
        example=[_METER],
        problems=(422,),
    ),
)
def list_openmeter_meters(
    state: State,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000, alias="pageSize")] = 100,
) -> ExactJSON:
    """By id, as a plain list."""
    start = (page - 1) * page_size
    saved = list_saved_meters(state.ledger)[start : start + page_size]
    return ExactJSON([_meter_answer(meter, created_at) for meter, created_at in saved])


@router.get(
    "/api/v1/meters/{meter_id}",
    **declared(
        "get_openmeter_meter",
        "read",
        summary="One meter, for OpenMeter's clients",
        tag="compatible",
        example=_METER,
        problems=(404,),
    ),
)
def get_openmeter_meter(state: State, meter_id: str) -> ExactJSON:
    """Id and slug are both our `meter_id`."""
    for meter, created_at in list_saved_meters(state.ledger):
        if meter.meter_id == meter_id:
            return ExactJSON(_meter_answer(meter, created_at))
    raise NotFound(f"there is no meter {meter_id!r}; `ratemill meter list` shows those there are.")


@router.get(
    "/api/v1/meters/{meter_id}/query",
    **declared(
        "query_openmeter_meter",
        "read",
        summary="Usage of a meter, for OpenMeter's clients",
        tag="compatible",
        example=_USAGE,
        problems=(400, 404),
        media={CSV: CSV_EXAMPLE},
    ),
)
def query_openmeter_meter(request: Request, state: State, meter_id: str) -> Response:
    """Parameters: from, to, windowSize (MINUTE, HOUR, DAY, MONTH), windowTimeZone, subject, groupBy,
    filterGroupBy[NAME]. In `[from, to)`. `unusable` names events that should count and cannot. With
    `Accept: text/csv` the rows as a table; a header counts the events that are not in it."""
    query = query_of_url(request.query_params.multi_items())
    return _query_answer(request, state, meter_id, query)


@router.post(
    "/api/v1/meters/{meter_id}/query",
    **declared(
        "post_openmeter_query",
        "read",
        summary="Usage of a meter, the question in a body",
        tag="compatible",
        example=_USAGE,
        problems=(400, 404),
        media={CSV: CSV_EXAMPLE},
        body={"application/json": {"from": _USAGE["from"], "to": _USAGE["to"], "subject": ["UA"]}},
    ),
)
def post_openmeter_query(request: Request, state: State, meter_id: str, body: DocumentBody) -> Response:
    """The fields are those of the GET, `filterGroupBy` is an object of names and lists of values."""
    query = query_of_document(read_json_object(body) if body.strip() else {})
    return _query_answer(request, state, meter_id, query)


def _query_answer(request: Request, state: Ratemill, meter_id: str, query: MeterQuery) -> Response:
    answer = answer_query(state.event_store, get_meter(state.ledger, meter_id), query)
    if asked_form(request.headers.get("accept", "")) != CSV:
        return ExactJSON(query_json(answer))
    missing = sum(one["event_count"] for one in answer["unusable"])
    headers = {
        UNUSABLE_HEADER: str(missing),
        "Content-Disposition": f'attachment; filename="{meter_id}.csv"',
    }
    return Response(query_csv(answer, query), media_type=CSV, headers=headers)


def _meter_answer(meter: Meter, created_at: datetime) -> dict[str, Any]:
    """A meter as OpenMeter describes one; ours that it has no word for keep our word in capitals."""
    answer: dict[str, Any] = {
        "id": meter.meter_id,
        "slug": meter.meter_id,
        "name": meter.name or meter.meter_id,
        "aggregation": meter.aggregation.upper(),
        "eventType": meter.event_type,
        "groupBy": {name: _path(name) for name in meter.group_by},
        "createdAt": created_at,
        "updatedAt": created_at,
    }
    counted = _value_property(meter)
    return answer if counted is None else answer | {"valueProperty": counted}


def _value_property(meter: Meter) -> str | None:
    """Where in ``data`` the counted value stands; None for a count, and for a product of several."""
    if meter.aggregation == "unique_count" and meter.unique_property:
        return _path(meter.unique_property)
    if meter.aggregation in ("count", "highest_count") or len(meter.factors) > 1:
        return None
    return _path(meter.factors[0].removeprefix("properties."))


def _path(name: str) -> str:
    return f"$.{name}" if _PLAIN_NAME.match(name) else f"$[{name!r}]"
