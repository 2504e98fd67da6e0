"""Special invoices in the ledger: previewed, issued, listed. One transaction draws the number, writes the
invoice, marks what it deducts and enters it in register, journal and audit trail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, insert, or_, select

from ingest.document import canonical_json
from ingest.errors import Conflict, NotFound
from ingest.ledger import ledger_transaction, lock_name
from invoicing.bulk import select_by_ids
from invoicing.credited import NOTHING_CREDITED, Credited, credited_of
from invoicing.invoice import Invoice, entity_id_of, invoice_hash, parse_invoice
from invoicing.issue_documents import issue_documents
from invoicing.number import draw_for, issue_day, number_text
from invoicing.open_documents import open_documents
from invoicing.register import IssuedDocument, Issuer
from invoicing.special_invoice import (
    DEDUCTED_KINDS,
    SERIES_PREFIX,
    SpecialInvoiceRequest,
)
from invoicing.special_invoice_draft import (
    SpecialDraft,
)
from invoicing.special_invoice_head import (
    SpecialIssuing,
    draft_of,
    issue_date_of,
    lock_deductible,
    named,
    printed_number,
    selected,
)
from invoicing.special_invoice_tables import DEDUCTED_DOCUMENTS, SPECIAL_INVOICES, stands
from invoicing.tax_desk import load_tax_desk

_T, _D = SPECIAL_INVOICES.c, DEDUCTED_DOCUMENTS.c


@dataclass(frozen=True, slots=True)
class SpecialSummary:
    """A special invoice without its lines. Amounts in minor units; ``open_minor`` is what is still to be
    paid. credited_minor: what credit notes took back, with tax, above zero; voided: they left nothing of it.
    deducted_by: the final invoice that deducted it, None while none did that stands."""

    document_id: str
    kind: str
    number: str
    contract_id: str
    customer_id: str
    project: str
    issue_date: date
    due_date: date
    currency: str
    net_minor: int
    tax_minor: int
    gross_minor: int
    open_minor: int
    credited_minor: int
    voided: bool
    deducted_by: str | None
    document_hash: str


@dataclass(frozen=True, slots=True)
class StoredSpecialInvoice:
    """A special invoice in full; ``text`` is the canonical document exactly as it was written."""

    summary: SpecialSummary
    text: str

    @property
    def invoice(self) -> Invoice:
        """What of the text is as on every invoice."""
        return parse_invoice(self.text)


@dataclass(frozen=True, slots=True)
class SpecialFilter:
    """Which to list; None: all."""

    kind: str | None = None
    contract_id: str | None = None
    customer_id: str | None = None
    open_deposits: bool = False


def preview_special_invoice(
    ledger: Engine, request: SpecialInvoiceRequest, issuing: SpecialIssuing
) -> SpecialDraft:
    """What issuing it would write; nothing is stored. Raises as ``issue_special_invoice``."""
    on = issue_date_of(ledger, request, issuing.now)
    with ledger.connect() as connection:
        return _dated_draft(ledger, connection, request, issuing, on=on)[0]


def issue_special_invoice(
    ledger: Engine, request: SpecialInvoiceRequest, issuing: SpecialIssuing
) -> tuple[StoredSpecialInvoice, bool]:
    """Issue it; True when it was issued now, False when this very request with its idempotency key was
    carried out before.

    Raises InvalidDocument, NotFound for an unknown contract or document to deduct; InvalidInput for amounts
    or a date that cannot be; Conflict where tax is not known, a document is deducted already, the date is
    before the last number's, the idempotency key came with another request, or the same request without one
    came at the same moment.
    """
    on = issue_date_of(ledger, request, issuing.now)
    with ledger_transaction(ledger) as connection:
        document_id = issue_in(ledger, connection, request, issuing, on=on)
    if document_id is None:
        key = select(_T.document_id).where(_T.idempotency_key == issuing.idempotency_key)
        with ledger.connect() as connection:
            document_id = connection.execute(key).scalar_one()
        return get_special_invoice(ledger, document_id), False
    return get_special_invoice(ledger, document_id), True


def issue_in(
    ledger: Engine,
    connection: Connection,
    request: SpecialInvoiceRequest,
    issuing: SpecialIssuing,
    *,
    on: date,
) -> str | None:
    """Issue it in the caller's transaction and return its id; None when this key issued it before."""
    request_hash = hashlib.sha256(canonical_json(request).encode()).hexdigest()
    if issuing.idempotency_key is not None:
        lock_name(connection, f"special invoice key {issuing.idempotency_key}")
    lock_deductible(connection, request.contract_id)
    if _is_known(connection, issuing.idempotency_key, request_hash):
        return None
    draft, on = _dated_draft(ledger, connection, request, issuing, on=on)
    _refuse_same_moment(connection, draft.invoice.invoice_id)
    drawn = draw_for(connection, prefix=_series_prefix(draft, connection), issue_date=on, count=1)
    issued = draft.invoice.issued(number=drawn.text(0), issue_date=on)
    text = draft.text(issued)
    document = _registered(draft, issued, text, drawn.first)
    connection.execute(
        insert(SPECIAL_INVOICES).values(
            document_id=document.document_id,
            kind=draft.kind,
            contract_id=request.contract_id,
            customer_id=document.customer_id,
            project=request.project,
            series=drawn.series,
            number=drawn.first,
            issue_date=on.isoformat(),
            due_date=str(document.due_date),
            currency=document.currency,
            net_minor=document.net_minor,
            tax_minor=document.tax_minor,
            idempotency_key=issuing.idempotency_key,
            request_hash=request_hash,
            document=text,
            document_hash=document.document_hash,
        )
    )
    for entry in draft.extra["deducts"]:
        before = (
            select(func.count()).where(_D.document_id == entry["document_id"]).select_from(DEDUCTED_DOCUMENTS)
        )
        turn = connection.execute(before).scalar_one() + 1
        row = {"document_id": entry["document_id"], "turn": turn, "final_id": document.document_id}
        connection.execute(insert(DEDUCTED_DOCUMENTS).values(**row))
    issue_documents(
        connection, drawn, [document], Issuer(issuing.actor, request.reason, issuing.now, was_draft=False)
    )
    return document.document_id


