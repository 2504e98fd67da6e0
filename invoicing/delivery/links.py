"""Signed links to a document: no account needed, one a message, with an end, and revocable.

The token holds the id of a row, signed; whether it still opens anything is in the row. So a link can be
taken back, and a ledger that leaks opens nothing without the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import Engine, select, update

from ingest.errors import NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import record_change
from invoicing.delivery.delivery import NO_REASON, Delivery
from invoicing.delivery.outbox import record_event
from invoicing.delivery.tables import DELIVERIES, DELIVERY_LINKS, stamp

_SALT: Final = "ratemill document link 1"
_LINK_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was found. state: open, expired or revoked."""

    link_id: str
    delivery_id: str
    document_id: str | None
    state: str


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """public_url: where the server is reached from outside, without a slash at its end. secret: signs.
    days: how long a link opens."""

    public_url: str
    secret: str
    days: int

    def url(self, delivery: Delivery) -> str:
        """The address that goes into the message; ``keep_link`` makes it open something."""
        return f"{self.public_url}/i/{_signer(self.secret).dumps(link_id_of(delivery.delivery_id))}"


def link_id_of(delivery_id: str) -> str:
    """A delivery has one link, however often it is tried."""
    return hashlib.sha256(f"ratemill link\n{delivery_id}".encode()).hexdigest()[: 2 * _LINK_BYTES]


def keep_link(ledger: Engine, delivery: Delivery, *, days: int, now: datetime) -> None:
    """Make the link of a delivery open its document for ``days`` from now, unless it was revoked."""
    link_id, expires_at = link_id_of(delivery.delivery_id), stamp(now + timedelta(days=days))
    with ledger_transaction(ledger) as connection:
        changed = connection.execute(
            update(DELIVERY_LINKS).where(DELIVERY_LINKS.c.link_id == link_id).values(expires_at=expires_at)
        ).rowcount
        if not changed:
            connection.execute(
                DELIVERY_LINKS.insert().values(
                    link_id=link_id,
                    delivery_id=delivery.delivery_id,
                    document_id=delivery.document_id,
                    expires_at=expires_at,
                )
            )


def find_link(ledger: Engine, token: str, *, secret: str, now: datetime) -> Link:
    """The link of a token. Raises NotFound for one that was not given out here."""
    unknown = NotFound("this link is not known here. Ask whoever sent it for a new one.")
    try:
        link_id = _signer(secret).loads(token)
    except BadSignature:
        raise unknown from None
    with ledger.connect() as connection:
        row = connection.execute(
            select(DELIVERY_LINKS).where(DELIVERY_LINKS.c.link_id == str(link_id))
        ).one_or_none()
    if row is None:
        raise unknown
    state = "revoked" if row.revoked_at else "expired" if row.expires_at <= stamp(now) else "open"
    return Link(row.link_id, row.delivery_id, row.document_id, state)


def revoke_link(ledger: Engine, delivery_id: str, *, actor: str, now: datetime) -> None:
    """Let the link of a delivery open nothing any more. Raises NotFound when it has none."""
    with ledger_transaction(ledger) as connection:
        changed = connection.execute(
            update(DELIVERY_LINKS)
            .where(DELIVERY_LINKS.c.delivery_id == delivery_id, DELIVERY_LINKS.c.revoked_at.is_(None))
            .values(revoked_at=stamp(now))
        ).rowcount
        if not changed:
            raise NotFound(f"delivery {delivery_id!r} has no link that is open.")
        record_event(connection, delivery_id, "link_revoked", {}, actor=actor, now=now)
        record_change(
            connection,
            actor=actor,
            action="link_revoked",
            object_kind="delivery",
            object_id=delivery_id,
            before={"link": "open"},
            after={"link": "revoked"},
            reason="",
            now=now,
        )


def mark_seen(ledger: Engine, delivery_id: str, state: str, *, now: datetime) -> None:
    """The recipient has ``opened`` the link, or ``confirmed``: the delivery arrived, and no follow-up is due.

    Counts from any state: also a message whose fate was unknown has arrived when its link is used.
    """
    later = {"opened": ("opened", "confirmed"), "confirmed": ("confirmed",)}[state]
    with ledger_transaction(ledger) as connection:
        changed = connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.delivery_id == delivery_id, DELIVERIES.c.state.not_in((*later, "sending")))
            .values(
                state=state,
                follow_up_at=None,
                next_attempt_at=None,
                leased_until=None,
                **NO_REASON,
            )
        ).rowcount
        if not changed:
            return
        record_event(connection, delivery_id, state, {}, actor="recipient", now=now)
        first = connection.execute(
            select(DELIVERIES.c.occasion).where(
                DELIVERIES.c.delivery_id == delivery_id, DELIVERIES.c.purpose == "follow_up"
            )
        ).scalar()
    if first is not None:
        mark_seen(ledger, first, state, now=now)


def webhook_secret(secret: str, customer_id: str) -> str:
    """The secret that a customer's webhooks are signed with, as Standard Webhooks writes it; derived, so
    that no document or ledger holds it."""
    key = hmac.new(secret.encode(), f"ratemill webhook\n{customer_id}".encode(), hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(key).decode()}"


def _signer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256})
