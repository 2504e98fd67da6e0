"""A bill below zero set off against an invoice: what it left owed pays the invoice, and no money moves.

It is a pay-out of the bill and a payment of the invoice by one id, in one transaction and of one day, so
cash goes out and comes in:

    a bill of -11.90 set off     Dr receivable 11.90 (of the bill)     Cr cash 11.90
    against an invoice           Dr cash 11.90                         Cr receivable 11.90 (of the invoice)

To undo it, take the payment back (``unapply_payment``): it is money on account then. It cannot bounce.
"""

from __future__ import annotations

import hashlib
from datetime import date, datetime

from pydantic import Field
from sqlalchemy import Connection, Engine

from ingest.document import Document, ExactDecimal, canonical_json
from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.journal_store import entry_named_id, lock_journal
from invoicing.open_documents import find_document, open_documents
from invoicing.pay_out import PayOut, enter_pay_out, known_pay_out
from invoicing.pay_out_tables import PAY_OUTS
from invoicing.payment import Applied, OpenDocument, PaymentDocument
from invoicing.payment_allocation import apply_payment
from invoicing.payment_store import SET_OFF, enter_payment
from rating.money import format_minor, minor_digits, minor_to_decimal


class SetOff(Document):
    """set_off_id: yours, so that it is recorded once; left out, it gets one. document: the bill below zero;
    against: the invoice it pays; both by id or printed number. amount: in major units; left out: as much as
    is open of both."""

    set_off_id: Key | None = None
    document: str = Field(min_length=1)
    against: str = Field(min_length=1)
    amount: ExactDecimal | None = None
    value_date: date
    reason: str = Field(default="", max_length=1024)


def record_set_off(ledger: Engine, wanted: SetOff, *, actor: str, now: datetime) -> tuple[str, bool]:
    """Set off; gives its id, by which both pay-out and payment are known, and whether it is new: the same
    set_off_id and content again records nothing.

    Raises NotFound for an unknown document; Conflict when the documents are not of one customer and
    currency, when less is open, on a day before one of them, or when something else has the id.
    """
    request_hash = hashlib.sha256(canonical_json(wanted).encode()).hexdigest()
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        known = known_pay_out(connection, wanted.set_off_id, request_hash)
        if known is not None:
            return known, False
        below, against = (_open(connection, name) for name in (wanted.document, wanted.against))
        amount_minor = _amount(wanted, below, against)
        set_off_id = wanted.set_off_id or entry_named_id(connection, "set-off", PAY_OUTS.c.pay_out_id)
        amount = minor_to_decimal(amount_minor, below.currency)
        words = f"set off against {against.number}"
        out = PayOut(
            pay_out_id=set_off_id,
            customer_id=below.customer_id,
            currency=below.currency,
            amount=amount,
            value_date=wanted.value_date,
            reference=words,
            reason=wanted.reason,
            document=below.document_id,
        )
        enter_pay_out(connection, out, request_hash=request_hash, actor=actor, now=now)
        payment = PaymentDocument(
            payment_id=set_off_id,
            customer_id=below.customer_id,
            currency=below.currency,
            amount=amount,
            value_date=wanted.value_date,
            text=f"set off: {below.number}",
        )
        held = enter_payment(
            connection,
            payment,
            payer=below.customer_id,
            source=SET_OFF,
            duplicate_key=None,
            actor=actor,
            now=now,
        )
        apply_payment(connection, held, [Applied(against, amount_minor, SET_OFF)], actor=actor, now=now)
    return set_off_id, True


def _open(connection: Connection, id_or_number: str) -> OpenDocument:
    document_id = find_document(connection, id_or_number)
    return open_documents(connection, [document_id])[document_id]


def _amount(wanted: SetOff, below: OpenDocument, against: OpenDocument) -> int:
    """What is set off, minor units. Raises Conflict."""
    whose, other = (below.customer_id, below.currency), (against.customer_id, against.currency)
    if whose != other:
        raise Conflict(
            f"{below.number} is of customer {whose[0]!r} in {whose[1]}, {against.number} of {other[0]!r} in "
            f"{other[1]}. Only what one customer owes in one currency is set off.",
            reason_code="set_off_apart",
        )
    most = min(-below.open_minor, against.payable_minor)
    digits = minor_digits(below.currency)
    asked = most if wanted.amount is None else wanted.amount.scaleb(digits)
    late = max(below.issue_date, against.issue_date) <= wanted.value_date
    if not 0 < asked <= most or asked != int(asked) or not late:
        left = (max(0, minor) for minor in (-below.open_minor, against.payable_minor))
        owed, still_open = (format_minor(minor, below.currency) for minor in left)
        raise Conflict(
            f"{below.number} of {below.issue_date} leaves {owed} {below.currency} owed to the customer, "
            f"{against.number} of {against.issue_date} has {still_open} open. No more than both can be set "
            f"off, in whole minor units ({digits} digits), and not before their days.",
            reason_code="set_off_too_large",
        )
    return int(asked)
