"""A deposit whose final invoice was voided can be deducted by another one: each time is a row of its own."""

import sqlalchemy as sa
from alembic import op

from ingest.kept_rows import never_changes

revision = "0240"
down_revision = "0230"
branch_labels = None
depends_on = None

_TABLE = "deducted_documents"


def upgrade() -> None:
    op.create_table(
        "deductions",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("turn", sa.Integer, primary_key=True),
        sa.Column("final_id", sa.String(64), nullable=False),
    )
    op.execute(
        f"INSERT INTO deductions (document_id, turn, final_id) SELECT document_id, 1, final_id FROM {_TABLE}"
    )
    op.drop_table(_TABLE)
    op.rename_table("deductions", _TABLE)
    op.create_index(f"ix_{_TABLE}_final_id", _TABLE, ["final_id"])
    never_changes(_TABLE, "a deduction")
