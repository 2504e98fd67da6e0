"""The ledger tables of quotes. Made by migration 0212; rows are added, never changed or deleted."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

QUOTES: Final = sa.Table(
    "quotes",
    LEDGER,
    sa.Column("quote_id", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("contract_id", sa.String(128), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
)
"""Every version as canonical JSON with its SHA-256."""

QUOTE_ACCEPTANCES: Final = sa.Table(
    "quote_acceptances",
    LEDGER,
    sa.Column("quote_id", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("contract_id", sa.String(128), nullable=False, index=True),
    sa.Column("contract_version", sa.Integer, nullable=False),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("ip_address", sa.String(64), nullable=False),
    sa.Column("accepted_at", sa.String(32), nullable=False),
    sa.Column("recorded_by", sa.String(256), nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("terms_version", sa.String(128), nullable=False),
)
"""Who accepted which version of a quote, from where, and the terms they acknowledged (empty: none). A version
is accepted once."""
