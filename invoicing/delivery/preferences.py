"""How a customer wants documents: over which channel, to whom, on which day and hour.

Part of the customer document and of no invoice: whom a document goes to is decided when it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field

from ingest.document import Document
from ingest.errors import Issue

ChannelName = Literal["email", "webhook", "print", "network", "none"]
Role = Literal["payer", "accounts_payable", "notify", "owner"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
COPIED: Final = frozenset({"notify", "owner"})
"""The roles that stand in Cc."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Recipient(Document):
    """One mailbox. payer: pays the invoice; accounts_payable: the mailbox of that department; notify: is told
    of it by a copy; owner: our own person, who gets a copy and hears of what goes wrong. Who signed the
    contract has no role here."""

    email: str = Field(max_length=320)
    role: Role = "payer"


class DeliveryPreferences(Document):
    """channel ``none``: somebody else delivers. recipients: of e-mail; none: the addresses of
    bill_to (else the customer's own) and notify.
    weekday, hour: the first such time in time_zone after a document is issued; left out: at once.
    confirm_above_minor: invoices of more than this many minor units ask for a confirmation, and again after
    follow_up_days. address: where a webhook is sent, or the receiver's id in the e-invoice network."""

    channel: ChannelName = "email"
    recipients: tuple[Recipient, ...] = Field(default=(), max_length=20)
    address: str = Field(default="", max_length=2048)
    weekday: Weekday | None = None
    hour: int | None = Field(default=None, ge=0, le=23)
    time_zone: str = "UTC"
    confirm_above_minor: int | None = Field(default=None, ge=0)
    follow_up_days: int = Field(default=3, ge=1, le=90)


def preference_issues(wanted: DeliveryPreferences) -> Iterator[Issue]:
    """What preferences must keep beyond their field types."""
    for place, recipient in enumerate(wanted.recipients):
        if not is_address(recipient.email):
            yield Issue(
                "bad_email",
                f"delivery.recipients[{place}].email",
                f"{recipient.email!r} is not an e-mail address.",
                "one address, like billing@example.com.",
            )
    if len({one.email.casefold() for one in wanted.recipients}) < len(wanted.recipients):
        yield Issue(
            "recipient_twice",
            "delivery.recipients",
            "An address is there twice.",
            "each address once, in one role.",
        )
    if wanted.recipients and not any(one.role not in COPIED for one in wanted.recipients):
        yield Issue(
            "no_payer",
            "delivery.recipients",
            "All recipients get copies.",
            "a payer or accounts_payable, or none (then the customer's own address).",
        )
    if wanted.time_zone not in available_timezones():
        yield Issue(
            "unknown_time_zone",
            "delivery.time_zone",
            f"{wanted.time_zone!r} is not a time zone.",
            "a name of the IANA list, like Europe/Berlin.",
        )
    yield from _address_issues(wanted)


def _address_issues(wanted: DeliveryPreferences) -> Iterator[Issue]:
    if wanted.channel == "webhook" and not may_call(wanted.address):
        yield Issue(
            "bad_webhook_url",
            "delivery.address",
            f"{wanted.address!r} is no address a webhook may go to.",
            "an https URL; http is for this machine's own address only.",
        )
    if wanted.channel == "network" and not wanted.address.strip():
        yield Issue(
            "no_network_address",
            "delivery.address",
            "The receiver in the network is not named.",
            "its id there, like 9930:DE123456789.",
        )


def may_call(url: str) -> bool:
    """Whether a webhook may be sent to ``url``: over https, or to this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK))


def is_address(text: str) -> bool:
    """Whether this is one plain ASCII mailbox, safe to put into a header and an envelope."""
    local_part, _, domain = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' ,;:<>()[]\\"')
    return bool(local_part) and bool(domain) and plain and "@" not in local_part and "." not in domain[:1]


def planned_at(wanted: DeliveryPreferences, issued_at: datetime) -> datetime:
    """The first instant at or after ``issued_at`` that the customer prefers, in UTC.

    The hour counts as it begins; a weekday alone means its midnight. An hour that a clock change skips is
    taken as the zone's rules read it (PEP 495).
    """
    if wanted.weekday is None and wanted.hour is None:
        return issued_at.astimezone(UTC)
    zone = ZoneInfo(wanted.time_zone)
    local = issued_at.astimezone(zone)
    hour = time(wanted.hour or 0)
    days = 0 if wanted.weekday is None else (WEEKDAYS.index(wanted.weekday) - local.weekday()) % 7
    step = 1 if wanted.weekday is None else 7
    day = local.date() + timedelta(days=days)
    while True:
        planned = datetime.combine(day, hour, tzinfo=zone).astimezone(UTC)
        if planned >= issued_at or _same_hour(planned, issued_at):
            return max(planned, issued_at.astimezone(UTC))
        day += timedelta(days=step)


def _same_hour(planned: datetime, issued_at: datetime) -> bool:
    return timedelta(0) <= issued_at - planned < timedelta(hours=1)
