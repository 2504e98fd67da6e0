"""Money on account that pays the next invoice: of customers whose settings say so, as the invoice is
issued."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select

from ingest.ledger import ledger_transaction
from invoicing.audit_trail import SYSTEM_ACTOR, Change, record_changes
from invoicing.bulk import select_by_ids
from invoicing.customer_store import require_customer
from invoicing.journal_store import lock_journal, posted_text
from invoicing.open_documents import open_documents
from invoicing.payment import Applied
from invoicing.payment_allocation import Held, apply_payment, held_payments
from invoicing.payment_tables import PAYMENT_SETTINGS, PAYMENTS
from invoicing.register import IssuedDocument

_P, _S = PAYMENTS.c, PAYMENT_SETTINGS.c


def set_applies_credit(
    ledger: Engine, customer_id: str, *, applies_credit: bool, actor: str, now: datetime
) -> None:
    """Whether the customer's money on account pays its next invoices by itself. Raises NotFound."""
    with ledger_transaction(ledger) as connection:
        require_customer(connection, customer_id)
        before = connection.execute(
            select(_S.applies_credit).where(_S.customer_id == customer_id)
        ).scalar_one_or_none()
        connection.execute(delete(PAYMENT_SETTINGS).where(_S.customer_id == customer_id))
        row = {"customer_id": customer_id, "applies_credit": applies_credit, "updated_at": posted_text(now)}
        connection.execute(insert(PAYMENT_SETTINGS).values(**row))
        was, is_now = {"applies_credit": bool(before)}, {"applies_credit": applies_credit}
        change = Change(actor, "changed", "payment_settings", customer_id, was, is_now, "")
        record_changes(connection, [change], now=now)


def applies_credit(ledger: Engine, customer_id: str) -> bool:
    """Whether the customer's money on account pays its next invoices by itself; no, unless somebody said
    so."""
    with ledger.connect() as connection:
        found = connection.execute(select(_S.applies_credit).where(_S.customer_id == customer_id)).scalar()
    return bool(found)


def apply_customer_credit(
    connection: Connection, documents: Sequence[IssuedDocument], *, now: datetime
) -> None:
    """Let money on account pay documents that are just issued, the oldest payment first, the documents in
    their order. Call it in the transaction that issues them, when they are registered and posted."""
    if connection.execute(select(_S.customer_id).where(_S.applies_credit).limit(1)).first() is None:
        return
    by_customer: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        if document.kind != "credit_note":
            by_customer[document.customer_id].append(document.document_id)
    willing = select(_S.customer_id).where(_S.applies_credit)
    customers = sorted(
        row[0] for row in select_by_ids(connection, willing, _S.customer_id, sorted(by_customer))
    )
    if not customers:
        return
    lock_journal(connection)
    for customer_id in customers:
        own = (
            select(_P.payment_id).where(_P.customer_id == customer_id).order_by(_P.value_date, _P.payment_id)
        )
        ids = list(connection.execute(own).scalars())
        payments = [held for held in held_payments(connection, ids) if held.unapplied_minor]
        if payments:
            _pay(connection, by_customer[customer_id], payments, now=now)


def _pay(
    connection: Connection, document_ids: Sequence[str], payments: Sequence[Held], *, now: datetime
) -> None:
    left = {held.payment_id: held.unapplied_minor for held in payments}
    found = open_documents(connection, document_ids)
    for document_id in document_ids:
        document = found[document_id]
        still_open = document.open_minor
        for held in payments:
            amount = min(left[held.payment_id], still_open)
            if amount > 0 and held.currency == document.currency:
                applied = [Applied(document, amount, "customer_credit")]
                apply_payment(connection, held, applied, actor=SYSTEM_ACTOR, now=now)
                left[held.payment_id] -= amount
                still_open -= amount
