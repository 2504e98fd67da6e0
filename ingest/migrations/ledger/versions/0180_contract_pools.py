"""The pools that contracts name, for charges that count the contracts of a pool together."""

import sqlalchemy as sa
from alembic import op

revision = "0180"
down_revision = "0170"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of the newest version of each contract. No contract names a pool before this.
    op.create_table(
        "contract_pools",
        sa.Column("contract_id", sa.String(128), sa.ForeignKey("contracts.contract_id"), primary_key=True),
        sa.Column("pool_id", sa.String(128), nullable=False, index=True),
    )
