"""The ledger tables of the audit trail. Made by migration 0140.

Instants are ISO 8601 text in UTC.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

AUDIT_ENTRIES: Final = sa.Table(
    "audit_entries",
    LEDGER,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("occurred_at", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("object_kind", sa.String(64), nullable=False),
    sa.Column("object_id", sa.String(256), nullable=False, index=True),
    sa.Column("before", sa.Text, nullable=True),
    sa.Column("after", sa.Text, nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("entry_hash", sa.String(64), nullable=False),
)
"""One row a change, only ever added. ``sequence``: 1, 2, 3 ... without gap. ``before``, ``after``: canonical
JSON of what was changed, null for what was not there. ``entry_hash``: SHA-256 over the hash of the entry
before and all other columns of this one."""

AUDIT_CHAIN: Final = sa.Table(
    "audit_chain",
    LEDGER,
    sa.Column("chain_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("entry_hash", sa.String(64), nullable=False),
)
"""One row, ``CHAIN_ID``: sequence and hash of the last entry, 0 and empty before the first."""

CHAIN_ID: Final = 1
