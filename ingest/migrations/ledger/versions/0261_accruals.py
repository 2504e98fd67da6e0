"""Which documents have open accruals, and through which month usage was accrued."""

import sqlalchemy as sa
from alembic import op

revision = "0261"
down_revision = "0260"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("open_accruals", sa.Column("document_id", sa.String(64), primary_key=True))
    op.create_table(
        "accrual_runs",
        sa.Column("through", sa.String(10), primary_key=True),
        sa.Column("finished_at", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
    )
