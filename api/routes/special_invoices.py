"""Special invoices (deposit, progress, final, miscellaneous): previewed, issued, looked at, printed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request, Response

from api.billing import seller_of
from api.idempotency import HEADER, REPLAYED_HEADER, answer_key
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.invoices import PDF, STANDING_EXAMPLE, seller_logo
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.einvoice import einvoice_xml
from invoicing.einvoice_special import electronic_special_invoice
from invoicing.special_invoice import SpecialInvoiceRequest
from invoicing.special_invoice_document import special_invoice_pdf
from invoicing.special_invoice_head import SpecialIssuing
from invoicing.special_invoice_store import (
    SpecialFilter,
    StoredSpecialInvoice,
    get_special_invoice,
    issue_special_invoice,
    list_special_invoices,
    preview_special_invoice,
)
from invoicing.standing_store import special_standing
from invoicing.template_store import invoice_template

router = APIRouter()

_SUMMARY: Final[dict[str, Any]] = {
    "document_id": "d1a8f2d95b7e41c8a6d2f09b1e4c7a85",
    "kind": "deposit",
    "number": "DEP-2013-000001",
    "contract_id": "united-2013",
    "customer_id": "united",
    "project": "gate-12",
    "issue_date": "2013-02-01",
    "due_date": "2013-03-03",
    "currency": "USD",
    "net_minor": 300000,
    "tax_minor": 0,
    "gross_minor": 300000,
    "open_minor": 300000,
    "credited_minor": 0,
    "voided": False,
    "deducted_by": None,
    "document_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_DOCUMENT: Final[dict[str, Any]] = {
    "type_code": "386",
    "title": "Gate 12",
    "reason": "",
    "percent": "30",
    "whole": {"net_minor": 300000, "tax_minor": 0},
    "deducts": [],
    "lines": [
        {
            "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
            "charge_id": "~deposit",
            "charge_kind": "deposit",
            "description": "Gate 12: 30 % of 10000.00 USD",
            "period_start": "2013-02-01",
            "period_end": "2013-02-02",
            "amount_minor": 300000,
        }
    ],
    "minor_digits": 2,
    "total_minor": 300000,
}
SPECIAL_INVOICE: Final[dict[str, Any]] = {**_SUMMARY, **_DOCUMENT}
_PREVIEW: Final[dict[str, Any]] = {
    **_DOCUMENT,
    "kind": "deposit",
    "number": None,
    "issue_date": None,
    "net_minor": 300000,
    "tax_minor": 0,
    "gross_minor": 300000,
}
_REQUEST: Final[dict[str, Any]] = {
    "kind": "deposit",
    "contract_id": "united-2013",
    "project": "gate-12",
    "title": "Gate 12",
    "percent": "30",
    "lines": [{"description": "Jet bridge and power supply", "amount": "10000.00"}],
}
IdempotencyKey = Annotated[
    str | None,
    Header(alias=HEADER, description="The same key and the same request again: the same invoice, once."),
]


@router.post(
    "/v1/special-invoices/preview",
    **declared(
        "preview_special_invoice",
        "read",
        summary="What a special invoice would say",
        tag="billing",
        example=_PREVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def preview(state: State, body: DocumentBody) -> ExactJSON:
    """The same body as for issuing it; nothing is stored."""
    issuing = SpecialIssuing(seller_of(state.settings), "", None, state.clock.now())
    draft = preview_special_invoice(state.ledger, _request(body), issuing)
    invoice = draft.invoice
    amounts = {
        "net_minor": invoice.total_minor,
        "tax_minor": invoice.tax_minor,
        "gross_minor": invoice.gross_minor,
    }
    return ExactJSON({**orjson.loads(draft.text(invoice)), **amounts})


@router.post(
    "/v1/special-invoices",
    **declared(
        "issue_special_invoice",
        "bill",
        summary="Issue a deposit, progress, final or miscellaneous invoice",
        tag="billing",
        status=201,
        example=SPECIAL_INVOICE,
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def issue(
    state: State,
    body: DocumentBody,
    request: Request,
    actor: Actor,
    idempotency_key: IdempotencyKey = None,
) -> ExactJSON:
    """`deposit`: `percent` of the lines, taxed now and no revenue. `progress`: a part that is delivered.
    `final`: the whole, less the deposits and progress invoices of its `project` that none deducted yet.
    `miscellaneous`: anything else, with a `reason`. Amounts are net of tax."""
    key = None
    if idempotency_key is not None:
        named = answer_key(request.state.api_key.key_id, "special-invoices", idempotency_key)
        key = f"{named.key_id}/{named.idempotency_key}"
    issuing = SpecialIssuing(seller_of(state.settings), actor, key, state.clock.now())
    stored, made = issue_special_invoice(state.ledger, _request(body), issuing)
    return ExactJSON(_answer(stored), status_code=201, headers={} if made else {REPLAYED_HEADER: "true"})


@router.get(
    "/v1/special-invoices",
    **declared(
        "list_special_invoices",
        "read",
        summary="Special invoices",
        tag="billing",
        example={"items": [_SUMMARY], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    kind: str | None = None,
    contract_id: str | None = None,
    customer_id: str | None = None,
    open_deposits: Annotated[
        bool, Query(description="Only deposits and progress invoices that no final invoice deducted.")
    ] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Newest issue date first, without their lines."""
    position = read_cursor(cursor, fields=2)
    found = list_special_invoices(
        state.ledger,
        SpecialFilter(kind, contract_id, customer_id, open_deposits),
        limit=limit + 1,
        after=None if position is None else (str(position[0]), str(position[1])),
    )
    items = [asdict(summary) for summary in found]
    answer = page(
        items, limit=limit, position=lambda item: (item["issue_date"].isoformat(), item["document_id"])
    )
    return ExactJSON(answer)


