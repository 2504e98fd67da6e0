"""Posts what happens in the ledger: documents as they are issued, credit as it is given, lapses or is voided.

Called in the transaction that makes the change, so that neither is there without the other.
``post_missing`` does the same for what was on record before there was a journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import chain
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Engine, exists, func, or_, select, tuple_

from ingest.ledger import ledger_transaction
from invoicing.accrual_store import release_accruals
from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry
from invoicing.credit_given_for import for_own_lines
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.credit_posted import SOLD_BY_INVOICE, credit_sold, credit_taken_back, credit_used
from invoicing.credit_posting import POSTED_CREDIT, post_credit
from invoicing.credit_tables import CREDIT_ENTRIES, CREDIT_GRANTS
from invoicing.discounted_months import discounted_months
from invoicing.journal import DOCUMENT_KINDS
from invoicing.journal_store import append_rows, begin_rows, lock_journal
from invoicing.journal_tables import JOURNAL_ENTRIES
from invoicing.month_share_store import shares_of_lines
from invoicing.payment_allocation import free_credited
from invoicing.posting import DocumentLine, PostedDocument, document_lines
from invoicing.posting_rows import RecognisedDays, add_document
from invoicing.recognition import CORRECTION_KIND
from invoicing.register import IssuedDocument
from invoicing.revenue_kind import adjusted_kinds, with_adjusted_kinds, with_corrected_kinds
from invoicing.special_invoice_tables import SPECIAL_INVOICES
from invoicing.tables import INVOICE_LINES, INVOICES, ISSUED_DOCUMENTS

_DOCUMENTS_PER_STEP: Final = 2_000
_OF_DOCUMENTS: Final = (*DOCUMENT_KINDS, "recognition")
"""Kinds of entries that are the posting of a document."""
_CONTENT: Final = func.coalesce(
    INVOICES.c.document, CREDIT_NOTES.c.document, SPECIAL_INVOICES.c.document
).label("document")
_Place = tuple[str, str, int]
"""When a document was issued, its series and its number: in this order they are posted."""


def post_documents(connection: Connection, documents: Sequence[IssuedDocument], *, now: datetime) -> None:
    """Post documents that were just registered, in the transaction that issues them and after the credit they
    draw and sell is entered. What was accrued of them is taken back, and what payments paid of a
    document that a credit note makes smaller is freed.

    Where a document comes without ``lines``, its text has them, with line_id, charge_id, charge_kind,
    period_start, period_end and amount_minor. Raises BrokenState when a document does not add up.
    """
    rows, days = begin_rows(connection, now=now), RecognisedDays()
    for posted in posted_documents(connection, documents, days):
        add_document(rows, posted, days)
    append_rows(connection, rows)
    issued = [each.document_id for each in documents]
    release_accruals(connection, issued, description="issued", now=now)
    for document in documents:
        if document.kind == "credit_note" and document.refers_to is not None:
            free_credited(connection, [document.refers_to], on=document.issue_date, now=now)


def posted_documents(
    connection: Connection, documents: Sequence[IssuedDocument], days: RecognisedDays
) -> Iterator[PostedDocument]:
    """Documents on the register as posting sees them, in their order."""
    plain = list(_as_written(connection, documents, days))

    def load(document_ids: Sequence[str]) -> Iterator[PostedDocument]:
        for start in range(0, len(document_ids), _DOCUMENTS_PER_STEP):
            some = document_ids[start : start + _DOCUMENTS_PER_STEP]
            for found in registered_where(connection, ISSUED_DOCUMENTS.c.document_id.in_(some)):
                yield from _as_written(connection, found, days)

    moved = discounted_months(connection, plain, load)
    for document in plain:
        yield replace(document, shares={**document.shares, **moved}) if moved else document


def _as_written(
    connection: Connection, documents: Sequence[IssuedDocument], days: RecognisedDays
) -> Iterator[PostedDocument]:
    """The same with the month shares that are written with their lines."""
    lines = _posted_lines(connection, documents)
    used = credit_used(connection, [each.document_id for each in documents if each.credit_minor])
    notes = {each.document_id for each in documents if each.refers_to is not None}
    for each in documents:
        if each.credit_minor < 0 and each.document_id not in notes and each.document_id in used:
            used[each.document_id] = for_own_lines(connection, each.text, used[each.document_id])
    sold = credit_sold(connection, (each for key, each in lines.items() if key not in notes))
    shares = shares_of_lines(connection, chain.from_iterable(lines.values()), days)
    for document in documents:
        yield PostedDocument(
            document_id=document.document_id,
            kind="credit_note" if document.kind == "credit_note" else "invoice",
            corrects=document.document_id in notes,
            customer_id=document.customer_id,
            contract_id=document.contract_id or "",
            currency=document.currency,
            issue_date=document.issue_date,
            net_minor=document.net_minor,
            tax_minor=document.tax_minor,
            credit_minor=document.credit_minor,
            lines=lines[document.document_id],
            used=used.get(document.document_id, ()),
            # The lines of a credit note have the ids of those it takes back.
            sold={} if document.document_id in notes else sold,
            shares=shares,
            taken_back=(
                credit_taken_back(connection, document, lines[document.document_id])
                if document.document_id in notes
                else {}
            ),
        )


def _posted_lines(
    connection: Connection, documents: Sequence[IssuedDocument]
) -> dict[str, Sequence[DocumentLine]]:
    """The lines of each document, with the kinds that say when they are revenue."""
    found = {
        each.document_id: _lines_of(each.text) if each.lines is None else each.lines for each in documents
    }
    kinds = adjusted_kinds(connection, chain.from_iterable(found.values()))
    for document in documents:
        lines = with_adjusted_kinds(found[document.document_id], kinds)
        if document.lines is None:  # what a run issues at once nobody has corrected
            lines = _as_corrected(connection, document, lines)
        found[document.document_id] = lines
    return found


def _as_corrected(
    connection: Connection, document: IssuedDocument, lines: Sequence[DocumentLine]
) -> Sequence[DocumentLine]:
    """The lines, corrections with the kind of what they correct. That is on the same invoice, so of a credit
    note it is found where only the correction is credited."""
    if not any(line.charge_kind == CORRECTION_KIND for line in lines):
        return lines
    beside = lines
    if document.refers_to is not None:
        text = select(INVOICES.c.document).where(INVOICES.c.invoice_id == document.refers_to)
        invoiced = _lines_of(connection.execute(text).scalar_one())
        beside = with_adjusted_kinds(invoiced, adjusted_kinds(connection, invoiced))
    return with_corrected_kinds(lines, beside)


def _lines_of(text: str) -> list[DocumentLine]:
    return document_lines(orjson.loads(text))


@dataclass(frozen=True, slots=True)
class PostedMissing:
    """How many documents and entries of credit were posted that were not."""

    documents: int
    credit_entries: int


def post_missing(ledger: Engine) -> PostedMissing:
    """Post what is on record and not in the journal, as known when it was issued. Again: nothing more."""
    credit = _post_missing_credit(ledger)
    documents, after = 0, ("", "", 0)
    while True:
        with ledger_transaction(ledger) as connection:
            lock_journal(connection)
            missing = _missing_documents(connection, after)
            for (issued_at, *_), document in missing:
                post_documents(connection, [document], now=datetime.fromisoformat(issued_at))
            documents += _posted_now(connection, [document.document_id for _, document in missing])
        if len(missing) < _DOCUMENTS_PER_STEP:
            return PostedMissing(documents, credit)
        after, _ = missing[-1]


def _posted_now(connection: Connection, document_ids: Sequence[str]) -> int:
    """How many of the documents have entries; lines that take each other's place on one day make none."""
    entries = select(JOURNAL_ENTRIES.c.document_id).where(JOURNAL_ENTRIES.c.kind.in_(_OF_DOCUMENTS))
    return len(
        {row[0] for row in select_by_ids(connection, entries, JOURNAL_ENTRIES.c.document_id, document_ids)}
    )


