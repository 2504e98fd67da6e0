"""Customers: to whom invoices are addressed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.customer_key import keys_of_customer
from api.documents import DeletionReason, keyed_document, saved_answer
from api.examples import CUSTOMER, SAVED_VERSION
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_documents
from invoicing.audit_saved import entered_by
from invoicing.customer_delete import delete_customer
from invoicing.customer_store import get_customer, list_customers, save_customer, save_customers

router = APIRouter()

_STORED = {"customer_id": "united", "version": 1, "document": CUSTOMER}


@router.put(
    "/v1/customers/{customer_id}",
    **declared(
        "put_customer",
        "admin",
        summary="Save a customer",
        tag="contracts",
        status=201,
        example={"customer_id": "united", **SAVED_VERSION},
        problems=(400, 409, 422),
        body={"application/json": CUSTOMER},
    ),
)
def put_customer(state: State, customer_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this. Invoices made before keep theirs.

    Where systems have sent records of the customer, this is what was entered directly, one record beside
    theirs; `warnings` then names the fields on which they differ."""
    document = keyed_document(body, field="customer_id", key=customer_id, what="customer")
    now = state.clock.now()
    entered = entered_by(actor, "customer", now=now)
    return saved_answer("customer_id", save_customer(state.ledger, document, now=now, entered=entered))


@router.post(
    "/v1/customers",
    **declared(
        "put_customers",
        "admin",
        summary="Save many customers",
        tag="contracts",
        example={"saved": 1, "created": 1, "unchanged": 0},
        problems=(400, 409, 413, 422),
        body={"application/json": [CUSTOMER]},
    ),
)
def put_customers(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """A JSON array or a YAML stream: all of them are saved, or none."""
    now = state.clock.now()
    entered = entered_by(actor, "customer", now=now)
    saved = save_customers(state.ledger, read_documents(body), now=now, entered=entered)
    created = sum(item.created for item in saved)
    return ExactJSON({"saved": len(saved), "created": created, "unchanged": len(saved) - created})


@router.get(
    "/v1/customers",
    **declared(
        "list_customers",
        "read",
        summary="All customers",
        tag="contracts",
        example={"items": [_STORED], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    search: Annotated[
        str | None,
        Query(description="Part of an id, name, e-mail address, tax id or external id, in any case."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By id."""
    after = read_cursor(cursor, fields=1)
    found = list_customers(
        state.ledger, limit=limit + 1, after=None if after is None else str(after[0]), search=search
    )
    items = [
        {"customer_id": item.customer.customer_id, "version": item.version, "document": item.customer}
        for item in found
    ]
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["customer_id"],)))


@router.get(
    "/v1/customers/{customer_id}",
    **declared(
        "get_customer",
        "read",
        sees="customer",
        summary="One customer",
        tag="contracts",
        example=_STORED,
        problems=(404,),
    ),
)
def get_one(state: State, customer_id: str) -> ExactJSON:
    """The customer in force."""
    found = get_customer(state.ledger, customer_id)
    return ExactJSON({"customer_id": customer_id, "version": found.version, "document": found.customer})


@router.delete(
    "/v1/customers/{customer_id}",
    **declared(
        "delete_customer",
        "admin",
        summary="Delete a customer that was saved by mistake",
        tag="contracts",
        example={"customer_id": "united", "version": 1, "deleted": True},
        problems=(404, 409, 422),
    ),
)
def delete_one(state: State, customer_id: str, reason: DeletionReason, actor: Actor) -> ExactJSON:
    """Only one that nothing refers to: 409 `customer_in_use` names contracts, quotes, documents, credit,
    payments, items, records of other systems, keys and customers that do. The audit trail keeps the whole
    document with the reason; its external ids are free, and the id saved again is a new customer."""
    now = state.clock.now()
    gone = delete_customer(
        state.ledger, customer_id, reason=reason, actor=actor, now=now, further=keys_of_customer
    )
    return ExactJSON({"customer_id": gone.key, "version": gone.version, "deleted": True})
