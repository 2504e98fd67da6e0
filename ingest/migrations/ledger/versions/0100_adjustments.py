"""Adjustments of billed lines for late usage, and up to where each bill has looked for it."""

import sqlalchemy as sa
from alembic import op

revision = "0100"
down_revision = "0090"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null for dates settled before this: nobody has looked for late usage then, so the next bill of the
    # contract looks at everything once.
    op.add_column("settled_billing_dates", sa.Column("looked_through", sa.BigInteger, nullable=True))
    op.create_table(
        "line_adjustments",
        sa.Column("line_id", sa.String(32), primary_key=True),
        sa.Column("adjusted_line_id", sa.String(32), nullable=False),
        sa.Column("contract_id", sa.String(128), nullable=False, index=True),
        sa.Column("billing_date", sa.String(10), nullable=False),
        sa.Column("charge_kind", sa.String(32), nullable=False),
    )
    # Of the newest version of each contract. No contract says so before this.
    op.create_table(
        "contracts_without_adjustments",
        sa.Column("contract_id", sa.String(128), sa.ForeignKey("contracts.contract_id"), primary_key=True),
    )
