"""Issued documents as their posting sees them: with what they did to credit and the months of their lines.

The same when they are issued, when the journal is filled afterwards, and when somebody proves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import orjson
from sqlalchemy import Connection, select

from invoicing.credit_given_for import for_own_lines
from invoicing.credit_posted import credit_sold, credit_taken_back, credit_used
from invoicing.discounted_months import discounted_months
from invoicing.month_share_store import shares_of_lines
from invoicing.posting import DocumentLine, PostedDocument, document_lines
from invoicing.posting_rows import RecognisedDays
from invoicing.recognition import CORRECTION_KIND
from invoicing.register import IssuedDocument
from invoicing.registered import Registered, registered_documents
from invoicing.revenue_kind import adjusted_kinds, with_adjusted_kinds, with_corrected_kinds
from invoicing.tables import INVOICES


def posted_documents(
    connection: Connection, issued: Sequence[Registered], days: RecognisedDays
) -> list[PostedDocument]:
    """Documents on the register, in their order. Where one comes without ``lines``, its text has them."""
    plain = list(_as_written(connection, issued, days))

    def load(document_ids: Sequence[str]) -> Iterator[PostedDocument]:
        return _as_written(connection, registered_documents(connection, document_ids), days)

    moved = discounted_months(connection, plain, load)
    return [replace(one, shares={**one.shares, **moved}) for one in plain] if moved else plain


def _as_written(
    connection: Connection, issued: Sequence[Registered], days: RecognisedDays
) -> Iterator[PostedDocument]:
    """The same with the month shares that are written with their lines."""
    documents = [document for document, _ in issued]
    lines = _posted_lines(connection, documents)
    used = credit_used(connection, [each.document_id for each in documents if each.credit_minor])
    notes = {each.document_id for each in documents if each.refers_to is not None}
    for each in documents:
        if each.credit_minor < 0 and each.document_id not in notes and each.document_id in used:
            used[each.document_id] = for_own_lines(connection, each.text, used[each.document_id])
    sold = credit_sold(connection, (each for key, each in lines.items() if key not in notes))
    shares = shares_of_lines(connection, chain.from_iterable(lines.values()), days)
    for document, issued_at in issued:
        own, is_note = lines[document.document_id], document.document_id in notes
        yield PostedDocument(
            document_id=document.document_id,
            kind="credit_note" if document.kind == "credit_note" else "invoice",
            corrects=is_note,
            customer_id=document.customer_id,
            contract_id=document.contract_id or "",
            currency=document.currency,
            issue_date=document.issue_date,
            net_minor=document.net_minor,
            tax_minor=document.tax_minor,
            credit_minor=document.credit_minor,
            lines=own,
            used=used.get(document.document_id, ()),
            sold={} if is_note else sold,
            shares=shares,
            taken_back=credit_taken_back(connection, document, own, known_by=issued_at) if is_note else {},
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
