"""Prepaid credit: grants and the entries that are made on them; what an invoice drew."""

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "credit_grants",
        sa.Column("grant_id", sa.String(128), primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=False, index=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("cost_minor", sa.BigInteger, nullable=False),
        sa.Column("effective_from", sa.String(10), nullable=False),
        sa.Column("expires_on", sa.String(10), nullable=True, index=True),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("origin_id", sa.String(128), nullable=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "credit_entries",
        sa.Column("entry_id", sa.String(32), primary_key=True),
        sa.Column(
            "grant_id", sa.String(128), sa.ForeignKey("credit_grants.grant_id"), nullable=False, index=True
        ),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("entry_date", sa.String(10), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("cost_minor", sa.BigInteger, nullable=False),
        sa.Column("invoice_id", sa.String(64), nullable=True, index=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "credit_top_ups",
        sa.Column("contract_id", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.add_column(
        "invoices", sa.Column("credit_minor", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
