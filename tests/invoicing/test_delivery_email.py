"""Goal: an invoice arrives as a good e-mail, from the right person, at the right people."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import dkim
import pytest
from pypdf import PdfReader
from sqlalchemy import Engine

from ingest.clock import FixedClock
from ingest.errors import InvalidInput
from invoicing.delivery.deliver import deliver_due
from invoicing.delivery.delivery import Delivery
from invoicing.delivery.documents import PDF, DocumentShelf
from invoicing.delivery.files import document_shelf
from invoicing.delivery.find import list_deliveries
from invoicing.delivery.links import find_link, mark_seen, revoke_link
from invoicing.delivery.mail import domain_of, read_server
from invoicing.delivery.mail_text import preview, written
from invoicing.delivery.preferences import DeliveryPreferences, planned_at
from invoicing.delivery.queue import queue_issued
from invoicing.delivery.wording import LANGUAGES, Letter
from invoicing.document import InvoicePrinter
from tests.invoicing.delivery_case import (
    LINKS,
    NOW,
    TERMS,
    Mailbox,
    customer,
    deliver,
    email_channel,
    issue,
    mail_server,
    plain_shelf,
)

RECIPIENTS = [
    {"email": "payer@acme.example", "role": "payer"},
    {"email": "ap@acme.example", "role": "accounts_payable"},
    {"email": "jane@seller.example", "role": "owner"},
]


@pytest.fixture(scope="module")
def _server() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def box(_server: Mailbox) -> Mailbox:
    _server.taken.clear()
    _server.answers.clear()
    _server.after_data.clear()
    return _server


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def send_all(ledger: Engine, box: Mailbox, shelf: DocumentShelf | None = None) -> list[EmailMessage]:
    shelf = shelf or plain_shelf(ledger)
    deliver(ledger, email_channel(ledger, shelf, box.port), FixedClock(NOW), shelf)
    return box.messages()


@pytest.mark.requirement("DEL-01")
@pytest.mark.requirement("DEL-02")
@pytest.mark.requirement("DEL-05")
def test_the_mail_has_the_pdf_a_link_and_nothing_that_looks_like_spam(ledger: Engine, box: Mailbox) -> None:
    customer(ledger)
    document_id = issue(ledger)
    shelf = document_shelf(ledger, InvoicePrinter(), profile="peppol")
    (message,) = send_all(ledger, box, shelf)
    (attached,) = message.iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == (PDF, "INV-2026-000001.pdf")
    file = shelf.file(shelf.get(document_id), PDF, now=NOW)
    assert hashlib.sha256(attached.get_content()).hexdigest() == file.content_hash
    assert "INV-2026-000001" in PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()
    plain, page = part(message, "plain"), part(message, "html")
    (token,) = {re.escape(one) for one in re.findall(r"https://bill\.seller\.example/i/(\S+)", plain)}
    link = find_link(ledger, token.replace("\\", ""), secret=LINKS.secret, now=NOW)
    assert (link.document_id, link.state) == (document_id, "open")
    assert not re.search(r"<img|<script|<link|src=|http://", page)
    assert set(re.findall(r'href="([^"]+)"', page)) == set(re.findall(r"https://\S+", plain))
    assert message["Subject"] == "Invoice INV-2026-000001 from Jane Doe"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"].endswith("@seller.example>")
    raw = box.taken[0][2]
    assert raw.isascii()
    assert max(len(row) for row in raw.split(b"\r\n")) <= 998
    assert box.taken[0][0] == "invoices@seller.example"  # bounces come to the house
    (sent,) = list_deliveries(ledger, limit=9)
    assert sent.message_hash == hashlib.sha256(raw.rstrip(b"\r\n") + b"\r\n").hexdigest()


def test_a_document_that_cannot_be_printed_holds_up_no_other(ledger: Engine, box: Mailbox) -> None:
    customer(ledger)
    issue(ledger, terms={**TERMS, "late_payment": "\N{CJK UNIFIED IDEOGRAPH-682A}"})
    issue(ledger)
    shelf = document_shelf(ledger, InvoicePrinter(), profile="peppol")
    send_all(ledger, box, shelf)
    states = {one.state: one.reason for one in list_deliveries(ledger, limit=9)}
    assert sorted(states) == ["failed", "sent"]
    assert "RATEMILL_FONTS" in states["failed"]


@pytest.mark.requirement("DEL-03")
@pytest.mark.requirement("DEL-04")
def test_it_goes_to_those_in_the_roles_and_never_to_the_signer(ledger: Engine, box: Mailbox) -> None:
    customer(ledger, email="signer@acme.example", delivery={"recipients": RECIPIENTS})
    issue(ledger)
    messages = send_all(ledger, box)
    assert sorted(to for _, (to,), _ in box.taken) == sorted(one["email"] for one in RECIPIENTS)
    for message in messages:
        assert message["To"] == "payer@acme.example, ap@acme.example"
        assert message["Cc"] == "jane@seller.example"
    assert not any(b"signer@" in raw for _, _, raw in box.taken)


@pytest.mark.requirement("DEL-06")
@pytest.mark.parametrize(
    ("owner", "sender", "reply_to"),
    [
        ("Jane Doe <jane@seller.example>", "Jane Doe <jane@seller.example>", None),
        ("Joe <joe@elsewhere.example>", "Seller GmbH <billing@seller.example>", "joe@elsewhere.example"),
        ("team west", "Seller GmbH <billing@seller.example>", None),
    ],
)
def test_it_is_from_the_owner_where_mail_systems_will_believe_it(
    ledger: Engine, box: Mailbox, owner: str, sender: str, reply_to: str | None
) -> None:
    customer(ledger)
    issue(ledger, terms={**TERMS, "owner": owner})
    (message,) = send_all(ledger, box)
    assert (message["From"], message["Reply-To"]) == (sender, reply_to)


@pytest.mark.requirement("DEL-05")
def test_the_dkim_signature_verifies_and_is_of_the_from_domain(
    ledger: Engine, box: Mailbox, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genrsa", "-traditional", "-out", key, "1024"], check=True, capture_output=True
    )
    public = subprocess.run(
        ["openssl", "rsa", "-in", key, "-pubout"], check=True, capture_output=True, text=True
    ).stdout
    record = "v=DKIM1; k=rsa; p=" + "".join(public.splitlines()[1:-1])
    customer(ledger)
    issue(ledger)
    shelf = plain_shelf(ledger)
    signing = {"dkim_selector": "bills", "dkim_key": key.read_bytes()}
    deliver(ledger, email_channel(ledger, shelf, box.port, **signing), FixedClock(NOW), shelf)
    raw = box.taken[0][2]
    asked = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record.encode()

    assert dkim.verify(raw, dnsfunc=dns)
    assert not dkim.verify(raw.replace(b"Jane", b"June", 1), dnsfunc=dns)
    assert asked[0] == b"bills._domainkey.seller.example."
    assert domain_of(box.messages()[0]["From"].addresses[0].addr_spec) == "seller.example"


@pytest.mark.requirement("DEL-13")
def test_what_the_mail_server_says_is_on_record(ledger: Engine, box: Mailbox) -> None:
    for name, address in (("a", "later@x.example"), ("b", "nobody@x.example"), ("c", "lost@x.example")):
        customer(ledger, name, email=address)
        issue(ledger, name, terms={"payment_days": 30})
    box.answers = {"later@x.example": "451 try later", "nobody@x.example": "550 no such user"}
    box.after_data = ["break off"]
    send_all(ledger, box)
    found = {one.recipient: (one.state, one.reason_code) for one in list_deliveries(ledger, limit=9)}
    assert found == {
        "later@x.example": ("queued", "smtp_temporary"),
        "nobody@x.example": ("failed", "smtp_refused"),
        "lost@x.example": ("unknown", "smtp_broke_off"),
    }
    (failed,) = list_deliveries(ledger, limit=9, state="failed")
    assert "550" in failed.reason
    assert "no such user" in failed.reason


def test_no_mail_server_means_later(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    shelf = plain_shelf(ledger)
    report = deliver(ledger, email_channel(ledger, shelf, 1), FixedClock(NOW), shelf)
    assert report.states == {"queued": 1}
    assert list_deliveries(ledger, limit=1)[0].reason_code == "smtp_unreachable"


@pytest.mark.requirement("DEL-07")
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["that is by March 3, 2026.", "Payment by bank transfer.", "€1,200.00", "Late payment: "]),
        ("de", ["also bis 3. März 2026.", "Zahlung per Überweisung.", "1.200,00 €", "Bei Zahlungsverzug: "]),
        ("fr", ["soit le 3 mars 2026.", "Paiement par virement.", "1 200,00 €", "En cas de retard : "]),
    ],
)
def test_the_mail_is_in_the_customers_language_with_all_terms(
    ledger: Engine, box: Mailbox, language: str, words: list[str]
) -> None:
    customer(ledger, language=language)
    issue(ledger)
    (message,) = send_all(ledger, box)
    for kind in ("plain", "html"):
        text = part(message, kind)
        for word in [*words, "INV-2026-000001", TERMS["late_payment"], "DE02 1203 0000 0000 2020 51"]:
            assert str(word) in text.replace("&#39;", "'")
    assert message["Content-Language"] == language


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("purpose", ["document", "resend", "follow_up", "alert", "onboarding"])
def test_every_shipped_wording_is_whole(ledger: Engine, language: str, purpose: str) -> None:
    customer(ledger)
    document = plain_shelf(ledger).get(issue(ledger)) if purpose != "onboarding" else None
    for state in ("bounced", "failed", "unknown", "sent", "held"):
        letter = Letter(
            purpose=purpose,
            language=language,
            customer_name="<b>Acme</b>\nLtd",
            sender_name="Seller",
            sender_address="a@b.example",
            link="https://x/i/t",
            document=document,
            confirm_wanted=True,
            trouble=(state, "why", "who@x.example"),
        )
        text = preview(letter, own=None)
        assert "{{" not in text.plain + text.html + text.subject
        assert "\n" not in text.subject
        assert "<b>" not in text.html


def test_broken_wording_fails_the_preview_and_not_the_mail(
    ledger: Engine, box: Mailbox, tmp_path: Path
) -> None:
    (tmp_path / "message.txt").write_text("{{ greeting }} {{ nobody_knows_this }}")
    customer(ledger)
    document_id = issue(ledger)
    shelf = plain_shelf(ledger)
    channel = email_channel(ledger, shelf, box.port, templates=tmp_path)
    queue_issued(ledger, now=NOW)
    (queued,) = list_deliveries(ledger, limit=1)
    with pytest.raises(InvalidInput, match="nobody_knows_this"):
        channel.preview(shelf.get(document_id), queued)
    deliver(ledger, channel, FixedClock(NOW), shelf)
    assert "Attached is invoice INV-2026-000001" in part(box.messages()[0], "plain")


def test_wording_cannot_reach_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "message.txt").write_text("{{ greeting.__class__.__mro__ }}")
    letter = Letter("onboarding", "en", "Acme", "Seller", "a@b.example", "")
    with pytest.raises(InvalidInput):
        preview(letter, own=tmp_path)
    assert written(letter, own=tmp_path).fallback


@pytest.mark.requirement("DEL-02")
def test_a_link_ends_and_can_be_taken_back(ledger: Engine, box: Mailbox) -> None:
    customer(ledger)
    issue(ledger)
    send_all(ledger, box)
    (sent,) = list_deliveries(ledger, limit=1)
    token = LINKS.url(sent).rpartition("/")[2]

    def state(now: datetime) -> str:
        return find_link(ledger, token, secret=LINKS.secret, now=now).state

    assert state(NOW + timedelta(days=89)) == "open"
    assert state(NOW + timedelta(days=90)) == "expired"
    revoke_link(ledger, sent.delivery_id, actor="ann", now=NOW)
    assert state(NOW) == "revoked"


@pytest.mark.requirement("DEL-08")
@pytest.mark.parametrize(
    ("preference", "issued", "planned"),
    [
        ({}, "2026-02-01T00:05+00:00", "2026-02-01T00:05+00:00"),
        ({"hour": 9, "time_zone": "Europe/Berlin"}, "2026-02-01T00:05+00:00", "2026-02-01T08:00+00:00"),
        ({"hour": 9, "time_zone": "Europe/Berlin"}, "2026-07-01T00:05+00:00", "2026-07-01T07:00+00:00"),
        ({"hour": 9, "time_zone": "Europe/Berlin"}, "2026-02-01T10:00+00:00", "2026-02-02T08:00+00:00"),
        ({"hour": 9, "time_zone": "Europe/Berlin"}, "2026-02-01T08:20+00:00", "2026-02-01T08:20+00:00"),
        ({"weekday": "tuesday"}, "2026-02-01T10:00+00:00", "2026-02-03T00:00+00:00"),
        (
            {"weekday": "tuesday", "hour": 18, "time_zone": "America/New_York"},
            "2026-02-01T10:00+00:00",
            "2026-02-03T23:00+00:00",
        ),
        ({"weekday": "sunday", "hour": 6}, "2026-02-01T10:00+00:00", "2026-02-08T06:00+00:00"),
    ],
)
def test_it_leaves_when_the_customer_prefers(
    preference: dict[str, object], issued: str, planned: str
) -> None:
    wanted = DeliveryPreferences.model_validate(preference)
    assert planned_at(wanted, datetime.fromisoformat(issued)) == datetime.fromisoformat(planned)


@pytest.mark.requirement("DEL-08")
def test_nothing_leaves_before_that(ledger: Engine, box: Mailbox) -> None:
    customer(ledger, delivery={"weekday": "tuesday", "hour": 9, "time_zone": "Europe/Berlin"})
    issue(ledger)  # on a Sunday, at 8 UTC
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = email_channel(ledger, shelf, box.port)
    for hours, sent in ((0, 0), (47, 0), (48, 1)):
        clock.move_to(NOW + timedelta(hours=hours))
        deliver(ledger, channel, clock, shelf)
        assert len(box.taken) == sent


@pytest.mark.requirement("DEL-09")
@pytest.mark.parametrize("answer", [None, "opened", "confirmed"])
def test_a_large_invoice_asks_for_confirmation_and_follows_up(
    ledger: Engine, box: Mailbox, answer: str | None
) -> None:
    customer(ledger, delivery={"confirm_above_minor": 100_000, "follow_up_days": 5})
    issue(ledger, amount_minor=100_000)
    issue(ledger, amount_minor=100_001)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = email_channel(ledger, shelf, box.port)
    deliver(ledger, channel, clock, shelf)
    asking = ["Please confirm" in part(message, "plain") for message in box.messages()]
    assert sorted(asking) == [False, True]
    if answer:
        (asked,) = (one for one in list_deliveries(ledger, limit=9) if one.confirm_wanted)
        mark_seen(ledger, asked.delivery_id, answer, now=clock.now())
    clock.advance(timedelta(days=5) - timedelta(seconds=1))
    assert deliver(ledger, channel, clock, shelf).follow_ups == 0
    clock.advance(timedelta(seconds=1))
    assert deliver(ledger, channel, clock, shelf).follow_ups == (0 if answer else 1)
    assert deliver(ledger, channel, clock, shelf).follow_ups == 0
    subjects = [message["Subject"] for message in box.messages()]
    assert subjects[2:] == ([] if answer else ["Have you received invoice INV-2026-000002?"])


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://x", "cannot be read"),
        ("smtp://", "cannot be read"),
        ("smtp://a:b@mail.example", "unprotected"),
        ("smtps://x:notaport", "cannot be read"),
    ],
)
def test_a_mail_server_that_cannot_be_used_is_refused(url: str, wrong: str) -> None:
    with pytest.raises(InvalidInput, match=wrong):
        read_server(url)


def test_a_mail_server_is_read_with_its_login() -> None:
    server = read_server("smtp+starttls://us%40er:p%3Aw@mail.example")
    assert (server.username, server.password, server.port, server.start_tls) == ("us@er", "p:w", 587, True)


def test_a_message_tried_again_has_the_same_id(ledger: Engine, box: Mailbox) -> None:
    customer(ledger)
    issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = email_channel(ledger, shelf, box.port)
    box.after_data = ["452 disk full"]
    assert deliver_due(ledger, channels={"email": channel}, shelf=shelf, link_days=9, clock=clock).states == {
        "queued": 1
    }
    first: Delivery = list_deliveries(ledger, limit=1)[0]
    clock.advance(timedelta(minutes=1))
    deliver(ledger, channel, clock, shelf)
    assert box.messages()[0]["Message-ID"] == first.message_id
