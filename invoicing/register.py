"""The register of issued documents: every number that left the house, chained by hash, never changed.

A row's chain hash covers its document's text and, through the hash before it, every earlier document of
its series: none can be altered, removed or slipped in without every later hash being wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from sqlalchemy import Connection, select, update

from ingest.errors import BrokenState
from invoicing.bulk import insert_rows
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES

DocumentKind = Literal["invoice", "credit_note"]
CHAIN_START: Final = ""


@dataclass(frozen=True, slots=True)
class IssuedDocument:
    """A document as the register keeps it; ``text`` is its canonical text. See ``ISSUED_DOCUMENTS``."""

    document_id: str
    kind: DocumentKind
    entity_id: str | None
    number: int
    customer_id: str
    contract_id: str | None
    currency: str
    issue_date: date
    due_date: date | None
    net_minor: int
    tax_minor: int
    credit_minor: int
    refers_to: str | None
    document_hash: str
    text: str


def chained(before: str, text: str) -> str:
    """The chain hash of the document with this text after the one whose chain hash is ``before``."""
    return hashlib.sha256((before + text).encode()).hexdigest()


def register_documents(
    connection: Connection, documents: Sequence[IssuedDocument], *, series: str, issued_at: str
) -> None:
    """Enter documents of one series, in the order of their numbers, and move the series' chain on.

    Call it in the transaction that drew their numbers, after ``draw_numbers``: that holds the series, so
    nobody else chains onto the same hash. issued_at: ISO 8601 in UTC. Raises BrokenState for numbers out
    of order.
    """
    if not documents:
        return
    numbers = [document.number for document in documents]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise BrokenState(
            f"documents of series {series} are entered with numbers {numbers[:5]}..., not in order."
        )
    head = connection.execute(
        select(NUMBER_SERIES.c.chain_hash).where(NUMBER_SERIES.c.series == series)
    ).scalar_one()
    rows = []
    for document in documents:
        head = chained(head, document.text)
        rows.append(
            (
                document.document_id,
                document.kind,
                document.entity_id,
                series,
                document.number,
                document.customer_id,
                document.contract_id,
                document.currency,
                document.issue_date.isoformat(),
                None if document.due_date is None else document.due_date.isoformat(),
                document.net_minor,
                document.tax_minor,
                document.credit_minor,
                document.refers_to,
                document.document_hash,
                head,
                issued_at,
            )
        )
    insert_rows(connection, ISSUED_DOCUMENTS, rows)
    connection.execute(update(NUMBER_SERIES).where(NUMBER_SERIES.c.series == series).values(chain_hash=head))
