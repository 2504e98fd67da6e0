"""Month shares held to their lines and to the journal: what of usage over several months is revenue of which.

Documents with such lines are posted again, on paper, from the register and the shares on record, and every
day of the charges with such lines is compared with what the journal has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from sqlalchemy import Connection, or_, select

from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.journal import DOCUMENT_KINDS
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.posting import DocumentLine, PostedDocument, document_entries
from invoicing.posting_rows import RecognisedDays
from invoicing.posting_store import posted_documents, registered_where
from invoicing.recognition import MonthShares
from invoicing.tables import INVOICE_LINES, ISSUED_DOCUMENTS, LINE_MONTH_SHARES

_A_DAY = timedelta(days=1)
_Revenue = dict[tuple[str, str, str], int]
"""(document_id, charge_id, day) -> minor units."""


def check_month_parts(connection: Connection) -> Iterator[str]:
    """What is wrong with month shares, or with the revenue of documents that have lines with some, one
    sentence each. Nothing is read where nobody bills over months."""
    if connection.execute(select(LINE_MONTH_SHARES.c.line_id).limit(1)).first() is None:
        return
    register, lines = ISSUED_DOCUMENTS.c, INVOICE_LINES.c
    shared = select(lines.invoice_id).where(lines.line_id.in_(select(LINE_MONTH_SHARES.c.line_id)))
    noted = select(CREDIT_NOTES.c.credit_note_id).where(CREDIT_NOTES.c.invoice_id.in_(shared))
    chosen = or_(register.document_id.in_(shared), register.document_id.in_(noted))
    for documents in registered_where(connection, chosen):
        posted = list(posted_documents(connection, documents, RecognisedDays()))
        for document in posted:
            yield from _lines(document)
        yield from _journal(connection, posted)


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


def _journal(connection: Connection, documents: Sequence[PostedDocument]) -> Iterator[str]:
    whole = [one for one in documents if _adds_up(one)]
    wanted: _Revenue = defaultdict(int)
    shared = {
        (one.document_id, line.charge_id) for one in whole for line in one.lines if _goes_by_month(one, line)
    }
    for document in whole:
        for entry in document_entries(document):
            for line in entry.lines:
                if line.account == "revenue":
                    key = (document.document_id, line.charge_id, entry.entry_date.isoformat())
                    wanted[key] -= line.amount_minor
    posted = _posted(connection, [one.document_id for one in whole])
    known = {document_id for document_id, _, _ in posted}  # of others all is missing, as is said elsewhere
    for key in sorted({*wanted, *posted}):
        if key[0] in known and key[:2] in shared and wanted.get(key, 0) != posted.get(key, 0):
            yield (
                f"document {key[0]} has {posted.get(key, 0)} minor units of revenue of charge {key[1]!r} on "
                f"{key[2]}; its lines and the months they were used in come to {wanted.get(key, 0)}."
            )


def _goes_by_month(document: PostedDocument, line: DocumentLine) -> bool:
    return bool(document.shares.get(line.line_id))


def _adds_up(document: PostedDocument) -> bool:
    """Whether its months can be worked out."""
    own = [document.shares.get(line.line_id) for line in document.lines]
    return all(sum(share for _, share in shares) for shares in own if shares)


def _posted(connection: Connection, document_ids: Sequence[str]) -> _Revenue:
    entries, lines = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
    statement = (
        select(entries.document_id, lines.charge_id, entries.entry_date, lines.amount_minor)
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(entries.kind.in_((*DOCUMENT_KINDS, "recognition")), lines.account == "revenue")
    )
    found: _Revenue = defaultdict(int)
    for document_id, charge_id, day, amount in select_by_ids(
        connection, statement, entries.document_id, document_ids
    ):
        found[document_id, charge_id, date.fromisoformat(str(day)).isoformat()] -= amount
    return found
