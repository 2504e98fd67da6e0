"""The ledger tables of pay-outs, as migration 0241 creates them. Rows are added, never changed or deleted."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

PAY_OUTS: Final = sa.Table(
    "pay_outs",
    LEDGER,
    sa.Column("pay_out_id", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("value_date", sa.String(10), nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("recorded_at", sa.String(32), nullable=False),
    sa.Column("recorded_by", sa.String(256), nullable=False),
)
"""Money that went to a customer, minor units above zero. reference: of the transfer. request_hash: SHA-256 of
the request, so that the same pay_out_id with another one is refused."""

PAY_OUT_PARTS: Final = sa.Table(
    "pay_out_parts",
    LEDGER,
    sa.Column("pay_out_id", sa.String(64), sa.ForeignKey("pay_outs.pay_out_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("payment_id", sa.String(64), sa.ForeignKey("payments.payment_id"), nullable=True, index=True),
    sa.Column(
        "document_id", sa.String(64), sa.ForeignKey("issued_documents.document_id"), nullable=True, index=True
    ),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
)
"""What a pay-out gives back: money of a payment that paid nothing, or what a bill below zero left owed (of it
net_minor the lines, the rest tax). The parts sum to the pay-out."""
