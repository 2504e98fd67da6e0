"""The ledger tables of payments, as migration 0150 creates them. Payments, allocations and returns are added
and never changed or deleted: triggers of the database refuse it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

PAYMENTS: Final = sa.Table(
    "payments",
    LEDGER,
    sa.Column("payment_id", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(128), nullable=True, index=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("value_date", sa.String(10), nullable=False, index=True),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("bank_reference", sa.Text, nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("duplicate_key", sa.String(64), nullable=True, unique=True),
    sa.Column("recorded_at", sa.String(32), nullable=False),
    sa.Column("recorded_by", sa.String(128), nullable=False),
)
"""Money received. customer_id: the payer, null when unknown. duplicate_key: of a row of a file, so that the
same file again records nothing; null for a payment recorded by itself. source: api, csv or set_off."""

PAYMENT_ALLOCATIONS: Final = sa.Table(
    "payment_allocations",
    LEDGER,
    sa.Column("payment_id", sa.String(64), sa.ForeignKey("payments.payment_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column(
        "document_id",
        sa.String(64),
        sa.ForeignKey("issued_documents.document_id"),
        nullable=False,
        index=True,
    ),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
    sa.Column("entry_date", sa.String(10), nullable=False),
    sa.Column("rule", sa.String(24), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
)
"""What of a payment pays a document; below zero: what of it does so no longer. net_minor: the part that pays
its lines, the rest pays its tax. rule: why; see ``invoicing/payment.py``."""

PAYMENT_RETURNS: Final = sa.Table(
    "payment_returns",
    LEDGER,
    sa.Column("payment_id", sa.String(64), sa.ForeignKey("payments.payment_id"), primary_key=True),
    sa.Column("entry_date", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.String(32), nullable=False),
    sa.Column("recorded_by", sa.String(128), nullable=False),
)
"""Payments that were returned (a bounced debit, a charge-back): a payment is returned whole and once."""

PAYMENT_SETTINGS: Final = sa.Table(
    "payment_settings",
    LEDGER,
    sa.Column("customer_id", sa.String(128), primary_key=True),
    sa.Column("applies_credit", sa.Boolean, nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
)
"""applies_credit: whether money of the customer that is not applied pays its next invoice as it is issued.
The one thing here that is replaced."""
