"""Documents as delivery sees them: what the register says, the words a letter needs, and the file itself.

A file is made once, kept, and is the same bytes for ever after: a new template changes nothing that went out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Row, select

from ingest.errors import BrokenState, NotFound
from ingest.ledger import ledger_transaction
from invoicing.delivery.tables import DOCUMENT_FILES, stamp
from invoicing.document_texts import document_texts
from invoicing.number import number_text
from invoicing.tables import ISSUED_DOCUMENTS
from rating.money import minor_digits

PDF: Final = "application/pdf"
XML: Final = "application/xml"
CREDIT_NOTE: Final = "credit_note"


@dataclass(frozen=True, slots=True)
class Document:
    """An issued document. net_minor, tax_minor, credit_minor: as in ``ISSUED_DOCUMENTS``. seller, customer,
    terms: as they were when it was issued. text: its canonical text. credits_number: of the invoice that a
    credit note takes back; empty for an invoice and for a bill below zero, a credit note of none."""

    document_id: str
    kind: str
    number: str
    customer_id: str
    contract_id: str | None
    currency: str
    digits: int
    issue_date: date
    due_date: date | None
    issued_at: datetime
    net_minor: int
    tax_minor: int
    credit_minor: int
    document_hash: str
    seller: Mapping[str, Any]
    customer: Mapping[str, Any]
    terms: Mapping[str, Any]
    text: str
    credits_number: str

    @property
    def gross_minor(self) -> int:
        return self.net_minor + self.tax_minor

    @property
    def due_minor(self) -> int:
        """What is left to pay after prepaid credit, negative on a credit note."""
        return self.gross_minor - self.credit_minor

    @property
    def file_name(self) -> str:
        return f"{self.number}.pdf"


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """Bytes with their SHA-256 in hex."""

    media_type: str
    content: bytes
    content_hash: str


class DocumentShelf:
    """Finds issued documents and keeps their files. writers: what makes a file of one, by media type
    (``files.py``)."""

    def __init__(self, ledger: Engine, writers: Mapping[str, Callable[[Document], bytes]]) -> None:
        self._ledger = ledger
        self._writers = dict(writers)

    def get(self, document_id: str) -> Document:
        """One document by its id. Raises NotFound."""
        with self._ledger.connect() as connection:
            return find_document(connection, document_id)

    def file(self, document: Document, media_type: str, *, now: datetime) -> DocumentFile:
        """The document's file, as it was first sent if it was. Raises BrokenState when a kept file is not
        what its hash says, and what the writer raises."""
        kept = self._kept(document.document_id, media_type)
        if kept is not None:
            return kept
        content = self._writers[media_type](document)
        made = DocumentFile(media_type, content, hashlib.sha256(content).hexdigest())
        with ledger_transaction(self._ledger) as connection:
            if _file_row(connection, document.document_id, media_type) is None:
                connection.execute(
                    DOCUMENT_FILES.insert().values(
                        document_id=document.document_id,
                        media_type=media_type,
                        content_hash=made.content_hash,
                        content=content,
                        made_at=stamp(now),
                    )
                )
        return self._kept(document.document_id, media_type) or made

    def printed(self, document: Document, media_type: str) -> bytes:
        """The file as it would be made now; nothing is kept. Raises what the writer raises."""
        return self._writers[media_type](document)

    def _kept(self, document_id: str, media_type: str) -> DocumentFile | None:
        with self._ledger.connect() as connection:
            row = _file_row(connection, document_id, media_type)
        return None if row is None else kept_file(row)


def kept_file(row: Row[Any]) -> DocumentFile:
    """A row of ``DOCUMENT_FILES``. Raises BrokenState when it is not what its hash says."""
    content = bytes(row.content)
    if hashlib.sha256(content).hexdigest() != row.content_hash:
        raise BrokenState(
            f"the file of document {row.document_id} is not what was sent: its hash differs. Restore the "
            "ledger from its last backup."
        )
    return DocumentFile(row.media_type, content, row.content_hash)


def find_document(connection: Connection, document_id: str) -> Document:
    """One document by its id. Raises NotFound."""
    row = connection.execute(
        select(ISSUED_DOCUMENTS).where(ISSUED_DOCUMENTS.c.document_id == document_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no issued document {document_id!r}. Only what is issued is delivered.")
    text = document_texts(connection, [document_id])[document_id]
    said = orjson.loads(text)
    if row.kind == CREDIT_NOTE and row.refers_to is not None:
        # Who is behind the contract is on the invoice alone; what it says of payment is not meant here.
        invoice = orjson.loads(document_texts(connection, [row.refers_to])[row.refers_to])
        terms = {"purchase_order": said["purchase_order"], "owner": invoice["terms"].get("owner", "")}
        return _document(row, text, said, terms=terms, credits_number=said["invoice"]["number"])
    return _document(row, text, said, terms=said["terms"])


def _document(
    row: Row[Any],
    text: str,
    said: Mapping[str, Any],
    *,
    terms: Mapping[str, Any],
    credits_number: str = "",
) -> Document:
    """said: what the text says, parsed."""
    return Document(
        document_id=row.document_id,
        kind=row.kind,
        number=number_text(series=row.series, number=row.number),
        customer_id=row.customer_id,
        contract_id=row.contract_id,
        currency=row.currency,
        digits=minor_digits(row.currency),
        issue_date=date.fromisoformat(row.issue_date),
        due_date=None if row.due_date is None else date.fromisoformat(row.due_date),
        issued_at=datetime.fromisoformat(row.issued_at),
        net_minor=row.net_minor,
        tax_minor=row.tax_minor,
        credit_minor=row.credit_minor,
        document_hash=row.document_hash,
        seller=said["seller"] or {},
        customer=said["customer"],
        terms=terms,
        text=text,
        credits_number=credits_number,
    )


def _file_row(connection: Connection, document_id: str, media_type: str) -> Row[Any] | None:
    return connection.execute(
        select(DOCUMENT_FILES).where(
            DOCUMENT_FILES.c.document_id == document_id, DOCUMENT_FILES.c.media_type == media_type
        )
    ).one_or_none()
