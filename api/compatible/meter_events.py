"""POST /v1/billing/meter_events, as Stripe's clients send (https://docs.stripe.com/api/billing/meter-event)."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.compatible.take import HEADERS_OF_STATUS, PlainErrorRoute, take_cloudevents
from api.compatible.unix_time import rfc3339_of_unix
from api.json import ExactJSON
from api.routing import State, declared, documented_content, read_body
from ingest.clock import to_micros
from ingest.errors import InvalidInput, UnreadableBody
from ingest.refusal import Refusal

FORM: Final = "application/x-www-form-urlencoded"
SOURCE: Final = "stripe"
CUSTOMER: Final = "stripe_customer_id"
FORM_BYTES_MAX: Final = 1024 * 1024

_PAYLOAD: Final = re.compile(r"payload\[([^\]]+)\]\Z")
_IGNORED: Final = re.compile(r"expand(\[.*\])?\Z")
_PARAM_OF: Final = {
    "id": "identifier",
    "type": "event_name",
    "time": "timestamp",
    "subject": f"payload[{CUSTOMER}]",
    "value": "payload[value]",
}
_EXAMPLE: Final[dict[str, Any]] = {
    "object": "billing.meter_event",
    "created": 1795370400,
    "event_name": "landing",
    "identifier": "2013-01-01-WN12",
    "livemode": True,
    "payload": {CUSTOMER: "WN", "value": "1"},
    "timestamp": 1357038000,
}
_FORM_EXAMPLE: Final = (
    "event_name=landing&identifier=2013-01-01-WN12&timestamp=1357038000"
    "&payload%5Bstripe_customer_id%5D=WN&payload%5Bvalue%5D=1"
)


class _StripeRoute(PlainErrorRoute):
    """Stripe's clients read ``error`` with type, message and param."""

    @staticmethod
    def answer_error(document: dict[str, Any]) -> Response:
        status = document["status"]
        status = 400 if status in (413, 415, 422) else status
        kind = "invalid_request_error" if status < 500 else "api_error"
        return _error(status, document["reason_code"], document["detail"], kind=kind)


router = APIRouter(route_class=_StripeRoute)


def _error(
    status: int,
    reason_code: str,
    message: str,
    *,
    param: str | None = None,
    kind: str = "invalid_request_error",
) -> Response:
    # Sending the same again is of use only when the event was not at fault.
    again = {"Stripe-Should-Retry": "true" if status >= 500 or status == 429 else "false"}
    headers = again | HEADERS_OF_STATUS.get(status, {})
    error = {"type": kind, "message": message} | ({} if param is None else {"param": param})
    return ExactJSON({"error": error, "reason_code": reason_code}, status_code=status, headers=headers)


_DECLARED: Final = declared(
    "send_meter_event",
    "ingest",
    summary="Send a meter event as Stripe's clients do",
    tag="compatible",
    example=_EXAMPLE,
    problems=(400,),
    body={FORM: _FORM_EXAMPLE},
)
_DECLARED["responses"] |= {
    status: {
        "description": words,
        "content": documented_content(
            {
                "application/json": {
                    "error": {"type": "invalid_request_error", "message": words},
                    "reason_code": reason_code,
                }
            }
        ),
    }
    for status, reason_code, words in (
        (400, "identity_conflict", "An event already exists with identifier 2013-01-01-WN12."),
        (401, "key_missing", "No API key, or one that is unknown or revoked."),
        (403, "scope_missing", "The API key lacks the scope this call needs."),
    )
}


@router.post("/v1/billing/meter_events", **_DECLARED)
async def send_meter_event(request: Request, state: State) -> Response:
    """`event_name` is the type, `payload[stripe_customer_id]` the subject, `payload[value]` the value,
    the rest of `payload` properties. An identifier sent twice answers 400 and counts once for ever.
    """
    form = _read_form(
        await read_body(request, bytes_max=FORM_BYTES_MAX), request.headers.get("content-type", "")
    )
    payload = {found[1]: text for name, text in form.items() if (found := _PAYLOAD.match(name))}
    now = state.clock.now()
    repeat_key = request.headers.get("idempotency-key")
    named = form.get("identifier")
    identifier = named or repeat_key or uuid4().hex
    event: dict[str, Any] = {
        "specversion": "1.0",
        "source": SOURCE,
        "id": identifier,
        "type": form.get("event_name"),
        "subject": payload.get(CUSTOMER),
        "data": {name: text for name, text in payload.items() if name != CUSTOMER},
    }
    timestamp = form.get("timestamp")
    if timestamp is not None:
        event["time"] = _instant_of(timestamp)
    report = await take_cloudevents(state, [event])
    if report.rejected:
        return _refused(report.refusals[0])
    if report.conflicts or (report.duplicates and named):
        message = f"An event already exists with identifier {identifier}."
        return _error(400, "identity_conflict", message, param="identifier")
    seconds = to_micros(now) // 1_000_000
    return ExactJSON(
        {
            "object": "billing.meter_event",
            "created": seconds,
            "event_name": form["event_name"],
            "identifier": identifier,
            "livemode": True,
            "payload": payload,
            "timestamp": seconds if timestamp is None else int(timestamp.split(".")[0]),
        }
    )


def _instant_of(timestamp: str) -> str:
    instant = rfc3339_of_unix(timestamp)
    if instant is None:
        raise InvalidInput(
            f"Invalid integer: timestamp is {timestamp[:40]!r}. Send seconds since 1970-01-01T00:00:00Z.",
            reason_code="time_unreadable",
        )
    return instant


def _refused(refusal: Refusal) -> Response:
    name = refusal.field.removeprefix("data.").removeprefix("properties.")
    param = _PARAM_OF.get(name, f"payload[{name}]")
    return _error(400, refusal.reason_code, f"{refusal.message} Expected: {refusal.expected}", param=param)


def _read_form(body: bytes, content_type: str) -> dict[str, str]:
    """The form's fields. Raises UnreadableBody, and InvalidInput for a field it does not know."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise UnreadableBody(
            f"content type {content_type[:80]!r} is not read here; send {FORM}.",
            reason_code="unknown_content_type",
        )
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError as error:
        raise UnreadableBody(f"the form cannot be read: {error}.") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise UnreadableBody("a field of the form is given twice; give each once.", reason_code="field_twice")
    known = {"event_name", "identifier", "timestamp"}
    for name in form:
        if name not in known and not _PAYLOAD.match(name) and not _IGNORED.match(name):
            raise InvalidInput(
                f"Received unknown parameter: {name[:80]}. "
                "Known are event_name, identifier, timestamp, payload[NAME].",
                reason_code="unknown_field",
            )
    return form
