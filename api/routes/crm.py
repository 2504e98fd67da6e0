"""What CRMs tell of: by signed webhook and by file; what became of it; what contradicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from api.billing import seller_of
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared, read_body
from api.state import Ratemill
from ingest.errors import Conflict
from invoicing.crm.adapter import crm_secret, find_adapter
from invoicing.crm.apply import Applying
from invoicing.crm.change import CSV, NDJSON, CrmKind, check_changes, read_changes
from invoicing.crm.inbox import (
    OUTCOMES,
    RECEIVED,
    TakenChange,
    apply_waiting,
    list_crm_conflicts,
    list_objects,
    take_changes,
)

router = APIRouter()

WEBHOOK_BYTES_MAX: Final = 4 * 1024 * 1024
"""The body is read before anybody knows who sent it."""


async def _webhook_body(request: Request) -> bytes:
    return await read_body(request, bytes_max=WEBHOOK_BYTES_MAX)


CHANGE: Final[dict[str, Any]] = {
    "kind": "opportunity",
    "external_id": "006-4711",
    "changed_at": "2013-01-02T09:00:00Z",
    "data": {"name": "Gate 13", "stage": "Negotiation", "amount": "12000.00", "currency": "USD"},
}
_CSV: Final = """\
kind,external_id,changed_at,name,data.kind,billed,prices.USD
product,p-1,2013-01-02T09:00:00Z,Tow bar,product,once,250.00
"""
_NDJSON: Final = (
    '{"kind": "product", "external_id": "p-2", "changed_at": "2013-01-02T09:00:00Z", '
    '"data": {"name": "Chocks", "kind": "product", "billed": "once", "prices": {"USD": "40.00"}}}\n'
)
_TAKEN: Final[dict[str, Any]] = {
    "kind": "opportunity",
    "external_id": "006-4711",
    "outcome": "applied",
    "key": "crm-006-4711",
    "issues": [],
}
_ANSWER: Final[dict[str, Any]] = {"items": [_TAKEN], **dict.fromkeys(OUTCOMES, 0), "applied": 1}
_OBJECT: Final[dict[str, Any]] = {
    "system": "crm",
    "kind": "opportunity",
    "external_id": "006-4711",
    "changed_at": "2013-01-02T09:00:00.000000+00:00",
    "document": CHANGE["data"],
    "document_hash": "0" * 64,
    "state": "applied",
    "key": "crm-006-4711",
    "issues": [],
    "actor": "crm",
    "received_at": "2013-01-02T09:00:01+00:00",
    "applied_at": "2013-01-02T09:00:01+00:00",
}
_CONFLICT: Final[dict[str, Any]] = {
    name: _OBJECT[name]
    for name in ("system", "kind", "external_id", "document_hash", "changed_at", "document", "received_at")
}


@router.post(
    "/v1/crm/{system}/webhook",
    **declared(
        "crm_webhook",
        None,
        summary="What a CRM tells of, signed",
        tag="crm",
        example=_ANSWER,
        problems=(400, 401, 409, 413, 422),
        body={"application/json": {"changes": [CHANGE]}},
    ),
)
def webhook(
    state: State, system: str, request: Request, body: Annotated[bytes, Depends(_webhook_body)]
) -> ExactJSON:
    """Needs no key: it is signed as Standard Webhooks says, or as the system's adapter checks. All changes
    are written down before the answer; a delivery that is repeated, or comes out of order, changes nothing
    that is later. 4xx: nothing was taken."""
    adapter = find_adapter(system, state.settings.crm_adapters)
    adapter.verify(request.headers, body, secret=_secret(state, system), now=state.clock.now())
    return _take(state, system, adapter.read(body), actor=f"crm:{system}"[:128])


@router.post(
    "/v1/crm/{system}/changes",
    **declared(
        "send_crm_changes",
        "admin",
        summary="What a CRM tells of, in bulk",
        tag="crm",
        example=_ANSWER,
        problems=(400, 409, 413, 422),
        body={"application/json": CHANGE, NDJSON: _NDJSON, CSV: _CSV},
    ),
)
def changes(
    state: State,
    system: str,
    request: Request,
    body: DocumentBody,
    actor: Actor,
    kind: Annotated[CrmKind | None, Query(description="Of changes that do not say it.")] = None,
) -> ExactJSON:
    """JSON, YAML, a JSON object a line, or CSV (`text/csv`, with `kind` or a column of that name). All of
    them are written down, or none; what became of each is in the answer."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    return _take(state, system, read_changes(body, media_type=media_type, kind=kind), actor=actor)


