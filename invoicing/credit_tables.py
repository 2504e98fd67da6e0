"""The ledger tables of prepaid credit, as migration 0060 creates them. Grants and entries are added, never
changed."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

CREDIT_GRANTS: Final = sa.Table(
    "credit_grants",
    LEDGER,
    sa.Column("grant_id", sa.String(128), primary_key=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("cost_minor", sa.BigInteger, nullable=False),
    sa.Column("effective_from", sa.String(10), nullable=False),
    sa.Column("expires_on", sa.String(10), nullable=True, index=True),
    sa.Column("origin", sa.String(16), nullable=False),
    sa.Column("origin_id", sa.String(128), nullable=True, index=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
"""``origin``: given (by somebody), rollover (``origin_id``: the grant it came from), retainer or top_up
(``origin_id``: the invoice line that sold it, or the contract)."""

CREDIT_TOP_UPS: Final = sa.Table(
    "credit_top_ups",
    LEDGER,
    sa.Column("contract_id", sa.String(128), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
)
"""When credit of a contract is topped up, as it is wanted now; the one thing here that is replaced.
No key leads to ``contracts``: saving a contract replaces its row there."""

CREDIT_ENTRIES: Final = sa.Table(
    "credit_entries",
    LEDGER,
    sa.Column("entry_id", sa.String(32), primary_key=True),
    sa.Column(
        "grant_id", sa.String(128), sa.ForeignKey("credit_grants.grant_id"), nullable=False, index=True
    ),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("entry_date", sa.String(10), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("cost_minor", sa.BigInteger, nullable=False),
    sa.Column("invoice_id", sa.String(64), nullable=True, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("lines", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
"""``kind``: granted, rolled_in (both add), drawn, taken_off (drawn before tax), expired, rolled_over, voided
(all take away; their amounts are below zero), returned, put_back (what comes back of either).
``entry_id`` is a hash of what the entry is for, so that nothing is entered twice.
``lines``: of a draw, what each invoice line got, as JSON [[line_id, amount_minor], ...]."""
