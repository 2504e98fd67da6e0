"""Messages that a person asks for: a document once more, and the one that opens the correspondence."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import record_change
from invoicing.customer import Customer
from invoicing.delivery.delivery import Delivery, NewDelivery
from invoicing.delivery.documents import Document
from invoicing.delivery.find import get_delivery
from invoicing.delivery.outbox import add_deliveries
from invoicing.delivery.preferences import is_address
from invoicing.delivery.queue import deliveries_of, mail_recipients
from invoicing.delivery.tables import DELIVERIES


def resend(
    ledger: Engine,
    document: Document,
    customer: Customer,
    *,
    recipient: str | None,
    actor: str,
    now: datetime,
) -> list[Delivery]:
    """Queue a document once more, the same bytes, to whom it goes by the customer's preferences or to one
    e-mail address instead. Raises InvalidInput for what is no address, Conflict when there is nobody."""
    if recipient is not None and not is_address(recipient):
        raise InvalidInput(f"{recipient!r} is not an e-mail address.", reason_code="bad_email")
    with ledger_transaction(ledger) as connection:
        before = select(func.count()).where(
            DELIVERIES.c.document_id == document.document_id, DELIVERIES.c.purpose == "resend"
        )
        occasion = f"resend {connection.execute(before).scalar_one() + 1}"
        wanted = list(deliveries_of(document, customer, now=now, purpose="resend", occasion=occasion))
        if recipient is not None:
            wanted = [
                NewDelivery(
                    document_id=document.document_id,
                    customer_id=customer.customer_id,
                    channel="email",
                    purpose="resend",
                    recipient=recipient,
                    role="payer",
                    due_at=now,
                    occasion=occasion,
                )
            ]
        wanted = [one for one in wanted if not one.reason_code]
        if not wanted:
            raise Conflict(
                f"customer {customer.customer_id!r} has no address to send to. Name one, or put "
                "`delivery.recipients` on the customer.",
                reason_code="no_address",
            )
        ids = add_deliveries(connection, wanted, actor=actor, now=now)
        record_change(
            connection,
            actor=actor,
            action="resent",
            object_kind=document.kind,
            object_id=document.document_id,
            before=None,
            after={"deliveries": ids, "recipients": [one.recipient for one in wanted]},
            reason="",
            now=now,
        )
    return [get_delivery(ledger, delivery_id) for delivery_id in ids]


def queue_onboarding(ledger: Engine, customer: Customer, *, actor: str, now: datetime) -> list[Delivery]:
    """Queue the message that asks a customer to add our address to its address book, once an address.

    Raises Conflict when the customer has no e-mail address.
    """
    wanted = [
        NewDelivery(
            document_id=None,
            customer_id=customer.customer_id,
            channel="email",
            purpose="onboarding",
            recipient=one.email,
            role=one.role,
            due_at=now,
        )
        for one in mail_recipients(customer)
        if one.role != "owner"
    ]
    if not wanted:
        raise Conflict(f"customer {customer.customer_id!r} has no e-mail address.", reason_code="no_address")
    with ledger_transaction(ledger) as connection:
        add_deliveries(connection, wanted, actor=actor, now=now)
    return [get_delivery(ledger, one.delivery_id) for one in wanted]


def onboarding_of(ledger: Engine, customer: Customer) -> list[dict[str, str]]:
    """The checklist of a customer's onboarding as far as delivery goes: one item an address that gets
    documents; state ``open`` until the message is asked for, then its delivery's; ``confirmed`` is done."""
    items = []
    with ledger.connect() as connection:
        for one in mail_recipients(customer):
            if one.role == "owner":
                continue
            state = connection.execute(
                select(DELIVERIES.c.state).where(
                    DELIVERIES.c.customer_id == customer.customer_id,
                    DELIVERIES.c.purpose == "onboarding",
                    DELIVERIES.c.recipient == one.email,
                )
            ).scalar()
            items.append({"item": "sender_in_address_book", "recipient": one.email, "state": state or "open"})
    return items