@router.post(
    "/v1/crm/{system}/retry",
    **declared(
        "retry_crm_objects",
        "admin",
        summary="Apply what was refused or waits",
        tag="crm",
        example={"applied": 1},
        problems=(409,),
    ),
)
def retry(state: State, system: str, actor: Actor) -> ExactJSON:
    """Once what was in its way is put right. What waits for another object is also tried whenever a delivery
    applies something."""
    states = (RECEIVED, "waiting", "refused")
    applied = apply_waiting(state.ledger, system, applying=_applying(state, actor), states=states)
    state.entitlements.forget()
    return ExactJSON({"applied": applied})


@router.get(
    "/v1/crm/objects",
    **declared(
        "list_crm_objects",
        "read",
        summary="What CRMs told of",
        tag="crm",
        example={"items": [_OBJECT], "next_cursor": None},
        problems=(422,),
    ),
)
def objects(
    state: State,
    system: str | None = None,
    kind: CrmKind | None = None,
    state_of: Annotated[
        str | None, Query(alias="state", description="received, applied, waiting or refused.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """The latest change of each object, what it is here (`key`), and why it waits or was refused."""
    found = list_objects(
        state.ledger,
        system=system,
        kind=kind,
        state=state_of,
        limit=limit + 1,
        after=read_cursor(cursor, fields=3),
    )
    return ExactJSON(page(found, limit=limit, position=_position))


@router.get(
    "/v1/crm/conflicts",
    **declared(
        "list_crm_conflicts",
        "read",
        summary="Changes that contradict one of the same instant",
        tag="crm",
        example={"items": [_CONFLICT], "next_cursor": None},
        problems=(422,),
    ),
)
def conflicts(
    state: State, system: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> ExactJSON:
    """The one that came first holds. What systems say otherwise of a customer is at
    `GET /v1/customers/conflicts`."""
    after = read_cursor(cursor, fields=4)
    found = list_crm_conflicts(state.ledger, system=system, limit=limit + 1, after=after)
    return ExactJSON(page(found, limit=limit, position=lambda one: (*_position(one), one["document_hash"])))


@router.get(
    "/v1/crm/{system}/secret",
    **declared(
        "get_crm_secret",
        "admin",
        summary="What a CRM signs its webhooks with",
        tag="crm",
        example={"system": "crm", "secret": "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl"},
        problems=(409,),
    ),
)
def secret(state: State, system: str) -> ExactJSON:
    """As Standard Webhooks writes secrets. It follows from RATEMILL_LINK_SECRET."""
    return ExactJSON({"system": system, "secret": _secret(state, system)})


def _take(state: Ratemill, system: str, documents: Sequence[Any], *, actor: str) -> ExactJSON:
    checked = check_changes(documents)
    taken = take_changes(state.ledger, system, checked, applying=_applying(state, actor))
    state.entitlements.forget()
    counts = {outcome: sum(one.outcome == outcome for one in taken) for outcome in OUTCOMES}
    return ExactJSON({"items": [_taken(one) for one in taken], **counts})


def _applying(state: Ratemill, actor: str) -> Applying:
    return Applying(seller_of(state.settings), actor, state.clock.now())


def _secret(state: Ratemill, system: str) -> str:
    if state.settings.link_secret is None:
        raise Conflict(
            "webhooks are not set up: RATEMILL_LINK_SECRET is not set.", reason_code="channel_not_set_up"
        )
    return crm_secret(state.settings.link_secret, system)


def _taken(one: TakenChange) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "external_id": one.external_id,
        "outcome": one.outcome,
        "key": one.key,
        "issues": [issue.to_dict() for issue in one.issues],
    }


def _position(one: dict[str, Any]) -> tuple[str, str, str]:
    return one["system"], one["kind"], one["external_id"]
