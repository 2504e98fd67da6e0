"""The files of documents that were never sent, for the archive of a year."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Engine, Row

from ingest.errors import Conflict
from invoicing.billing_entity import get_logo
from invoicing.delivery.documents import PDF, XML, DocumentShelf
from invoicing.document import InvoicePrinter
from invoicing.special_invoice_document import special_invoice_pdf
from invoicing.year_archive import Printers


def archive_printers(ledger: Engine, shelf: DocumentShelf, printer: InvoicePrinter) -> Printers:
    """Prints as delivery would. Kinds that it does not print are printed here, and are no e-invoices."""

    def pdf(row: Row[Any], text: str) -> bytes:
        try:
            return shelf.printed(shelf.get(row.document_id), PDF)
        except Conflict:
            logo = (orjson.loads(text)["seller"] or {}).get("logo")
            return special_invoice_pdf(printer, text, get_logo(ledger, logo).content if logo else b"")

    def xml(row: Row[Any], _text: str) -> bytes:
        return shelf.printed(shelf.get(row.document_id), XML)

    return Printers(pdf, xml)
