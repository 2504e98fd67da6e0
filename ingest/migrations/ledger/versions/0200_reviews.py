"""Reviews: drafts that people look at before they are issued."""

import sqlalchemy as sa
from alembic import op

revision = "0200"
down_revision = "0180"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("invoice_id", sa.String(64), sa.ForeignKey("invoices.invoice_id"), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reviewer", sa.String(128), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("reviewers", sa.Text, nullable=False),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("prepared_by", sa.Text, nullable=False),
        sa.Column("four_eyes", sa.Boolean, nullable=False),
        sa.Column("issue_approved", sa.Boolean, nullable=False),
        sa.Column("escalate_after_hours", sa.Integer, nullable=True),
        sa.Column("escalate_to", sa.String(128), nullable=False),
        sa.Column("escalated", sa.Boolean, nullable=False),
        sa.Column("corrections", sa.Integer, nullable=False),
        sa.Column("rules_id", sa.String(128), nullable=False),
        sa.Column("rules_version", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("waiting_since", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "review_corrections",
        sa.Column("line_id", sa.String(32), primary_key=True),
        sa.Column("invoice_id", sa.String(64), sa.ForeignKey("reviews.invoice_id"), nullable=False),
        sa.Column("corrected_line_id", sa.String(64), nullable=False),
        sa.Column("reviewer", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("corrected_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_review_corrections_invoice_id", "review_corrections", ["invoice_id"])
    op.create_index("ix_reviews_state_reviewer", "reviews", ["state", "reviewer"])
