"""Quotes: offered, accepted, and then contracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.billing import seller_of
from api.documents import keyed_document, saved_answer
from api.examples import CONTRACT, SAVED_VERSION
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.payer_rules import terms_warnings
from invoicing.quote import Acceptance
from invoicing.quote_accept import accept_quote
from invoicing.quote_document import quote_parties, quote_pdf
from invoicing.quote_store import get_quote, list_quotes, save_quote

router = APIRouter()
PDF: Final = "application/pdf"

_CONTRACT: Final = {name: value for name, value in CONTRACT.items() if name != "end_date"}
QUOTE: Final[dict[str, Any]] = {
    "quote_id": "gate-13",
    "customer_id": "united",
    "title": "Gate 13",
    "contract": {**_CONTRACT, "contract_id": "united-gate-13", "subjects": []},
    "lines": [{"description": "Jet bridge", "amount": "10000.00"}],
    "outcomes": [
        {"outcome_id": "boarding", "description": "Boarding in all weather", "product_id": "jet-bridge"}
    ],
    "price_list_id": "partners",
    "promotion_ids": ["spring"],
    "deposit_percent": "30",
    "terms_version": "2013-01",
}
_HASH: Final = "0f8fad5bd9cb469fa1657086772895ec0f8fad5bd9cb469fa1657086772895ec"
_STORED: Final[dict[str, Any]] = {
    "quote_id": "gate-13",
    "customer_id": "united",
    "version": 1,
    "state": "open",
    "document_hash": _HASH,
    "created_at": "2026-11-22T18:00:00.000000+00:00",
    "created_by": "sales",
    "document": QUOTE,
    "accepted": None,
}
_ACCEPTED: Final[dict[str, Any]] = {
    **_STORED,
    "state": "accepted",
    "accepted": {
        "name": "Ada Miller",
        "ip_address": "203.0.113.7",
        "accepted_at": "2026-11-22T19:00:00.000000+00:00",
        "recorded_by": "portal",
        "document_hash": _HASH,
        "terms_version": "2013-01",
        "contract_id": "united-gate-13",
        "contract_version": 1,
    },
}
_ACCEPTANCE: Final[dict[str, Any]] = {
    "name": "Ada Miller",
    "document_hash": _HASH,
    "terms_version": "2013-01",
    "ip_address": "203.0.113.7",
}


@router.put(
    "/v1/quotes/{quote_id}",
    **declared(
        "put_quote",
        "bill",
        summary="Save a quote",
        tag="contracts",
        status=201,
        example={"quote_id": "gate-13", **SAVED_VERSION},
        problems=(400, 404, 422),
        body={"application/json": QUOTE},
    ),
)
def put_quote(state: State, quote_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this. A version that was accepted stays so; the
    next one must be accepted again before the contract changes. `warnings` names terms that the customer does
    not keep: there is still time to agree on others."""
    document = keyed_document(body, field="quote_id", key=quote_id, what="quote")
    saved = save_quote(state.ledger, document, actor=actor, now=state.clock.now())
    contract = get_quote(state.ledger, quote_id, now=state.clock.now()).quote.contract
    return saved_answer("quote_id", replace(saved, warnings=terms_warnings(state.ledger, contract)))


@router.get(
    "/v1/quotes",
    **declared(
        "list_quotes",
        "read",
        summary="Quotes",
        tag="contracts",
        example={"items": [_STORED], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State, customer_id: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> ExactJSON:
    """By id, the newest version of each."""
    position = read_cursor(cursor, fields=1)
    found = list_quotes(
        state.ledger,
        customer_id=customer_id,
        now=state.clock.now(),
        limit=limit + 1,
        after=None if position is None else str(position[0]),
    )
    items = [stored.to_dict() for stored in found]
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["quote_id"],)))


@router.get(
    "/v1/quotes/{quote_id}",
    **declared(
        "get_quote",
        "read",
        summary="One quote",
        tag="contracts",
        example={**_STORED, "warnings": []},
        problems=(404,),
    ),
)
def get_one(state: State, quote_id: str) -> ExactJSON:
    """The newest version, with who accepted it. `document_hash` is what an acceptance must name. `warnings`:
    where the terms of an open one and what the customer says of how it pays do not go together."""
    stored = get_quote(state.ledger, quote_id, now=state.clock.now())
    told = terms_warnings(state.ledger, stored.quote.contract) if stored.state == "open" else ()
    return ExactJSON({**stored.to_dict(), "warnings": [warning.to_dict() for warning in told]})


@router.get(
    "/v1/quotes/{quote_id}/pdf",
    **declared(
        "get_quote_pdf",
        "read",
        summary="One quote as PDF",
        tag="contracts",
        problems=(404,),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def get_pdf(state: State, quote_id: str) -> Response:
    """The newest version as PDF/A-3b in the customer's language: what is sold once, what the contract
    charges, until when it is valid, the terms, and the document hash that an acceptance names."""
    stored = get_quote(state.ledger, quote_id, now=state.clock.now())
    parties = quote_parties(state.ledger, stored, seller=seller_of(state.settings))
    headers = {"Content-Disposition": f'inline; filename="{quote_id}.pdf"'}
    return Response(quote_pdf(state.printer, stored, parties), media_type=PDF, headers=headers)


@router.post(
    "/v1/quotes/{quote_id}/accept",
    **declared(
        "accept_quote",
        "bill",
        summary="Accept a quote: its contract becomes active",
        tag="contracts",
        example=_ACCEPTED,
        problems=(400, 404, 409, 422),
        body={"application/json": _ACCEPTANCE},
    ),
)
def accept(state: State, quote_id: str, body: DocumentBody, request: Request, actor: Actor) -> ExactJSON:
    """Keeps name, time, IP address, document hash and the terms acknowledged, and saves the contract in the
    same transaction; the deposit invoice follows. The same acceptance again changes nothing."""
    acceptance = validate_document(Acceptance, read_document(body), what="the acceptance")
    if not acceptance.ip_address and request.client is not None:
        acceptance = acceptance.model_copy(update={"ip_address": request.client.host[:64]})
    stored = accept_quote(
        state.ledger,
        quote_id,
        acceptance,
        seller=seller_of(state.settings),
        actor=actor,
        now=state.clock.now(),
    )
    state.entitlements.forget()
    return ExactJSON(stored.to_dict())
