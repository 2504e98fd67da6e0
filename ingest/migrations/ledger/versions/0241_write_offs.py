"""Receivables that are written off, and money paid out to customers. Added to, never changed or deleted."""

import sqlalchemy as sa
from alembic import op

from ingest.kept_rows import never_changes

revision = "0241"
down_revision = "0240"
branch_labels = None
depends_on = None

_TABLES = {"write_offs": "a write-off", "pay_outs": "a pay-out", "pay_out_parts": "a part of a pay-out"}


def upgrade() -> None:
    op.create_table(
        "write_offs",
        sa.Column(
            "document_id", sa.String(64), sa.ForeignKey("issued_documents.document_id"), primary_key=True
        ),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("recovers", sa.Integer, nullable=True),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("entry_date", sa.String(10), nullable=False),
        sa.Column("rule", sa.String(24), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("tax_relief", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("created_by", sa.String(256), nullable=False),
    )
    op.create_table(
        "pay_outs",
        sa.Column("pay_out_id", sa.String(64), primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("value_date", sa.String(10), nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("recorded_by", sa.String(256), nullable=False),
    )
    op.create_index("ix_pay_outs_customer_id", "pay_outs", ["customer_id"])
    op.create_table(
        "pay_out_parts",
        sa.Column("pay_out_id", sa.String(64), sa.ForeignKey("pay_outs.pay_out_id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("payment_id", sa.String(64), sa.ForeignKey("payments.payment_id"), nullable=True),
        sa.Column("document_id", sa.String(64), sa.ForeignKey("issued_documents.document_id"), nullable=True),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
    )
    for column in ("payment_id", "document_id"):
        op.create_index(f"ix_pay_out_parts_{column}", "pay_out_parts", [column])
    for table, words in _TABLES.items():
        never_changes(table, words)
