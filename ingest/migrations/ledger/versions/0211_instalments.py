"""Instalments agreed for issued documents. A later agreement is a new plan; rows are never changed."""

import sqlalchemy as sa
from alembic import op

revision = "0211"
down_revision = "0210"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "instalments",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("plan_number", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("due_date", sa.String(10), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("agreed_at", sa.String(32), nullable=False),
        sa.Column("agreed_by", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