def _dated_draft(
    ledger: Engine,
    connection: Connection,
    request: SpecialInvoiceRequest,
    issuing: SpecialIssuing,
    *,
    on: date,
) -> tuple[SpecialDraft, date]:
    """The draft and its day: where none was asked for, one that its series can have (``issue_day``)."""
    draft = draft_of(ledger, connection, request, issuing, on=on)
    if request.dated_on is not None:
        return draft, on
    day = issue_day(connection, prefix=_series_prefix(draft, connection), today=on, now=issuing.now)
    return (draft if day == on else draft_of(ledger, connection, request, issuing, on=day)), day


def get_special_invoice(ledger: Engine, id_or_number: str) -> StoredSpecialInvoice:
    """One by its id or its printed number (``DEP-2026-000001``). Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(selected().where(named(id_or_number))).one_or_none()
        if row is None:
            raise NotFound(
                f"there is no special invoice {id_or_number!r}. `ratemill special-invoice list` shows those "
                "there are."
            )
        return StoredSpecialInvoice(_summaries(connection, [row])[0], row.document)


def list_special_invoices(
    ledger: Engine, chosen: SpecialFilter, *, limit: int, after: tuple[str, str] | None = None
) -> list[SpecialSummary]:
    """Up to ``limit``, newest issue date first; those after (issue date, id)."""
    statement = selected().order_by(_T.issue_date.desc(), _T.document_id)
    for name in ("kind", "contract_id", "customer_id"):
        if getattr(chosen, name) is not None:
            statement = statement.where(_T[name] == getattr(chosen, name))
    if chosen.open_deposits:
        statement = statement.where(
            _T.kind.in_(DEDUCTED_KINDS), _D.final_id.is_(None), stands(_T.document_id)
        )
    if after is not None:
        same_day = and_(_T.issue_date == after[0], _T.document_id > after[1])
        statement = statement.where(or_(_T.issue_date < after[0], same_day))
    with ledger.connect() as connection:
        return _summaries(connection, connection.execute(statement.limit(limit)).all())


def _is_known(connection: Connection, key: str | None, request_hash: str) -> bool:
    if key is None:
        return False
    found = connection.execute(select(_T.request_hash).where(_T.idempotency_key == key)).scalar()
    if found is not None and found != request_hash:
        raise Conflict(
            "this Idempotency-Key came with another special invoice. Send the same request, or another key.",
            reason_code="idempotency_key_reused",
        )
    return found is not None


def _refuse_same_moment(connection: Connection, document_id: str) -> None:
    """Without an idempotency key the id is made of the request and the moment."""
    row = connection.execute(selected().where(_T.document_id == document_id)).one_or_none()
    if row is not None:
        raise Conflict(
            f"this very request came at this very moment already and became {printed_number(row)}. If there "
            "shall be another one like it, send it again; with an Idempotency-Key a repeated request is one "
            "invoice.",
            reason_code="same_moment",
        )


def _series_prefix(draft: SpecialDraft, connection: Connection) -> str:
    """That of the billing entity for the kind, else the kind's own."""
    desk = load_tax_desk(connection, provider=None)
    entity_id = entity_id_of(draft.invoice)
    own = {} if desk is None or entity_id is None else desk.entities[entity_id].document.series
    return own.get(draft.kind, SERIES_PREFIX[draft.kind])


