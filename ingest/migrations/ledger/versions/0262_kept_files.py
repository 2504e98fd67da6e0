"""Files of documents as they were sent are never changed or deleted, as the documents are not."""

from ingest.kept_rows import never_changes

revision = "0262"
down_revision = "0261"
branch_labels = None
depends_on = None


def upgrade() -> None:
    never_changes("document_files", "a file that was sent")
