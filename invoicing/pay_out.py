"""Money that goes back to a customer: what payments brought and nothing took, and what bills below zero left
owed.

    an overpayment of 20.00 goes back     Dr customer_credit 20.00   Cr cash 20.00
    a bill of -11.90 is paid out          Dr receivable 11.90        Cr cash 11.90

The transfer itself is made at the bank; here it is recorded, with its reference, and what it takes is found:
money on account first, the oldest first, then bills below zero by their date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Engine, insert, select

from ingest.document import Document, ExactDecimal, canonical_json, decimal_text
from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.audit_trail import Change, record_changes
from invoicing.customer_store import get_customer
from invoicing.journal import JournalEntry, JournalLine
from invoicing.journal_store import append_entries, entry_named_id, lock_journal, posted_text
from invoicing.number import number_text
from invoicing.open_documents import find_document, open_documents
from invoicing.pay_out_tables import PAY_OUT_PARTS, PAY_OUTS
from invoicing.payment import OpenDocument, net_paid, value_date_issues
from invoicing.payment_allocation import Held, held_payments
from invoicing.payment_tables import PAYMENTS
from invoicing.tables import ISSUED_DOCUMENTS
from rating.money import MINOR_DIGITS, format_minor

_O, _S, _R = PAY_OUTS.c, PAY_OUT_PARTS.c, ISSUED_DOCUMENTS.c


class PayOut(Document):
    """pay_out_id: yours, so that it is recorded once; left out, it gets one. amount: in major units; left
    out: all that is owed in the currency. value_date: when it left the bank. reference: of the transfer.
    document: only what this bill below zero left owed, by id or printed number."""

    pay_out_id: Key | None = None
    customer_id: Key
    currency: str = Field(min_length=3, max_length=3)
    amount: ExactDecimal | None = None
    value_date: date
    reference: str = Field(min_length=1, max_length=1024, pattern=r"\S")
    reason: str = Field(default="", max_length=1024)
    document: str | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """What of the pay-out gives back which payment, or which document."""

    amount_minor: int
    held: Held | None
    document: OpenDocument | None


def record_pay_out(ledger: Engine, wanted: PayOut, *, actor: str, now: datetime) -> tuple[str, bool]:
    """Record money that went to a customer; gives its id, and whether it is new: the same pay_out_id and
    content again records nothing.

    Raises NotFound for an unknown customer or document; InvalidInput for an amount that cannot be;
    InvalidDocument for a day far ahead; Conflict when less is owed, or another pay-out has the id.
    """
    get_customer(ledger, wanted.customer_id)
    if issues := value_date_issues(wanted.value_date, now=now):
        raise InvalidDocument("the pay-out", issues)
    request_hash = hashlib.sha256(canonical_json(wanted).encode()).hexdigest()
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        known = known_pay_out(connection, wanted.pay_out_id, request_hash)
        if known is not None:
            return known, False
        return enter_pay_out(connection, wanted, request_hash=request_hash, actor=actor, now=now), True


def enter_pay_out(
    connection: Connection, wanted: PayOut, *, request_hash: str, actor: str, now: datetime
) -> str:
    """Write and post a pay-out that is not known, with the journal locked; gives its id. request_hash: of
    what was asked for. Raises as ``record_pay_out``."""
    parts = _take(list(_owed(connection, wanted)), wanted)
    pay_out_id = wanted.pay_out_id or entry_named_id(connection, "out", _O.pay_out_id)
    row = {
        "pay_out_id": pay_out_id,
        "customer_id": wanted.customer_id,
        "currency": wanted.currency,
        "amount_minor": sum(part.amount_minor for part in parts),
        "value_date": wanted.value_date.isoformat(),
        "reference": wanted.reference,
        "reason": wanted.reason,
        "request_hash": request_hash,
        "recorded_at": posted_text(now),
        "recorded_by": actor,
    }
    connection.execute(insert(PAY_OUTS).values(**row))
    for position, part in enumerate(parts, start=1):
        _enter(connection, pay_out_id, position, part, wanted.value_date, now=now)
    kept = ("customer_id", "currency", "amount_minor", "value_date", "reference")
    after = {name: row[name] for name in kept}
    change = Change(actor, "recorded", "pay_out", pay_out_id, None, after, wanted.reason)
    record_changes(connection, [change], now=now)
    return pay_out_id


def known_pay_out(connection: Connection, pay_out_id: str | None, request_hash: str) -> str | None:
    """Its id, where the same is on record. Raises Conflict where something else has the id."""
    if pay_out_id is None:
        return None
    found = connection.execute(select(_O.request_hash).where(_O.pay_out_id == pay_out_id)).scalar()
    if found is not None and found != request_hash:
        raise Conflict(
            f"another pay-out has the id {pay_out_id!r}. Nothing was recorded; give this one another id.",
            reason_code="pay_out_id_taken",
        )
    return None if found is None else pay_out_id


def _owed(connection: Connection, wanted: PayOut) -> Iterator[_Part]:
    """All that is owed to the customer in the currency on that day, in the order it is given back in."""
    if wanted.document is not None:
        document_id = find_document(connection, wanted.document)
        _refuse_correction(connection, document_id)
        found = open_documents(connection, [document_id])[document_id]
        if found.customer_id == wanted.customer_id:
            yield from _of_documents([found], wanted)
        return
    payments = PAYMENTS.c
    own = select(payments.payment_id).where(
        payments.customer_id == wanted.customer_id, payments.currency == wanted.currency
    )
    ids = connection.execute(own.order_by(payments.value_date, payments.payment_id)).scalars().all()
    for held in held_payments(connection, list(ids)):
        if held.unapplied_minor > 0 and held.free_from() <= wanted.value_date:
            yield _Part(held.unapplied_minor, held, None)
    below_zero = select(_R.document_id).where(
        _R.customer_id == wanted.customer_id,
        _R.currency == wanted.currency,
        _R.refers_to.is_(None),
        _R.net_minor + _R.tax_minor - _R.credit_minor < 0,
    )
    documents = connection.execute(below_zero.order_by(_R.issue_date, _R.series, _R.number)).scalars().all()
    found_documents = open_documents(connection, list(documents))
    yield from _of_documents([found_documents[document_id] for document_id in documents], wanted)


def _refuse_correction(connection: Connection, document_id: str) -> None:
    """A credit note of an invoice is owed to nobody by itself: it lowers the invoice, and what was paid of
    that too much is money on account. Raises Conflict for one."""
    of, row = ISSUED_DOCUMENTS.alias("of"), ISSUED_DOCUMENTS
    statement = (
        select(_R.series, _R.number, of.c.series.label("of_series"), of.c.number.label("of_number"))
        .select_from(row.join(of, of.c.document_id == _R.refers_to))
        .where(_R.document_id == document_id)
    )
    found = connection.execute(statement).one_or_none()
    if found is not None:
        number = number_text(series=found.series, number=found.number)
        invoice = number_text(series=found.of_series, number=found.of_number)
        raise Conflict(
            f"{number} takes back of {invoice}, which is owed less by it; what was paid of it too much "
            "is money on account. Pay that out: leave the document out.",
            reason_code="pay_out_of_credit_note",
        )


def _of_documents(documents: Sequence[OpenDocument], wanted: PayOut) -> Iterator[_Part]:
    for document in documents:
        fits = document.currency == wanted.currency and document.issue_date <= wanted.value_date
        if fits and document.open_minor < 0:
            yield _Part(-document.open_minor, None, document)


def _take(owed: Sequence[_Part], wanted: PayOut) -> list[_Part]:
    """The parts that come to the amount. Raises InvalidInput, Conflict."""
    whole = sum(part.amount_minor for part in owed)
    amount = whole if wanted.amount is None else _minor(wanted)
    if amount > whole or not whole:
        asked = "it" if wanted.amount is None else f"{decimal_text(wanted.amount)} {wanted.currency}"
        raise Conflict(
            f"{asked} cannot be paid out to customer {wanted.customer_id!r}: "
            f"{format_minor(whole, wanted.currency)} {wanted.currency} is owed on {wanted.value_date}. "
            "`ratemill payment list --unapplied` and `ratemill report outstanding` show what is.",
            reason_code="pay_out_too_large",
        )
    found = []
    for part in owed:
        taken = min(part.amount_minor, amount)
        if taken:
            found.append(_Part(taken, part.held, part.document))
            amount -= taken
    return found


def _minor(wanted: PayOut) -> int:
    amount, digits = wanted.amount, MINOR_DIGITS.get(wanted.currency)
    minor = None if amount is None or digits is None else amount.scaleb(digits)
    if minor is None or minor != minor.to_integral_value() or minor <= 0:
        raise InvalidInput(
            f"{amount} {wanted.currency} cannot be paid out. An amount is above 0, in whole minor units of a "
            "current ISO 4217 currency.",
            reason_code="pay_out_amount",
        )
    return int(minor)


def _enter(
    connection: Connection, pay_out_id: str, position: int, part: _Part, day: date, *, now: datetime
) -> None:
    """One part and its entry."""
    amount, net = part.amount_minor, 0
    if part.document is not None:
        document = part.document
        whose = (document.customer_id, document.contract_id, document.currency)
        net = document.settled_net_minor - net_paid(document, document.settled_minor - amount)
        lines: tuple[JournalLine, ...] = (
            JournalLine("receivable", net, *whose, part="net"),
            JournalLine("receivable", amount - net, *whose, part="tax"),
            JournalLine("cash", -amount, *whose),
        )
    elif part.held is not None:
        whose = (part.held.customer_id or "", "", part.held.currency)
        lines = (
            JournalLine("customer_credit", amount, *whose),
            JournalLine("cash", -amount, *whose),
        )
    else:
        raise ValueError("a part of a pay-out gives back a payment or a document")
    payment_id = None if part.held is None else part.held.payment_id
    document_id = None if part.document is None else part.document.document_id
    connection.execute(
        insert(PAY_OUT_PARTS).values(
            pay_out_id=pay_out_id,
            position=position,
            payment_id=payment_id,
            document_id=document_id,
            amount_minor=amount,
            net_minor=net,
        )
    )
    entry = JournalEntry(
        entry_id=f"pay_out/{pay_out_id}/{position}",
        kind="pay_out",
        entry_date=day,
        lines=tuple(line for line in lines if line.amount_minor),
        document_id=document_id,
        payment_id=payment_id,
        description=f"pay-out {pay_out_id}",
    )
    append_entries(connection, [entry], now=now)


def get_pay_out(ledger: Engine, pay_out_id: str) -> dict[str, Any]:
    """One pay-out with what it gave back. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(select(PAY_OUTS).where(_O.pay_out_id == pay_out_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(
                f"there is no pay-out {pay_out_id!r}. `ratemill payment pay-outs` shows what went out."
            )
        parts = (
            select(PAY_OUT_PARTS, _R.series, _R.number)
            .select_from(PAY_OUT_PARTS.outerjoin(ISSUED_DOCUMENTS, _R.document_id == _S.document_id))
            .where(_S.pay_out_id == pay_out_id)
            .order_by(_S.position)
        )
        shown = [
            {
                "payment_id": part.payment_id,
                "document_id": part.document_id,
                "number": None
                if part.series is None
                else number_text(series=part.series, number=int(part.number)),
                "amount_minor": part.amount_minor,
                "net_minor": part.net_minor,
            }
            for part in connection.execute(parts)
        ]
    return {**_shown(dict(row)), "parts": shown}


def list_pay_outs(
    ledger: Engine, *, customer_id: str | None, limit: int, after: tuple[str, str] | None = None
) -> list[dict[str, Any]]:
    """Up to ``limit`` by value date and id, those after the given value date and id."""
    statement = select(PAY_OUTS).order_by(_O.value_date, _O.pay_out_id)
    if customer_id is not None:
        statement = statement.where(_O.customer_id == customer_id)
    if after is not None:
        same_day = (_O.value_date == after[0]) & (_O.pay_out_id > after[1])
        statement = statement.where((_O.value_date > after[0]) | same_day)
    with ledger.connect() as connection:
        return [_shown(dict(row)) for row in connection.execute(statement.limit(limit)).mappings()]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "request_hash"}
