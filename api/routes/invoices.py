"""Invoices: read, printed, issued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.json import ExactJSON
from api.page import Cursor, Limit
from api.routing import Actor, State, declared
from api.state import Ratemill
from invoicing.billing_entity import get_logo
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.invoice import Invoice
from invoicing.issue import issue_invoice
from invoicing.standing_store import invoice_standing
from invoicing.store import InvoiceFilter, StoredInvoice, get_invoice, invoice_totals, list_invoices
from invoicing.template import DocumentTemplate
from invoicing.template_store import invoice_template

router = APIRouter()

PDF: Final = "application/pdf"

LINE_EXAMPLE: Final[dict[str, Any]] = {
    "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
    "charge_id": "landing",
    "charge_kind": "usage",
    "description": "Landing charge",
    "price_model": "graduated",
    "price_text": "each unit at the price of its tier",
    "plan_id": "airport-2013",
    "plan_version": 1,
    "meter_id": "landings",
    "unit": "landing",
    "period_start": "2013-01-01",
    "period_end": "2013-02-01",
    "days": 31,
    "full_days": 31,
    "dimensions": {},
    "quantity": "2",
    "rated_quantity": "2",
    "event_count": 2,
    "amount": "25",
    "amount_minor": 2500,
    "tiers": [
        {
            "number": 1,
            "above": "0",
            "up_to": "100",
            "unit_price": "12.5",
            "flat_amount": None,
            "units": "2",
            "amount": "25",
        }
    ],
}
SUMMARY_EXAMPLE: Final[dict[str, Any]] = {
    "invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "number": "INV-2013-000001",
    "state": "issued",
    "contract_id": "united-2013",
    "customer_id": "united",
    "billing_date": "2013-02-01",
    "issue_date": "2013-02-01",
    "due_date": "2013-03-03",
    "currency": "USD",
    "total_minor": 2500,
    "credit_minor": 0,
    "due_minor": 2500,
    "tax_minor": 0,
    "gross_minor": 2500,
    "entity_id": None,
    "document_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "run_id": "2013-02-01-first",
}
INVOICE_EXAMPLE: Final[dict[str, Any]] = {
    **SUMMARY_EXAMPLE,
    "period_start": "2013-01-01",
    "period_end": "2013-02-01",
    "minor_digits": 2,
    "lines": [LINE_EXAMPLE],
}
STANDING_EXAMPLE: Final[dict[str, Any]] = {
    "state": "issued",
    "overdue": False,
    "credited_minor": 0,
    "paid_minor": 0,
    "written_off_minor": 0,
    "open_minor": 2500,
    "actions": [
        {
            "action": "credit",
            "method": "POST",
            "path": "/v1/invoices/3f2a9c0d5b7e41c8a6d2f09b1e4c7a85/credit-notes",
        }
    ],
    "next_step": "becomes overdue",
    "next_step_on": "2013-03-04",
}
PREVIEW_EXAMPLE: Final[dict[str, Any]] = {
    **{name: value for name, value in INVOICE_EXAMPLE.items() if name not in ("document_hash", "run_id")},
    "number": None,
    "state": "draft",
    "issue_date": None,
    "due_date": None,
}
_TOTAL: Final = {
    "customer_id": "united",
    "currency": "USD",
    "state": "issued",
    "invoices": 1,
    "total_minor": 2500,
    "tax_minor": 0,
}


@router.get(
    "/v1/invoices",
    **declared(
        "list_invoices",
        "read",
        sees="issued_invoices",
        summary="Invoices",
        tag="billing",
        example={"items": [SUMMARY_EXAMPLE], "next_cursor": None, "totals": [_TOTAL]},
        problems=(409, 422),
    ),
)
def list_all(
    state: State,
    customer_id: str | None = None,
    contract_id: str | None = None,
    invoice_state: Annotated[Literal["draft", "issued"] | None, Query(alias="state")] = None,
    currency: str | None = None,
    run_id: str | None = None,
    billing_from: Annotated[date | None, Query(description="First billing date.")] = None,
    billing_to: Annotated[date | None, Query(description="Billing dates before this one.")] = None,
    search: Annotated[
        str | None,
        Query(
            description="A number, words on an issued invoice, or a customer's id or a part of its name.",
            max_length=512,
        ),
    ] = None,
    totals: Annotated[bool, Query(description="Also the sums of all pages, by customer.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Newest billing date first, without their lines."""
    chosen = InvoiceFilter(
        customer_id=customer_id,
        contract_id=contract_id,
        state=invoice_state,
        currency=currency,
        run_id=run_id,
        billing_from=billing_from,
        billing_to=billing_to,
        search=search,
    )
    found = list_invoices(state.ledger, chosen=chosen, limit=limit, cursor=cursor)
    answer: dict[str, Any] = {
        "items": [asdict(summary) for summary in found.invoices],
        "next_cursor": found.next_cursor,
    }
    if totals:
        answer["totals"] = [asdict(total) for total in invoice_totals(state.ledger, chosen=chosen)]
    return ExactJSON(answer)


