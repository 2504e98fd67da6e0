"""Credit notes in the ledger: previewed, issued, listed. One transaction draws the number, gives prepaid
credit back, writes the credit note and enters it in the register; nobody else credits the invoice meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, case, func, insert, or_, select

from ingest.document import canonical_json
from ingest.errors import BrokenState, Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.bulk import select_by_ids
from invoicing.credit_note import CreditNoteDraft, CreditNoteRequest, draft_credit_note
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.credit_return import return_credit
from invoicing.credit_store import sold_grants
from invoicing.invoice import invoice_hash
from invoicing.issue_documents import issue_documents
from invoicing.number import draw_for, number_text, split_number
from invoicing.numbering import load_prefixes
from invoicing.register import IssuedDocument, Issuer
from invoicing.store import StoredInvoice, get_invoice
from invoicing.tables import INVOICES
from rollup.period import find_time_zone

_EARTH_AHEAD: Final = timedelta(hours=14)
"""Where the day begins first, it is this much later than in UTC."""
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
    invoice = get_invoice(ledger, id_or_number)
    with ledger.connect() as connection:
        return _draft(connection, invoice, request)


def issue_credit_note(
    ledger: Engine, id_or_number: str, request: CreditNoteRequest, issuing: Issuing
) -> tuple[StoredCreditNote, bool]:
    """Take back of an issued invoice what is asked for; True when it was issued now, False when this very
    request with its idempotency key was carried out before.

    Raises NotFound; InvalidInput for what cannot be credited or a date outside [invoice's, today]; Conflict
    for a draft, for credit that a line sold and that is not voided, for a date before the last number's, and
    for an idempotency key that came with another request.
    """
    invoice = get_invoice(ledger, id_or_number)
    wanted = f"{invoice.summary.invoice_id}\n{canonical_json(request)}"
    request_hash = hashlib.sha256(wanted.encode()).hexdigest()
    issue_date = _issue_date(invoice, request, issuing.now)
    with ledger_transaction(ledger) as connection:
        _lock_invoice(connection, invoice.summary.invoice_id)
        known = _known(connection, issuing.idempotency_key, request_hash)
        if known is not None:
            return known, False
        draft = _draft(connection, invoice, request)
        prefixes = load_prefixes(connection, invoice=issuing.series_prefix, credit_note=issuing.series_prefix)
        prefix = prefixes.of("credit_note", invoice.summary.entity_id)
        drawn = draw_for(connection, prefix=prefix, issue_date=issue_date, count=1)
        return_credit(
            connection,
            draft.returned,
            put_back=draft.put_back,
            customer_id=invoice.summary.customer_id,
            invoice_id=invoice.summary.invoice_id,
            credit_note_id=draft.credit_note_id,
            line_ids={line["line_id"] for line in draft.document["lines"]},
            issue_date=issue_date,
            now=issuing.now,
        )
        text = draft.text(number=drawn.text(0), issue_date=issue_date)
        values = {
            "credit_note_id": draft.credit_note_id,
            "invoice_id": invoice.summary.invoice_id,
            "customer_id": invoice.summary.customer_id,
            "series": drawn.series,
            "number": drawn.first,
            "issue_date": issue_date.isoformat(),
            "currency": invoice.summary.currency,
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
        document = _registered(connection, invoice, draft, text, drawn.first, issue_date)
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


@dataclass(frozen=True, slots=True)
class Credited:
    """What credit notes took back of an invoice, minor units above zero: ``gross_minor`` with tax, of which
    ``returned_minor`` went to prepaid credit. voided: nothing is left of it."""

    gross_minor: int
    returned_minor: int
    voided: bool


NOTHING_CREDITED: Final = Credited(0, 0, voided=False)


def credited_of(connection: Connection, invoice_ids: Sequence[str]) -> dict[str, Credited]:
    """What was credited of each invoice of which anything was."""
    table = CREDIT_NOTES
    statement = select(
        table.c.invoice_id,
        func.sum(table.c.net_minor + table.c.tax_minor),
        func.sum(table.c.credit_minor),
        func.max(case((table.c.voids, 1), else_=0)),
    ).group_by(table.c.invoice_id)
    return {
        row[0]: Credited(-int(row[1]), -int(row[2]), voided=bool(row[3]))
        for row in select_by_ids(connection, statement, table.c.invoice_id, invoice_ids)
    }


def _draft(connection: Connection, invoice: StoredInvoice, request: CreditNoteRequest) -> CreditNoteDraft:
    if invoice.summary.number is None:
        raise Conflict(
            f"invoice {invoice.summary.invoice_id} is a draft: nothing was issued that could be credited.",
            reason_code="invoice_state",
        )
    if invoice.summary.gross_minor < 0:
        raise Conflict(
            f"{invoice.summary.number} is a credit note: the bill came to less than nothing. What is wrong "
            "with it is put right on the contract's next bill.",
            reason_code="invoice_state",
        )
    rows = connection.execute(
        select(CREDIT_NOTES.c.document)
        .where(CREDIT_NOTES.c.invoice_id == invoice.summary.invoice_id)
        .order_by(CREDIT_NOTES.c.issue_date, CREDIT_NOTES.c.number)
    )
    before = [orjson.loads(text) for text in rows.scalars()]
    draft = draft_credit_note(orjson.loads(invoice.text), before=before, request=request)
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


def _issue_date(invoice: StoredInvoice, request: CreditNoteRequest, now: datetime) -> date:
    invoiced_on = invoice.summary.issue_date
    if invoiced_on is None:
        return now.date()  # a draft, which is refused in a moment
    if request.dated_on is None:
        zone = find_time_zone(str(invoice.invoice.contract["time_zone"]))
        return max(now.astimezone(zone).date(), invoiced_on)
    if not invoiced_on <= request.dated_on <= max((now + _EARTH_AHEAD).date(), invoiced_on):
        raise InvalidInput(
            f"the credit note cannot be dated {request.dated_on}: the invoice is of {invoiced_on}, and days "
            "to come are not known.",
            reason_code="credit_note_date",
        )
    return request.dated_on


def _lock_invoice(connection: Connection, invoice_id: str) -> None:
    """Nobody else credits the invoice until the transaction ends."""
    locked = select(INVOICES.c.invoice_id).where(INVOICES.c.invoice_id == invoice_id).with_for_update()
    if connection.execute(locked).first() is None:
        raise BrokenState(f"invoice {invoice_id} is gone from the ledger. Restore it from its last backup.")


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
    connection: Connection,
    invoice: StoredInvoice,
    draft: CreditNoteDraft,
    text: str,
    number: int,
    issue_date: date,
) -> IssuedDocument:
    """The credit note as the register keeps it; the billing entity is the invoice's."""
    entity = select(INVOICES.c.entity_id).where(INVOICES.c.invoice_id == invoice.summary.invoice_id)
    return IssuedDocument(
        document_id=draft.credit_note_id,
        kind="credit_note",
        entity_id=connection.execute(entity).scalar_one(),
        number=number,
        customer_id=invoice.summary.customer_id,
        contract_id=invoice.summary.contract_id,
        currency=invoice.summary.currency,
        issue_date=issue_date,
        due_date=None,
        net_minor=draft.net_minor,
        tax_minor=draft.tax_minor,
        credit_minor=draft.credit_minor,
        refers_to=invoice.summary.invoice_id,
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
