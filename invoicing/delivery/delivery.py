"""A delivery: one message to one recipient, its states, and what an attempt to send it can come to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Row

State = Literal["queued", "sending", "sent", "opened", "confirmed", "failed", "bounced", "unknown", "held"]
Purpose = Literal["document", "resend", "follow_up", "alert", "onboarding", "review"]
OUR_OWN: Final = frozenset({"alert", "review"})
"""Messages to our own people: without a link, and nothing that a customer waits for."""
DELIVERED: Final = frozenset({"sent", "opened", "confirmed"})
NEEDS_PERSON: Final = frozenset({"failed", "bounced", "unknown", "held"})
SYSTEM: Final = "system"
NO_REASON: Final = {"reason_code": "", "reason": ""}
LEASE: Final = timedelta(minutes=10)
"""Longer than any attempt may take: every channel gives up far earlier."""
WAITED_TOO_LONG: Final = timedelta(days=7)
"""What has waited longer than this, say because nobody had set e-mail up, is not sent unasked any more."""
BACK_OFF: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 4 * 60, 12 * 60, 24 * 60))
"""How long to wait after each failed attempt; after the last one it is given up."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of ``DELIVERIES``; instants are texts as stored."""

    delivery_id: str
    document_id: str | None
    customer_id: str
    channel: str
    purpose: str
    occasion: str
    recipient: str
    role: str
    state: str
    reason_code: str
    reason: str
    attempts: int
    retried_after: int
    due_at: str
    next_attempt_at: str | None
    leased_until: str | None
    message_id: str
    content_hash: str
    message_hash: str
    provider_id: str
    confirm_wanted: bool
    follow_up_at: str | None
    queued_at: str
    sent_at: str | None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """What is to be sent to whom. See ``DELIVERIES``."""

    document_id: str | None
    customer_id: str
    channel: str
    purpose: Purpose
    recipient: str
    role: str
    due_at: datetime
    occasion: str = ""
    confirm_wanted: bool = False
    reason_code: str = ""
    reason: str = ""
    """With a reason it is held from the start."""

    @property
    def delivery_id(self) -> str:
        """The same message to the same recipient always has the same id (32 hex digits)."""
        parts = (self.document_id or "", self.customer_id, self.channel, self.recipient, self.purpose)
        question = "\n".join(("ratemill delivery", *parts, self.occasion))
        return hashlib.sha256(question.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Sent:
    """It is out. provider_id: what the other side calls it, empty when it does not say."""

    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It is certainly not out; a later attempt may succeed."""

    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It is certainly not out, and trying again would not help."""

    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """It may be out or not: the connection broke while the other side was taking it."""

    reason_code: str
    reason: str


Outcome = Sent | TryAgain | Refused | Unclear


def delivery_of(row: Row[Any], changed: Mapping[str, Any] | None = None) -> Delivery:
    """The delivery of a row of ``DELIVERIES``, with what has just been ``changed``."""
    values = {name: getattr(row, name) for name in Delivery.__slots__}
    return Delivery(**(values | dict(changed or {})))
