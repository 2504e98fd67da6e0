"""The ledger tables of what CRMs told of. Made by migration 0250. Instants are ISO 8601 text in UTC."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

CRM_OBJECTS: Final = sa.Table(
    "crm_objects",
    LEDGER,
    sa.Column("system", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("external_id", sa.String(256), primary_key=True),
    sa.Column("changed_at", sa.String(32), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("key", sa.String(128), nullable=True),
    sa.Column("issues", sa.Text, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("received_at", sa.String(32), nullable=False),
    sa.Column("applied_at", sa.String(32), nullable=True),
)
"""The latest change of each object. state: ``received``, ``applied``, ``waiting`` (for another object) or
``refused``; issues: why, JSON. key: what it is here, once a change of it was applied, at applied_at last."""

CRM_CONFLICTS: Final = sa.Table(
    "crm_conflicts",
    LEDGER,
    sa.Column("system", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("external_id", sa.String(256), primary_key=True),
    sa.Column("document_hash", sa.String(64), primary_key=True),
    sa.Column("changed_at", sa.String(32), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("received_at", sa.String(32), nullable=False),
)
"""Changes that contradict one of the same instant, which came first and holds; kept to be looked at."""
