"""Puts what was issued into the outbox, by each customer's preferences; nothing in billing has to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parseaddr
from typing import Any, Final

from sqlalchemy import Connection, Engine, select, update

from ingest.ledger import ledger_transaction
from invoicing.customer import Customer
from invoicing.customer_store import load_customers
from invoicing.delivery.delivery import SYSTEM, NewDelivery, Purpose
from invoicing.delivery.documents import Document, find_document
from invoicing.delivery.outbox import add_deliveries
from invoicing.delivery.preferences import COPIED, DeliveryPreferences, Recipient, is_address, planned_at
from invoicing.delivery.tables import DELIVERY_CURSORS
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES

BLOCK: Final = 500
"""Documents queued in one transaction."""


def queue_issued(ledger: Engine, *, now: datetime) -> int:
    """Queue what the register has and the outbox has not; returns how many messages are new.

    Each document is queued in the transaction that moves its series' cursor past it, so none is left
    out and none comes twice, whoever else does the same.
    """
    added = 0
    while block := _queue_block(ledger, now=now):
        added += block[1]
    return added


def _queue_block(ledger: Engine, *, now: datetime) -> tuple[int, int] | None:
    """Queue up to ``BLOCK`` documents of one series; (documents, messages), None when nothing is left."""
    with ledger.connect() as connection:
        series = _series_behind(connection)
    if series is None:
        return None
    with ledger_transaction(ledger) as connection:
        start = _held_cursor(connection, series)
        rows = connection.execute(
            select(ISSUED_DOCUMENTS)
            .where(ISSUED_DOCUMENTS.c.series == series, ISSUED_DOCUMENTS.c.number >= start)
            .order_by(ISSUED_DOCUMENTS.c.number)
            .limit(BLOCK)
        ).all()
        if not rows:
            # Numbers drawn by what is no registered document; nothing to send of them.
            end = select(NUMBER_SERIES.c.next_number).where(NUMBER_SERIES.c.series == series)
            _move_cursor(connection, series, connection.execute(end).scalar_one())
            return 0, 0
        customers = load_customers(connection, sorted({row.customer_id for row in rows}))
        wanted = [
            one
            for row in rows
            for one in _deliveries_of(connection, row, customers.get(row.customer_id), now=now)
        ]
        added = add_deliveries(connection, wanted, actor=SYSTEM, now=now)
        _move_cursor(connection, series, rows[-1].number + 1)
    return len(rows), len(added)


def _series_behind(connection: Connection) -> str | None:
    joined = NUMBER_SERIES.outerjoin(DELIVERY_CURSORS, DELIVERY_CURSORS.c.series == NUMBER_SERIES.c.series)
    behind = (DELIVERY_CURSORS.c.next_number.is_(None) & (NUMBER_SERIES.c.next_number > 1)) | (
        DELIVERY_CURSORS.c.next_number < NUMBER_SERIES.c.next_number
    )
    statement = select(NUMBER_SERIES.c.series).select_from(joined).where(behind)
    return connection.execute(statement.order_by(NUMBER_SERIES.c.series).limit(1)).scalar()


def _held_cursor(connection: Connection, series: str) -> int:
    """The series' cursor, this transaction's own until it ends."""
    connection.exec_driver_sql(
        "INSERT INTO delivery_cursors (series, next_number) VALUES (%s, 1) ON CONFLICT (series) DO NOTHING"
        if connection.dialect.name == "postgresql"
        else "INSERT INTO delivery_cursors (series, next_number) VALUES (?, 1) ON CONFLICT DO NOTHING",
        (series,),
    )
    held = select(DELIVERY_CURSORS.c.next_number).where(DELIVERY_CURSORS.c.series == series)
    return int(connection.execute(held.with_for_update()).scalar_one())


def _move_cursor(connection: Connection, series: str, next_number: int) -> None:
    connection.execute(
        update(DELIVERY_CURSORS).where(DELIVERY_CURSORS.c.series == series).values(next_number=next_number)
    )


def _deliveries_of(
    connection: Connection, row: Any, customer: Customer | None, *, now: datetime
) -> Iterator[NewDelivery]:
    document = find_document(connection, row.document_id)
    if customer is None:
        words = f"Customer {row.customer_id!r} is not on record."
        yield _held(row.document_id, row.customer_id, "unknown_customer", words, now=now)
        return
    yield from deliveries_of(document, customer, now=now)


def deliveries_of(
    document: Document,
    customer: Customer,
    *,
    now: datetime,
    purpose: Purpose = "document",
    occasion: str = "",
) -> Iterator[NewDelivery]:
    """Who is sent this document, over which channel, and when; pure. A resend leaves at once."""
    wanted = customer.delivery or DeliveryPreferences()
    if wanted.channel == "none":
        return
    due_at = now if purpose == "resend" else planned_at(wanted, document.issued_at)
    large = wanted.confirm_above_minor is not None and document.gross_minor > wanted.confirm_above_minor
    if wanted.channel != "email":
        recipient = wanted.address or customer.customer_id
        yield NewDelivery(
            document_id=document.document_id,
            customer_id=customer.customer_id,
            channel=wanted.channel,
            purpose=purpose,
            recipient=recipient,
            role="payer",
            due_at=due_at,
            occasion=occasion,
        )
        return
    recipients = mail_recipients(customer)
    if not any(one.role not in COPIED for one in recipients):
        words = (
            "The customer has no e-mail address that can be sent to. Put one on it (`email`, `bill_to.email` "
            "or `delivery.recipients`), then `ratemill delivery retry` sends it there."
        )
        yield _held(document.document_id, customer.customer_id, "no_address", words, now=now)
        return
    for one in recipients:
        yield NewDelivery(
            document_id=document.document_id,
            customer_id=customer.customer_id,
            channel="email",
            purpose=purpose,
            recipient=one.email,
            role=one.role,
            due_at=due_at,
            occasion=occasion,
            confirm_wanted=large and one.role == "payer",
        )


def mail_recipients(customer: Customer) -> tuple[Recipient, ...]:
    """Who gets a customer's mail: those it names; if none, the address of ``bill_to``, else its own, and a
    copy to that of ``notify``, which stands in for both where there is no other."""
    named = customer.delivery.recipients if customer.delivery else ()
    if named:
        return named
    bill_to, told = (party.email if party else "" for party in (customer.bill_to, customer.notify))
    payer = next((address for address in (bill_to, customer.email, told) if is_address(address)), "")
    if not payer:
        return ()
    if not is_address(told) or told.casefold() == payer.casefold():
        return (Recipient(email=payer),)
    return Recipient(email=payer), Recipient(email=told, role="notify")


def owner_address(customer: Customer | None, terms: Mapping[str, Any]) -> str:
    """Our own person behind a document: the contract's owner if that is an address, else the customer's
    recipient with the role owner; empty when nobody is."""
    owner = parseaddr(str(terms.get("owner", "")))[1]
    if is_address(owner):
        return owner
    named = customer.delivery.recipients if customer and customer.delivery else ()
    return next((one.email for one in named if one.role == "owner"), "")


def _held(document_id: str, customer_id: str, reason_code: str, words: str, *, now: datetime) -> NewDelivery:
    return NewDelivery(
        document_id=document_id,
        customer_id=customer_id,
        channel="email",
        purpose="document",
        recipient="",
        role="payer",
        due_at=now,
        reason_code=reason_code,
        reason=words,
    )
