"""POST /v1/events, answered in front of the web framework: its layers cost more than a small request.

Measured with one event a request: ARCHITECTURE.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import allow
from api.errors import answer_failure
from api.idempotency import HEADER, REPLAYED_HEADER, KeptAnswer, answer_key, request_hash
from api.intake import place, receive_held, take_events
from api.routes.events import INGEST_PATH, RESULTS, Results, report_response, results_answer
from api.state import Ratemill
from ingest.errors import InvalidInput, Issue

Headers = Mapping[bytes, bytes]
_KEY_HEADER: Final = HEADER.lower().encode()


class DirectIngest:
    """An ASGI application for that one method and path. It counts, and answers every error, itself."""

    def __init__(self, state: Ratemill) -> None:
        self._state = state
        self._count = state.metrics.counting("POST", INGEST_PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500
        try:
            response = await self._answer(scope, receive)
            status = response.status_code
            await response(scope, receive, send)
        except ClientDisconnect:
            return  # in the middle of the body: nothing was taken, and nobody waits for an answer
        finally:
            self._count(status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            return await self._take(dict(scope["headers"]), scope["query_string"], receive)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is logged, and answered without its internals
            return answer_failure(Request(scope), error)

    async def _take(self, headers: Headers, query: bytes, receive: Receive) -> Response:
        state = self._state
        key = await allow(state, _text(headers, b"authorization"), "ingest")
        results = _results_wanted(query) if query else None
        header = _text(headers, _KEY_HEADER)
        kept_as = None if header is None else answer_key(key.key_id, INGEST_PATH, header)
        with place(state) as held:
            body = await receive_held(receive, _text(headers, b"content-length") or "", state, held)
            if kept_as is None:
                return await self._report(headers, body, results)
            facts = [_text(headers, name) or "" for name in (b"content-type", b"content-encoding")]
            digest = await state.in_thread(request_hash, body, *facts, results or "")

            async def take() -> KeptAnswer:
                made = await self._report(headers, body, results)
                return KeptAnswer(made.status_code, str(made.media_type), bytes(made.body), replayed=False)

            answer = await state.answers.answer(kept_as, digest, take)
        replayed = {REPLAYED_HEADER: "true"} if answer.replayed else {}
        return Response(answer.body, answer.status, replayed, answer.media_type)

    async def _report(self, headers: Headers, body: bytes, results: Results | None) -> Response:
        state, limits = self._state, self._state.ingest.settings
        report = await take_events(
            state,
            body,
            content_type=_text(headers, b"content-type") or "",
            content_encoding=_text(headers, b"content-encoding"),
            refusals_max=limits.batch_records_max if results else limits.refusals_reported_max,
        )
        more = {"results": await state.in_thread(results_answer, report, results)} if results else {}
        return report_response(report, refusals_max=limits.refusals_reported_max, **more)


def _text(headers: Headers, name: bytes) -> str | None:
    found = headers.get(name)
    return None if found is None else found.decode("latin-1")


def _results_wanted(query: bytes) -> Results | None:
    wanted = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("results", [None])[-1]
    for known in RESULTS:
        if wanted == known:
            return known
    if wanted is None:
        return None
    issue = Issue("unknown_results", "results", f"{wanted!r} was sent.", f"one of {', '.join(RESULTS)}.")
    raise InvalidInput(str(issue), reason_code="unknown_results", issues=[issue])
