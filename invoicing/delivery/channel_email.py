"""E-mail: one message to one recipient, handed to the mail server in an SMTP conversation of its own."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiosmtplib import SMTP, SMTPException, SMTPResponseException
from aiosmtplib.errors import SMTPAuthenticationError, SMTPDataError
from sqlalchemy import Engine, select

from ingest.errors import NotFound
from invoicing.customer import Customer
from invoicing.customer_store import get_customer
from invoicing.delivery.channel import Parcel
from invoicing.delivery.delivery import OUR_OWN, Delivery, Outcome, Refused, Sent, TryAgain, Unclear
from invoicing.delivery.documents import PDF, Document, DocumentShelf
from invoicing.delivery.find import get_delivery
from invoicing.delivery.links import LinkMaker
from invoicing.delivery.mail import MailSettings, Sender, domain_of, mail_bytes, sender_of, signed
from invoicing.delivery.mail_text import MailText, preview, written
from invoicing.delivery.preferences import COPIED
from invoicing.delivery.queue import mail_recipients
from invoicing.delivery.tables import BOUNCED_ADDRESSES
from invoicing.delivery.wording import Letter
from invoicing.review.notify import drafts_told_of

STEP_SECONDS: Final = 30
"""For each answer of the mail server; ``LEASE`` is far longer than all of them."""
ATTEMPT_SECONDS: Final = 180


@dataclass(frozen=True, slots=True)
class EmailChannel:
    """Invoices and messages about them, as the settings say."""

    ledger: Engine
    shelf: DocumentShelf
    links: LinkMaker
    settings: MailSettings
    seller_name: str
    name: str = "email"
    idempotent: bool = False

    def compose(self, delivery: Delivery, document: Document | None, *, now: datetime) -> Parcel | Refused:
        """The message; refused when mail came back from its recipient before."""
        bounced = self._bounced(delivery.recipient)
        if bounced:
            return Refused("address_bounced", bounced)
        customer = find_customer(self.ledger, delivery.customer_id)
        sender = self.sender(document)
        letter = self._letter(delivery, document, customer, sender)
        text = written(letter, own=self.settings.templates)
        with_file = document is not None and delivery.purpose != "alert"
        file = self.shelf.file(document, PDF, now=now) if document and with_file else None
        message_id = f"<{delivery.delivery_id}@{domain_of(self.settings.mail_from)}>"
        to, cc = _addressed(delivery, customer)
        message = mail_bytes(
            text,
            sender=sender,
            to=to,
            cc=cc,
            message_id=message_id,
            boundary=delivery.delivery_id,
            file=file,
            file_name=document.file_name if document else "",
            date=now,
        )
        return Parcel(
            message_id,
            file.content_hash if file else "",
            signed(message, self.settings, domain=domain_of(sender.address)),
            {"from": self.settings.mail_from, "to": delivery.recipient},
            (text.fallback,) if text.fallback else (),
        )

    def send(self, parcel: Parcel, *, now: datetime) -> Outcome:
        """One SMTP conversation."""
        del now
        return asyncio.run(self._converse(parcel))

    def preview(self, document: Document, delivery: Delivery) -> MailText:
        """The words of a message, by one's own wording only. Raises InvalidInput where that has an error."""
        customer = find_customer(self.ledger, delivery.customer_id)
        letter = self._letter(delivery, document, customer, self.sender(document))
        return preview(letter, own=self.settings.templates)

    def sender(self, document: Document | None) -> Sender:
        """Who a message about this document is from."""
        seller = dict(document.seller) if document else {}
        seller.setdefault("name", self.seller_name)
        return sender_of(self.settings, seller, document.terms if document else {})

    def _letter(
        self, delivery: Delivery, document: Document | None, customer: Customer | None, sender: Sender
    ) -> Letter:
        trouble = ("", "", "")
        if delivery.purpose == "alert":
            about = get_delivery(self.ledger, delivery.occasion.partition(":")[0])
            trouble = (about.state, about.reason, about.recipient)
        return Letter(
            purpose=delivery.purpose,
            language=customer.language if customer and delivery.purpose != "alert" else "en",
            customer_name=customer.name if customer else delivery.customer_id,
            sender_name=sender.name or sender.address,
            sender_address=sender.address,
            link="" if delivery.purpose in OUR_OWN else self.links.url(delivery),
            document=document,
            confirm_wanted=delivery.confirm_wanted or delivery.purpose == "follow_up",
            trouble=trouble,
            waiting=drafts_told_of(self.ledger, delivery) if delivery.purpose == "review" else (),
        )

    def _bounced(self, address: str) -> str:
        statement = select(BOUNCED_ADDRESSES).where(BOUNCED_ADDRESSES.c.address == address.casefold())
        with self.ledger.connect() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return ""
        return (
            f"Mail to {row.address} came back on {row.bounced_at[:10]}: {row.reason} Nothing more is sent "
            f"there until `ratemill delivery clear {row.address}`."
        )

    async def _converse(self, parcel: Parcel) -> Outcome:
        """What happened says whether the message can be out: until its last byte was sent it cannot."""
        client = self._client()
        handing_over = False
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await client.connect()
                if self.settings.server.username:
                    await client.login(self.settings.server.username, self.settings.server.password)
                await client.mail(parcel.envelope["from"])
                await client.rcpt(parcel.envelope["to"])
                handing_over = True
                answer = await client.data(parcel.message)
        except SMTPAuthenticationError as error:
            return TryAgain("smtp_login_refused", f"The mail server refuses the login: {_words(error)}")
        except SMTPDataError as error:
            return _answered(error)
        except (SMTPException, OSError, TimeoutError, ssl.SSLError) as error:
            if isinstance(error, SMTPResponseException) and not handing_over:
                return _answered(error)
            words = f"{type(error).__name__}: {error}"[:500]
            if handing_over:
                return Unclear("smtp_broke_off", f"The conversation broke off at the message itself. {words}")
            return TryAgain("smtp_unreachable", words)
        finally:
            client.close()
        return Sent(str(answer.message))

    def _client(self) -> SMTP:
        server = self.settings.server
        return SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.use_tls,
            start_tls=server.start_tls,
            timeout=STEP_SECONDS,
        )


def find_customer(ledger: Engine, customer_id: str) -> Customer | None:
    """The customer in force; None when there is none any more."""
    try:
        return get_customer(ledger, customer_id).customer
    except NotFound:
        return None


def _addressed(delivery: Delivery, customer: Customer | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """To and Cc as everybody who gets the document reads them. The envelope names one of them alone."""
    own = (delivery.recipient,)
    if delivery.purpose not in ("document", "resend") or customer is None:
        return own, ()
    everybody = mail_recipients(customer)
    if delivery.recipient not in {one.email for one in everybody}:
        return own, ()
    to = tuple(one.email for one in everybody if one.role not in COPIED)
    return to, tuple(one.email for one in everybody if one.role in COPIED)


def _answered(error: SMTPResponseException) -> Outcome:
    words = f"The mail server answered {error.code}: {_words(error)}"
    if 400 <= error.code < 500:
        return TryAgain("smtp_temporary", words)
    return Refused("smtp_refused", words)


def _words(error: SMTPResponseException) -> str:
    return " ".join(str(error.message).split())[:400]
