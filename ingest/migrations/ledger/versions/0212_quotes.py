"""Quotes in versions, and who accepted which version. Never changed or deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0212"
down_revision = "0211"
branch_labels = None
depends_on = None

_TABLES = {"quotes": "a version of a quote", "quote_acceptances": "an acceptance"}


def upgrade() -> None:
    op.create_table(
        "quotes",
        sa.Column("quote_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("contract_id", sa.String(128), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("created_by", sa.String(256), nullable=False),
    )
    op.create_index("ix_quotes_customer_id", "quotes", ["customer_id"])
    op.create_table(
        "quote_acceptances",
        sa.Column("quote_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("contract_id", sa.String(128), nullable=False),
        sa.Column("contract_version", sa.Integer, nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("ip_address", sa.String(64), nullable=False),
        sa.Column("accepted_at", sa.String(32), nullable=False),
        sa.Column("recorded_by", sa.String(256), nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("terms_version", sa.String(128), nullable=False),
    )
    op.create_index("ix_quote_acceptances_contract_id", "quote_acceptances", ["contract_id"])
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
