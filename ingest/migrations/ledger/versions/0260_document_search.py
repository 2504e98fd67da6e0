"""The words of issued documents, for search; derived, can be made again."""

import sqlalchemy as sa
from alembic import op

revision = "0260"
down_revision = "0250"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searched_documents",
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("document_id", sa.String(64), nullable=False, unique=True),
    )
    op.create_table(
        "search_cursors",
        sa.Column("series", sa.String(32), primary_key=True),
        sa.Column("next_number", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE document_words (place bigint PRIMARY KEY, words tsvector NOT NULL)")
        op.execute("CREATE INDEX document_words_by_word ON document_words USING gin (words)")
    else:
        # Words come in one form already (``invoicing/search_words.py``), so the plainest tokenizer does;
        # which documents have a word is asked, never where in them, and the texts are kept elsewhere.
        op.execute(
            "CREATE VIRTUAL TABLE document_words USING fts5(words, content='', detail=none, tokenize='ascii')"
        )
