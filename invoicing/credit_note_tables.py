"""The ledger table of credit notes. Made by migration 0142."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

CREDIT_NOTES: Final = sa.Table(
    "credit_notes",
    LEDGER,
    sa.Column("credit_note_id", sa.String(64), primary_key=True),
    sa.Column("invoice_id", sa.String(64), nullable=False, index=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("series", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("issue_date", sa.String(10), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
    sa.Column("tax_minor", sa.BigInteger, nullable=False),
    sa.Column("credit_minor", sa.BigInteger, nullable=False),
    sa.Column("voids", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.String(512), nullable=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.UniqueConstraint("series", "number", name="one_credit_note_per_number"),
    sa.UniqueConstraint("idempotency_key", name="one_credit_note_per_key"),
)
"""invoice_id: what it corrects. Amounts in minor units, signed as the customer owes them, so at or below
zero: net_minor + tax_minor is what is taken back, credit_minor of it goes back to prepaid credit. voids: with
it nothing of the invoice is left. idempotency_key: the API key's id and the request's own word, request_hash:
SHA-256 of the request that came with it."""
