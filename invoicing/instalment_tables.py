"""The ledger table of instalments. Made by migration 0211; rows are only added."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

INSTALMENTS: Final = sa.Table(
    "instalments",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
    sa.Column("plan_number", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("due_date", sa.String(10), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("agreed_at", sa.String(32), nullable=False),
    sa.Column("agreed_by", sa.String(256), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
"""Of a document the plan with the highest plan_number counts. agreed_at: ISO 8601 in UTC, with
microseconds."""