def _registered(draft: SpecialDraft, issued: Invoice, text: str, number: int) -> IssuedDocument:
    return IssuedDocument(
        document_id=issued.invoice_id,
        kind=draft.kind,
        entity_id=entity_id_of(issued),
        number=number,
        customer_id=str(issued.customer["customer_id"]),
        contract_id=str(issued.contract["contract_id"]),
        currency=issued.currency,
        issue_date=issued.issue_date or issued.billing_date,
        due_date=issued.due_date,
        net_minor=issued.total_minor,
        tax_minor=issued.tax_minor,
        credit_minor=0,
        refers_to=None,
        document_hash=invoice_hash(text),
        text=text,
    )


def _summaries(connection: Connection, rows: Sequence[Row[Any]]) -> list[SpecialSummary]:
    ids = [row.document_id for row in rows]
    still_open, credited = open_documents(connection, ids), credited_of(connection, ids)
    finals = sorted({row.final_id for row in rows if row.final_id is not None})
    columns = (_T.document_id, _T.series, _T.number)
    numbers = {
        row.document_id: number_text(series=row.series, number=row.number)
        for row in select_by_ids(connection, select(*columns), _T.document_id, finals)
    }
    return [
        _summary(
            row,
            still_open[row.document_id].open_minor,
            credited.get(row.document_id, NOTHING_CREDITED),
            numbers,
        )
        for row in rows
    ]


def _summary(
    row: Row[Any], open_minor: int, credited: Credited, numbers: Mapping[str, str]
) -> SpecialSummary:
    return SpecialSummary(
        document_id=row.document_id,
        kind=row.kind,
        number=printed_number(row),
        contract_id=row.contract_id,
        customer_id=row.customer_id,
        project=row.project,
        issue_date=date.fromisoformat(row.issue_date),
        due_date=date.fromisoformat(row.due_date),
        currency=row.currency,
        net_minor=row.net_minor,
        tax_minor=row.tax_minor,
        gross_minor=row.net_minor + row.tax_minor,
        open_minor=open_minor,
        credited_minor=credited.gross_minor,
        voided=credited.voided,
        deducted_by=numbers.get(row.final_id),
        document_hash=row.document_hash,
    )
