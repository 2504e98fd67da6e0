"""What comes back: messages about delivery (RFC 3464), and replies by people; each finds its delivery."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage, Message
from typing import Final

from sqlalchemy import Connection, Engine, func, select, update

from ingest.errors import InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import record_change
from invoicing.delivery.deliver import alert_owner
from invoicing.delivery.delivery import Delivery, Refused, delivery_of
from invoicing.delivery.documents import DocumentShelf
from invoicing.delivery.outbox import record_event
from invoicing.delivery.tables import BOUNCED_ADDRESSES, DELIVERIES, stamp

TEXT_MAX: Final = 20_000
"""Characters of a reply that are kept; a mail program has the rest."""
_IDS: Final = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a mail system says of one recipient. action: ``failed`` or ``delayed`` among others of RFC 3464;
    message_id: of our message, empty when it is not told."""

    address: str
    action: str
    status: str
    words: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A person's answer. message_ids: of the messages it answers, the nearest first."""

    sender: str
    subject: str
    text: str
    message_ids: tuple[str, ...]


def read_bounces(raw: bytes) -> list[Bounce]:
    """The recipients that a delivery status notification is about. Raises InvalidInput for what is none."""
    message = _message(raw)
    bounces = []
    message_id = _original_id(message)
    for part in message.walk():
        if part.get_content_type() != "message/delivery-status":
            continue
        for block in _parts(part):
            recipient = block.get("Final-Recipient") or block.get("Original-Recipient")
            if recipient is None:
                continue  # the block about the message as a whole
            bounces.append(
                Bounce(
                    address=_plain_words(str(recipient).rpartition(";")[2]).strip("<>").casefold(),
                    action=_plain_words(str(block.get("Action", ""))).casefold(),
                    status=_plain_words(str(block.get("Status", ""))),
                    words=_plain_words(str(block.get("Diagnostic-Code", ""))),
                    message_id=message_id,
                )
            )
    if not bounces:
        raise InvalidInput(
            "this message is no delivery status notification (RFC 3464): it has no part "
            "message/delivery-status that names a recipient.",
            reason_code="not_a_bounce",
        )
    return bounces


def take_bounce(
    ledger: Engine, bounce: Bounce, *, shelf: DocumentShelf, actor: str, now: datetime
) -> Delivery:
    """Mark the delivery and its address, and tell the owner. A delay is put on record and changes nothing.

    Raises NotFound when no message of ours went to that address. The same bounce again changes nothing.
    """
    failed = bounce.action == "failed"
    reason = " ".join(filter(None, [bounce.status, bounce.words])) or "no reason was given"
    came_back = Refused("bounced", reason)
    with ledger_transaction(ledger) as connection:
        delivery = _bounced_delivery(connection, bounce)
        detail = {"address": bounce.address, "action": bounce.action, "reason": reason}
        again = delivery.state == "bounced" and delivery.reason == reason
        if failed and not again:
            connection.execute(
                update(DELIVERIES)
                .where(DELIVERIES.c.delivery_id == delivery.delivery_id)
                .values(
                    state="bounced",
                    reason_code=came_back.reason_code,
                    reason=came_back.reason,
                    follow_up_at=None,
                    next_attempt_at=None,
                    leased_until=None,
                )
            )
            known = select(BOUNCED_ADDRESSES).where(BOUNCED_ADDRESSES.c.address == bounce.address)
            if connection.execute(known).first() is None:
                connection.execute(
                    BOUNCED_ADDRESSES.insert().values(
                        address=bounce.address,
                        delivery_id=delivery.delivery_id,
                        bounced_at=stamp(now),
                        reason=reason,
                    )
                )
        if not again:
            kind = "bounced" if failed else "delayed"
            record_event(connection, delivery.delivery_id, kind, detail, actor=actor, now=now)
    if failed:
        alert_owner(ledger, delivery.delivery_id, shelf=shelf, now=now)
    return delivery


