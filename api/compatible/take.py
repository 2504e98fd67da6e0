"""What all compatible endpoints share: the one way in, and errors in the shape a client expects."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.errors import ProblemResponse
from api.intake import place, take_events
from api.problem import problem_of
from api.state import Ratemill
from ingest.cloudevent_binary import cloudevents_json
from ingest.errors import RatemillError
from ingest.load import IngestReport
from ingest.media_type import CLOUDEVENTS_BATCH

HEADERS_OF_STATUS: Final = {
    401: {"WWW-Authenticate": "Bearer"},
    413: {"Connection": "close"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}
"""Clients of OpenMeter and Stripe send again by themselves when they are told when."""


async def take_in(
    state: Ratemill, body: bytes, *, content_type: str, content_encoding: str | None = None
) -> IngestReport:
    """Take in a body as POST /v1/events does; the events are on disk when this returns. Raises Busy when
    as much is under way as may be."""
    with place(state) as held:
        held.more(len(body))
        return await take_events(
            state,
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            refusals_max=state.ingest.settings.refusals_reported_max,
        )


async def take_cloudevents(state: Ratemill, events: Sequence[Mapping[str, Any]]) -> IngestReport:
    """Take in CloudEvents made from another product's events; line 1 is the first of them."""
    body = await state.in_thread(cloudevents_json, events)
    return await take_in(state, body, content_type=CLOUDEVENTS_BATCH)


class PlainErrorRoute(APIRoute):
    """Errors of ours in a shape of this route's own; subclasses say which.

    FastAPI runs the whole route inside the handler, the check of the key too.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RatemillError as error:
                return self.answer_error(problem_of(error))

        return handle

    @staticmethod
    def answer_error(document: dict[str, Any]) -> Response:
        """The answer for a problem document; here the document itself."""
        return ProblemResponse(
            document,
            status_code=document["status"],
            headers=HEADERS_OF_STATUS.get(document["status"]),
        )
