"""Billing entities: who sends invoices."""

from __future__ import annotations

import base64
from typing import Any, Final

from fastapi import APIRouter, Response

from api.documents import DeletionReason, keyed_document, saved_answer
from api.examples import BILLING_ENTITY, SAVED_VERSION
from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.errors import InvalidInput
from invoicing.audit_saved import entered_by
from invoicing.billing_entity import (
    BillingEntity,
    get_entity,
    get_logo,
    load_entities,
    save_entity,
    save_logo,
)
from invoicing.entity_delete import delete_entity
from invoicing.saved_document import StoredDocument

router = APIRouter()

SVG_LOGO: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'
)
_STORED: Final = {"entity_id": "northwind", "version": 1, "document": BILLING_ENTITY}


@router.put(
    "/v1/billing-entities/{entity_id}",
    **declared(
        "put_billing_entity",
        "admin",
        summary="Save a billing entity",
        tag="tax",
        status=201,
        example={"entity_id": "northwind", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": BILLING_ENTITY},
    ),
)
def put_entity(state: State, entity_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this. It counts for invoices drafted from now
    on; from the first entity on, invoices state tax."""
    document = keyed_document(body, field="entity_id", key=entity_id, what="billing entity")
    now = state.clock.now()
    entered = entered_by(actor, "billing_entity", now=now)
    return saved_answer("entity_id", save_entity(state.ledger, document, now=now, entered=entered))


@router.get(
    "/v1/billing-entities",
    **declared(
        "list_billing_entities",
        "read",
        summary="All billing entities",
        tag="tax",
        example={"items": [_STORED]},
    ),
)
def list_all(state: State) -> ExactJSON:
    """By id."""
    with state.ledger.connect() as connection:
        found = load_entities(connection)
    return ExactJSON({"items": [_shown(entry) for entry in found.values()]})


@router.get(
    "/v1/billing-entities/{entity_id}",
    **declared(
        "get_billing_entity",
        "read",
        summary="One billing entity",
        tag="tax",
        example=_STORED,
        problems=(404,),
    ),
)
def get_one(state: State, entity_id: str) -> ExactJSON:
    """The entity in force."""
    return ExactJSON(_shown(get_entity(state.ledger, entity_id)))


@router.delete(
    "/v1/billing-entities/{entity_id}",
    **declared(
        "delete_billing_entity",
        "admin",
        summary="Delete a billing entity that was saved by mistake",
        tag="tax",
        example={"entity_id": "northwind", "version": 2, "deleted": True},
        problems=(404, 409, 422),
    ),
)
def delete_one(state: State, entity_id: str, reason: DeletionReason, actor: Actor) -> ExactJSON:
    """Only one that nothing refers to: 409 `entity_in_use` names the contracts, customers, quotes and
    documents that do, and the contracts whose invoices it sends because they name nobody. The audit trail
    keeps the whole document with the reason; the id saved again is a new entity."""
    now = state.clock.now()
    gone = delete_entity(state.ledger, entity_id, reason=reason, actor=actor, now=now)
    return ExactJSON({"entity_id": gone.key, "version": gone.version, "deleted": True})


@router.put(
    "/v1/billing-entities/{entity_id}/logo",
    **declared(
        "put_entity_logo",
        "admin",
        summary="Send the logo of a billing entity",
        tag="tax",
        status=201,
        example={"entity_id": "northwind", "version": 2, "created": True},
        problems=(404, 413, 422),
        body={"image/svg+xml": SVG_LOGO},
    ),
)
def put_logo(state: State, entity_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """PNG or SVG, up to 262,144 bytes. It heads the entity's invoices drafted from now on; older ones keep
    theirs."""
    if not body:
        raise InvalidInput("the body is empty; it must be a PNG or SVG image.", reason_code="empty_body")
    now = state.clock.now()
    entered = entered_by(actor, "billing_entity", now=now)
    return saved_answer("entity_id", save_logo(state.ledger, entity_id, body, now=now, entered=entered))


@router.get(
    "/v1/billing-entities/{entity_id}/logo",
    **declared(
        "get_entity_logo",
        "read",
        summary="The logo of a billing entity",
        tag="tax",
        problems=(404,),
        media={"image/svg+xml": SVG_LOGO, "image/png": base64.b64encode(b"...").decode()},
    ),
)
def get_entity_logo(state: State, entity_id: str) -> Response:
    """As it was sent."""
    logo = get_logo(state.ledger, get_entity(state.ledger, entity_id).document.logo)
    return Response(logo.content, media_type=logo.media_type)


def _shown(stored: StoredDocument[BillingEntity]) -> dict[str, Any]:
    return {
        "entity_id": stored.document.entity_id,
        "version": stored.version,
        "document": stored.document,
    }
