"""Credit notes: documents that take back a part or all of an issued invoice. Never changed or deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0142"
down_revision = "0141"
branch_labels = None
depends_on = None

_WORDS = "a credit note"


def upgrade() -> None:
    op.create_table(
        "credit_notes",
        sa.Column("credit_note_id", sa.String(64), primary_key=True),
        sa.Column("invoice_id", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("issue_date", sa.String(10), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("credit_minor", sa.BigInteger, nullable=False),
        sa.Column("voids", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.String(512), nullable=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.UniqueConstraint("series", "number", name="one_credit_note_per_number"),
        sa.UniqueConstraint("idempotency_key", name="one_credit_note_per_key"),
    )
    for column in ("invoice_id", "customer_id"):
        op.create_index(f"ix_credit_notes_{column}", "credit_notes", [column])
    for verb in ("UPDATE", "DELETE"):
        name = f"credit_notes_never_{verb.lower()}"
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON credit_notes FOR EACH ROW "
                f"EXECUTE FUNCTION refuse_change('{_WORDS}')"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON credit_notes "
                f"BEGIN SELECT RAISE(ABORT, '{_WORDS} never changes: {verb} is refused'); END"
            )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER credit_notes_never_truncate BEFORE TRUNCATE ON credit_notes "
            f"EXECUTE FUNCTION refuse_change('{_WORDS}')"
        )
