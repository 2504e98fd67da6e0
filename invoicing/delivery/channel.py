"""What a channel is: it composes the exact bytes of a message, and hands them over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from invoicing.delivery.delivery import Delivery, Outcome, Refused
from invoicing.delivery.documents import Document


@dataclass(frozen=True, slots=True)
class Parcel:
    """message: the exact bytes that leave. message_id: what they are known by, the same at every attempt.
    content_hash: of the document's file in it, empty when there is none. envelope: what the channel needs
    beside the bytes. notes: what ought to be on record about how it was made."""

    message_id: str
    content_hash: str
    message: bytes
    envelope: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def message_hash(self) -> str:
        """SHA-256 of the message, in hex."""
        return hashlib.sha256(self.message).hexdigest()


class Channel(Protocol):
    """One way out of the house. idempotent: whether the other side tells a repeat by its id, so that an
    attempt whose outcome is not known may be made again."""

    @property
    def name(self) -> str: ...

    @property
    def idempotent(self) -> bool: ...

    def compose(self, delivery: Delivery, document: Document | None, *, now: datetime) -> Parcel | Refused:
        """The bytes of this message; nothing leaves yet."""
        ...

    def send(self, parcel: Parcel, *, now: datetime) -> Outcome:
        """Hand it over and say what became of it. Raises nothing that the other side can cause."""
        ...
