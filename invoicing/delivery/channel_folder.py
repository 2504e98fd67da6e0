"""Channels that write into a folder: for a print shop, and for whatever carries e-invoices on from here.

A file is there whole or not at all, and the JSON beside it is written last: who finds that may take both.
The same message is the same files, so writing it again after a crash changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import orjson

from ingest.errors import InvalidInput
from invoicing.delivery.channel import Parcel
from invoicing.delivery.delivery import Delivery, Outcome, Refused, Sent, TryAgain
from invoicing.delivery.documents import PDF, XML, Document, DocumentShelf

_NO_DOCUMENT: Final = Refused("no_document", "This channel carries documents only.")


@dataclass(frozen=True, slots=True)
class PrintChannel:
    """PDF files with an address label each, into ``folder``."""

    folder: Path
    shelf: DocumentShelf
    name: str = "print"
    idempotent: bool = True

    def compose(self, delivery: Delivery, document: Document | None, *, now: datetime) -> Parcel | Refused:
        """The PDF; its label in the envelope."""
        if document is None:
            return _NO_DOCUMENT
        file = self.shelf.file(document, PDF, now=now)
        stem = f"{document.number}-{delivery.delivery_id[:8]}"
        customer = document.customer
        label = {
            "delivery_id": delivery.delivery_id,
            "document_id": document.document_id,
            "number": document.number,
            "file": f"{stem}.pdf",
            "sha256": file.content_hash,
            "name": customer.get("legal_name") or customer["name"],
            "address_lines": list(customer.get("address_lines", ())),
            "country": customer.get("country", ""),
        }
        return Parcel(stem, file.content_hash, file.content, {"label": orjson.dumps(label).decode()})

    def send(self, parcel: Parcel, *, now: datetime) -> Outcome:
        """Write the PDF, then the JSON that says it is whole."""
        del now
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / f"{parcel.message_id}.pdf", parcel.message)
            write_whole(self.folder / f"{parcel.message_id}.json", parcel.envelope["label"].encode())
        except OSError as error:
            return TryAgain("folder_not_written", f"{self.folder} cannot be written: {error.strerror}.")
        return Sent(f"{parcel.message_id}.pdf")


class EInvoiceNetwork(Protocol):
    """An access point of an e-invoice network. It must take the same ``message_id`` twice as one message."""

    def transmit(self, content: bytes, *, media_type: str, receiver: str, message_id: str) -> Outcome:
        """Hand one e-invoice over and say what became of it."""
        ...


@dataclass(frozen=True, slots=True)
class FolderNetwork:
    """A network behind a folder: XML files with their receiver beside them."""

    folder: Path

    def transmit(self, content: bytes, *, media_type: str, receiver: str, message_id: str) -> Outcome:
        """Write the file, then the JSON that says it is whole."""
        label = {"receiver": receiver, "media_type": media_type, "message_id": message_id}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / f"{message_id}.xml", content)
            write_whole(self.folder / f"{message_id}.json", orjson.dumps(label))
        except OSError as error:
            return TryAgain("folder_not_written", f"{self.folder} cannot be written: {error.strerror}.")
        return Sent(f"{message_id}.xml")


@dataclass(frozen=True, slots=True)
class NetworkChannel:
    """E-invoices to a network; the shelf has to have a writer of XML."""

    network: EInvoiceNetwork
    shelf: DocumentShelf
    name: str = "network"
    idempotent: bool = True

    def compose(self, delivery: Delivery, document: Document | None, *, now: datetime) -> Parcel | Refused:
        """The XML file; refused with all that an e-invoice would lack."""
        if document is None:
            return _NO_DOCUMENT
        try:
            file = self.shelf.file(document, XML, now=now)
        except InvalidInput as error:  # an issued document never changes: it lacks this for ever
            return Refused(error.reason_code, str(error))
        message_id = f"{document.number}-{delivery.delivery_id[:8]}"
        return Parcel(message_id, file.content_hash, file.content, {"receiver": delivery.recipient})

    def send(self, parcel: Parcel, *, now: datetime) -> Outcome:
        """Hand it to the network."""
        del now
        return self.network.transmit(
            parcel.message,
            media_type=XML,
            receiver=parcel.envelope["receiver"],
            message_id=parcel.message_id,
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever finds a part of it. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
