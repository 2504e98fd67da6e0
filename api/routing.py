"""What every route file uses: the state, the body, and one declaration of scope and documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.auth import ApiKey, Needs, Scope
from api.customer_key import Sees
from api.examples import DOCUMENT_EXAMPLES
from api.parameters import refuse_unknown_parameters
from api.problem import PROBLEM_MEDIA_TYPE, problem
from api.state import Ratemill
from ingest.errors import UnreadableBody

DOCUMENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest meter, plan, customer or contract body; a body may hold many contracts."""

NULLABLE_FIELDS: Final = frozenset(
    {
        "value",
        "number",
        "end_date",
        "issue_date",
        "due_date",
        "up_to",
        "unit_price",
        "flat_amount",
        "revoked_at",
        "finished_at",
        "report",
        "invoice",
        "meter_id",
        "subject",
        "billed_quantity",
        "expires_on",
        "entity_id",
        "origin_id",
        "used",
        "credited_quantity",
        "next_step",
        "next_step_on",
        "before",
        "after",
        "first",
        "last",
        "first_date",
        "last_date",
        "limit",
        "remaining",
        "mode",
        "period",
        "decided_by",
        "sold",
        "bought",
        "provisioned",
        "consumed",
        "customer_id",
        "contract_id",
        "billing_date",
        "line_id",
        "invoice_id",
        "item_id",
        "item_invoice_id",
        "amount_minor",
        "charge_id",
        "amount",
        "currency",
        "by",
        "period_start",
        "period_end",
        "document_id",
        "payment_id",
        "known_at",
        "tax_minor",
        "collected_minor",
        "collected_net_minor",
        "written_off_minor",
        "recovers",
        "receivable_minor",
        "next_attempt_at",
        "follow_up_at",
        "sent_at",
        "deducted_by",
        "accepted",
        "valid_until",
        "deposit_percent",
        "instalment",
        "percent",
        "quoted_quantity",
        "ordered_quantity",
        "key",
        "applied_at",
    }
)
"""Fields of answers that may be null although the example shows a value."""
TEXT_OR_LINES: Final = frozenset({"value_in_force", "says"})
"""Fields of answers that are a text, the lines of an address, a party, a number of days, or yes and no."""
SCHEMA_REFERENCE: Final = "#/components/schemas/{model}"

_PROBLEM_WORDS: Final = {
    400: ("unreadable_body", "The body cannot be read at all."),
    401: ("key_missing", "No API key, or one that is unknown or revoked."),
    403: ("scope_missing", "The API key lacks the scope this call needs."),
    404: ("not_found", "The key in the path names nothing."),
    409: ("conflict", "The request contradicts what is on record; the record stays as it is."),
    413: ("body_too_large", "The body is larger than the limit."),
    415: ("unknown_content_type", "The content type is not one of those that are read."),
    422: ("invalid_document", "The request is readable and breaks rules; `issues` names all of them."),
    429: ("queue_full", "As much is under way as may be; nothing was taken, see Retry-After."),
    503: ("store_unavailable", "A store cannot be reached; nothing was changed."),
}


async def ratemill_of(request: Request) -> Ratemill:
    """The application's state."""
    state: Ratemill = request.app.state.ratemill
    return state


State = Annotated[Ratemill, Depends(ratemill_of)]


async def _actor(request: Request) -> str:
    key: ApiKey = request.state.api_key
    return key.name


Actor = Annotated[str, Depends(_actor)]
"""Who asks, as the audit trail names them: the name of the API key."""


async def read_body(
    request: Request,
    *,
    bytes_max: int = DOCUMENT_BYTES_MAX,
    more: Callable[[int], None] = lambda _count: None,
) -> bytes:
    """The whole body; see ``read_all``."""
    return await read_all(request.receive, bytes_max=bytes_max, more=more)


