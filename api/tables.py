"""The ledger tables this room owns: API keys and kept answers. Made by migrations 0001, 0002
and 0110."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

API_KEYS: Final = sa.Table(
    "api_keys",
    LEDGER,
    sa.Column("key_id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("scopes", sa.String(256), nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("revoked_at", sa.String(32), nullable=True),
    sa.Column("customer_id", sa.String(128), nullable=True),
)
"""``scopes``: names joined by spaces. ``secret_hash``: SHA-256 of the secret part, in hex: the secret
is 256 random bits, so a slow password hash would add nothing. ``customer_id``: the
one customer that the key sees; none: everything."""

IDEMPOTENT_ANSWERS: Final = sa.Table(
    "idempotent_answers",
    LEDGER,
    sa.Column("key_id", sa.String(32), primary_key=True),
    sa.Column("route", sa.String(128), primary_key=True),
    sa.Column("idempotency_key", sa.String(255), primary_key=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("media_type", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("expires_at", sa.String(32), nullable=False, index=True),
)
"""``request_hash``: SHA-256 of the request. Instants in UTC with six fraction digits, so that texts sort."""
