"""Contracts: who is on which plan, from when to when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response

from api.billing import seller_of
from api.documents import keyed_document, saved_answer
from api.examples import CONTRACT, SAVED_VERSION
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import instant_of_contracts
from api.routes.invoices import PDF, PREVIEW_EXAMPLE, pro_forma_pdf
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_documents
from invoicing.audit_saved import entered_by
from invoicing.coming_dates import DATES_MAX, coming_dates
from invoicing.invoice import Invoice, entity_id_of, invoice_text
from invoicing.payer_rules import contract_issues, terms_warnings
from invoicing.preview import preview_contract
from rating.contract_store import contract_history, get_contract, save_contract, save_contracts
from rating.tables import CONTRACTS

router = APIRouter()

_FLAT: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "version": 1,
    "customer_id": "united",
    "plan_id": "airport-2013",
    "start_date": "2013-01-01",
    "end_date": "2014-01-01",
    "time_zone": "America/New_York",
    "cadence": "monthly",
    "anchor_date": "2013-01-01",
}
_STORED: Final = {"contract_id": "united-2013", "version": 1, "document": CONTRACT}
_VERSION: Final = {"version": 1, "created_at": "2026-11-22T18:00:00+00:00", "document": CONTRACT}


@router.put(
    "/v1/contracts/{contract_id}",
    **declared(
        "put_contract",
        "admin",
        summary="Save a contract",
        tag="contracts",
        status=201,
        example={"contract_id": "united-2013", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": CONTRACT},
    ),
)
def put_contract(state: State, contract_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this.

    Once time of it is billed, what it was billed by stays: start, interval, time zone, subjects, and prices
    of the days before the last billing date. From that date on the plan (by a phase), prices, fees,
    quantities and the end may change: the next invoice gives back and charges what fees in advance differ
    by. Terms and notes may change, subjects may be added. `warnings` names terms that the customer does not
    keep.
    """
    document = keyed_document(body, field="contract_id", key=contract_id, what="contract")
    now = state.clock.now()
    entered = entered_by(actor, "contract", now=now)
    saved = save_contract(state.ledger, document, now=now, further_rules=contract_issues, entered=entered)
    state.entitlements.forget()
    told = terms_warnings(state.ledger, get_contract(state.ledger, contract_id))
    return saved_answer("contract_id", replace(saved, warnings=(*saved.warnings, *told)))


