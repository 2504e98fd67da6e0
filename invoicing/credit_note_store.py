"""Credit notes in the ledger: previewed, issued, listed. One transaction draws the number, gives prepaid
credit back, writes the credit note and enters it in the register; nobody else credits the invoice meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, insert, or_, select

from ingest.document import canonical_json
from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.credit_give_back import put_back_by_bills, returned_by_bills
from invoicing.credit_note import CreditNoteDraft, CreditNoteRequest, draft_credit_note
from invoicing.credit_note_tables import CREDIT_NOTES, credit_notes_of
from invoicing.credit_past import drawn_and_returned
from invoicing.credit_return import return_credit
from invoicing.credit_store import sold_grants
from invoicing.creditable import (
    Creditable,
    find_creditable,
    given_back_of_creditable,
    lock_creditable,
    refuse_uncreditable,
)
from invoicing.invoice import invoice_hash
from invoicing.issue_documents import issue_documents
from invoicing.number import draw_for, issue_day, latest_day, number_text, split_number
from invoicing.numbering import load_prefixes
from invoicing.register import IssuedDocument, Issuer
from invoicing.tables import ISSUED_DOCUMENTS
from rollup.period import find_time_zone

_SUMMARY = [column for column in CREDIT_NOTES.columns if column.name != "document"]


@dataclass(frozen=True, slots=True)
class CreditNoteSummary:
    """A credit note without its lines. ``number`` as printed. Amounts in minor units, at or below zero;
    ``due_minor`` is by how much the customer owes less: all but what went back to prepaid credit."""

    credit_note_id: str
    number: str
    invoice_id: str
    customer_id: str
    issue_date: date
    currency: str
    net_minor: int
    tax_minor: int
    credit_minor: int
    due_minor: int
    voids: bool
    reason: str
    document_hash: str


@dataclass(frozen=True, slots=True)
class StoredCreditNote:
    """A credit note in full; ``text`` is the canonical document exactly as it was written."""

    summary: CreditNoteSummary
    text: str


@dataclass(frozen=True, slots=True)
class Issuing:
    """How a credit note is issued: ``series_prefix`` before the year, ``actor`` as in the audit trail.
    idempotency_key: a word of the caller's own that no other credit note may have; None: none."""

    series_prefix: str
    actor: str
    idempotency_key: str | None
    now: datetime


def preview_credit_note(ledger: Engine, id_or_number: str, request: CreditNoteRequest) -> CreditNoteDraft:
    """What issuing it would write. Raises NotFound, InvalidInput, Conflict as ``issue_credit_note``."""
    invoice = find_creditable(ledger, id_or_number)
    with ledger.connect() as connection:
        return _draft(connection, invoice, request)


