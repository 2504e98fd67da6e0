"""Which reviewer was told by e-mail of which draft."""

import sqlalchemy as sa
from alembic import op

revision = "0264p"
down_revision = "0264"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "review_notices",
        sa.Column("invoice_id", sa.String(64), sa.ForeignKey("reviews.invoice_id"), primary_key=True),
        sa.Column("person", sa.String(128), primary_key=True),
        sa.Column("waiting_since", sa.String(32), primary_key=True),
        sa.Column("delivery_id", sa.String(32), nullable=False, index=True),
    )
