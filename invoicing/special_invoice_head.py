"""What a special invoice is made of in the ledger: parties, terms and currency in force, and the documents it
deducts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, or_, select

from ingest.document import canonical_json
from ingest.errors import Conflict, InvalidDocument, InvalidInput, Issue, NotFound
from ingest.ledger import lock_name
from invoicing.billing_catalogue import load_terms
from invoicing.credit_note_tables import credit_notes_of
from invoicing.customer_store import load_customer_texts
from invoicing.invoice import Invoice, parse_invoice
from invoicing.number import latest_day, number_text, split_number
from invoicing.settings import Seller
from invoicing.special_invoice import (
    DEDUCTED_KINDS,
    SpecialInvoiceRequest,
    request_issues,
)
from invoicing.special_invoice_draft import (
    Deducted,
    SpecialDraft,
    SpecialHead,
    draft_special_invoice,
    less_credited,
)
from invoicing.special_invoice_tables import DEDUCTED_DOCUMENTS, SPECIAL_INVOICES, stands
from invoicing.tax_desk import load_tax_desk
from invoicing.tax_hold import refuse_missing_fields
from rating.catalogue import get_plan_in_force
from rating.contract_store import get_contract, load_contracts
from rating.money import minor_digits
from rollup.period import find_time_zone

_T, _D = SPECIAL_INVOICES.c, DEDUCTED_DOCUMENTS.c
_CONTRACT_FACTS: Final = ("contract_id", "version", "start_date", "end_date", "time_zone", "cadence")


@dataclass(frozen=True, slots=True)
class SpecialIssuing:
    """How a special invoice is issued: seller where there is no billing entity; actor as in the audit trail.
    idempotency_key: a word of the caller's own that no other special invoice may have; None: none."""

    seller: Seller | None
    actor: str
    idempotency_key: str | None
    now: datetime


def special_issue_date(request: SpecialInvoiceRequest, time_zone: str, now: datetime) -> date:
    """Today in that zone, or the day asked for. Raises InvalidInput for one to come."""
    if request.dated_on is None:
        return now.astimezone(find_time_zone(time_zone)).date()
    if request.dated_on > latest_day(now):
        raise InvalidInput(
            f"the invoice cannot be dated {request.dated_on}: days to come are not known.",
            reason_code="special_invoice_date",
        )
    return request.dated_on


def issue_date_of(ledger: Engine, request: SpecialInvoiceRequest, now: datetime) -> date:
    """The day it is issued on. Raises InvalidDocument, NotFound, InvalidInput."""
    issues = list(request_issues(request))
    if issues:
        raise InvalidDocument("the special invoice", issues)
    return special_issue_date(request, get_contract(ledger, request.contract_id).time_zone, now)


def draft_of(
    ledger: Engine,
    connection: Connection,
    request: SpecialInvoiceRequest,
    issuing: SpecialIssuing,
    *,
    on: date,
) -> SpecialDraft:
    """The draft as things stand in the ledger. Raises NotFound, InvalidInput, Conflict."""
    head = _head(ledger, connection, request, issuing, on=on)
    draft = draft_special_invoice(request, head, _to_deduct(connection, request), on=on)
    refuse_missing_fields(head.desk, draft.invoice)
    return draft


