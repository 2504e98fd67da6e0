"""What CRMs told of: the latest change of each object, and changes that contradict one."""

import sqlalchemy as sa
from alembic import op

revision = "0250"
down_revision = "0241"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "crm_objects",
        sa.Column("system", sa.String(128), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("external_id", sa.String(256), primary_key=True),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("key", sa.String(128), nullable=True),
        sa.Column("issues", sa.Text, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.Column("applied_at", sa.String(32), nullable=True),
    )
    op.create_index("ix_crm_objects_state", "crm_objects", ["state"])
    op.create_table(
        "crm_conflicts",
        sa.Column("system", sa.String(128), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("external_id", sa.String(256), primary_key=True),
        sa.Column("document_hash", sa.String(64), primary_key=True),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("received_at", sa.String(32), nullable=False),
    )
