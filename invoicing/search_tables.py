"""The ledger tables of document search. Made by migration 0260; derived from issued documents.

Beside them stands ``document_words``: an FTS5 table on SQLite, a tsvector on PostgreSQL, both keyed by
``place``. Only ``invoicing/search_index.py`` knows it.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

SEARCHED_DOCUMENTS: Final = sa.Table(
    "searched_documents",
    LEDGER,
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("document_id", sa.String(64), nullable=False, unique=True),
)
"""place: from 1, in the order in which documents were taken into the index."""

SEARCH_CURSORS: Final = sa.Table(
    "search_cursors",
    LEDGER,
    sa.Column("series", sa.String(32), primary_key=True),
    sa.Column("next_number", sa.BigInteger, nullable=False),
)
"""Which number of a series is taken into the index next. Numbers of a series become visible in their order,
so none can appear behind it."""
