"""POST /v1/events: the one door through which usage and licence events come in."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.errors import ProblemResponse
from api.idempotency import (
    HEADER,
    KEY_CHARACTERS_MAX,
)
from api.json import ExactJSON
from api.problem import ALL_REFUSED, problem
from api.routing import documented_content, documented_responses, schema_of
from ingest.errors import BrokenState
from ingest.gate import CONFLICT, DUPLICATE, NEW
from ingest.load import IngestReport
from ingest.refusal import Refusal

INGEST_PATH: Final = "/v1/events"
Results = Literal["all", "refused"]
RESULTS: Final[tuple[Results, ...]] = get_args(Results)
_TAKEN: Final = {NEW: "accepted", DUPLICATE: "duplicate"}

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
RESULTS_EXAMPLE: Final[list[dict[str, Any]]] = [
    {**REPORT_EXAMPLE["refusals"][0]},
    {"line": 1, "outcome": "accepted"},
]
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

`?results=all` adds `results`: line and outcome of every record, with the reason of those refused;
`?results=refused` lists the refused ones alone, all of them where `refusals` stops at 1,000. With an
`Idempotency-Key` the answer is kept (RATEMILL_IDEMPOTENCY_HOURS): the same request with the same key gets it
again, marked `Idempotent-Replayed: true`; another request with the same key answers 409.
"""
INGEST_OPENAPI: Final[dict[str, Any]] = {
    "tags": ["events"],
    "operationId": "send_events",
    "summary": "Send events in bulk",
    "description": _ABOUT,
    "x-scope": "ingest",
    "parameters": [
        {
            "name": "results",
            "in": "query",
            "required": False,
            "description": "Also list the outcome of every record, or of every refused one, as `results`.",
            "schema": {"type": "string", "enum": list(RESULTS)},
        },
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "description": "The same key and the same request again: the same answer, kept for a day.",
            "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX},
        },
    ],
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
            "ingest", 200, REPORT_EXAMPLE, (400, 409, 413, 415, 422, 429, 503)
        ).items()
    },
}

INGEST_OPENAPI["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["results"] = (
    schema_of(RESULTS_EXAMPLE)
)

_REASON_FIELDS: Final = ("reason_code", "field", "message", "expected")


def report_response(report: IngestReport, *, refusals_max: int, **more: Any) -> Response:
    """The report, as a problem when nothing could be taken."""
    answer = {**report_answer(report, refusals_max=refusals_max), **more}
    if report.records and not report.accepted and not report.duplicates:
        detail = f"none of the {report.records} records was taken; `refusals` says why for each."
        return ProblemResponse(problem(422, ALL_REFUSED, detail, **answer), status_code=422)
    return ExactJSON(answer)


def results_answer(report: IngestReport, results: Results) -> list[dict[str, Any]]:
    """Every record (or every refused one) by line, with its outcome; refused ones with the reason."""
    refused = [_refusal_answer(refusal) for refusal in report.refusals]
    if results == "refused" or report.judged is None:
        return refused
    taken = np.flatnonzero(report.judged.outcomes != CONFLICT)
    lines, outcomes = report.judged.lines[taken].tolist(), report.judged.outcomes[taken].tolist()
    listed: list[dict[str, Any]] = [
        {"line": line, "outcome": _TAKEN[outcome]} for line, outcome in zip(lines, outcomes, strict=True)
    ]
    return sorted([*listed, *refused], key=lambda record: record["line"]) if refused else listed


def report_answer(report: IngestReport, *, refusals_max: int) -> dict[str, Any]:
    """The report as the API gives it."""
    return {
        "batch_id": report.batch_id,
        "records": report.records,
        "accepted": report.accepted,
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "rejected": report.rejected,
        "refusals": [_refusal_answer(refusal) for refusal in report.refusals[:refusals_max]],
        "refusals_truncated": report.refusals_truncated or len(report.refusals) > refusals_max,
    }


def _refusal_answer(refusal: Refusal) -> dict[str, Any]:
    # The record itself stays out: the sender has it, and GET /v1/events/refused shows it.
    return {name: getattr(refusal, name) for name in ("line", "outcome", *_REASON_FIELDS)}


async def _elsewhere(request: Request) -> Response:
    """POST goes past the routes (``api/direct_ingest.py``); this one lets other methods hear of it."""
    raise BrokenState(f"{request.url.path} was routed; it is answered before that.")


def ingest_route() -> Route:
    """The route of POST /v1/events, which is never called."""
    return Route(INGEST_PATH, _elsewhere, methods=["POST"], name="send_events")