def clear_address(ledger: Engine, address: str, *, actor: str, now: datetime) -> None:
    """Send to an address again that mail came back from. Raises NotFound when none did."""
    with ledger_transaction(ledger) as connection:
        row = connection.execute(
            select(BOUNCED_ADDRESSES).where(BOUNCED_ADDRESSES.c.address == address.casefold())
        ).one_or_none()
        if row is None:
            raise NotFound(f"no mail came back from {address!r}, so there is nothing to clear.")
        connection.execute(
            BOUNCED_ADDRESSES.delete().where(BOUNCED_ADDRESSES.c.address == address.casefold())
        )
        detail = {"address": row.address, "reason": row.reason}
        record_event(connection, row.delivery_id, "address_cleared", detail, actor=actor, now=now)
        record_change(
            connection,
            actor=actor,
            action="cleared",
            object_kind="bounced_address",
            object_id=row.address,
            before={"bounced_at": row.bounced_at, "reason": row.reason},
            after=None,
            reason="",
            now=now,
        )


def read_reply(raw: bytes) -> Reply:
    """A person's answer to a message. Raises InvalidInput for one that answers nothing."""
    message = _message(raw)
    named = f"{message.get('In-Reply-To', '')} {' '.join(reversed(_ids(message.get('References', ''))))}"
    ids = tuple(dict.fromkeys(_ids(named)))
    if not ids:
        raise InvalidInput(
            "the message answers no other one: it has neither In-Reply-To nor References.",
            reason_code="not_a_reply",
        )
    body = message.get_body(("plain", "html"))
    text = "" if body is None else str(body.get_content())
    return Reply(
        sender=str(message.get("From", "")),
        subject=str(message.get("Subject", "")),
        text=text[:TEXT_MAX],
        message_ids=ids,
    )


def take_reply(ledger: Engine, reply: Reply, *, actor: str, now: datetime) -> Delivery:
    """Put a reply on the record of the delivery it answers. Raises NotFound when it answers none of ours.

    Who answers has received it, so no follow-up is sent any more.
    """
    with ledger_transaction(ledger) as connection:
        rows = connection.execute(
            select(DELIVERIES).where(DELIVERIES.c.message_id.in_(reply.message_ids))
        ).all()
        found = {row.message_id: row for row in rows}
        nearest = next((found[one] for one in reply.message_ids if one in found), None)
        if nearest is None:
            raise NotFound("the message answers none of those sent from here.")
        delivery = delivery_of(nearest)
        connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.delivery_id == delivery.delivery_id)
            .values(follow_up_at=None)
        )
        detail = {"from": reply.sender, "subject": reply.subject, "text": reply.text}
        record_event(connection, delivery.delivery_id, "reply", detail, actor=actor, now=now)
    return delivery


def _message(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise InvalidInput("this is no e-mail: it has no headers.", reason_code="not_an_email")
    return message


def _original_id(message: Message) -> str:
    """The Message-ID of the message that is reported on, from what of it came back."""
    for part in message.walk():
        if part.get_content_type() == "message/rfc822":
            return next((str(one.get("Message-ID", "")).strip() for one in _parts(part)), "")
        if part.get_content_type() == "text/rfc822-headers":
            headers = email.message_from_string(str(part.get_payload()), policy=email.policy.default)
            return str(headers.get("Message-ID", "")).strip()
    return ""


def _bounced_delivery(connection: Connection, bounce: Bounce) -> Delivery:
    """By the message's id, else the last mail that went to the address."""
    statement = select(DELIVERIES).where(DELIVERIES.c.channel == "email")
    if bounce.message_id:
        found = connection.execute(statement.where(DELIVERIES.c.message_id == bounce.message_id)).first()
        if found is not None:
            return delivery_of(found)
    statement = statement.where(
        func.lower(DELIVERIES.c.recipient) == bounce.address, DELIVERIES.c.attempts > 0
    )
    last_sent = (DELIVERIES.c.sent_at.is_(None), DELIVERIES.c.sent_at.desc())
    newest = connection.execute(statement.order_by(*last_sent).limit(1)).first()
    if newest is None:
        raise NotFound(f"no message from here went to {bounce.address!r}.")
    return delivery_of(newest)


def _parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    return [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []


def _ids(text: object) -> list[str]:
    return _IDS.findall(str(text))


def _plain_words(text: str) -> str:
    return " ".join(text.split())[:500]
