"""What systems know of customers, which of them is believed, and keys that see one customer only."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0110"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "customer_records",
        sa.Column("system", sa.String(128), primary_key=True),
        sa.Column("external_id", sa.String(256), primary_key=True),
        sa.Column("customer_id", sa.String(128), sa.ForeignKey("customers.customer_id"), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("since", sa.Text, nullable=False),
        sa.Column("told_at", sa.String(32), nullable=False),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("customer_id", "system", name="one_record_a_system"),
    )
    external_ids = op.create_table(
        "customer_external_ids",
        sa.Column("system", sa.String(128), primary_key=True),
        sa.Column("external_id", sa.String(256), primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=False),
    )
    op.create_index("ix_customer_external_ids_customer_id", "customer_external_ids", ["customer_id"])
    op.create_table(
        "customer_conflicts",
        sa.Column("customer_id", sa.String(128), primary_key=True),
        sa.Column("field", sa.String(32), primary_key=True),
    )
    op.create_table(
        "customer_sources",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.add_column("api_keys", sa.Column("customer_id", sa.String(128), nullable=True))
    rows = _external_ids(op.get_bind())
    if rows:
        op.bulk_insert(external_ids, rows)


def _external_ids(connection: sa.Connection) -> list[dict[str, str]]:
    """What customer documents say. Where two name the same id, which was allowed, the first customer has it;
    the other is refused when it is saved next, with the reason."""
    found: dict[tuple[str, str], str] = {}
    query = "SELECT customer_id, document FROM customers ORDER BY customer_id"
    for customer_id, document in connection.exec_driver_sql(query):
        for system, external_id in json.loads(document).get("external_ids", {}).items():
            found.setdefault((system, external_id), customer_id)
    return [
        {"system": system, "external_id": external_id, "customer_id": customer_id}
        for (system, external_id), customer_id in found.items()
    ]
