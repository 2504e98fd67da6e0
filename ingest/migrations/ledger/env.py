"""Alembic entry: runs migrations on the connection that ``migrate_ledger`` hands in."""

from alembic import context

from ingest.ledger import LEDGER

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=LEDGER, transactional_ddl=True)
context.run_migrations()
