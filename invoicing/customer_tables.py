"""The ledger tables of what systems know of customers. Made by migration 0110.

A customer has records only from the first one on that a system sends; until then ``customers`` holds all
there is. Instants are ISO 8601 text in UTC.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

CUSTOMER_RECORDS: Final = sa.Table(
    "customer_records",
    LEDGER,
    sa.Column("system", sa.String(128), primary_key=True),
    sa.Column("external_id", sa.String(256), primary_key=True),
    sa.Column("customer_id", sa.String(128), sa.ForeignKey("customers.customer_id"), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("told_at", sa.String(32), nullable=False),
    sa.Column("changed_at", sa.String(32), nullable=False),
    sa.UniqueConstraint("customer_id", "system", name="one_record_a_system"),
)
"""``document``: as sent; of the system ``direct`` the customer document that was entered. ``since``: JSON,
field to the instant from which on this system has said what it says."""

CUSTOMER_EXTERNAL_IDS: Final = sa.Table(
    "customer_external_ids",
    LEDGER,
    sa.Column("system", sa.String(128), primary_key=True),
    sa.Column("external_id", sa.String(256), primary_key=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
)
"""Of every customer in force, flat: an external id of a system belongs to one customer."""

CUSTOMER_CONFLICTS: Final = sa.Table(
    "customer_conflicts",
    LEDGER,
    sa.Column("customer_id", sa.String(128), primary_key=True),
    sa.Column("field", sa.String(32), primary_key=True),
)
"""Fields on which the records of a customer differ, written with every merge: a list need not merge."""

CUSTOMER_SOURCES: Final = sa.Table(
    "customer_sources",
    LEDGER,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
"""Which system is believed for which field; the highest version is in force."""
