"""The register of issued documents: every number that left the house, chained by hash, never changed.

A row's chain hash covers its document's text and, through the hash before it, every earlier document of
its series: none can be altered, removed or slipped in without every later hash being wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal

from sqlalchemy import Connection, select, update

from ingest.errors import BrokenState
from invoicing.audit_trail import Change, record_changes
from invoicing.bulk import insert_rows
from invoicing.number import DrawnNumbers, number_text
from invoicing.posting import DocumentLine
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES

DocumentKind = Literal["invoice", "credit_note", "deposit", "progress", "final", "miscellaneous"]
CHAIN_START: Final = ""
ISSUED_ACTION: Final = "issued"
"""Of the entry that the audit trail has of each document."""


@dataclass(frozen=True, slots=True)
class IssuedDocument:
    """A document as the register keeps it; ``text`` is its canonical text. See ``ISSUED_DOCUMENTS``.

    lines: what posting needs of the lines, by whoever has them at hand; None: they are read out of the text.
    """

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
    lines: Sequence[DocumentLine] | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues: ``actor`` as in the audit trail, ``reason`` why (of a run its id), ``now`` when.
    was_draft: the documents were drafts before; False: they are issued as they are made."""

    actor: str
    reason: str
    now: datetime
    was_draft: bool


def enter_issued(
    connection: Connection, drawn: DrawnNumbers, documents: Sequence[IssuedDocument], issuer: Issuer
) -> None:
    """The one way a document leaves the house: enter those the numbers were drawn for, in their order, in the
    register, chain them, and say so in the audit trail.

    Call it in the transaction of ``draw_for``. Raises BrokenState when numbers and documents differ.
    """
    if [document.number for document in documents] != list(range(drawn.first, drawn.first + drawn.count)):
        raise BrokenState(
            f"{drawn.count} numbers of series {drawn.series} were drawn from {drawn.first} on, and "
            f"{len(documents)} documents with other numbers are to be issued. Nothing was written."
        )
    issued_at = issuer.now.astimezone(UTC).isoformat()
    register_documents(connection, documents, series=drawn.series, issued_at=issued_at)
    changes = [_issued(document, drawn.series, issuer) for document in documents]
    record_changes(connection, changes, now=issuer.now)


def _issued(document: IssuedDocument, series: str, issuer: Issuer) -> Change:
    return Change(
        actor=issuer.actor,
        action=ISSUED_ACTION,
        object_kind=document.kind,
        object_id=document.document_id,
        before={"state": "draft"} if issuer.was_draft else None,
        after={
            "state": "issued",
            "number": number_text(series=series, number=document.number),
            "issue_date": document.issue_date.isoformat(),
            "document_hash": document.document_hash,
        },
        reason=issuer.reason,
    )


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
    insert_rows(connection, ISSUED_DOCUMENTS, rows, sorted_by="document_id")
    connection.execute(update(NUMBER_SERIES).where(NUMBER_SERIES.c.series == series).values(chain_hash=head))
