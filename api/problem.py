"""Problem documents (RFC 9457) as plain values: what they hold and which status an error answers with.

``{"type", "title", "status", "detail", "reason_code", "issues": [...]}`` with media type
``application/problem+json``. ``reason_code`` is stable and for programs, ``detail`` for people.
"""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ingest.errors import (
    BrokenState,
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    RatemillError,
    StoreUnavailable,
    UnreadableBody,
)

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:problem-type:ratemill:"

_STATUS_OF_REASON: Final = {
    "unknown_content_type": 415,
    "unknown_content_encoding": 415,
    "body_too_large": 413,
    "too_many_records": 413,
    "scope_missing": 403,
    "customer_key": 403,
    "not_your_turn": 403,
    "own_invoice": 403,
    "not_your_name": 403,
    "clock_behind": 422,
    "shutting_down": 503,
}
_STATUS_OF_CLASS: Final[tuple[tuple[type[RatemillError], int], ...]] = (
    (UnreadableBody, 400),
    (InvalidInput, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Forbidden, 401),
    (Busy, 429),
    (StoreUnavailable, 503),
    (BrokenState, 500),
)

BUSY_SECONDS: Final = 1
"""After how long a request that was refused with 429 or while the server stops may come again."""

ALL_REFUSED: Final = "all_records_refused"
"""Reason code of a batch of which nothing could be taken; the problem holds its report."""


class ApiProblem(Exception):
    """The answer was a problem; ``document`` is it (RFC 9457)."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(str(document.get("detail") or document.get("title") or document))
        self.document = dict(document)

    @property
    def status(self) -> int:
        return int(self.document.get("status", 0))

    @property
    def reason_code(self) -> str:
        return str(self.document.get("reason_code", ""))


def status_of(error: RatemillError) -> int:
    """The HTTP status an error of ours answers with."""
    by_reason = _STATUS_OF_REASON.get(error.reason_code)
    if by_reason is not None:
        return by_reason
    return next((status for kind, status in _STATUS_OF_CLASS if isinstance(error, kind)), 500)


def problem(
    status: int,
    reason_code: str,
    detail: str,
    *,
    issues: Sequence[dict[str, str]] = (),
    **members: Any,
) -> dict[str, Any]:
    """A problem document; ``members`` are extra fields of this kind of problem."""
    return {
        "type": TYPE_PREFIX + reason_code,
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "reason_code": reason_code,
        "issues": list(issues),
        **members,
    }


def problem_of(error: RatemillError) -> dict[str, Any]:
    """The problem document of an error of ours."""
    issues = [issue.to_dict() for issue in getattr(error, "issues", ())]
    return problem(status_of(error), error.reason_code, str(error), issues=issues)
