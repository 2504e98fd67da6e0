"""Messages that a person asks for: a document once more, and the one that opens the correspondence."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select, update

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import record_change
from invoicing.customer import Customer
from invoicing.delivery.channel_email import find_customer
from invoicing.delivery.delivery import Delivery, NewDelivery
from invoicing.delivery.documents import Document, find_document
from invoicing.delivery.find import get_delivery
from invoicing.delivery.outbox import add_deliveries, retry
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


def retry_delivery(ledger: Engine, delivery_id: str, *, actor: str, now: datetime) -> Delivery:
    """Send again what failed, bounced, is held or unknown (``outbox.retry``). What had nobody to go to goes
    to whom its customer names now. Raises NotFound, and Conflict where it is in no such state or there still
    is nobody."""
    delivery = get_delivery(ledger, delivery_id)
    if not delivery.recipient and delivery.state == "held":
        _address(ledger, delivery, actor=actor, now=now)
    return retry(ledger, delivery_id, actor=actor, now=now)


def _address(ledger: Engine, delivery: Delivery, *, actor: str, now: datetime) -> None:
    """Give a message that had no recipient its first, and queue one for each other."""
    customer = find_customer(ledger, delivery.customer_id)
    with ledger_transaction(ledger) as connection:
        wanted = []
        if customer is not None and delivery.document_id is not None:
            document = find_document(connection, delivery.document_id)
            wanted = [one for one in deliveries_of(document, customer, now=now) if not one.reason_code]
        if not wanted:
            raise Conflict(
                f"delivery {delivery.delivery_id} still has nobody to go to. Put an address on customer "
                f"{delivery.customer_id!r} first: `email`, or `delivery.recipients`.",
                reason_code="no_address",
            )
        first, *others = wanted
        connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.delivery_id == delivery.delivery_id, DELIVERIES.c.recipient == "")
            .values(
                channel=first.channel,
                recipient=first.recipient,
                role=first.role,
                confirm_wanted=first.confirm_wanted,
            )
        )
        add_deliveries(connection, others, actor=actor, now=now)


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
