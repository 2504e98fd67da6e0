"""The ledger tables of special invoices. Made by migrations 0210 and 0240; rows are added, never changed or
deleted."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER
from invoicing.credit_note_tables import CREDIT_NOTES

SPECIAL_INVOICES: Final = sa.Table(
    "special_invoices",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("contract_id", sa.String(128), nullable=False, index=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("project", sa.String(256), nullable=False),
    sa.Column("series", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("issue_date", sa.String(10), nullable=False),
    sa.Column("due_date", sa.String(10), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
    sa.Column("tax_minor", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", sa.String(512), nullable=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.UniqueConstraint("series", "number", name="one_special_invoice_per_number"),
    sa.UniqueConstraint("idempotency_key", name="one_special_invoice_per_key"),
)
"""kind: deposit, progress, final or miscellaneous. project: what deposits and their final invoice share,
empty where a contract has one. Amounts in minor units. idempotency_key: the API key's id and the request's
own word, request_hash: SHA-256 of the request that came with it."""

DEDUCTED_DOCUMENTS: Final = sa.Table(
    "deducted_documents",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True),
    sa.Column("final_id", sa.String(64), nullable=False, index=True),
)
"""Which final invoice deducted a deposit or progress invoice. It holds until a credit note voids that final
invoice; the next one to deduct it is turn 2, and so on: each turn at most once, by the key."""


def stands(document_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether no credit note voided the document. What a final invoice deducts is deducted
    while that stands."""
    voided = sa.select(CREDIT_NOTES.c.credit_note_id).where(CREDIT_NOTES.c.invoice_id == document_id)
    return ~sa.exists(voided.where(CREDIT_NOTES.c.voids))
