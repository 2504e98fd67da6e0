"""In which months the usage of a line over several months was consumed."""

import sqlalchemy as sa
from alembic import op

from ingest.kept_rows import never_changes

revision = "0263"
down_revision = "0262"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "line_month_shares",
        sa.Column("line_id", sa.String(32), primary_key=True),
        sa.Column("month_end", sa.String(10), primary_key=True),
        sa.Column("share", sa.String(48), nullable=False),
    )
    never_changes("line_month_shares", "what months consumed of an invoice line")
