"""Which contracts limit the use of which meters."""

import sqlalchemy as sa
from alembic import op

revision = "0090"
down_revision = "0080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # As contract_subjects: of the newest version of each contract, flat. No contract has any before this.
    op.create_table(
        "contract_entitlements",
        sa.Column("contract_id", sa.String(128), sa.ForeignKey("contracts.contract_id"), primary_key=True),
        sa.Column("meter_id", sa.String(128), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
    )