async def read_all(receive: Receive, *, bytes_max: int, more: Callable[[int], None]) -> bytes:
    """The whole body, refused as soon as it grows past the limit (not after it was all received).

    more: told of the bytes that arrive, before they are kept. Raises UnreadableBody (body_too_large),
    ClientDisconnect.
    """
    parts: list[bytes] = []
    received, more_follows = 0, True
    while more_follows:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more_follows = message.get("body", b""), message.get("more_body", False)
        received += len(part)
        if received > bytes_max:
            raise UnreadableBody(
                f"the body is larger than {bytes_max:,} bytes. Send it in several requests.",
                reason_code="body_too_large",
            )
        more(len(part))
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _document_body(request: Request) -> bytes:
    return await read_body(request)


DocumentBody = Annotated[bytes, Depends(_document_body)]


def declared(
    operation_id: str,
    scope: Scope | None,
    *,
    summary: str,
    tag: str,
    example: Any = None,
    status: int = 200,
    problems: tuple[int, ...] = (),
    body: dict[str, Any] | None = None,
    media: dict[str, Any] | None = None,
    sees: Sees | None = None,
) -> dict[str, Any]:
    """The arguments of a route decorator: its scope, and its whole documentation.

    example: an answer, from which the answer's schema is drawn too. body: request body examples by
    media type. media: other media types the answer may have, with an example each. sees: how the route is
    about one customer, so that a key made for that customer may call it; None: no such key may.
    """
    extra: dict[str, Any] = {"x-scope": scope} | ({"x-customer-key": sees} if sees else {})
    if body is not None:
        extra["requestBody"] = {"required": True, "content": documented_content(body)}
    return {
        "operation_id": operation_id,
        "summary": summary,
        "tags": [tag],
        "status_code": status,
        "response_model": None,
        "dependencies": []
        if scope is None
        else [Depends(Needs(scope, sees)), Depends(refuse_unknown_parameters)],
        "responses": documented_responses(scope, status, example, problems, media),
        "openapi_extra": extra,
    }


def documented_responses(
    scope: Scope | None,
    status: int,
    example: Any,
    problems: tuple[int, ...],
    media: dict[str, Any] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """The answers of a route as OpenAPI knows them: the good one and each problem."""
    content = {"application/json": example} if example is not None else {}
    refusals = problems if scope is None else (401, 403, *problems)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": "Done.", "content": documented_content(content | (media or {}))}
    }
    for refusal in sorted(set(refusals)):
        responses[refusal] = documented_problem(refusal)
    return responses


def documented_problem(status: int) -> dict[str, Any]:
    """The answer with that status as OpenAPI knows it."""
    reason_code, words = _PROBLEM_WORDS[status]
    content = documented_content({PROBLEM_MEDIA_TYPE: problem(status, reason_code, words)})
    return {"description": words, "content": content}


def documented_content(examples: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI ``content`` of examples by media type; the schema is drawn from the example."""
    return {media: {"schema": schema_of(example), "example": example} for media, example in examples.items()}


def schema_of(example: Any) -> dict[str, Any]:
    """The JSON schema an example shows: a null may be anything, lists are of their first item.

    The example of a document has the schema of its model, by reference into the description.
    """
    for known, model in DOCUMENT_EXAMPLES:
        if example is known:
            return {"$ref": SCHEMA_REFERENCE.format(model=model.__name__)}
    match example:
        case None:
            return {}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array", "items": schema_of(example[0]) if example else {}}
        case dict():
            return {
                "type": "object",
                "properties": {key: _field_schema(key, item) for key, item in example.items()},
            }
    raise TypeError(f"an example holds a {type(example).__name__}; numbers that are not whole are texts")


def _field_schema(name: str, example: Any) -> dict[str, Any]:
    schema = schema_of(example)
    if name in TEXT_OR_LINES:
        return {"type": ["string", "array", "object", "integer", "boolean"], "items": {"type": "string"}}
    if name in NULLABLE_FIELDS and "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return schema
