"""Meters, price plans, contracts, customers, billing runs, invoices, API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meters",
        sa.Column("meter_id", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "price_plan_versions",
        sa.Column("plan_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("effective_from", sa.String(10), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "customers",
        sa.Column("customer_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "contract_versions",
        sa.Column("contract_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    # The contract in force, as flat columns: what a billing run reads, without parsing documents.
    op.create_table(
        "contracts",
        sa.Column("contract_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("customer_id", sa.String(128), nullable=False, index=True),
        sa.Column("plan_id", sa.String(128), nullable=False, index=True),
        sa.Column("start_date", sa.String(10), nullable=False),
        sa.Column("end_date", sa.String(10), nullable=True),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("cadence", sa.String(16), nullable=False),
        sa.Column("anchor_date", sa.String(10), nullable=False),
    )
    op.create_table(
        "contract_subjects",
        sa.Column("contract_id", sa.String(128), sa.ForeignKey("contracts.contract_id"), primary_key=True),
        sa.Column("subject", sa.String(512), primary_key=True, index=True),
    )
    op.create_table(
        "billing_runs",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("as_of", sa.String(10), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32), nullable=True),
        sa.Column("report", sa.Text, nullable=True),
    )
    op.create_table(
        "invoices",
        sa.Column("invoice_id", sa.String(64), primary_key=True),
        sa.Column("contract_id", sa.String(128), nullable=False, index=True),
        sa.Column("customer_id", sa.String(128), nullable=False, index=True),
        sa.Column("billing_date", sa.String(10), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("series", sa.String(32), nullable=True),
        sa.Column("number", sa.BigInteger, nullable=True),
        sa.Column("issue_date", sa.String(10), nullable=True),
        sa.Column("due_date", sa.String(10), nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False, index=True),
        # The rule that makes billing twice impossible: one invoice a contract and billing date.
        sa.UniqueConstraint("contract_id", "billing_date", name="one_invoice_per_billing_date"),
        sa.UniqueConstraint("series", "number", name="one_invoice_per_number"),
    )
    op.create_table(
        "invoice_lines",
        sa.Column("invoice_id", sa.String(64), sa.ForeignKey("invoices.invoice_id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("line_id", sa.String(32), nullable=False, unique=True),
        sa.Column("charge_id", sa.String(128), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
    )
    # Invoices frozen for ever once issued are matched by frozen settlement of billing dates that
    # gave nothing to bill: without a row they would be looked at again in every run.
    op.create_table(
        "settled_billing_dates",
        sa.Column("contract_id", sa.String(128), primary_key=True),
        sa.Column("billing_date", sa.String(10), primary_key=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("contract_version", sa.Integer, nullable=False),
    )
    op.create_table(
        "number_series",
        sa.Column("series", sa.String(32), primary_key=True),
        sa.Column("next_number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("scopes", sa.String(256), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("revoked_at", sa.String(32), nullable=True),
    )
