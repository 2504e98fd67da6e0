"""From which day on what is accrued for a month was had, so that revenue can be asked by day."""

import sqlalchemy as sa
from alembic import op

revision = "0264"
down_revision = "0263"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accrued_from",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("charge_id", sa.String(128), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("first_day", sa.String(10), nullable=False),
    )
