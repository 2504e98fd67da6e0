"""What a billing run adds up of its invoices, in an index: their documents are not read again for it."""

from alembic import op

revision = "0265"
down_revision = "0264p"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = ["run_id", "invoice_id", "currency", "total_minor", "document_hash"]
    op.create_index("ix_invoices_of_run", "invoices", columns)
    op.drop_index("ix_invoices_run_id", "invoices")
