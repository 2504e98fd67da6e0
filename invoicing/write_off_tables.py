"""The ledger table of write-offs, as migration 0241 creates it. Rows are added, never changed or deleted."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

WRITE_OFFS: Final = sa.Table(
    "write_offs",
    LEDGER,
    sa.Column("document_id", sa.String(64), sa.ForeignKey("issued_documents.document_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("recovers", sa.Integer, nullable=True),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
    sa.Column("entry_date", sa.String(10), nullable=False),
    sa.Column("rule", sa.String(24), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("tax_relief", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
)
"""What of a document is given up, minor units, tax included; below zero: what of the row ``recovers`` is owed
again. net_minor: the part of the lines. tax_relief: why the state gives the tax of it back; empty: it does
not, and the tax is lost with the rest. rule: a word of ``RULES`` in ``invoicing/write_off.py``."""
