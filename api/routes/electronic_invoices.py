"""Issued invoices, special ones too, and credit notes as e-invoices (EN 16931): the XML, and is it right."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Response

from api.customer_key import Sees
from api.json import ExactJSON
from api.routing import State, declared
from api.state import Ratemill
from invoicing.credit_note_store import get_credit_note
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.einvoice_model import EInvoice, Profile, Syntax
from invoicing.einvoice_special import electronic_special_invoice
from invoicing.special_invoice_store import get_special_invoice
from invoicing.store import get_invoice

router = APIRouter()

XML: Final = "application/xml"
_XML_EXAMPLE: Final = {XML: "<?xml version='1.0' encoding='UTF-8'?> ..."}
_ISSUE: Final = {
    "check": "rules",
    "rule": "BR-CO-16",
    "message": "Amount due for payment (BT-115) = ...",
    "location": "/Invoice/LegalMonetaryTotal",
    "is_error": True,
}
CHECKED_EXAMPLE: Final[dict[str, Any]] = {
    "number": "INV-2013-000001",
    "profile": "en16931",
    "syntax": "ubl",
    "valid": True,
    "checks": {"schema": "run", "arithmetic": "run", "rules": "run"},
    "findings": [_ISSUE],
}

ProfileOf = Annotated[
    Profile, Query(description="en16931, or what a network asks on top: peppol, xrechnung.")
]
SyntaxOf = Annotated[Syntax, Query(description="ubl or cii.")]


def _xml(
    operation_id: str, summary: str, *, problems: tuple[int, ...] = (404, 422), sees: Sees | None = None
) -> dict[str, Any]:
    return declared(
        operation_id,
        "read",
        sees=sees,
        summary=summary,
        tag="billing",
        problems=problems,
        media=_XML_EXAMPLE,
    )


def _check(operation_id: str, summary: str, *, problems: tuple[int, ...] = (404, 422)) -> dict[str, Any]:
    return declared(
        operation_id,
        "read",
        summary=summary,
        tag="billing",
        example=CHECKED_EXAMPLE,
        problems=problems,
    )


@router.get(
    "/v1/invoices/{id_or_number}/ubl",
    **_xml(
        "get_invoice_ubl", "One issued invoice as UBL 2.1", problems=(404, 409, 422), sees="issued_invoice"
    ),
)
def get_invoice_ubl(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in UBL. The same invoice gives the same bytes. 422 names all that the e-invoice would lack."""
    return _xml_answer(_invoice(state, id_or_number, profile), "ubl")


@router.get(
    "/v1/invoices/{id_or_number}/cii",
    **_xml(
        "get_invoice_cii",
        "One issued invoice as UN/CEFACT CII",
        problems=(404, 409, 422),
        sees="issued_invoice",
    ),
)
def get_invoice_cii(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in Cross Industry Invoice, as Factur-X and ZUGFeRD carry it. Peppol takes none."""
    return _xml_answer(_invoice(state, id_or_number, profile), "cii")


@router.get(
    "/v1/invoices/{id_or_number}/einvoice-check",
    **_check("check_einvoice", "Check one issued invoice as an e-invoice", problems=(404, 409, 422)),
)
def check_einvoice(
    state: State, id_or_number: str, syntax: SyntaxOf = "ubl", profile: ProfileOf = "en16931"
) -> ExactJSON:
    """By its XML schema, by the arithmetic of its lines and by the official EN 16931 rules. `checks` says
    which of these ran; without the extra `einvoice` the official rules do not."""
    return _checked(state, _invoice(state, id_or_number, profile), syntax)


@router.get(
    "/v1/credit-notes/{id_or_number}/ubl",
    **_xml("get_credit_note_ubl", "One issued credit note as UBL 2.1"),
)
def get_credit_note_ubl(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in UBL. The same credit note gives the same bytes. 422 names all that it would lack."""
    return _xml_answer(_credit_note(state, id_or_number, profile), "ubl")


@router.get(
    "/v1/credit-notes/{id_or_number}/cii",
    **_xml("get_credit_note_cii", "One issued credit note as UN/CEFACT CII"),
)
def get_credit_note_cii(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in Cross Industry Invoice, as Factur-X and ZUGFeRD carry it. Peppol takes none."""
    return _xml_answer(_credit_note(state, id_or_number, profile), "cii")


@router.get(
    "/v1/credit-notes/{id_or_number}/einvoice-check",
    **_check("check_credit_note", "Check one issued credit note as an e-invoice"),
)
def check_credit_note(
    state: State, id_or_number: str, syntax: SyntaxOf = "ubl", profile: ProfileOf = "en16931"
) -> ExactJSON:
    """By its XML schema, by the arithmetic of its lines and by the official EN 16931 rules. `checks` says
    which of these ran; without the extra `einvoice` the official rules do not."""
    return _checked(state, _credit_note(state, id_or_number, profile), syntax)


@router.get(
    "/v1/special-invoices/{id_or_number}/ubl",
    **_xml("get_special_invoice_ubl", "One special invoice as UBL 2.1"),
)
def get_special_invoice_ubl(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in UBL: type 386, 326 or 380. A final invoice states the whole, and what it deducts as paid
    before (BT-113), each document by its number (BT-25)."""
    return _xml_answer(_special_invoice(state, id_or_number, profile), "ubl")


@router.get(
    "/v1/special-invoices/{id_or_number}/cii",
    **_xml("get_special_invoice_cii", "One special invoice as UN/CEFACT CII"),
)
def get_special_invoice_cii(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in Cross Industry Invoice, as Factur-X and ZUGFeRD carry it. Peppol takes none."""
    return _xml_answer(_special_invoice(state, id_or_number, profile), "cii")


@router.get(
    "/v1/special-invoices/{id_or_number}/einvoice-check",
    **_check("check_special_invoice", "Check one special invoice as an e-invoice"),
)
def check_special_invoice(
    state: State, id_or_number: str, syntax: SyntaxOf = "ubl", profile: ProfileOf = "en16931"
) -> ExactJSON:
    """By its XML schema, by the arithmetic of its lines and by the official EN 16931 rules. `checks` says
    which of these ran; without the extra `einvoice` the official rules do not."""
    return _checked(state, _special_invoice(state, id_or_number, profile), syntax)


def _invoice(state: Ratemill, id_or_number: str, profile: Profile) -> EInvoice:
    return electronic_invoice(get_invoice(state.ledger, id_or_number).invoice, profile=profile)


def _credit_note(state: Ratemill, id_or_number: str, profile: Profile) -> EInvoice:
    note = orjson.loads(get_credit_note(state.ledger, id_or_number).text)
    return electronic_credit_note(note, profile=profile)


def _special_invoice(state: Ratemill, id_or_number: str, profile: Profile) -> EInvoice:
    return electronic_special_invoice(get_special_invoice(state.ledger, id_or_number).text, profile=profile)


def _checked(state: Ratemill, document: EInvoice, syntax: Syntax) -> ExactJSON:
    found = asdict(state.einvoices.check(einvoice_xml(document, syntax)))
    return ExactJSON({"number": document.number, "profile": document.profile, **found})


def _xml_answer(document: EInvoice, syntax: Syntax) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{document.number}-{syntax}.xml"'}
    return Response(einvoice_xml(document, syntax), media_type=XML, headers=headers)
