"""The ledger tables of reviews. Made by migration 0200. Instants are ISO 8601 text in UTC, written by
``stamp``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

REVIEWS: Final = sa.Table(
    "reviews",
    LEDGER,
    sa.Column("invoice_id", sa.String(64), sa.ForeignKey("invoices.invoice_id"), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reviewer", sa.String(128), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("reviewers", sa.Text, nullable=False),
    sa.Column("flags", sa.Text, nullable=False),
    sa.Column("prepared_by", sa.Text, nullable=False),
    sa.Column("four_eyes", sa.Boolean, nullable=False),
    sa.Column("issue_approved", sa.Boolean, nullable=False),
    sa.Column("escalate_after_hours", sa.Integer, nullable=True),
    sa.Column("escalate_to", sa.String(128), nullable=False),
    sa.Column("escalated", sa.Boolean, nullable=False),
    sa.Column("corrections", sa.Integer, nullable=False),
    sa.Column("rules_id", sa.String(128), nullable=False),
    sa.Column("rules_version", sa.Integer, nullable=False),
    sa.Column("opened_at", sa.String(32), nullable=False),
    sa.Column("waiting_since", sa.String(32), nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
    sa.Index("ix_reviews_state_reviewer", "state", "reviewer"),
)
"""One row a draft that people look at, written with it; it stays when the invoice is issued.

state: in_review, returned or approved. reviewer: whose turn it is, empty when it is nobody's. reviewers,
step:
JSON, their order and the place in it from 0. flags: JSON, why. prepared_by: JSON, who drafted and corrected
it. four_eyes, issue_approved, escalate_*: as the rules said when it was drafted.
"""

REVIEW_NOTICES: Final = sa.Table(
    "review_notices",
    LEDGER,
    sa.Column("invoice_id", sa.String(64), sa.ForeignKey("reviews.invoice_id"), primary_key=True),
    sa.Column("person", sa.String(128), primary_key=True),
    sa.Column("waiting_since", sa.String(32), primary_key=True),
    sa.Column("delivery_id", sa.String(32), nullable=False, index=True),
)
"""Who was told by which message that a draft waits for them. Made by migration 0264. A draft that comes back
to somebody has another waiting_since, and is told of again."""

REVIEW_CORRECTIONS: Final = sa.Table(
    "review_corrections",
    LEDGER,
    sa.Column("line_id", sa.String(32), primary_key=True),
    sa.Column("invoice_id", sa.String(64), sa.ForeignKey("reviews.invoice_id"), nullable=False, index=True),
    sa.Column("corrected_line_id", sa.String(64), nullable=False),
    sa.Column("reviewer", sa.String(128), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("corrected_at", sa.String(32), nullable=False),
)
"""Invoice lines that correct others. They are no rated lines: nothing in the event store stands behind them,
and what is compared with usage leaves them out."""


def stamp(instant: datetime) -> str:
    """The instant as the table keeps it; equal lengths, so texts sort as instants do."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
