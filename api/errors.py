"""Answers every error of the application with a problem document."""

from __future__ import annotations

import logging
import uuid
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.json import ExactJSON
from api.problem import BUSY_SECONDS, PROBLEM_MEDIA_TYPE, problem, problem_of
from ingest.errors import Busy, RatemillError

_REASON_OF_STATUS: Final = {404: "no_such_route", 405: "method_not_allowed", 413: "body_too_large"}

# The rest of a body that is too large would be read and thrown away for as long as it lasts.
_HEADERS_OF_STATUS: Final = {401: {"WWW-Authenticate": "Bearer"}, 413: {"Connection": "close"}}
_BUSY_HEADERS: Final = {"Retry-After": str(BUSY_SECONDS)}

_logger = logging.getLogger("ratemill.api")


class ProblemResponse(ExactJSON):
    """An answer whose body is a problem document."""

    media_type = PROBLEM_MEDIA_TYPE


def install_error_handlers(app: FastAPI) -> None:
    """Give every error of ``app`` the one shape; ``AnswerUnexpected`` does so for what is left."""
    app.add_exception_handler(RatemillError, _on_ratemill_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


def _answer(document: dict[str, Any], headers: dict[str, str] | None = None) -> ProblemResponse:
    return ProblemResponse(document, status_code=document["status"], headers=headers)


async def _on_ratemill_error(request: Request, error: Exception) -> ProblemResponse:
    return answer_failure(request, error)


def answer_failure(request: Request, error: Exception) -> ProblemResponse:
    """The answer to any error, where no handler of the application is called."""
    if isinstance(error, RatemillError):
        return answer_error(request, error)
    return answer_unexpected(request, error)


def answer_error(request: Request, error: RatemillError) -> ProblemResponse:
    """The answer to an error of ours."""
    document = problem_of(error)
    if isinstance(error, Busy):
        return _answer(document, _BUSY_HEADERS)
    if document["status"] >= 500:
        _logger.error("%s %s: %s", request.method, request.url.path, error)
    return _answer(document, _HEADERS_OF_STATUS.get(document["status"]))


async def _on_validation_error(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, RequestValidationError):
        return answer_unexpected(request, error)
    issues = []
    for item in error.errors():
        where = [str(part) for part in item["loc"] if part not in ("body", "query", "path")]
        issues.append({"reason_code": item["type"], "pointer": ".".join(where)} | _words_of(item))
    named = " ".join(
        f"{issue['pointer']}: {issue['message']} Expected: {issue['expected']}" for issue in issues
    )
    return _answer(problem(422, "invalid_request", f"the request is not valid: {named}", issues=issues))


def _words_of(item: dict[str, Any]) -> dict[str, str]:
    """What is wrong with one parameter, and what would be right."""
    if item["type"] == "missing":
        return {"message": "Not given.", "expected": "a value; this one has no default."}
    sent = item.get("input")
    expected = str(item["msg"]).removeprefix("Input should be ")
    if str(item["type"]).startswith(("datetime", "timezone")):
        expected = "an instant with its zone, like 2026-11-01T00:00:00Z (in a URL, write + as %2B)"
    elif str(item["type"]).startswith("date"):
        expected = "a date, like 2026-11-01"
    return {"message": f"{sent!r} was sent.", "expected": f"{expected}."}


async def _on_http_error(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HTTPException):
        return answer_unexpected(request, error)
    reason_code = _REASON_OF_STATUS.get(error.status_code, "http_error")
    detail = f"{request.method} {request.url.path}: {error.detail}. The routes are listed at /openapi.json."
    return _answer(problem(error.status_code, reason_code, detail), dict(error.headers or {}))


class AnswerUnexpected:
    """ASGI middleware: an error nobody foresaw is logged once, and answered without its internals."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if started:
                raise  # half an answer is out; only breaking the connection tells the caller
            answer = answer_unexpected(Request(scope), error)
            await answer(scope, receive, send)


def answer_unexpected(request: Request, error: Exception) -> ProblemResponse:
    """The answer to an error nobody foresaw, which is logged under the reference that it names."""
    reference = uuid.uuid4().hex[:12]
    _logger.error("%s %s failed, reference %s", request.method, request.url.path, reference, exc_info=error)
    detail = (
        f"something went wrong inside the server; its log has the details under reference {reference}. "
        "Sending the same request again is safe."
    )
    return _answer(problem(500, "internal_error", detail, reference=reference))