def _head(
    ledger: Engine,
    connection: Connection,
    request: SpecialInvoiceRequest,
    issuing: SpecialIssuing,
    *,
    on: date,
) -> SpecialHead:
    """Parties, terms and currency, as they are in force now."""
    rows = load_contracts(ledger, [request.contract_id]).to_pylist()
    if not rows:
        raise NotFound(f"there is no contract {request.contract_id!r}.")
    (row,) = rows
    terms = load_terms(connection, {row["contract_id"]: row["version"]})
    customers = load_customer_texts(connection, [row["customer_id"]])
    if row["customer_id"] not in customers:
        raise NotFound(
            f"there is no customer {row['customer_id']!r}. `ratemill customer put FILE` saves one."
        )
    version, customer_text = customers[row["customer_id"]]
    customer = orjson.loads(customer_text)
    desk = load_tax_desk(connection, provider=None)
    tax = None if desk is None else desk.contract_tax(row["contract_id"], customer)
    if isinstance(tax, Issue):
        raise Conflict(f"{tax.message} Expected: {tax.expected}", reason_code=tax.reason_code)
    seller = None if issuing.seller is None else orjson.loads(canonical_json(issuing.seller))
    plan = get_plan_in_force(ledger, row["plan_id"], on=max(on, row["start_date"])).plan
    currency = plan.currency
    asked = f"{canonical_json(request)}\n{issuing.idempotency_key or issuing.now.isoformat()}"
    base = Invoice(
        invoice_id=hashlib.sha256(f"ratemill special invoice\n{asked}".encode()).hexdigest()[:32],
        billing_date=on,
        contract={name: _plain(row[name]) for name in _CONTRACT_FACTS},
        customer=customer,
        customer_version=version,
        seller=seller if tax is None else orjson.loads(tax.seller_text),
        terms=orjson.loads(terms[row["contract_id"]]),
        currency=currency,
        minor_digits=minor_digits(currency),
        period_start=on,
        period_end=on,
        lines=(),
        total_minor=0,
        number=None,
        issue_date=None,
        due_date=None,
    )
    return SpecialHead(base, row["plan_id"], desk, tax)


def _to_deduct(connection: Connection, request: SpecialInvoiceRequest) -> list[Deducted]:
    """What the final invoice deducts, oldest first. Raises NotFound, Conflict for one that is not of the
    contract or is deducted already."""
    if request.kind != "final":
        return []
    deductible = selected().where(_T.contract_id == request.contract_id, _T.kind.in_(DEDUCTED_KINDS))
    if request.deducts is None:
        wanted = deductible.where(
            _T.project == request.project, _D.final_id.is_(None), stands(_T.document_id)
        )
        rows: list[Row[Any]] = list(connection.execute(wanted))
    else:
        rows = []
        for wanted_name in dict.fromkeys(request.deducts):
            row = connection.execute(deductible.where(named(wanted_name))).one_or_none()
            if row is None:
                raise NotFound(
                    f"contract {request.contract_id!r} has no deposit or progress invoice {wanted_name!r}. "
                    "`ratemill special-invoice list --contract ...` shows those it has."
                )
            if row.final_id is not None:
                raise Conflict(
                    f"{printed_number(row)} is deducted already, by final invoice {row.final_id}. It can be "
                    "deducted again when a credit note voids that one.",
                    reason_code="deducted_already",
                )
            rows.append(row)
    rows.sort(key=lambda row: (row.issue_date, row.series, row.number))
    notes = credit_notes_of(connection, [row.document_id for row in rows])
    found = [
        Deducted(
            row.document_id, row.kind, less_credited(parse_invoice(row.document), notes[row.document_id])
        )
        for row in rows
    ]
    void = next((one for one in found if one.invoice.total_minor <= 0), None)
    if void is not None:
        raise Conflict(
            f"credit notes left nothing of {void.invoice.number} that could be deducted. Leave it out of "
            "deducts.",
            reason_code="nothing_to_deduct",
        )
    return found


def lock_deductible(connection: Connection, contract_id: str) -> None:
    """Nobody else issues one of the contract, or deducts what it has, until the transaction ends."""
    lock_name(connection, f"special invoices of {contract_id}")
    locked = select(_T.document_id).where(_T.contract_id == contract_id).order_by(_T.document_id)
    connection.execute(locked.with_for_update()).all()


def selected() -> Select[Any]:
    """Special invoices, each with the final invoice that deducted it and was not voided."""
    deducts = and_(_D.document_id == _T.document_id, stands(_D.final_id))
    joined = SPECIAL_INVOICES.outerjoin(DEDUCTED_DOCUMENTS, deducts)
    return select(SPECIAL_INVOICES, _D.final_id).select_from(joined)


def named(id_or_number: str) -> ColumnElement[bool]:
    """Which has that id or printed number."""
    condition: ColumnElement[bool] = _T.document_id == id_or_number
    split = split_number(id_or_number)
    return condition if split is None else or_(condition, and_(_T.series == split[0], _T.number == split[1]))


def printed_number(row: Row[Any]) -> str:
    """As on the document."""
    return number_text(series=row.series, number=row.number)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
