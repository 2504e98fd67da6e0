"""Issued documents, their lines and audit entries cannot be changed or deleted, whoever asks the database.

A later migration that has SQLite copy one of these tables (``batch_alter_table``) loses its triggers and must
make them again.
"""

from alembic import op

revision = "0141"
down_revision = "0140"
branch_labels = None
depends_on = None

# (table, what of an old row forbids to change it, in words)
_ALWAYS = "1 = 1"
_ISSUED_LINE = "(SELECT state FROM invoices WHERE invoice_id = OLD.invoice_id) = 'issued'"
_FROZEN = (
    ("issued_documents", _ALWAYS, "the register of issued documents"),
    ("audit_entries", _ALWAYS, "the audit trail"),
    ("invoices", "OLD.state = 'issued'", "an issued invoice"),
    ("invoice_lines", _ISSUED_LINE, "a line of an issued invoice"),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _freeze_on_postgresql()
        return
    for table, frozen, words in _FROZEN:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_never_{verb.lower()} BEFORE {verb} ON {table} WHEN {frozen} "
                f"BEGIN SELECT RAISE(ABORT, '{words} never changes: {verb} is refused'); END"
            )


def _freeze_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% never changes: % is refused', TG_ARGV[0], TG_OP "
        "USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    # A condition of a trigger cannot look into another table, so lines have a function of their own.
    op.execute(
        "CREATE FUNCTION refuse_change_of_issued_line() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN IF {_ISSUED_LINE} THEN "
        "RAISE EXCEPTION '% never changes: % is refused', TG_ARGV[0], TG_OP "
        "USING ERRCODE = 'integrity_constraint_violation'; END IF; "
        "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$"
    )
    for table, frozen, words in _FROZEN:
        of_lines = table == "invoice_lines"
        function = "refuse_change_of_issued_line" if of_lines else "refuse_change"
        when = "" if of_lines else f"WHEN ({frozen}) "
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_never_{verb.lower()} BEFORE {verb} ON {table} FOR EACH ROW {when}"
                f"EXECUTE FUNCTION {function}('{words}')"
            )
        op.execute(
            f"CREATE TRIGGER {table}_never_truncate BEFORE TRUNCATE ON {table} "
            f"EXECUTE FUNCTION refuse_change('{words}')"
        )
