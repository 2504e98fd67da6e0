"""Files of documents as they were sent are never changed or deleted, as the documents are not."""

from alembic import op

revision = "0262"
down_revision = "0261"
branch_labels = None
depends_on = None


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    for verb in ("UPDATE", "DELETE"):
        name = f"document_files_never_{verb.lower()}"
        if postgresql:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON document_files FOR EACH ROW "
                "EXECUTE FUNCTION refuse_change('a file that was sent')"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON document_files "
                f"BEGIN SELECT RAISE(ABORT, 'a file that was sent never changes: {verb} is refused'); END"
            )
