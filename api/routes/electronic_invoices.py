"""Issued invoices as e-invoices (EN 16931): the XML, and whether it is right."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from api.json import ExactJSON
from api.routing import State, declared
from api.state import Ratemill
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.einvoice_model import Profile, Syntax
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


@router.get(
    "/v1/invoices/{id_or_number}/ubl",
    **declared(
        "get_invoice_ubl",
        "read",
        sees="issued_invoice",
        summary="One issued invoice as UBL 2.1",
        tag="billing",
        problems=(404, 409, 422),
        media=_XML_EXAMPLE,
    ),
)
def get_ubl(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in UBL. The same invoice gives the same bytes. 422 names all that the e-invoice would lack."""
    return _xml_answer(state, id_or_number, profile, "ubl")


@router.get(
    "/v1/invoices/{id_or_number}/cii",
    **declared(
        "get_invoice_cii",
        "read",
        sees="issued_invoice",
        summary="One issued invoice as UN/CEFACT CII",
        tag="billing",
        problems=(404, 409, 422),
        media=_XML_EXAMPLE,
    ),
)
def get_cii(state: State, id_or_number: str, profile: ProfileOf = "en16931") -> Response:
    """EN 16931 in Cross Industry Invoice, as Factur-X and ZUGFeRD carry it. Peppol takes none."""
    return _xml_answer(state, id_or_number, profile, "cii")


@router.get(
    "/v1/invoices/{id_or_number}/einvoice-check",
    **declared(
        "check_einvoice",
        "read",
        summary="Check one issued invoice as an e-invoice",
        tag="billing",
        example=CHECKED_EXAMPLE,
        problems=(404, 409, 422),
    ),
)
def check(
    state: State, id_or_number: str, syntax: SyntaxOf = "ubl", profile: ProfileOf = "en16931"
) -> ExactJSON:
    """By its XML schema, by the arithmetic of its lines and by the official EN 16931 rules. `checks` says
    which of these ran; without the extra `einvoice` the official rules do not."""
    number, xml = _xml(state, id_or_number, profile, syntax)
    found = asdict(state.einvoices.check(xml))
    return ExactJSON({"number": number, "profile": profile, **found})


def _xml(state: Ratemill, id_or_number: str, profile: Profile, syntax: Syntax) -> tuple[str, bytes]:
    document = electronic_invoice(get_invoice(state.ledger, id_or_number).invoice, profile=profile)
    return document.number, einvoice_xml(document, syntax)


def _xml_answer(state: Ratemill, id_or_number: str, profile: Profile, syntax: Syntax) -> Response:
    number, xml = _xml(state, id_or_number, profile, syntax)
    headers = {"Content-Disposition": f'inline; filename="{number}-{syntax}.xml"'}
    return Response(xml, media_type=XML, headers=headers)
