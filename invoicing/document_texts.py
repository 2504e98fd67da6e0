"""The canonical texts of issued documents, wherever their kind is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from ingest.errors import BrokenState
from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.special_invoice_tables import SPECIAL_INVOICES
from invoicing.tables import INVOICES

KEPT_IN: Final = (
    (INVOICES.c.invoice_id, INVOICES.c.document),
    (CREDIT_NOTES.c.credit_note_id, CREDIT_NOTES.c.document),
    (SPECIAL_INVOICES.c.document_id, SPECIAL_INVOICES.c.document),
)
"""Key and text of every table that keeps documents; a document is in one of them."""


def document_texts(connection: Connection, document_ids: Sequence[str]) -> dict[str, str]:
    """The text of each of these documents of the register. Raises BrokenState when one has none."""
    found: dict[str, str] = {}
    for key, text in KEPT_IN:
        missing = [document_id for document_id in document_ids if document_id not in found]
        if not missing:
            break
        found.update((row[0], row[1]) for row in select_by_ids(connection, select(key, text), key, missing))
    lost = next((document_id for document_id in document_ids if document_id not in found), None)
    if lost is not None:
        raise text_gone(lost)
    return found


def text_gone(document_id: str) -> BrokenState:
    """What to raise for a document of the register whose text is not there."""
    return BrokenState(
        f"document {document_id} is in the register and its text is gone. `ratemill audit verify` says what "
        "else is wrong."
    )
