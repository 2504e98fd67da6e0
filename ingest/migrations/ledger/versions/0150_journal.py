"""The journal and payments: rows that are added and never changed, which triggers see to."""

import sqlalchemy as sa
from alembic import op

revision = "0150"
down_revision = "0141"
branch_labels = None
depends_on = None

_KEPT = ("journal_entries", "journal_lines", "payments", "payment_allocations", "payment_returns")


def upgrade() -> None:
    _create_journal()
    _create_payments()
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(
            "CREATE FUNCTION refuse_change_of_accounts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION '% is only added to, never changed', TG_TABLE_NAME; END $$"
        )
    for table in _KEPT:
        for act in ("UPDATE", "DELETE"):
            name = f"{table}_{act.lower()}_refused"
            if postgresql:
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {act} ON {table} FOR EACH ROW "
                    "EXECUTE FUNCTION refuse_change_of_accounts()"
                )
            else:
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {act} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is only added to, never changed'); END"
                )


def _create_journal() -> None:
    op.create_table(
        "journal_entries",
        sa.Column("entry_number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry_id", sa.String(256), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("entry_date", sa.String(10), nullable=False),
        sa.Column("posted_at", sa.String(32), nullable=False),
        sa.Column("document_id", sa.String(64), nullable=True),
        sa.Column("payment_id", sa.String(64), nullable=True),
        sa.Column("description", sa.Text, nullable=False),
    )
    for column in ("entry_date", "document_id", "payment_id"):
        op.create_index(f"ix_journal_entries_{column}", "journal_entries", [column])
    op.create_table(
        "journal_lines",
        sa.Column(
            "entry_number", sa.BigInteger, sa.ForeignKey("journal_entries.entry_number"), primary_key=True
        ),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("account", sa.String(24), nullable=False),
        sa.Column("part", sa.String(8), nullable=False),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("contract_id", sa.String(128), nullable=False),
        sa.Column("charge_id", sa.String(128), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
    )
    counter = op.create_table(
        "journal_counter",
        sa.Column("journal", sa.String(16), primary_key=True),
        sa.Column("next_number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counter, [{"journal": "journal", "next_number": 1}])
    op.create_index("ix_credit_grants_origin_id", "credit_grants", ["origin_id"])


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("payment_id", sa.String(64), primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("value_date", sa.String(10), nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("bank_reference", sa.Text, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("duplicate_key", sa.String(64), nullable=True, unique=True),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("recorded_by", sa.String(128), nullable=False),
    )
    op.create_index("ix_payments_customer_id", "payments", ["customer_id"])
    op.create_index("ix_payments_value_date", "payments", ["value_date"])
    op.create_table(
        "payment_allocations",
        sa.Column("payment_id", sa.String(64), sa.ForeignKey("payments.payment_id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column(
            "document_id", sa.String(64), sa.ForeignKey("issued_documents.document_id"), nullable=False
        ),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("entry_date", sa.String(10), nullable=False),
        sa.Column("rule", sa.String(24), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
    op.create_index("ix_payment_allocations_document_id", "payment_allocations", ["document_id"])
    op.create_table(
        "payment_returns",
        sa.Column("payment_id", sa.String(64), sa.ForeignKey("payments.payment_id"), primary_key=True),
        sa.Column("entry_date", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("recorded_by", sa.String(128), nullable=False),
    )
    op.create_table(
        "payment_settings",
        sa.Column("customer_id", sa.String(128), primary_key=True),
        sa.Column("applies_credit", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
