"""Goal: a customer on each channel gets its document there, whole, once, and told from a repeat."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine
from standardwebhooks import Webhook, WebhookVerificationError

from ingest.clock import FixedClock
from ingest.errors import InvalidDocument
from invoicing.customer_store import load_customer_texts, save_customer
from invoicing.delivery.channel import Channel
from invoicing.delivery.channel_folder import FolderNetwork, NetworkChannel, PrintChannel
from invoicing.delivery.channel_webhook import WebhookChannel
from invoicing.delivery.deliver import deliver_due
from invoicing.delivery.delivery import LEASE
from invoicing.delivery.documents import PDF, XML, DocumentShelf
from invoicing.delivery.find import list_deliveries
from invoicing.delivery.links import webhook_secret
from invoicing.delivery.preferences import may_call
from tests.invoicing.delivery_case import LINKS, NOW, customer, deliver, email_channel, issue, mail_server


class Receiver(HTTPServer):
    """Takes webhooks: answers with the next of ``statuses``, else 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Taker(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silence."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


def shelf_of(ledger: Engine) -> DocumentShelf:
    return DocumentShelf(
        ledger,
        {
            PDF: lambda invoice: f"%PDF {invoice.number}".encode(),
            XML: lambda invoice: f"<Invoice>{invoice.number}</Invoice>".encode(),
        },
    )


def by_customer(ledger: Engine) -> dict[str, tuple[str, str]]:
    return {one.customer_id: (one.channel, one.state) for one in list_deliveries(ledger, limit=20)}


@pytest.mark.requirement("DEL-11")
def test_one_customer_on_each_channel(ledger: Engine, tmp_path: Path) -> None:
    shelf = shelf_of(ledger)
    with mail_server() as box, receiving() as receiver:
        channels: dict[str, Channel] = {
            "email": email_channel(ledger, shelf, box.port),
            "webhook": WebhookChannel(shelf, LINKS),
            "print": PrintChannel(tmp_path / "print", shelf),
            "network": NetworkChannel(FolderNetwork(tmp_path / "network"), shelf),
        }
        customer(ledger, "mailed")
        customer(ledger, "called", delivery={"channel": "webhook", "address": receiver.url})
        customer(ledger, "printed", delivery={"channel": "print"})
        customer(ledger, "wired", delivery={"channel": "network", "address": "9930:DE123456789"})
        customer(ledger, "elsewhere", delivery={"channel": "none"})
        for owner in ("mailed", "called", "printed", "wired", "elsewhere"):
            issue(ledger, owner)
        clock = FixedClock(NOW)
        for _ in range(2):
            deliver_due(ledger, channels=channels, shelf=shelf, link_days=90, clock=clock)
        assert len(box.taken) == len(receiver.taken) == 1
    assert by_customer(ledger) == {
        "mailed": ("email", "sent"),
        "called": ("webhook", "sent"),
        "printed": ("print", "sent"),
        "wired": ("network", "sent"),
    }
    (pdf,) = (tmp_path / "print").glob("*.pdf")
    label = orjson.loads(pdf.with_suffix(".json").read_bytes())
    assert pdf.read_bytes() == b"%PDF INV-2026-000003"
    assert (label["file"], label["number"], label["name"]) == (pdf.name, "INV-2026-000003", "Acme Ltd")
    (xml,) = (tmp_path / "network").glob("*.xml")
    assert xml.read_bytes() == b"<Invoice>INV-2026-000004</Invoice>"
    assert orjson.loads(xml.with_suffix(".json").read_bytes())["receiver"] == "9930:DE123456789"
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


@pytest.mark.requirement("DEL-11")
def test_a_webhook_is_signed_and_a_repeat_has_the_same_id(ledger: Engine) -> None:
    shelf, clock = shelf_of(ledger), FixedClock(datetime.now(UTC))
    with receiving() as receiver:
        customer(ledger, delivery={"channel": "webhook", "address": receiver.url})
        document_id = issue(ledger, at=clock.now())
        channel = WebhookChannel(shelf, LINKS)
        receiver.statuses = [503]
        assert deliver(ledger, channel, clock, shelf).states == {"queued": 1}
        clock.advance(timedelta(minutes=1))
        assert deliver(ledger, channel, clock, shelf).states == {"sent": 1}
    (first, body), (second, again) = receiver.taken
    assert first["webhook-id"] == second["webhook-id"]
    assert body == again
    verifier = Webhook(webhook_secret(LINKS.secret, "acme"))
    told = verifier.verify(body, first)
    assert (told["type"], told["data"]["document_id"]) == ("invoice.issued", document_id)
    assert told["data"]["due_minor"] == 120_000
    with pytest.raises(WebhookVerificationError):
        verifier.verify(body.replace(b"120000", b"120001"), first)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook_secret(LINKS.secret, "other")).verify(body, first)


