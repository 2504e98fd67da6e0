"""What was taken off invoice lines before tax: promotional credit."""

import sqlalchemy as sa
from alembic import op

revision = "0230"
down_revision = "0212"
branch_labels = None
depends_on = None

_WORDS = "a line of an issued invoice"
_OF_ISSUED = "EXISTS (SELECT 1 FROM invoices WHERE invoice_id = OLD.invoice_id AND state = 'issued')"


def upgrade() -> None:
    op.create_table(
        "line_allowances",
        sa.Column("line_id", sa.String(32), primary_key=True),
        sa.Column("invoice_id", sa.String(64), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_line_allowances_invoice_id", "line_allowances", ["invoice_id"])
    postgresql = op.get_bind().dialect.name == "postgresql"
    for verb in ("UPDATE", "DELETE"):
        name = f"line_allowances_never_{verb.lower()}"
        if postgresql:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON line_allowances FOR EACH ROW "
                f"EXECUTE FUNCTION refuse_change_of_issued_line('{_WORDS}')"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {verb} ON line_allowances WHEN {_OF_ISSUED} "
                f"BEGIN SELECT RAISE(ABORT, '{_WORDS} never changes: {verb} is refused'); END"
            )
    if postgresql:
        op.execute(
            "CREATE TRIGGER line_allowances_never_truncate BEFORE TRUNCATE ON line_allowances "
            f"EXECUTE FUNCTION refuse_change('{_WORDS}')"
        )