def _missing_documents(connection: Connection, after: _Place) -> list[tuple[_Place, IssuedDocument]]:
    """The next documents that may have something to post and are not posted, each with its place. after: of
    the last that was looked at."""
    register = ISSUED_DOCUMENTS.c
    # What happens to a document afterwards (payments, write-offs) names it too and does not post it.
    own = JOURNAL_ENTRIES.c.kind.in_(_OF_DOCUMENTS)
    posted = exists().where(own, JOURNAL_ENTRIES.c.document_id == register.document_id)
    has_lines = _CONTENT.not_like('%"lines":[]%')
    # What comes to nothing posts nothing, unless it moves deposits, or revenue between charges or months.
    comes_to_something = or_(
        register.net_minor != 0,
        register.tax_minor != 0,
        _CONTENT.like('%"charge_kind":"deducted_%'),
        exists().where(INVOICE_LINES.c.invoice_id == register.document_id, INVOICE_LINES.c.amount_minor != 0),
    )
    return _registered_after(connection, after, [~posted, has_lines, comes_to_something])


def registered_where(
    connection: Connection, chosen: ColumnElement[bool]
) -> Iterator[Sequence[IssuedDocument]]:
    """The documents on the register of which ``chosen`` holds, a number of them at a time."""
    after: _Place = ("", "", 0)
    while found := _registered_after(connection, after, [chosen]):
        yield [document for _, document in found]
        after, _ = found[-1]


def _registered_after(
    connection: Connection, after: _Place, conditions: Sequence[ColumnElement[bool]]
) -> list[tuple[_Place, IssuedDocument]]:
    register = ISSUED_DOCUMENTS.c
    place = (register.issued_at, register.series, register.number)
    with_content = (
        ISSUED_DOCUMENTS.outerjoin(INVOICES, INVOICES.c.invoice_id == register.document_id)
        .outerjoin(CREDIT_NOTES, CREDIT_NOTES.c.credit_note_id == register.document_id)
        .outerjoin(SPECIAL_INVOICES, SPECIAL_INVOICES.c.document_id == register.document_id)
    )
    statement = (
        select(ISSUED_DOCUMENTS, _CONTENT)
        .select_from(with_content)
        .where(*conditions, tuple_(*place) > tuple_(*after))
        .order_by(*place)
        .limit(_DOCUMENTS_PER_STEP)
    )
    return [
        ((row.issued_at, row.series, row.number), _registered(row)) for row in connection.execute(statement)
    ]


def _registered(row: Any) -> IssuedDocument:
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
