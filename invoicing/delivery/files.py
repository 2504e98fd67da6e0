"""What makes the files of issued documents: PDF for people, XML for the e-invoice network."""

from __future__ import annotations

import orjson
from sqlalchemy import Engine

from invoicing.billing_entity import get_logo
from invoicing.credit_note_document import credit_note_pdf
from invoicing.delivery.documents import CREDIT_NOTE, PDF, XML, Document, DocumentShelf
from invoicing.document import InvoicePrinter
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.einvoice_model import EInvoice, Profile
from invoicing.einvoice_special import electronic_special_invoice
from invoicing.invoice import parse_invoice
from invoicing.special_invoice import TYPE_CODE
from invoicing.special_invoice_document import special_invoice_pdf
from invoicing.template_store import credit_note_template, invoice_template


def document_shelf(ledger: Engine, printer: InvoicePrinter, *, profile: Profile) -> DocumentShelf:
    """The shelf of everything that is issued. profile: of e-invoices, which are UBL."""

    def pdf(document: Document) -> bytes:
        named = document.seller.get("logo")
        logo = get_logo(ledger, named).content if named else b""
        if _takes_back(document):
            note = orjson.loads(document.text)
            template = credit_note_template(ledger, note, now=document.issued_at).template
            return credit_note_pdf(printer, document.text, template, logo=logo)
        invoice = parse_invoice(document.text)
        template = invoice_template(ledger, invoice, now=document.issued_at).template
        if document.kind in TYPE_CODE:
            return special_invoice_pdf(printer, document.text, template, logo=logo)
        return printer.pdf(invoice, template, logo=logo)

    def xml(document: Document) -> bytes:
        return einvoice_xml(_electronic(document, profile), "ubl")

    return DocumentShelf(ledger, {PDF: pdf, XML: xml})


def _electronic(document: Document, profile: Profile) -> EInvoice:
    if _takes_back(document):
        return electronic_credit_note(orjson.loads(document.text), profile=profile)
    if document.kind in TYPE_CODE:
        return electronic_special_invoice(document.text, profile=profile)
    return electronic_invoice(parse_invoice(document.text), profile=profile)


def _takes_back(document: Document) -> bool:
    """Whether it is a credit note of an invoice; a bill below zero is a credit note with a bill's text."""
    return document.kind == CREDIT_NOTE and bool(document.credits_number)
