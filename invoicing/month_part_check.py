"""Month shares held to their lines and to the journal: what of usage over several months is revenue of which.

Documents with such lines are posted once more, on paper, from the register and the shares on record.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Connection, or_, select

from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.journal_postings_check import posting_differences
from invoicing.posted_documents import posted_documents
from invoicing.posting import DocumentLine, PostedDocument
from invoicing.posting_rows import RecognisedDays
from invoicing.recognition import MonthShares
from invoicing.registered import registered_where
from invoicing.tables import INVOICE_LINES, ISSUED_DOCUMENTS, LINE_MONTH_SHARES

_A_DAY = timedelta(days=1)


def check_month_parts(connection: Connection) -> Iterator[str]:
    """What is wrong with month shares, or with the revenue of documents that have lines with some, one
    sentence each. Nothing is read where nobody bills over months."""
    if connection.execute(select(LINE_MONTH_SHARES.c.line_id).limit(1)).first() is None:
        return
    register, lines = ISSUED_DOCUMENTS.c, INVOICE_LINES.c
    shared = select(lines.invoice_id).where(lines.line_id.in_(select(LINE_MONTH_SHARES.c.line_id)))
    noted = select(CREDIT_NOTES.c.credit_note_id).where(CREDIT_NOTES.c.invoice_id.in_(shared))
    chosen = or_(register.document_id.in_(shared), register.document_id.in_(noted))
    for issued in registered_where(connection, chosen):
        posted = posted_documents(connection, issued, RecognisedDays())
        for document in posted:
            yield from _lines(document)
        yield from posting_differences(connection, issued, posted)


def _lines(document: PostedDocument) -> Iterator[str]:
    for line in document.lines:
        shares = document.shares.get(line.line_id)
        if shares and (problem := _problem(line, shares)):
            yield f"line {line.line_id} of document {document.document_id} {problem}."


def _problem(line: DocumentLine, shares: MonthShares) -> str | None:
    last = line.period_end - _A_DAY
    for day, _ in shares:
        if not line.period_start <= day <= last:
            return f"has a share of {day}, outside its period of {line.period_start} to {last}"
        if day != last and (day + _A_DAY).day != 1:
            return f"has a share of {day}, which is neither the last of a month nor of its period"
    if sum(share for _, share in shares) == 0:
        return "has month shares that come to nothing, so its amount is of no month"
    return None
