"""What contracts agree beyond their plans: overrides of prices."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agreements",
        sa.Column("agreement_key", sa.String(32), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    # As contracts and contract_subjects: the newest version of each contract, flat.
    op.create_table(
        "contract_agreements",
        sa.Column("contract_id", sa.String(128), sa.ForeignKey("contracts.contract_id"), primary_key=True),
        sa.Column("effective_from", sa.String(10), primary_key=True),
        sa.Column("plan_id", sa.String(128), nullable=False, index=True),
        sa.Column("agreement_key", sa.String(32), nullable=False),
    )
