"""Posts what happens in the ledger: documents as they are issued, credit as it is given, lapses or is voided.

Called in the transaction that makes the change, so that neither is there without the other.
``post_missing`` does the same for what was on record before there was a journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, Engine, exists, or_, select

from ingest.ledger import ledger_transaction
from invoicing.accrual_store import release_accruals
from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry
from invoicing.credit_posted import SOLD_BY_INVOICE
from invoicing.credit_posting import POSTED_CREDIT, post_credit
from invoicing.credit_tables import CREDIT_ENTRIES, CREDIT_GRANTS
from invoicing.journal import DOCUMENT_KINDS
from invoicing.journal_store import append_rows, begin_rows, lock_journal
from invoicing.journal_tables import JOURNAL_ENTRIES
from invoicing.payment_allocation import free_credited
from invoicing.posted_documents import posted_documents
from invoicing.posting_rows import RecognisedDays, add_document
from invoicing.register import IssuedDocument
from invoicing.registered import BEFORE_ALL, CONTENT, DOCUMENTS_PER_STEP, Place, registered_after
from invoicing.tables import INVOICE_LINES, ISSUED_DOCUMENTS

OF_DOCUMENTS: Final = (*DOCUMENT_KINDS, "recognition")
"""Kinds of entries that are the posting of a document."""


def post_documents(connection: Connection, documents: Sequence[IssuedDocument], *, now: datetime) -> None:
    """Post documents that were just registered, in the transaction that issues them and after the credit they
    draw and sell is entered. What was accrued of them is taken back, and what payments paid of a
    document that a credit note makes smaller is freed.

    Where a document comes without ``lines``, its text has them, with line_id, charge_id, charge_kind,
    period_start, period_end and amount_minor. Raises BrokenState when a document does not add up.
    """
    rows, days = begin_rows(connection, now=now), RecognisedDays()
    for posted in posted_documents(connection, [(document, now) for document in documents], days):
        add_document(rows, posted, days)
    append_rows(connection, rows)
    issued = [each.document_id for each in documents]
    release_accruals(connection, issued, description="issued", now=now)
    for document in documents:
        if document.kind == "credit_note" and document.refers_to is not None:
            free_credited(connection, [document.refers_to], on=document.issue_date, now=now)


@dataclass(frozen=True, slots=True)
class PostedMissing:
    """How many documents and entries of credit were posted that were not."""

    documents: int
    credit_entries: int


def post_missing(ledger: Engine) -> PostedMissing:
    """Post what is on record and not in the journal, as known when it was issued. Again: nothing more."""
    credit = _post_missing_credit(ledger)
    documents, after = 0, BEFORE_ALL
    while True:
        with ledger_transaction(ledger) as connection:
            lock_journal(connection)
            missing = _missing_documents(connection, after)
            for (issued_at, *_), document in missing:
                post_documents(connection, [document], now=datetime.fromisoformat(issued_at))
            documents += _posted_now(connection, [document.document_id for _, document in missing])
        if len(missing) < DOCUMENTS_PER_STEP:
            return PostedMissing(documents, credit)
        after, _ = missing[-1]


def _posted_now(connection: Connection, document_ids: Sequence[str]) -> int:
    """How many of the documents have entries; lines that take each other's place on one day make none."""
    entries = select(JOURNAL_ENTRIES.c.document_id).where(JOURNAL_ENTRIES.c.kind.in_(OF_DOCUMENTS))
    return len(
        {row[0] for row in select_by_ids(connection, entries, JOURNAL_ENTRIES.c.document_id, document_ids)}
    )


def _missing_documents(connection: Connection, after: Place) -> list[tuple[Place, IssuedDocument]]:
    """The next documents that may have something to post and are not posted, each with its place. after: of
    the last that was looked at."""
    register = ISSUED_DOCUMENTS.c
    # What happens to a document afterwards (payments, write-offs) names it too and does not post it.
    own = JOURNAL_ENTRIES.c.kind.in_(OF_DOCUMENTS)
    posted = exists().where(own, JOURNAL_ENTRIES.c.document_id == register.document_id)
    has_lines = CONTENT.not_like('%"lines":[]%')
    # What comes to nothing posts nothing, unless it moves deposits, or revenue between charges or months.
    comes_to_something = or_(
        register.net_minor != 0,
        register.tax_minor != 0,
        CONTENT.like('%"charge_kind":"deducted_%'),
        exists().where(INVOICE_LINES.c.invoice_id == register.document_id, INVOICE_LINES.c.amount_minor != 0),
    )
    return registered_after(connection, after, [~posted, has_lines, comes_to_something])


def _post_missing_credit(ledger: Engine) -> int:
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        known = set(
            connection.execute(
                select(JOURNAL_ENTRIES.c.entry_id).where(JOURNAL_ENTRIES.c.kind == "credit")
            ).scalars()
        )
        statement = (
            select(CREDIT_ENTRIES, CREDIT_GRANTS)
            .select_from(CREDIT_ENTRIES.join(CREDIT_GRANTS))
            .where(CREDIT_ENTRIES.c.kind.in_(POSTED_CREDIT), CREDIT_ENTRIES.c.cost_minor != 0)
            .order_by(CREDIT_ENTRIES.c.created_at, CREDIT_ENTRIES.c.entry_id)
        )
        count = 0
        for row in connection.execute(statement).mappings().all():
            entry = CreditEntry(
                grant_id=row[CREDIT_ENTRIES.c.grant_id],
                kind=row[CREDIT_ENTRIES.c.kind],
                entry_date=date.fromisoformat(row[CREDIT_ENTRIES.c.entry_date]),
                amount_minor=row[CREDIT_ENTRIES.c.amount_minor],
                cost_minor=row[CREDIT_ENTRIES.c.cost_minor],
                reason=row[CREDIT_ENTRIES.c.reason],
            )
            if f"credit/{entry.grant_id}/{entry.kind}" in known:
                continue
            created_at = datetime.fromisoformat(row[CREDIT_ENTRIES.c.created_at])
            post_credit(connection, [entry], now=created_at)
            count += row[CREDIT_GRANTS.c.origin] not in SOLD_BY_INVOICE or entry.kind != "granted"
    return count
