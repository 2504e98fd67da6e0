"""An e-mail as bytes: headers, text and HTML, the PDF, the DKIM signature. Pure but for the templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import dkim

from ingest.errors import InvalidInput
from invoicing.delivery.documents import DocumentFile
from invoicing.delivery.mail_text import MailText
from invoicing.delivery.preferences import LOOPBACK, is_address

_SIGNED: Final = (
    b"from",
    b"to",
    b"cc",
    b"reply-to",
    b"subject",
    b"date",
    b"message-id",
    b"mime-version",
    b"content-type",
)
_SCHEMES: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over. start_tls: None takes it where it is offered."""

    host: str
    port: int
    username: str
    password: str
    use_tls: bool
    start_tls: bool | None


@dataclass(frozen=True, slots=True)
class MailSettings:
    """mail_from: the house's own address, which bounces go to. domains: whose addresses may stand in From,
    because SPF and DKIM are set up for them. dkim_key: PEM; empty: messages are not signed.
    templates: a folder with wording of one's own."""

    server: MailServer
    mail_from: str
    domains: frozenset[str]
    dkim_selector: str = ""
    dkim_key: bytes = b""
    templates: Path | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a message is from: ``Jane Doe <jane@seller.example>``, and whom a reply goes to."""

    name: str
    address: str
    reply_to: str


def read_server(url: str) -> MailServer:
    """``smtp://``, ``smtp+starttls://`` or ``smtps://`` ``USER:PASSWORD@HOST:PORT``. Raises InvalidInput."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in _SCHEMES or not host:
        raise InvalidInput(
            "the address of the mail server cannot be read. It is like smtps://USER:PASSWORD@HOST:465, "
            "smtp+starttls://USER:PASSWORD@HOST:587 or smtp://HOST:25.",
            reason_code="bad_smtp_url",
        )
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if username and parts.scheme == "smtp" and host not in LOOPBACK:
        raise InvalidInput(
            "the password for the mail server would travel unprotected. Use smtps:// or smtp+starttls://.",
            reason_code="smtp_without_tls",
        )
    use_tls = parts.scheme == "smtps"
    start_tls = False if use_tls else True if parts.scheme == "smtp+starttls" else None
    return MailServer(host, port or _SCHEMES[parts.scheme], username, password, use_tls, start_tls)


def sender_of(settings: MailSettings, seller: Mapping[str, Any], terms: Mapping[str, Any]) -> Sender:
    """The owner of the contract, else who sends the invoice, else the house.

    An address of a domain that is not ours to send from stands in Reply-To and not in From: mail systems
    would take it for forged.
    """
    owner_name, owner = parseaddr(str(terms.get("owner", "")))
    house = str(seller.get("name", ""))
    wishes = ((owner_name or house, owner), (house, str(seller.get("email", ""))))
    wanted = [(name, address) for name, address in wishes if is_address(address)]
    reply_to = wanted[0][1] if wanted else settings.mail_from
    for name, address in wanted:
        if domain_of(address) in settings.domains:
            return Sender(name, address, reply_to)
    name = wanted[0][0] if wanted else house
    return Sender(name, settings.mail_from, reply_to)


def domain_of(address: str) -> str:
    """The part after the @, in small letters."""
    return address.rpartition("@")[2].casefold()


def mail_bytes(
    text: MailText,
    *,
    sender: Sender,
    to: tuple[str, ...],
    cc: tuple[str, ...],
    message_id: str,
    boundary: str,
    file: DocumentFile | None,
    file_name: str,
    date: datetime,
) -> bytes:
    """The message with CRLF line ends, of ASCII characters only. The same arguments give the same bytes."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=" ".join(sender.name.split()), addr_spec=sender.address)
    message["To"] = ", ".join(to)
    if cc:
        message["Cc"] = ", ".join(cc)
    if sender.reply_to != sender.address:
        message["Reply-To"] = sender.reply_to
    message["Subject"] = text.subject
    message["Date"] = format_datetime(date)
    message["Message-ID"] = message_id
    message.set_content(text.plain, cte="quoted-printable")
    message.add_alternative(text.html, subtype="html", cte="quoted-printable")
    if file is not None:
        kind, _, subtype = file.media_type.partition("/")
        message.add_attachment(file.content, maintype=kind, subtype=subtype, filename=file_name)
    message["Content-Language"] = text.language  # last: content headers follow the text into its part
    for place, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"={boundary}-{place}")
    return message.as_bytes()


def signed(message: bytes, settings: MailSettings, *, domain: str) -> bytes:
    """The message with a DKIM signature of the From's domain; as it is where there is no key."""
    if not settings.dkim_key:
        return message
    header: bytes = dkim.sign(
        message,
        settings.dkim_selector.encode(),
        domain.encode(),
        settings.dkim_key,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=list(_SIGNED),
    )
    return header + message