@router.get(
    "/v1/invoices/{id_or_number}",
    **declared(
        "get_invoice",
        "read",
        sees="issued_invoice",
        summary="One invoice, as JSON or PDF",
        tag="billing",
        example={**INVOICE_EXAMPLE, "standing": STANDING_EXAMPLE},
        problems=(404,),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def get_one(state: State, id_or_number: str, request: Request) -> Response:
    """By id or by printed number. `Accept: application/pdf` gives the document. `standing`: whether it is
    paid or void, what is open, what may be done with it, and what happens next by itself."""
    stored = get_invoice(state.ledger, id_or_number)
    if PDF in request.headers.get("accept", ""):
        return _pdf_answer(state, stored)
    standing = invoice_standing(state.ledger, stored, now=state.clock.now())
    return ExactJSON(
        {
            **invoice_answer(stored),
            "standing": standing.to_dict(stored.summary.invoice_id, under="/v1/invoices"),
        }
    )


@router.get(
    "/v1/invoices/{id_or_number}/pdf",
    **declared(
        "get_invoice_pdf",
        "read",
        sees="issued_invoice",
        summary="One invoice as PDF",
        tag="billing",
        problems=(404, 409, 422),
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
    of an issued invoice that states its tax."""
    stored = get_invoice(state.ledger, id_or_number)
    if profile is None:
        return _pdf_answer(state, stored)
    cii = einvoice_xml(electronic_invoice(stored.invoice, profile="en16931"), "cii")
    return _pdf_response(
        stored,
        state.printer.factur_x(
            stored.invoice,
            cii,
            _template(state, stored.invoice),
            logo=seller_logo(state, stored.invoice.seller),
        ),
    )


@router.post(
    "/v1/invoices/{id_or_number}/issue",
    **declared(
        "issue_invoice",
        "send",
        summary="Issue a draft",
        tag="billing",
        example=INVOICE_EXAMPLE,
        problems=(404, 409),
    ),
)
def issue(state: State, id_or_number: str, actor: Actor) -> ExactJSON:
    """Gives it its number and dates; from then on it never changes. A draft that is reviewed is refused
    until it is approved (`not_approved`)."""
    invoice_id = get_invoice(state.ledger, id_or_number).summary.invoice_id
    issued = issue_invoice(
        state.ledger,
        invoice_id=invoice_id,
        now=state.clock.now(),
        series_prefix=state.settings.invoice_series,
        credit_note_prefix=state.settings.credit_note_series,
        actor=actor,
    )
    return ExactJSON(invoice_answer(issued))


def invoice_answer(stored: StoredInvoice) -> dict[str, Any]:
    """The canonical document with what the ledger knows beside it."""
    document: dict[str, Any] = orjson.loads(stored.text)
    return document | asdict(stored.summary)


def _pdf_answer(state: Ratemill, stored: StoredInvoice) -> Response:
    return _pdf_response(stored, printed_pdf(state, stored.invoice))


def _pdf_response(stored: StoredInvoice, body: bytes) -> Response:
    name = stored.summary.number or f"draft-{stored.summary.invoice_id}"
    headers = {"Content-Disposition": f'inline; filename="{name}.pdf"'}
    return Response(body, media_type=PDF, headers=headers)


def printed_pdf(state: Ratemill, invoice: Invoice) -> bytes:
    """The document by its template, under the logo its seller had when it was drafted."""
    return state.printer.pdf(invoice, _template(state, invoice), logo=seller_logo(state, invoice.seller))


def pro_forma_pdf(state: Ratemill, preview: Invoice) -> bytes:
    """A preview as a document that says it is no invoice."""
    return state.printer.pro_forma(
        preview, _template(state, preview), logo=seller_logo(state, preview.seller)
    )


def _template(state: Ratemill, invoice: Invoice) -> DocumentTemplate:
    return invoice_template(state.ledger, invoice, now=state.clock.now()).template


def seller_logo(state: Ratemill, seller: Mapping[str, Any] | None) -> bytes:
    """The image that heads a document, as its text names it; empty for none."""
    logo = (seller or {}).get("logo")
    return get_logo(state.ledger, logo).content if logo else b""
