"""Credit notes: previewed, issued, looked at, printed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request, Response

from api.idempotency import HEADER, REPLAYED_HEADER, answer_key
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.invoices import PDF, seller_logo
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_document import credit_note_pdf
from invoicing.credit_note_store import (
    Issuing,
    StoredCreditNote,
    get_credit_note,
    issue_credit_note,
    list_credit_notes,
    preview_credit_note,
)
from invoicing.einvoice import einvoice_xml
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.template_store import credit_note_template

router = APIRouter()

_SUMMARY: Final[dict[str, Any]] = {
    "credit_note_id": "c0a8f2d95b7e41c8a6d2f09b1e4c7a85",
    "number": "CN-2013-000001",
    "invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "customer_id": "united",
    "issue_date": "2013-02-01",
    "currency": "USD",
    "net_minor": -1250,
    "tax_minor": 0,
    "credit_minor": 0,
    "due_minor": -1250,
    "voids": False,
    "reason": "one landing was diverted",
    "document_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_DOCUMENT: Final[dict[str, Any]] = {
    "invoice": {
        "invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
        "number": "INV-2013-000001",
        "issue_date": "2013-02-01",
    },
    "lines": [
        {
            "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
            "charge_id": "landing",
            "charge_kind": "usage",
            "description": "Landing charge",
            "dimensions": {},
            "period_start": "2013-01-01",
            "period_end": "2013-02-01",
            "unit": "landing",
            "credited_quantity": "1",
            "amount_minor": -1250,
        }
    ],
    "minor_digits": 2,
    "returned_credit": {"total_minor": 0, "grants": []},
    "total_minor": -1250,
}
CREDIT_NOTE: Final[dict[str, Any]] = {**_SUMMARY, **_DOCUMENT}
_PREVIEW: Final[dict[str, Any]] = {
    **_DOCUMENT,
    "number": None,
    "issue_date": None,
    "net_minor": -1250,
    "tax_minor": 0,
    "credit_minor": 0,
    "due_minor": -1250,
    "voids": False,
}
_REQUEST: Final[dict[str, Any]] = {
    "reason": "one landing was diverted",
    "amount": "0.01",
}

IdempotencyKey = Annotated[
    str | None,
    Header(alias=HEADER, description="The same key and the same request again: the same credit note, once."),
]


@router.post(
    "/v1/invoices/{id_or_number}/credit-notes/preview",
    **declared(
        "preview_credit_note",
        "read",
        summary="What a credit note would take back",
        tag="billing",
        example=_PREVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def preview(state: State, id_or_number: str, body: DocumentBody) -> ExactJSON:
    """The same body as for issuing it; nothing is stored."""
    draft = preview_credit_note(state.ledger, id_or_number, _request(body))
    amounts = {
        "net_minor": draft.net_minor,
        "tax_minor": draft.tax_minor,
        "credit_minor": draft.credit_minor,
        "due_minor": draft.net_minor + draft.tax_minor - draft.credit_minor,
    }
    return ExactJSON({**orjson.loads(draft.text(number=None, issue_date=None)), **amounts})


@router.post(
    "/v1/invoices/{id_or_number}/credit-notes",
    **declared(
        "issue_credit_note",
        "bill",
        summary="Credit an invoice, in full or in part",
        tag="billing",
        status=201,
        example=CREDIT_NOTE,
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def issue(
    state: State,
    id_or_number: str,
    body: DocumentBody,
    request: Request,
    actor: Actor,
    idempotency_key: IdempotencyKey = None,
) -> ExactJSON:
    """An invoice or a special invoice (deposit, progress, final, miscellaneous), by id or printed number.
    `lines`: these, each in full, by `quantity` or by `amount` net of tax; `amount`: spread over all lines;
    neither: all that is left, which voids the invoice. Never more than is left of a line. What the invoice
    drew of prepaid credit goes back to it first. Amounts are signed: below zero, the customer owes less."""
    key = None
    if idempotency_key is not None:
        named = answer_key(request.state.api_key.key_id, "credit-notes", idempotency_key)
        key = f"{named.key_id}/{named.idempotency_key}"
    stored, made = issue_credit_note(
        state.ledger,
        id_or_number,
        _request(body),
        Issuing(
            series_prefix=state.settings.credit_note_series,
            actor=actor,
            idempotency_key=key,
            now=state.clock.now(),
        ),
    )
    headers = {} if made else {REPLAYED_HEADER: "true"}
    return ExactJSON(_answer(stored), status_code=201, headers=headers)


@router.get(
    "/v1/credit-notes",
    **declared(
        "list_credit_notes",
        "read",
        summary="Credit notes",
        tag="billing",
        example={"items": [_SUMMARY], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    customer_id: str | None = None,
    invoice_id: str | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Newest issue date first, without their lines."""
    position = read_cursor(cursor, fields=2)
    found = list_credit_notes(
        state.ledger,
        customer_id=customer_id,
        invoice_id=invoice_id,
        limit=limit + 1,
        after=None if position is None else (str(position[0]), str(position[1])),
    )
    items = [asdict(summary) for summary in found]
    answer = page(
        items, limit=limit, position=lambda item: (item["issue_date"].isoformat(), item["credit_note_id"])
    )
    return ExactJSON(answer)


@router.get(
    "/v1/credit-notes/{id_or_number}",
    **declared(
        "get_credit_note",
        "read",
        summary="One credit note, as JSON or PDF",
        tag="billing",
        example=CREDIT_NOTE,
        problems=(404,),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def get_one(state: State, id_or_number: str, request: Request) -> Response:
    """By id or by printed number. `Accept: application/pdf` gives the document."""
    stored = get_credit_note(state.ledger, id_or_number)
    if PDF in request.headers.get("accept", ""):
        return _pdf(state, stored)
    return ExactJSON(_answer(stored))


@router.get(
    "/v1/credit-notes/{id_or_number}/pdf",
    **declared(
        "get_credit_note_pdf",
        "read",
        summary="One credit note as PDF",
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
    """PDF/A-3b; the same credit note gives the same bytes. With the e-invoice inside it is Factur-X and
    ZUGFeRD, of a credit note that states its tax."""
    return _pdf(state, get_credit_note(state.ledger, id_or_number), inside=profile is not None)


def _request(body: bytes) -> CreditNoteRequest:
    return validate_document(CreditNoteRequest, read_document(body), what="the credit note")


def _answer(stored: StoredCreditNote) -> dict[str, Any]:
    """The canonical document with what the ledger knows beside it."""
    document: dict[str, Any] = orjson.loads(stored.text)
    return document | asdict(stored.summary)


def _pdf(state: State, stored: StoredCreditNote, *, inside: bool = False) -> Response:
    note = orjson.loads(stored.text)
    cii = einvoice_xml(electronic_credit_note(note, profile="en16931"), "cii") if inside else b""
    template = credit_note_template(state.ledger, note, now=state.clock.now()).template
    logo = seller_logo(state, note["seller"])
    body = credit_note_pdf(state.printer, stored.text, template, logo=logo, cii=cii)
    headers = {"Content-Disposition": f'inline; filename="{stored.summary.number}.pdf"'}
    return Response(body, media_type=PDF, headers=headers)
