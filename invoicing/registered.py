"""Documents on the register with what they say, to post them, prove the journal or report by day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.document_texts import text_gone
from invoicing.register import IssuedDocument
from invoicing.special_invoice_tables import SPECIAL_INVOICES
from invoicing.tables import INVOICES, ISSUED_DOCUMENTS

DOCUMENTS_PER_STEP: Final = 2_000
CONTENT: Final = func.coalesce(
    INVOICES.c.document, CREDIT_NOTES.c.document, SPECIAL_INVOICES.c.document
).label("document")
"""The text of a document in ``registered_after``."""
Place = tuple[str, str, int]
"""When a document was issued, its series and its number: in this order they are posted."""
BEFORE_ALL: Final[Place] = ("", "", 0)
Registered = tuple[IssuedDocument, datetime]
"""A document and when it was issued."""


def registered_where(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[list[Registered]]:
    """The documents of which the conditions hold, in the order of posting, some thousands at a time.
    Raises BrokenState for one whose text is gone."""
    after = BEFORE_ALL
    while found := registered_after(connection, after, conditions):
        yield [(document, datetime.fromisoformat(place[0])) for place, document in found]
        after, _ = found[-1]


def registered_documents(connection: Connection, document_ids: Sequence[str]) -> list[Registered]:
    """Those of the documents that are on the register. Raises as ``registered_where``."""
    found: list[Registered] = []
    for start in range(0, len(document_ids), DOCUMENTS_PER_STEP):
        some = document_ids[start : start + DOCUMENTS_PER_STEP]
        for block in registered_where(connection, ISSUED_DOCUMENTS.c.document_id.in_(some)):
            found += block
    return found


def registered_after(
    connection: Connection, after: Place, conditions: Sequence[ColumnElement[bool]]
) -> list[tuple[Place, IssuedDocument]]:
    """The next ``DOCUMENTS_PER_STEP`` behind a place of which the conditions hold, each with its place."""
    register = ISSUED_DOCUMENTS.c
    place = (register.issued_at, register.series, register.number)
    with_content = (
        ISSUED_DOCUMENTS.outerjoin(INVOICES, INVOICES.c.invoice_id == register.document_id)
        .outerjoin(CREDIT_NOTES, CREDIT_NOTES.c.credit_note_id == register.document_id)
        .outerjoin(SPECIAL_INVOICES, SPECIAL_INVOICES.c.document_id == register.document_id)
    )
    statement = (
        select(ISSUED_DOCUMENTS, CONTENT)
        .select_from(with_content)
        .where(*conditions, tuple_(*place) > tuple_(*after))
        .order_by(*place)
        .limit(DOCUMENTS_PER_STEP)
    )
    return [
        ((row.issued_at, row.series, row.number), _registered(row)) for row in connection.execute(statement)
    ]


def _registered(row: Any) -> IssuedDocument:
    if row.document is None:
        raise text_gone(row.document_id)
    return IssuedDocument(
        document_id=row.document_id,
        kind=row.kind,
        entity_id=row.entity_id,
        number=row.number,
        customer_id=row.customer_id,
        contract_id=row.contract_id,
        currency=row.currency,
        issue_date=date.fromisoformat(row.issue_date),
        due_date=None if row.due_date is None else date.fromisoformat(row.due_date),
        net_minor=row.net_minor,
        tax_minor=row.tax_minor,
        credit_minor=row.credit_minor,
        refers_to=row.refers_to,
        document_hash=row.document_hash,
        text=row.document,
    )
