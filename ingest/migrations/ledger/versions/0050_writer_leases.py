"""Which process may write to an event store on a server, and until when."""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writer_leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(256), nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
    )
