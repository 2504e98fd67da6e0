"""Triggers for migrations of tables whose rows are added and never changed or deleted, whoever asks.

The function ``refuse_change`` of PostgreSQL is made by migration 0141. What a released migration made stays
what it was, so a change here is for tables to come.
"""

from __future__ import annotations

from alembic import op


def never_changes(table: str, words: str) -> None:
    """Refuse every UPDATE, DELETE and, on PostgreSQL, TRUNCATE. words: what a row is, for the message."""
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
