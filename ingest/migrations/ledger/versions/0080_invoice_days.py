"""On which days contracts are invoiced: holiday calendars, and the rules of contracts that have one."""

import sqlalchemy as sa
from alembic import op

revision = "0080"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "holiday_calendars",
        sa.Column("calendar_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    # As contracts and contract_agreements: of the newest version of each contract, flat.
    op.create_table(
        "contract_invoice_days",
        sa.Column("contract_id", sa.String(128), sa.ForeignKey("contracts.contract_id"), primary_key=True),
        sa.Column("business_day", sa.String(16), nullable=False),
        sa.Column("calendar_id", sa.String(128), nullable=False),
    )
