"""The ledger tables of the journal, as migration 0150 creates them. Rows are added and never changed or
deleted: triggers of the database refuse it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

JOURNAL_ENTRIES: Final = sa.Table(
    "journal_entries",
    LEDGER,
    sa.Column("entry_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("entry_id", sa.String(256), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("entry_date", sa.String(10), nullable=False, index=True),
    sa.Column("posted_at", sa.String(32), nullable=False),
    sa.Column("document_id", sa.String(64), nullable=True, index=True),
    sa.Column("payment_id", sa.String(64), nullable=True, index=True),
    sa.Column("description", sa.Text, nullable=False),
)
"""entry_number: 1, 2, 3 ... without gap, in the order of posting. entry_id: says what the entry is for, so
that nothing is posted twice. entry_date: the day of account; posted_at: when it became known (ISO 8601 in
UTC, with microseconds, sorts as it reads). ``kind``: see ``invoicing/journal.py``."""

JOURNAL_LINES: Final = sa.Table(
    "journal_lines",
    LEDGER,
    sa.Column("entry_number", sa.BigInteger, sa.ForeignKey("journal_entries.entry_number"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("account", sa.String(24), nullable=False),
    sa.Column("part", sa.String(8), nullable=False),
    sa.Column("customer_id", sa.String(128), nullable=False),
    sa.Column("contract_id", sa.String(128), nullable=False),
    sa.Column("charge_id", sa.String(128), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
)
"""amount_minor: a debit is above zero, a credit below; the lines of an entry sum to zero. part: of
receivable, ``net`` or ``tax``. customer_id, contract_id, charge_id: empty where there is none."""

JOURNAL_COUNTER: Final = sa.Table(
    "journal_counter",
    LEDGER,
    sa.Column("journal", sa.String(16), primary_key=True),
    sa.Column("next_number", sa.BigInteger, nullable=False),
)
"""One row. Who posts holds it until the end of the transaction, so entries become visible in their order."""