def issue_credit_note(
    ledger: Engine, id_or_number: str, request: CreditNoteRequest, issuing: Issuing
) -> tuple[StoredCreditNote, bool]:
    """Take back of an issued invoice what is asked for; True when it was issued now, False when this very
    request with its idempotency key was carried out before.

    Raises NotFound; InvalidInput for what cannot be credited or a date outside [invoice's, today]; Conflict
    for a draft, for what a final invoice deducts, for credit that a line sold and that is not voided, for a
    date before the last number's, and for an idempotency key that came with another request.
    """
    invoice = find_creditable(ledger, id_or_number)
    wanted = f"{invoice.document_id}\n{canonical_json(request)}"
    request_hash = hashlib.sha256(wanted.encode()).hexdigest()
    asked = _issue_date(invoice, request, issuing.now)
    with ledger_transaction(ledger) as connection:
        lock_creditable(connection, invoice)
        known = _known(connection, issuing.idempotency_key, request_hash)
        if known is not None:
            return known, False
        draft = _draft(connection, invoice, request)
        prefixes = load_prefixes(connection, invoice=issuing.series_prefix, credit_note=issuing.series_prefix)
        registered = select(ISSUED_DOCUMENTS.c.entity_id)
        of_invoice = registered.where(ISSUED_DOCUMENTS.c.document_id == invoice.document_id)
        entity_id = connection.execute(of_invoice).scalar_one()
        prefix = prefixes.of("credit_note", entity_id)
        issue_date = asked
        if request.dated_on is None:
            issue_date = issue_day(connection, prefix=prefix, today=asked, now=issuing.now)
        drawn = draw_for(connection, prefix=prefix, issue_date=issue_date, count=1)
        return_credit(
            connection,
            draft.returned,
            put_back=draft.put_back,
            customer_id=invoice.customer_id,
            invoice_id=invoice.document_id,
            credit_note_id=draft.credit_note_id,
            line_ids={line["line_id"] for line in draft.document["lines"]},
            issue_date=issue_date,
            now=issuing.now,
        )
        text = draft.text(number=drawn.text(0), issue_date=issue_date)
        values = {
            "credit_note_id": draft.credit_note_id,
            "invoice_id": invoice.document_id,
            "customer_id": invoice.customer_id,
            "series": drawn.series,
            "number": drawn.first,
            "issue_date": issue_date.isoformat(),
            "currency": invoice.currency,
            "net_minor": draft.net_minor,
            "tax_minor": draft.tax_minor,
            "credit_minor": draft.credit_minor,
            "voids": draft.voids,
            "reason": draft.document["reason"],
            "idempotency_key": issuing.idempotency_key,
            "request_hash": request_hash,
            "document": text,
            "document_hash": invoice_hash(text),
        }
        connection.execute(insert(CREDIT_NOTES).values(**values))
        document = _registered(invoice, draft, text, entity_id, drawn.first, issue_date)
        issuer = Issuer(issuing.actor, draft.document["reason"], issuing.now, was_draft=False)
        issue_documents(connection, drawn, [document], issuer)
    return get_credit_note(ledger, draft.credit_note_id), True


def get_credit_note(ledger: Engine, id_or_number: str) -> StoredCreditNote:
    """One credit note by its id or its printed number (``CN-2025-000001``). Raises NotFound."""
    condition: ColumnElement[bool] = CREDIT_NOTES.c.credit_note_id == id_or_number
    split = split_number(id_or_number)
    if split is not None:
        numbered = and_(CREDIT_NOTES.c.series == split[0], CREDIT_NOTES.c.number == split[1])
        condition = or_(condition, numbered)
    with ledger.connect() as connection:
        row = connection.execute(select(CREDIT_NOTES).where(condition)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no credit note {id_or_number!r}. `ratemill credit-note list` shows ids and numbers."
        )
    return StoredCreditNote(_summary(row), row.document)


def list_credit_notes(
    ledger: Engine,
    *,
    customer_id: str | None,
    invoice_id: str | None,
    limit: int,
    after: tuple[str, str] | None = None,
) -> list[CreditNoteSummary]:
    """Up to ``limit``, newest issue date first; those after (issue date, id)."""
    table = CREDIT_NOTES
    statement = select(*_SUMMARY).order_by(table.c.issue_date.desc(), table.c.credit_note_id)
    if customer_id is not None:
        statement = statement.where(table.c.customer_id == customer_id)
    if invoice_id is not None:
        statement = statement.where(table.c.invoice_id == invoice_id)
    if after is not None:
        same_day = and_(table.c.issue_date == after[0], table.c.credit_note_id > after[1])
        statement = statement.where(or_(table.c.issue_date < after[0], same_day))
    with ledger.connect() as connection:
        return [_summary(row) for row in connection.execute(statement.limit(limit))]


