"""The ledger table of credit notes, made by migration 0142, and the documents in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from ingest.ledger import LEDGER
from invoicing.bulk import select_by_ids

CREDIT_NOTES: Final = sa.Table(
    "credit_notes",
    LEDGER,
    sa.Column("credit_note_id", sa.String(64), primary_key=True),
    sa.Column("invoice_id", sa.String(64), nullable=False, index=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("series", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("issue_date", sa.String(10), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
    sa.Column("tax_minor", sa.BigInteger, nullable=False),
    sa.Column("credit_minor", sa.BigInteger, nullable=False),
    sa.Column("voids", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.String(512), nullable=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.UniqueConstraint("series", "number", name="one_credit_note_per_number"),
    sa.UniqueConstraint("idempotency_key", name="one_credit_note_per_key"),
)
"""invoice_id: what it corrects. Amounts in minor units, signed as the customer owes them, so at or below
zero: net_minor + tax_minor is what is taken back, credit_minor of it goes back to prepaid credit. voids: with
it nothing of the invoice is left. idempotency_key: the API key's id and the request's own word, request_hash:
SHA-256 of the request that came with it."""


def credit_notes_of(
    connection: sa.Connection, document_ids: Sequence[str]
) -> Mapping[str, list[dict[str, Any]]]:
    """The credit notes of each issued document, oldest first, as their canonical documents."""
    table = CREDIT_NOTES
    columns = (table.c.invoice_id, table.c.issue_date, table.c.series, table.c.number, table.c.document)
    rows = select_by_ids(connection, sa.select(*columns), table.c.invoice_id, sorted(set(document_ids)))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.issue_date, row.series, row.number)):
        found[row.invoice_id].append(orjson.loads(row.document))
    return found
