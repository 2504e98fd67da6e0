"""The ledger tables of the outbox. Made by migration 0160.

Instants are ISO 8601 text in UTC, all written by ``stamp``, so they sort as they read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

DELIVERIES: Final = sa.Table(
    "deliveries",
    LEDGER,
    sa.Column("delivery_id", sa.String(32), primary_key=True),
    sa.Column("document_id", sa.String(64), nullable=True, index=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("occasion", sa.String(64), nullable=False),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("role", sa.String(24), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason_code", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retried_after", sa.Integer, nullable=False),
    sa.Column("due_at", sa.String(32), nullable=False),
    sa.Column("next_attempt_at", sa.String(32), nullable=True),
    sa.Column("leased_until", sa.String(32), nullable=True),
    sa.Column("message_id", sa.String(255), nullable=False, index=True),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("message_hash", sa.String(64), nullable=False),
    sa.Column("provider_id", sa.String(255), nullable=False),
    sa.Column("confirm_wanted", sa.Boolean, nullable=False),
    sa.Column("follow_up_at", sa.String(32), nullable=True, index=True),
    sa.Column("queued_at", sa.String(32), nullable=False),
    sa.Column("sent_at", sa.String(32), nullable=True),
    sa.Index("ix_deliveries_state", "state", "next_attempt_at"),
)
"""One row a message to one recipient.

delivery_id: a hash of document, channel, recipient, purpose and occasion, so that queueing again is the
same row. document_id: of the register; null for a message about no document. occasion: tells apart messages
of one purpose (a resend from the next), empty for the first. due_at: when it should leave. retried_after: how
many attempts there had been when a person last had it tried again. leased_until: until when the worker that
took it may be at work. content_hash: SHA-256 of the document's file; message_hash: of the exact bytes of the
attempt begun last, empty while none was. state: see ``outbox.py``; reason_code, reason: why it is so.
"""

DELIVERY_EVENTS: Final = sa.Table(
    "delivery_events",
    LEDGER,
    sa.Column(
        "event_id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    sa.Column("delivery_id", sa.String(32), nullable=False, index=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(24), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
"""What happened to a delivery, only added to (a trigger refuses anything else). detail: JSON object."""

DELIVERY_CURSORS: Final = sa.Table(
    "delivery_cursors",
    LEDGER,
    sa.Column("series", sa.String(32), primary_key=True),
    sa.Column("next_number", sa.BigInteger, nullable=False),
)
"""Up to which number of a series documents are in the outbox. Numbers of a series become visible in their
order, so none can appear behind it."""

DELIVERY_LINKS: Final = sa.Table(
    "delivery_links",
    LEDGER,
    sa.Column("link_id", sa.String(32), primary_key=True),
    sa.Column("delivery_id", sa.String(32), nullable=False, index=True),
    sa.Column("document_id", sa.String(64), nullable=True),
    sa.Column("expires_at", sa.String(32), nullable=False),
    sa.Column("revoked_at", sa.String(32), nullable=True),
)

DOCUMENT_FILES: Final = sa.Table(
    "document_files",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
    sa.Column("media_type", sa.String(64), primary_key=True),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("made_at", sa.String(32), nullable=False),
)
"""A document's file as it was first sent: sent again it is these bytes, whatever has changed since."""

BOUNCED_ADDRESSES: Final = sa.Table(
    "bounced_addresses",
    LEDGER,
    sa.Column("address", sa.String(320), primary_key=True),
    sa.Column("delivery_id", sa.String(32), nullable=False),
    sa.Column("bounced_at", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
"""Addresses, in small letters, that mail came back from. Nothing more goes there until they are cleared."""


def stamp(instant: datetime) -> str:
    """``2026-11-22T12:00:00.000000+00:00``: always the same length, so that texts sort as instants do."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
