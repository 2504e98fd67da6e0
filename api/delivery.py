"""Delivery as the settings set it up: which channels there are, what is missing for others, and one turn."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from api.settings import ENVIRONMENT_PREFIX, Settings
from ingest.clock import Clock
from ingest.errors import Conflict, InvalidInput
from invoicing.delivery.channel import Channel
from invoicing.delivery.channel_email import EmailChannel
from invoicing.delivery.channel_folder import FolderNetwork, NetworkChannel, PrintChannel
from invoicing.delivery.channel_webhook import WebhookChannel
from invoicing.delivery.deliver import DeliveryReport, deliver_due
from invoicing.delivery.documents import DocumentShelf
from invoicing.delivery.files import document_shelf
from invoicing.delivery.links import LinkMaker
from invoicing.delivery.mail import MailSettings, domain_of, read_server
from invoicing.document import InvoicePrinter

_logger = logging.getLogger("ratemill.delivery")
_FOR_LINKS: Final = ("public_url", "link_secret")
_FOR_MAIL: Final = ("smtp_url", "mail_from")


@dataclass(frozen=True, slots=True)
class DeliveryDesk:
    """channels: those set up, by name. missing: what each of the others lacks, in words. links: None until
    both settings for links are there."""

    channels: dict[str, Channel]
    missing: dict[str, str]
    shelf: DocumentShelf
    links: LinkMaker | None
    link_days: int

    @property
    def mail(self) -> EmailChannel:
        """The channel for e-mail. Raises Conflict when it is not set up."""
        channel = self.channels.get("email")
        if not isinstance(channel, EmailChannel):
            raise Conflict(
                f"e-mail is not set up: {self.missing['email']}.", reason_code="channel_not_set_up"
            )
        return channel

    def deliver(self, ledger: Engine, clock: Clock) -> DeliveryReport:
        """One turn: queue what is issued, send what is due."""
        report = deliver_due(
            ledger, channels=self.channels, shelf=self.shelf, link_days=self.link_days, clock=clock
        )
        if report.states or report.held or report.taken_over:
            _logger.info("delivery: %s", report.to_dict())
        return report


def open_desk(settings: Settings, ledger: Engine, printer: InvoicePrinter) -> DeliveryDesk:
    """Every channel that the settings are whole for. Raises InvalidInput for settings that cannot be used."""
    shelf = document_shelf(ledger, printer, profile=settings.network_profile)
    channels: dict[str, Channel] = {}
    missing: dict[str, str] = {}
    links = None
    lacking = _lacking(settings, _FOR_LINKS)
    if not lacking:
        url = str(settings.public_url).rstrip("/")
        links = LinkMaker(url, str(settings.link_secret), settings.link_days)
        channels["webhook"] = WebhookChannel(shelf, links)
    else:
        missing["webhook"] = lacking
    mail_lacks = _lacking(settings, (*_FOR_MAIL, *_FOR_LINKS))
    if mail_lacks or links is None:
        missing["email"] = mail_lacks
    else:
        channels["email"] = EmailChannel(ledger, shelf, links, mail_settings(settings), settings.seller_name)
    if settings.print_folder is None:
        missing["print"] = _lacking(settings, ("print_folder",))
    else:
        channels["print"] = PrintChannel(settings.print_folder, shelf)
    if settings.network_folder is None:
        missing["network"] = _lacking(settings, ("network_folder",))
    else:
        channels["network"] = NetworkChannel(FolderNetwork(settings.network_folder), shelf)
    return DeliveryDesk(channels, missing, shelf, links, settings.link_days)


def mail_settings(settings: Settings) -> MailSettings:
    """What the settings say about e-mail. Raises InvalidInput for a key file that cannot be read."""
    mail_from = str(settings.mail_from)
    others = (domain.strip().casefold() for domain in settings.mail_domains.split(","))
    return MailSettings(
        server=read_server(str(settings.smtp_url)),
        mail_from=mail_from,
        domains=frozenset({domain_of(mail_from), *(domain for domain in others if domain)}),
        dkim_selector=settings.dkim_selector,
        dkim_key=_key(settings.dkim_key, settings.dkim_selector),
        templates=settings.mail_templates,
    )


def status_words(desk: DeliveryDesk) -> list[dict[str, Any]]:
    """Every channel with whether it is set up and what is missing."""
    names = sorted({*desk.channels, *desk.missing})
    return [
        {"channel": name, "set_up": name in desk.channels, "missing": desk.missing.get(name, "")}
        for name in names
    ]


def _lacking(settings: Settings, names: tuple[str, ...]) -> str:
    unset = [f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in names if not getattr(settings, name)]
    return f"{', '.join(unset)} not set" if unset else ""


def _key(path: Path | None, selector: str) -> bytes:
    if path is None:
        return b""
    if not selector:
        raise InvalidInput(
            f"{ENVIRONMENT_PREFIX}DKIM_KEY is set and {ENVIRONMENT_PREFIX}DKIM_SELECTOR is not: a signature "
            "names the DNS record of its key.",
            reason_code="invalid_settings",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"the DKIM key {path} cannot be read: {error.strerror}.", reason_code="invalid_settings"
        ) from None
