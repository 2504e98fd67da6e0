"""Billable items, what became of them, and invoices of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0170"
down_revision = "0160"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "billable_items",
        sa.Column("item_id", sa.String(32), primary_key=True),
        sa.Column("source_system", sa.String(128), nullable=False),
        sa.Column("external_id", sa.String(256), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("customer_id", sa.String(128), nullable=True),
        sa.Column("contract_id", sa.String(128), nullable=True),
        sa.Column("project", sa.String(256), nullable=False),
        sa.Column("item_date", sa.String(10), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("line_id", sa.String(32), nullable=True),
        sa.Column("invoice_id", sa.String(64), nullable=True),
        sa.Column("item_invoice_id", sa.String(32), nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("source_system", "external_id", name="one_item_per_external_id"),
    )
    op.create_index("ix_billable_items_contract", "billable_items", ["state", "contract_id"])
    op.create_index("ix_billable_items_customer", "billable_items", ["state", "customer_id"])
    op.create_index("ix_billable_items_line_id", "billable_items", ["line_id"])
    op.create_index("ix_billable_items_item_invoice_id", "billable_items", ["item_invoice_id"])
    op.create_table(
        "billable_item_conflicts",
        sa.Column("item_id", sa.String(32), primary_key=True),
        sa.Column("document_hash", sa.String(64), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("received_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "item_invoices",
        sa.Column("item_invoice_id", sa.String(32), primary_key=True),
        sa.Column("contract_id", sa.String(128), nullable=False),
        sa.Column("invoice_on", sa.String(10), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("as_draft", sa.Boolean, nullable=False),
        sa.Column("invoice_id", sa.String(64), nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_item_invoices_contract_id", "item_invoices", ["contract_id"])
    op.create_index("ix_item_invoices_state", "item_invoices", ["state"])
