"""The files of documents that were never sent, for the archive of a year."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from invoicing.delivery.documents import PDF, XML, DocumentShelf
from invoicing.year_archive import Printers


def archive_printers(shelf: DocumentShelf) -> Printers:
    """Prints as delivery would."""

    def pdf(row: Row[Any], _text: str) -> bytes:
        return shelf.printed(shelf.get(row.document_id), PDF)

    def xml(row: Row[Any], _text: str) -> bytes:
        return shelf.printed(shelf.get(row.document_id), XML)

    return Printers(pdf, xml)
