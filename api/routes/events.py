"""POST /v1/events: the one door through which usage and licence events come in."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from api.auth import Needs
from api.errors import ProblemResponse
from api.intake import place, receive, take_events
from api.json import ExactJSON
from api.problem import ALL_REFUSED, problem
from api.routing import documented_content, documented_responses
from api.state import Ratemill
from ingest.load import IngestReport
from ingest.refusal import Refusal

INGEST_PATH: Final = "/v1/events"

EVENT_EXAMPLE: Final[dict[str, Any]] = {
    "source": "tower/jfk",
    "id": "2013-01-01-UA1545",
    "type": "landing",
    "subject": "UA",
    "time": "2013-01-01T10:15:00Z",
    "value": "1400",
    "properties": {"origin": "EWR", "seats": "149"},
}
REPORT_EXAMPLE: Final[dict[str, Any]] = {
    "batch_id": "0193a1c2f0d87c1e",
    "records": 2,
    "accepted": 1,
    "duplicates": 0,
    "conflicts": 0,
    "rejected": 1,
    "refusals": [
        {
            "line": 2,
            "outcome": "rejected",
            "reason_code": "time_without_zone",
            "field": "time",
            "message": "2013-01-01T10:15:00 has no time zone.",
            "expected": "an RFC 3339 time like 2013-01-01T10:15:00Z.",
        }
    ],
    "refusals_truncated": False,
}
_NDJSON_EXAMPLE: Final = (
    '{"source": "tower/jfk", "id": "2013-01-01-UA1545", "type": "landing", "subject": "UA", '
    '"time": "2013-01-01T10:15:00Z", "value": "1400", "properties": {"origin": "EWR", "seats": "149"}}\n'
    '{"source": "tower/jfk", "id": "2013-01-01-B6725", "type": "landing", "subject": "B6", '
    '"time": "2013-01-01T10:15:00"}\n'
)
_CSV_EXAMPLE: Final = (
    "source,id,type,subject,time,value,origin\n"
    "tower/jfk,2013-01-01-AA1141,landing,AA,2013-01-01T10:40:00Z,1089,JFK\n"
)
_CLOUDEVENT_EXAMPLE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "source": "tower/lga",
    "id": "2013-01-01-DL461",
    "type": "landing",
    "subject": "DL",
    "time": "2013-01-01T11:00:00Z",
    "data": {"value": "762", "origin": "LGA"},
}

_ABOUT: Final = """One batch in any of the formats below, plain, gzip or zstd.

An event is counted once for ever by (source, id), so sending a batch again is always safe. Each record is
accepted, duplicate, conflict or rejected; when the answer arrives, the accepted ones are on disk. A batch
of which nothing could be taken answers 422 with the same counts inside the problem. Parquet and Arrow
bodies are read as well: application/vnd.apache.parquet, application/vnd.apache.arrow.stream.

Requests at the same time share one write to disk; many at once are the fast way. 429 means that as much is
under way as the server may hold: nothing of the request was taken, send it again after Retry-After.
"""
INGEST_OPENAPI: Final[dict[str, Any]] = {
    "tags": ["events"],
    "operationId": "send_events",
    "summary": "Send events in bulk",
    "description": _ABOUT,
    "x-scope": "ingest",
    "requestBody": {
        "required": True,
        "content": documented_content(
            {
                "application/x-ndjson": _NDJSON_EXAMPLE,
                "application/json": [EVENT_EXAMPLE],
                "text/csv": _CSV_EXAMPLE,
                "application/cloudevents+json": _CLOUDEVENT_EXAMPLE,
                "application/cloudevents-batch+json": [_CLOUDEVENT_EXAMPLE],
            }
        ),
    },
    "responses": {
        str(status): response
        for status, response in documented_responses(
            "ingest", 200, REPORT_EXAMPLE, (400, 413, 415, 422, 429, 503)
        ).items()
    },
}

_REASON_FIELDS: Final = ("reason_code", "field", "message", "expected")

_needs_ingest = Needs("ingest")


async def send_events(request: Request) -> Response:
    """Take one batch; see ``INGEST_OPENAPI``."""
    await _needs_ingest(request)
    state: Ratemill = request.app.state.ratemill
    with place(state) as held:
        body = await receive(request, state, held)
        report = await take_events(
            state,
            body,
            content_type=request.headers.get("content-type", ""),
            content_encoding=request.headers.get("content-encoding"),
            refusals_max=state.ingest.settings.refusals_reported_max,
        )
    answer = report_answer(report)
    if report.records and not report.accepted and not report.duplicates:
        detail = f"none of the {report.records} records was taken; `refusals` says why for each."
        return ProblemResponse(problem(422, ALL_REFUSED, detail, **answer), status_code=422)
    return ExactJSON(answer)


def report_answer(report: IngestReport) -> dict[str, Any]:
    """The report as the API gives it."""
    return {
        "batch_id": report.batch_id,
        "records": report.records,
        "accepted": report.accepted,
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "rejected": report.rejected,
        "refusals": [_refusal_answer(refusal) for refusal in report.refusals],
        "refusals_truncated": report.refusals_truncated,
    }


def _refusal_answer(refusal: Refusal) -> dict[str, Any]:
    # The record itself stays out: the sender has it, and GET /v1/events/refused shows it.
    return {name: getattr(refusal, name) for name in ("line", "outcome", *_REASON_FIELDS)}


class _BareRoute(Route):
    """A route that tells its template to the metrics, as FastAPI's own do."""

    needs = _needs_ingest

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


def ingest_route() -> Route:
    """The bare route of POST /v1/events."""
    return _BareRoute(INGEST_PATH, send_events, methods=["POST"], name="send_events")