def _draft(connection: Connection, invoice: Creditable, request: CreditNoteRequest) -> CreditNoteDraft:
    refuse_uncreditable(connection, invoice)
    before = credit_notes_of(connection, [invoice.document_id])[invoice.document_id]
    drew = {grant["grant_id"] for grant in invoice.document.get("drawn_credit", {"grants": ()})["grants"]}
    off = {entry["grant_id"] for line in invoice.document["lines"] for entry in line.get("allowances", ())}
    entries = drawn_and_returned(connection, drew | off)
    note_ids = [note["credit_note_id"] for note in before]
    draft = draft_credit_note(
        invoice.document,
        before=before,
        given_back=given_back_of_creditable(connection, invoice),
        credit_given_back=returned_by_bills(entries, invoice.document_id, credit_note_ids=note_ids),
        put_back_by_bills=put_back_by_bills(entries, credit_note_ids=note_ids),
        request=request,
    )
    _refuse_sold_credit(connection, draft.document)
    return draft


def _refuse_sold_credit(connection: Connection, document: Mapping[str, Any]) -> None:
    """A line that sold credit is taken back once the credit is: else it would be given away."""
    line_ids = [line["line_id"] for line in document["lines"] if line["amount_minor"]]
    for stored in sold_grants(connection, line_ids):
        if stored.remaining_minor:
            grant_id = stored.grant.grant_id
            raise Conflict(
                f"a line of invoice {document['invoice']['number']} sold credit {grant_id!r}, of which "
                f"something is left. Void it first: `ratemill credits void {grant_id} --reason ...`.",
                reason_code="sold_credit_left",
            )


def _issue_date(invoice: Creditable, request: CreditNoteRequest, now: datetime) -> date:
    invoiced_on = invoice.issue_date
    if invoiced_on is None:
        return now.date()  # a draft, which is refused in a moment
    if request.dated_on is None:
        zone = find_time_zone(str(invoice.document["contract"]["time_zone"]))
        return max(now.astimezone(zone).date(), invoiced_on)
    if not invoiced_on <= request.dated_on <= max(latest_day(now), invoiced_on):
        raise InvalidInput(
            f"the credit note cannot be dated {request.dated_on}: the invoice is of {invoiced_on}, and days "
            "to come are not known.",
            reason_code="credit_note_date",
        )
    return request.dated_on


def _known(connection: Connection, key: str | None, request_hash: str) -> StoredCreditNote | None:
    if key is None:
        return None
    row = connection.execute(select(CREDIT_NOTES).where(CREDIT_NOTES.c.idempotency_key == key)).one_or_none()
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise Conflict(
            "this Idempotency-Key came with another credit note. Send the same request, or another key.",
            reason_code="idempotency_key_reused",
        )
    return StoredCreditNote(_summary(row), row.document)


def _registered(
    invoice: Creditable,
    draft: CreditNoteDraft,
    text: str,
    entity_id: str | None,
    number: int,
    issue_date: date,
) -> IssuedDocument:
    """The credit note as the register keeps it; the billing entity is the invoice's."""
    return IssuedDocument(
        document_id=draft.credit_note_id,
        kind="credit_note",
        entity_id=entity_id,
        number=number,
        customer_id=invoice.customer_id,
        contract_id=invoice.contract_id,
        currency=invoice.currency,
        issue_date=issue_date,
        due_date=None,
        net_minor=draft.net_minor,
        tax_minor=draft.tax_minor,
        credit_minor=draft.credit_minor,
        refers_to=invoice.document_id,
        document_hash=invoice_hash(text),
        text=text,
    )


def _summary(row: Row[Any]) -> CreditNoteSummary:
    return CreditNoteSummary(
        credit_note_id=row.credit_note_id,
        number=number_text(series=row.series, number=row.number),
        invoice_id=row.invoice_id,
        customer_id=row.customer_id,
        issue_date=date.fromisoformat(row.issue_date),
        currency=row.currency,
        net_minor=row.net_minor,
        tax_minor=row.tax_minor,
        credit_minor=row.credit_minor,
        due_minor=row.net_minor + row.tax_minor - row.credit_minor,
        voids=bool(row.voids),
        reason=row.reason,
        document_hash=row.document_hash,
    )