@router.get(
    "/v1/special-invoices/{id_or_number}",
    **declared(
        "get_special_invoice",
        "read",
        summary="One special invoice, as JSON or PDF",
        tag="billing",
        example={**SPECIAL_INVOICE, "standing": STANDING_EXAMPLE},
        problems=(404,),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def get_one(state: State, id_or_number: str, request: Request) -> Response:
    """By id or by printed number. `Accept: application/pdf` gives the document. `standing`: as of an
    invoice."""
    stored = get_special_invoice(state.ledger, id_or_number)
    if PDF in request.headers.get("accept", ""):
        return _pdf(state, stored)
    standing = special_standing(state.ledger, stored, now=state.clock.now())
    shown = standing.to_dict(stored.summary.document_id, under="/v1/special-invoices")
    return ExactJSON({**_answer(stored), "standing": shown})


@router.get(
    "/v1/special-invoices/{id_or_number}/pdf",
    **declared(
        "get_special_invoice_pdf",
        "read",
        summary="One special invoice as PDF",
        tag="billing",
        problems=(404, 422),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def get_pdf(
    state: State,
    id_or_number: str,
    profile: Annotated[
        Literal["factur-x"] | None,
        Query(description="factur-x: with the e-invoice (CII) inside. Left out: the pages alone."),
    ] = None,
) -> Response:
    """PDF/A-3b; the same invoice gives the same bytes. With the e-invoice inside it is Factur-X and ZUGFeRD,
    of an invoice that states its tax."""
    return _pdf(state, get_special_invoice(state.ledger, id_or_number), inside=profile is not None)


def _request(body: bytes) -> SpecialInvoiceRequest:
    return validate_document(SpecialInvoiceRequest, read_document(body), what="the special invoice")


def _answer(stored: StoredSpecialInvoice) -> dict[str, Any]:
    """The canonical document with what the ledger knows beside it."""
    document: dict[str, Any] = orjson.loads(stored.text)
    return document | asdict(stored.summary)


def _pdf(state: State, stored: StoredSpecialInvoice, *, inside: bool = False) -> Response:
    invoice = stored.invoice
    cii = einvoice_xml(electronic_special_invoice(stored.text, profile="en16931"), "cii") if inside else b""
    template = invoice_template(state.ledger, invoice, now=state.clock.now()).template
    logo = seller_logo(state, invoice.seller)
    body = special_invoice_pdf(state.printer, stored.text, template, logo=logo, cii=cii)
    headers = {"Content-Disposition": f'inline; filename="{stored.summary.number}.pdf"'}
    return Response(body, media_type=PDF, headers=headers)
