"""Deliver what is due: the story of the outbox, from an issued document to a message that is out.

    register -> queued, by the customer's preferences -> claimed by one worker -> composed to exact bytes
             -> on record as begun -> handed over -> sent, tried again later, failed, or not known

Killed at any point it may be run again: ``outbox.py`` says what becomes of an attempt that was under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, select, update

from ingest.clock import Clock
from ingest.errors import Conflict, RatemillError
from ingest.ledger import ledger_transaction
from invoicing.delivery.channel import Channel
from invoicing.delivery.channel_email import find_customer
from invoicing.delivery.delivery import OUR_OWN, SYSTEM, Delivery, NewDelivery, Refused, delivery_of
from invoicing.delivery.documents import Document, DocumentShelf
from invoicing.delivery.find import get_delivery
from invoicing.delivery.links import keep_link
from invoicing.delivery.outbox import (
    add_deliveries,
    begin_attempt,
    claim_next,
    hold_old,
    record_event,
    release_expired,
    settle,
)
from invoicing.delivery.queue import owner_address, queue_issued
from invoicing.delivery.tables import DELIVERIES, stamp
from invoicing.review.notify import queue_review_mail

FOLLOW_UP_DAYS: Final = 3
_ALERTING: Final = frozenset({"failed", "unknown"})


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What one call did. queued: messages new in the outbox; states: attempts made, by what they led to;
    held: waited too long to be sent unasked; taken_over: attempts whose worker was gone."""

    queued: int
    follow_ups: int
    taken_over: int
    held: int
    states: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {
            "queued": self.queued,
            "follow_ups": self.follow_ups,
            "taken_over": self.taken_over,
            "held": self.held,
            "attempts": dict(sorted(self.states.items())),
        }


def deliver_due(
    ledger: Engine,
    *,
    channels: Mapping[str, Channel],
    shelf: DocumentShelf,
    link_days: int,
    clock: Clock,
) -> DeliveryReport:
    """Queue what is issued and what reviewers are to know, then send everything whose time has come, a
    message at a time.

    channels: those that are set up, by name; what is meant for another one waits. Any number of workers may
    do this at once. Raises what the ledger raises; what goes wrong with one message is on its record.
    """
    queued = queue_issued(ledger, now=clock.now())
    if "email" in channels:  # else reviewers have their list, and are told of it all when e-mail is set up
        queued += queue_review_mail(ledger, now=clock.now())
    idempotent = {name for name, channel in channels.items() if channel.idempotent}
    taken_over = release_expired(ledger, idempotent=idempotent, now=clock.now())
    follow_ups = queue_follow_ups(ledger, now=clock.now())
    held = hold_old(ledger, channels=channels, now=clock.now())
    states: Counter[str] = Counter()
    while (delivery := claim_next(ledger, channels=channels, now=clock.now())) is not None:
        state = _attempt(ledger, delivery, channels[delivery.channel], shelf, link_days, clock)
        states[state] += 1
        if state in _ALERTING:
            alert_owner(ledger, delivery.delivery_id, shelf=shelf, now=clock.now())
    return DeliveryReport(queued, follow_ups, taken_over, held, dict(states))


def _attempt(
    ledger: Engine,
    delivery: Delivery,
    channel: Channel,
    shelf: DocumentShelf,
    link_days: int,
    clock: Clock,
) -> str:
    """Compose, put on record, hand over, put on record; returns the state it led to."""
    try:
        document = None if delivery.document_id is None else shelf.get(delivery.document_id)
        composed = channel.compose(delivery, document, now=clock.now())
    except (RatemillError, ValueError) as error:  # this message's own trouble: the others go on
        composed = Refused("not_composed", f"The message could not be made: {error}"[:2000])
    if isinstance(composed, Refused):
        return settle(ledger, delivery, composed, follow_up_at=None, now=clock.now())
    if delivery.purpose not in OUR_OWN:
        keep_link(ledger, delivery, days=link_days, now=clock.now())
    try:
        begin_attempt(
            ledger,
            delivery,
            message_id=composed.message_id,
            content_hash=composed.content_hash,
            message_hash=composed.message_hash,
            now=clock.now(),
        )
    except Conflict:
        return "lease_lost"
    for note in composed.notes:
        _note(ledger, delivery, note, now=clock.now())
    outcome = channel.send(composed, now=clock.now())
    follow_up_at = _follow_up_at(ledger, delivery, now=clock.now()) if delivery.confirm_wanted else None
    return settle(ledger, delivery, outcome, follow_up_at=follow_up_at, now=clock.now())


def queue_follow_ups(ledger: Engine, *, now: datetime) -> int:
    """Ask again where nobody confirmed in time, and tell the owner; returns how many were asked."""
    with ledger_transaction(ledger) as connection:
        rows = connection.execute(
            select(DELIVERIES)
            .where(DELIVERIES.c.follow_up_at <= stamp(now), DELIVERIES.c.state == "sent")
            .with_for_update(skip_locked=True)
        ).all()
        for row in rows:
            delivery = delivery_of(row)
            again = NewDelivery(
                document_id=delivery.document_id,
                customer_id=delivery.customer_id,
                channel=delivery.channel,
                purpose="follow_up",
                recipient=delivery.recipient,
                role=delivery.role,
                due_at=now,
                occasion=delivery.delivery_id,
            )
            add_deliveries(connection, [again], actor=SYSTEM, now=now)
            connection.execute(
                update(DELIVERIES)
                .where(DELIVERIES.c.delivery_id == delivery.delivery_id)
                .values(follow_up_at=None)
            )
            record_event(
                connection,
                delivery.delivery_id,
                "follow_up",
                {"delivery_id": again.delivery_id},
                actor=SYSTEM,
                now=now,
            )
    return len(rows)


def alert_owner(ledger: Engine, delivery_id: str, *, shelf: DocumentShelf, now: datetime) -> bool:
    """Queue a message about a delivery in trouble to our own person behind it; False when there is none, or
    the delivery is itself such a message."""
    delivery = get_delivery(ledger, delivery_id)
    if delivery.purpose == "alert" or delivery.document_id is None:
        return False
    document: Document = shelf.get(delivery.document_id)
    owner = owner_address(find_customer(ledger, delivery.customer_id), document.terms)
    if not owner or owner == delivery.recipient:
        return False
    alert = NewDelivery(
        document_id=delivery.document_id,
        customer_id=delivery.customer_id,
        channel="email",
        purpose="alert",
        recipient=owner,
        role="owner",
        due_at=now,
        occasion=f"{delivery_id}:{delivery.state}",
    )
    with ledger_transaction(ledger) as connection:
        return bool(add_deliveries(connection, [alert], actor=SYSTEM, now=now))


def _follow_up_at(ledger: Engine, delivery: Delivery, *, now: datetime) -> datetime:
    customer = find_customer(ledger, delivery.customer_id)
    wanted = customer.delivery if customer else None
    return now + timedelta(days=wanted.follow_up_days if wanted else FOLLOW_UP_DAYS)


def _note(ledger: Engine, delivery: Delivery, words: str, *, now: datetime) -> None:
    with ledger_transaction(ledger) as connection:
        record_event(connection, delivery.delivery_id, "note", {"words": words}, actor=SYSTEM, now=now)