@router.post(
    "/v1/contracts",
    **declared(
        "put_contracts",
        "admin",
        summary="Save many contracts",
        tag="contracts",
        example={"saved": 1, "created": 1, "unchanged": 0},
        problems=(400, 413, 422),
        body={"application/json": [CONTRACT]},
    ),
)
def put_contracts(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """A JSON array or a YAML stream: all of them are saved, or none."""
    now = state.clock.now()
    entered = entered_by(actor, "contract", now=now)
    saved = save_contracts(
        state.ledger, read_documents(body), now=now, further_rules=contract_issues, entered=entered
    )
    state.entitlements.forget()
    created = sum(item.created for item in saved)
    return ExactJSON({"saved": len(saved), "created": created, "unchanged": len(saved) - created})


@router.get(
    "/v1/contracts",
    **declared(
        "list_contracts",
        "read",
        summary="All contracts",
        tag="contracts",
        example={"items": [_FLAT], "next_cursor": None},
        problems=(422,),
    ),
)
def list_contracts(
    state: State,
    customer_id: Annotated[str | None, Query(description="Only this customer's.")] = None,
    plan_id: Annotated[str | None, Query(description="Only those on this plan.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By id, the newest version of each, without the documents."""
    query = sa.select(CONTRACTS).order_by(CONTRACTS.c.contract_id).limit(limit + 1)
    after = read_cursor(cursor, fields=1)
    if after is not None:
        query = query.where(CONTRACTS.c.contract_id > str(after[0]))
    if customer_id is not None:
        query = query.where(CONTRACTS.c.customer_id == customer_id)
    if plan_id is not None:
        query = query.where(CONTRACTS.c.plan_id == plan_id)
    with state.ledger.connect() as connection:
        items = [dict(row) for row in connection.execute(query).mappings()]
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["contract_id"],)))


@router.get(
    "/v1/contracts/{contract_id}",
    **declared(
        "get_contract", "read", summary="One contract", tag="contracts", example=_STORED, problems=(404,)
    ),
)
def get_one(state: State, contract_id: str) -> ExactJSON:
    """The newest version, with its document."""
    newest = contract_history(state.ledger, contract_id)[-1]
    return ExactJSON({"contract_id": contract_id, "version": newest.version, "document": newest.contract})


@router.get(
    "/v1/contracts/{contract_id}/versions",
    **declared(
        "list_contract_versions",
        "read",
        summary="The history of a contract",
        tag="contracts",
        example={"items": [_VERSION]},
        problems=(404,),
    ),
)
def list_versions(state: State, contract_id: str) -> ExactJSON:
    """Oldest first, each with its document."""
    items = [
        {"version": item.version, "created_at": item.created_at, "document": item.contract}
        for item in contract_history(state.ledger, contract_id)
    ]
    return ExactJSON({"items": items})


@router.get(
    "/v1/contracts/{contract_id}/preview",
    **declared(
        "preview_contract",
        "read",
        sees="contract",
        summary="The next invoice as it stands",
        tag="billing",
        example=PREVIEW_EXAMPLE,
        problems=(404, 409, 422),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def preview(
    state: State,
    contract_id: str,
    request: Request,
    at: Annotated[datetime | None, Query(description="Usage before this instant. Left out: now.")] = None,
) -> Response:
    """Priced by the very function that bills. Nothing is stored; with no more usage, the invoice will
    be this one. `Accept: application/pdf` gives it as a pro-forma invoice."""
    draft = preview_contract(
        contract_id=contract_id,
        at=instant_of_contracts(at, "at") or state.clock.now(),
        event_store=state.event_store,
        ledger=state.ledger,
        seller=seller_of(state.settings),
    )
    if PDF in request.headers.get("accept", ""):
        return Response(pro_forma_pdf(state, draft), media_type=PDF)
    return ExactJSON(preview_answer(draft))


def preview_answer(draft: Invoice) -> dict[str, Any]:
    """A draft that is not stored, with its sums beside it."""
    document: dict[str, Any] = orjson.loads(invoice_text(draft))
    keys = {
        "contract_id": document["contract"]["contract_id"],
        "customer_id": document["customer"]["customer_id"],
    }
    sums = {name: getattr(draft, name) for name in ("credit_minor", "due_minor", "tax_minor", "gross_minor")}
    sums["entity_id"] = entity_id_of(draft)
    return {**document, **keys, **sums, "state": "draft"}


@router.get(
    "/v1/contracts/{contract_id}/billing-dates",
    **declared(
        "list_billing_dates",
        "read",
        sees="contract",
        summary="The next billing dates",
        tag="contracts",
        example={
            "items": [
                {
                    "billing_date": "2013-02-01",
                    "invoice_day": "2013-02-01",
                    "first_day": "2013-01-01",
                    "last_day": "2013-01-31",
                    "plan_ids": ["airport-2013"],
                }
            ]
        },
        problems=(404, 422),
    ),
)
def billing_dates(
    state: State,
    contract_id: str,
    count: Annotated[int, Query(ge=1, le=DATES_MAX, description="How many; fewer when it ends.")] = 12,
) -> ExactJSON:
    """Those not settled yet, with the day on which each is invoiced, the first and the last day it bills, and
    the plans that price them."""
    found = coming_dates(state.ledger, contract_id, count=count)
    return ExactJSON({"items": [entry.to_dict() for entry in found]})
