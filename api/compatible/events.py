"""POST /api/v1/events, where clients of OpenMeter, Lago and CloudEvents send, and Lago's batch beside it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.compatible.lago import (
    cloudevent_of,
    event_answer,
    event_list,
    is_lago,
    refusal_members,
    single_event,
)
from api.compatible.take import PlainErrorRoute, take_cloudevents, take_in
from api.errors import ProblemResponse
from api.json import ExactJSON
from api.problem import problem
from api.routes.events import report_answer
from api.routing import State, declared, documented_responses, read_body
from api.state import Ratemill
from ingest.cloudevent_binary import HTTP_PREFIX, binary_cloudevent, binary_prefix, read_json_object
from ingest.expand import expand_body
from ingest.json_records import BYTE_ORDER_MARK
from ingest.load import IngestReport
from ingest.media_type import CLOUDEVENT, CLOUDEVENTS_BATCH, JSON, known_content_encoding, known_media_type

_CLOUDEVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "source": "tower/lga",
    "id": "2013-01-01-DL462",
    "type": "landing",
    "subject": "DL",
    "time": "2013-01-01T11:30:00Z",
    "data": {"value": "762", "origin": "LGA"},
}
_LAGO: Final[dict[str, Any]] = {
    "transaction_id": "2013-01-01-AA77",
    "external_subscription_id": "AA",
    "code": "landing",
    "timestamp": "1357036200",
    "properties": {"origin": "JFK"},
}
_LAGO_ANSWER: Final = event_answer(_LAGO, received_at="2026-11-22T18:00:00Z")


class OpenMeterRoute(PlainErrorRoute):
    """OpenMeter's client reads the problem of a 400, and of no 413, 415 or 422."""

    @staticmethod
    def answer_error(document: dict[str, Any]) -> Response:
        if document["status"] in (415, 422):
            document = document | {"status": 400, "title": "Bad Request"}
        return PlainErrorRoute.answer_error(document)


class _LagoRoute(PlainErrorRoute):
    """Lago's clients look for ``error`` beside the status."""

    @staticmethod
    def answer_error(document: dict[str, Any]) -> Response:
        return PlainErrorRoute.answer_error(document | {"error": document["title"]})


router = APIRouter(route_class=OpenMeterRoute)
_batch_router = APIRouter(route_class=_LagoRoute)

_EVENTS_DECLARED: Final = declared(
    "send_compatible_events",
    "ingest",
    summary="Send CloudEvents as OpenMeter's clients do, or an event as Lago's do",
    tag="compatible",
    status=204,
    problems=(400, 413),
    body={CLOUDEVENT: _CLOUDEVENT, CLOUDEVENTS_BATCH: [_CLOUDEVENT], JSON: {"event": _LAGO}},
)
_EVENTS_DECLARED["responses"] |= documented_responses("ingest", 200, {"event": _LAGO_ANSWER}, (400, 413, 422))


@router.post("/api/v1/events", **_EVENTS_DECLARED)
async def send_compatible_events(request: Request, state: State) -> Response:
    """CloudEvents, one or a batch, structured or in `ce-` headers: 204, or a problem that says what was
    not taken and why. `{"event": {...}}` is Lago's: 200 with the event. Each counts once for ever.
    """
    body = await read_body(request, bytes_max=state.ingest.settings.body_bytes_max)
    encoding = request.headers.get("content-encoding")
    if binary_prefix(request.headers.items()) == HTTP_PREFIX:
        plain = expand_body(body, known_content_encoding(encoding), state.ingest.settings)
        event = binary_cloudevent(request.headers.items(), plain, prefix=HTTP_PREFIX)
        return _cloudevents_answer(await take_cloudevents(state, [event]))
    media_type = known_media_type(request.headers.get("content-type", ""))
    if media_type == JSON:
        body = await state.in_thread(
            expand_body, body, known_content_encoding(encoding), state.ingest.settings
        )
        encoding = None
        body = body.removeprefix(BYTE_ORDER_MARK)
        if body.lstrip()[:1] == b"{":
            document = await state.in_thread(read_json_object, body)
            if is_lago(document):
                return await _take_lago(state, document, single=True)
        media_type = CLOUDEVENT  # read as one event or a list of them
    return _cloudevents_answer(await take_in(state, body, content_type=media_type, content_encoding=encoding))


@_batch_router.post(
    "/api/v1/events/batch",
    **declared(
        "send_lago_events",
        "ingest",
        summary="Send a batch of events as Lago's clients do",
        tag="compatible",
        example={"events": [_LAGO_ANSWER]},
        problems=(400, 413, 422),
        body={JSON: {"events": [_LAGO]}},
    ),
)
async def send_lago_events(request: Request, state: State) -> Response:
    """Up to 100,000 events. Those that can be taken are; the answer names the others by their place."""
    body = await read_body(request, bytes_max=state.ingest.settings.body_bytes_max)
    encoding = known_content_encoding(request.headers.get("content-encoding"))
    plain = await state.in_thread(expand_body, body, encoding, state.ingest.settings)
    document = await state.in_thread(read_json_object, plain.removeprefix(BYTE_ORDER_MARK))
    return await _take_lago(state, document, single=False)


router.include_router(_batch_router)


async def _take_lago(state: Ratemill, document: dict[str, Any], *, single: bool) -> Response:
    events = [single_event(document)] if single else event_list(document)
    received_at = state.clock.now().isoformat().replace("+00:00", "Z")
    made = await state.in_thread(lambda: [cloudevent_of(event) for event in events])
    report = await take_cloudevents(state, made)
    if report.rejected or report.conflicts:
        members = refusal_members(report, single=single)
        return ProblemResponse(
            problem(422, "records_refused", _refused_words(report), **members), status_code=422
        )
    answers = [event_answer(event, received_at=received_at) for event in events]
    return ExactJSON({"event": answers[0]} if single else {"events": answers})


def _cloudevents_answer(report: IngestReport) -> Response:
    # A conflict is no error at OpenMeter: the first event stays in force; the other is kept and listed.
    if report.rejected:
        answer = problem(
            400,
            "records_refused",
            _refused_words(report),
            **report_answer(report, refusals_max=len(report.refusals)),
        )
        return ProblemResponse(answer, status_code=400)
    return Response(status_code=204, headers={"Ratemill-Conflicts": str(report.conflicts)})


def _refused_words(report: IngestReport) -> str:
    first = report.refusals[0]
    return (
        f"{report.rejected + report.conflicts} of {report.records} events were not taken; the others count, "
        "and sending them again is safe. "
        f"Event {first.line}: {first.field}: {first.message} Expected: {first.expected}"
    )
