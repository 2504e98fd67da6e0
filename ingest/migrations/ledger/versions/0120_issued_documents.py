"""The register of issued documents, chained by hash; tax and billing entity of an invoice."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0120"
down_revision = "0110"
branch_labels = None
depends_on = None

_TOP_UP_SUFFIX = "/top-up"


def upgrade() -> None:
    op.add_column(
        "invoices", sa.Column("tax_minor", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    op.add_column("invoices", sa.Column("entity_id", sa.String(128), nullable=True))
    op.add_column("number_series", sa.Column("chain_hash", sa.String(64), nullable=False, server_default=""))
    register = op.create_table(
        "issued_documents",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("entity_id", sa.String(128), nullable=True),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("contract_id", sa.String(128), nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("issue_date", sa.String(10), nullable=False),
        sa.Column("due_date", sa.String(10), nullable=True),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("credit_minor", sa.BigInteger, nullable=False),
        sa.Column("refers_to", sa.String(64), nullable=True),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("chain_hash", sa.String(64), nullable=False),
        sa.Column("issued_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("series", "number", name="one_document_per_number"),
    )
    for column in ("customer_id", "issue_date", "refers_to"):
        op.create_index(f"ix_issued_documents_{column}", "issued_documents", [column])
    _register_issued(op.get_bind(), register)


def _register_issued(connection: sa.Connection, register: sa.Table) -> None:
    """What was issued before there was a register, in the order of its numbers."""
    heads: dict[str, str] = {}
    issued = connection.exec_driver_sql(
        "SELECT i.*, r.finished_at, r.started_at FROM invoices i "
        "LEFT JOIN billing_runs r ON r.run_id = i.run_id "
        "WHERE i.number IS NOT NULL ORDER BY i.series, i.number"
    )
    for rows in issued.mappings().partitions(10_000):
        connection.execute(register.insert(), [_registered(row, heads) for row in rows])
    for series, chain_hash in heads.items():
        connection.execute(
            sa.text("UPDATE number_series SET chain_hash = :hash WHERE series = :series"),
            {"hash": chain_hash, "series": series},
        )


def _registered(row: sa.RowMapping, heads: dict[str, str]) -> dict[str, object]:
    before = heads.get(row["series"], "")
    heads[row["series"]] = hashlib.sha256((before + row["document"]).encode()).hexdigest()
    return {
        "document_id": row["invoice_id"],
        "kind": "invoice",
        "entity_id": None,
        "contract_id": row["contract_id"].removesuffix(_TOP_UP_SUFFIX),
        "net_minor": row["total_minor"],
        "tax_minor": 0,
        "refers_to": None,
        "chain_hash": heads[row["series"]],
        "issued_at": row["finished_at"] or row["started_at"] or f"{row['issue_date']}T00:00:00Z",
    } | {
        name: row[name]
        for name in (
            "series",
            "number",
            "customer_id",
            "currency",
            "issue_date",
            "due_date",
            "credit_minor",
            "document_hash",
        )
    }