@pytest.mark.parametrize(
    ("status", "state", "reason_code"),
    [
        (500, "queued", "webhook_failed"),
        (429, "queued", "webhook_failed"),
        (410, "failed", "webhook_gone"),
        (404, "failed", "webhook_refused"),
        (302, "failed", "webhook_refused"),
    ],
)
def test_what_a_webhooks_receiver_answers(ledger: Engine, status: int, state: str, reason_code: str) -> None:
    shelf = shelf_of(ledger)
    with receiving() as receiver:
        receiver.statuses = [status]
        customer(ledger, delivery={"channel": "webhook", "address": receiver.url})
        issue(ledger, terms={"payment_days": 30})
        deliver(ledger, WebhookChannel(shelf, LINKS), FixedClock(NOW), shelf)
    (only,) = list_deliveries(ledger, limit=9)
    assert (only.state, only.reason_code) == (state, reason_code)


def test_a_receiver_that_is_not_there_is_tried_again(ledger: Engine) -> None:
    shelf = shelf_of(ledger)
    customer(ledger, delivery={"channel": "webhook", "address": "http://127.0.0.1:1/hook"})
    issue(ledger)
    assert deliver(ledger, WebhookChannel(shelf, LINKS), FixedClock(NOW), shelf).states == {"queued": 1}


def test_a_print_file_killed_half_way_is_written_again_under_its_name(ledger: Engine, tmp_path: Path) -> None:
    shelf, clock = shelf_of(ledger), FixedClock(NOW)
    customer(ledger, delivery={"channel": "print"})
    issue(ledger)

    class Killed(PrintChannel):
        def send(self, parcel, *, now):  # type: ignore[no-untyped-def]
            super().send(parcel, now=now)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(ledger, Killed(tmp_path, shelf), clock, shelf)
    clock.advance(LEASE * 2)
    assert deliver(ledger, PrintChannel(tmp_path, shelf), clock, shelf).states == {"sent": 1}
    assert len(list(tmp_path.glob("*.pdf"))) == len(list(tmp_path.glob("*.json"))) == 1


def test_a_folder_that_cannot_be_written_is_tried_again(ledger: Engine, tmp_path: Path) -> None:
    shelf = shelf_of(ledger)
    (tmp_path / "file").write_text("in the way")
    customer(ledger, delivery={"channel": "print"})
    issue(ledger)
    channel = PrintChannel(tmp_path / "file", shelf)
    assert deliver(ledger, channel, FixedClock(NOW), shelf).states == {"queued": 1}


@pytest.mark.parametrize(
    ("delivery", "code"),
    [
        ({"channel": "webhook"}, "bad_webhook_url"),
        ({"channel": "webhook", "address": "http://acme.example/x"}, "bad_webhook_url"),
        ({"channel": "webhook", "address": "http://[bad"}, "bad_webhook_url"),
        ({"channel": "network"}, "no_network_address"),
        ({"recipients": [{"email": "a@b.example\r\nBcc: c@d.example"}]}, "bad_email"),
        ({"recipients": [{"email": "a@b.example"}, {"email": "A@b.example"}]}, "recipient_twice"),
        ({"recipients": [{"email": "a@b.example", "role": "owner"}]}, "no_payer"),
        ({"recipients": [{"email": "a@b.example", "role": "signer"}]}, "literal_error"),
        ({"time_zone": "Mars/Olympus"}, "unknown_time_zone"),
        ({"hour": 24}, "less_than_equal"),
    ],
)
def test_preferences_that_cannot_be_kept_are_refused(
    ledger: Engine, delivery: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidDocument) as refused:
        customer(ledger, delivery=delivery)
    assert code in {issue.reason_code for issue in refused.value.issues}


def test_webhooks_go_over_https_or_to_this_machine() -> None:
    good = ("https://acme.example/hook", "http://localhost:9/x", "http://127.0.0.1/x", "http://[::1]/x")
    assert all(may_call(url) for url in good)
    bad = ("ftp://x", "https://", "", "http://127.0.0.1.acme.example/", "//acme.example")
    assert not any(may_call(url) for url in bad)


def test_preferences_stand_on_the_customer_and_on_no_invoice(ledger: Engine) -> None:
    customer(ledger, delivery={"recipients": [{"email": "secret.payer@acme.example"}]})
    with ledger.connect() as connection:
        version, text = load_customer_texts(connection, ["acme"])["acme"]
    assert "secret.payer" not in text
    assert "delivery" not in text
    again = {"customer_id": "acme", "name": "Acme Ltd", "email": "ap@acme.example"}
    saved = save_customer(ledger, again, now=NOW)  # without preferences: another document
    assert (saved.created, saved.version) == (True, version + 1)
