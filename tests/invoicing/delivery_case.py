"""What tests of delivery share: an issued invoice without a billing run, a mail server, channels to try."""

from __future__ import annotations

import contextlib
import email
import email.policy
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from sqlalchemy import Engine

from ingest.clock import FixedClock
from ingest.ledger import ledger_transaction
from invoicing.customer_store import save_customer
from invoicing.delivery.channel import Channel, Parcel
from invoicing.delivery.channel_email import EmailChannel
from invoicing.delivery.deliver import DeliveryReport, deliver_due
from invoicing.delivery.delivery import Delivery, Outcome, Sent
from invoicing.delivery.documents import PDF, Document, DocumentShelf
from invoicing.delivery.links import LinkMaker
from invoicing.delivery.mail import MailSettings, read_server
from invoicing.invoice import Invoice, invoice_hash, invoice_text
from invoicing.number import draw_numbers, number_text
from invoicing.register import IssuedDocument, register_documents
from invoicing.tables import INVOICES
from tests.invoicing.credit_case import line

NOW = datetime(2026, 2, 1, 8, tzinfo=UTC)
LINKS = LinkMaker("https://bill.seller.example", "a secret of tests, long enough", 90)
SERIES = "INV-2026"
TERMS = {
    "payment_days": 30,
    "payment_methods": ["bank transfer"],
    "late_payment": "9 percent above the base rate of the ECB (section 288 BGB).",
    "purchase_order": "PO-77",
    "owner": "Jane Doe <jane@seller.example>",
}
SELLER = {
    "name": "Seller GmbH",
    "email": "billing@seller.example",
    "bank_account": "DE02 1203 0000 0000 2020 51",
}


def customer(ledger: Engine, customer_id: str = "acme", **changes: Any) -> None:
    document = {"customer_id": customer_id, "name": "Acme Ltd", "email": "ap@acme.example", **changes}
    save_customer(ledger, document, now=NOW)


def issue(
    ledger: Engine,
    customer_id: str = "acme",
    *,
    amount_minor: int = 120_000,
    at: datetime = NOW,
    terms: Mapping[str, Any] = TERMS,
) -> str:
    """One issued invoice of one line, in the ledger and the register; its id."""
    with ledger_transaction(ledger) as connection:
        number = draw_numbers(connection, series=SERIES, count=1)
        printed = number_text(series=SERIES, number=number)
        draft = _invoice(customer_id, number, amount_minor, terms)
        invoice = draft.issued(number=printed, issue_date=at.date())
        text = invoice_text(invoice)
        row = {
            "invoice_id": invoice.invoice_id,
            "contract_id": f"c{number}",
            "customer_id": customer_id,
            "billing_date": "2026-02-01",
            "state": "issued",
            "series": SERIES,
            "number": number,
            "issue_date": str(invoice.issue_date),
            "due_date": str(invoice.due_date),
            "currency": "EUR",
            "total_minor": amount_minor,
            "document": text,
            "document_hash": invoice_hash(text),
            "run_id": "run",
        }
        connection.execute(INVOICES.insert().values(row))
        document = IssuedDocument(
            document_id=invoice.invoice_id,
            kind="invoice",
            entity_id=None,
            number=number,
            customer_id=customer_id,
            contract_id=f"c{number}",
            currency="EUR",
            issue_date=at.date(),
            due_date=invoice.due_date,
            net_minor=amount_minor,
            tax_minor=0,
            credit_minor=0,
            refers_to=None,
            document_hash=invoice_hash(text),
            text=text,
        )
        register_documents(connection, [document], series=SERIES, issued_at=at.isoformat())
    return invoice.invoice_id


def _invoice(customer_id: str, number: int, amount_minor: int, terms: Mapping[str, Any]) -> Invoice:
    return Invoice(
        invoice_id=f"{number:032x}",
        billing_date=date(2026, 2, 1),
        contract={"contract_id": f"c{number}"},
        customer={"customer_id": customer_id, "name": "Acme Ltd"},
        customer_version=1,
        seller=SELLER,
        terms=terms,
        currency="EUR",
        minor_digits=2,
        period_start=date(2026, 1, 1),
        period_end=date(2026, 2, 1),
        lines=(replace(line(amount_minor), line_id=f"{number:032x}"),),
        total_minor=amount_minor,
        number=None,
        issue_date=None,
        due_date=None,
    )


def plain_shelf(ledger: Engine) -> DocumentShelf:
    """Files that take no typesetting: what a test of the outbox needs of one."""
    return DocumentShelf(ledger, {PDF: lambda invoice: f"%PDF of {invoice.number}".encode()})


@dataclass(slots=True)
class Recorder:
    """A channel that keeps what it is handed and answers with the next of ``answers``, then Sent."""

    shelf: DocumentShelf
    name: str = "email"
    idempotent: bool = False
    sent: list[Parcel] = field(default_factory=list)
    answers: list[Outcome | BaseException] = field(default_factory=list)
    dies_composing: bool = False

    def compose(self, delivery: Delivery, document: Document | None, *, now: datetime) -> Parcel:
        if self.dies_composing:
            raise KeyboardInterrupt
        file = self.shelf.file(document, PDF, now=now) if document else None
        message = f"{delivery.delivery_id} to {delivery.recipient}".encode()
        return Parcel(f"<{delivery.delivery_id}@test>", file.content_hash if file else "", message)

    def send(self, parcel: Parcel, *, now: datetime) -> Outcome:
        del now
        self.sent.append(parcel)
        answer = self.answers.pop(0) if self.answers else Sent("ok")
        if isinstance(answer, BaseException):
            raise answer
        return answer


def deliver(ledger: Engine, channel: Channel, clock: FixedClock, shelf: DocumentShelf) -> DeliveryReport:
    return deliver_due(ledger, channels={channel.name: channel}, shelf=shelf, link_days=90, clock=clock)


@dataclass(slots=True)
class Mailbox:
    """What a mail server took: (envelope sender, envelope recipients, bytes). answers: by recipient, what
    RCPT is answered with; after_data: what the message itself is answered with."""

    taken: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    after_data: list[str] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(self, *call: Any) -> str:  # noqa: N802 - the server calls it so
        _, _, envelope, address, _ = call
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, *call: Any) -> str:  # noqa: N802 - the server calls it so
        server, _, envelope = call
        if self.after_data:
            answer = self.after_data.pop(0)
            if answer == "break off":
                server.transport.abort()
            return answer
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"

    def messages(self) -> list[EmailMessage]:
        parsed = [email.message_from_bytes(raw, policy=email.policy.default) for _, _, raw in self.taken]
        return [message for message in parsed if isinstance(message, EmailMessage)]


@contextlib.contextmanager
def mail_server() -> Iterator[Mailbox]:
    """A real SMTP server on the loopback address."""
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        box.port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def email_channel(ledger: Engine, shelf: DocumentShelf, port: int, **settings: Any) -> EmailChannel:
    mail = MailSettings(
        server=read_server(f"smtp://127.0.0.1:{port}"),
        mail_from="invoices@seller.example",
        domains=frozenset({"seller.example"}),
        **settings,
    )
    return EmailChannel(ledger, shelf, LINKS, mail, "Seller GmbH")
