"""Special invoices (deposit, progress, final, miscellaneous), and which final invoice deducted which earlier
document. Never changed or deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0210"
down_revision = "0200"
branch_labels = None
depends_on = None

_TABLES = {"special_invoices": "a special invoice", "deducted_documents": "a deduction"}


def upgrade() -> None:
    op.create_table(
        "special_invoices",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("contract_id", sa.String(128), nullable=False),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("project", sa.String(256), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("issue_date", sa.String(10), nullable=False),
        sa.Column("due_date", sa.String(10), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("idempotency_key", sa.String(512), nullable=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.UniqueConstraint("series", "number", name="one_special_invoice_per_number"),
        sa.UniqueConstraint("idempotency_key", name="one_special_invoice_per_key"),
    )
    for column in ("contract_id", "customer_id"):
        op.create_index(f"ix_special_invoices_{column}", "special_invoices", [column])
    op.create_table(
        "deducted_documents",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("final_id", sa.String(64), nullable=False),
    )
    op.create_index("ix_deducted_documents_final_id", "deducted_documents", ["final_id"])
    for table, words in _TABLES.items():
        _never_changes(table, words)


def _never_changes(table: str, words: str) -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    for verb in ("UPDATE", "DELETE"):
        name = f"{table}_never_{verb.lower()}"
        if postgresql:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW "
                f"EXECUTE FUNCTION refuse_change('{words}')"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{words} never changes: {verb} is refused'); END"
            )
    if postgresql:
        op.execute(
            f"CREATE TRIGGER {table}_never_truncate BEFORE TRUNCATE ON {table} "
            f"EXECUTE FUNCTION refuse_change('{words}')"
        )
