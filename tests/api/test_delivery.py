"""Goal: delivery over HTTP and by command, the page behind the link, and what happens by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.billing import tick_once
from api.delivery import open_desk
from api.scheduler import deliver_once
from api.settings import Settings
from api.state import Ratemill, compose
from ingest.clickhouse import EventStore
from ingest.clock import FixedClock
from ingest.errors import Conflict, InvalidInput
from invoicing.document import InvoicePrinter
from tests.api.conftest import NOW, HttpFor, Run
from tests.api.test_flow import CONTRACT, CUSTOMER, event, put_world, send
from tests.invoicing.delivery_case import Mailbox, mail_server


@pytest.fixture(scope="module")
def _server() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def box(_server: Mailbox) -> Mailbox:
    _server.taken.clear()
    _server.answers.clear()
    return _server


@pytest.fixture
def state(
    event_store: EventStore, ledger: Engine, data_folder: Path, clock: FixedClock, box: Mailbox
) -> Iterator[Ratemill]:
    settings = Settings(
        data=data_folder,
        seller_name="Seller GmbH",
        smtp_url=f"smtp://127.0.0.1:{box.port}",
        mail_from="invoices@seller.example",
        public_url="https://bill.seller.example/",
        link_secret="a secret of tests, long enough",
        scheduler="on",
    )
    composed = compose(settings, clock, event_store, ledger)
    yield composed
    composed.group_commit.close()
    composed.checks.close()


def october(http: httpx.Client, **customer: Any) -> None:
    """One contract with 60 calls at 0.10 in October; November is not over."""
    put_world(http)
    document = {**CUSTOMER, "email": "ap@acme.example", **customer}
    assert http.put("/v1/customers/acme", json=document).status_code == 201
    contract: dict[str, Any] = {**CONTRACT, "contract_id": "big", "subjects": ["big"]}
    contract["start_date"] = "2026-10-01"
    contract["terms"] = {"owner": "Jane Doe <jane@seller.example>"}
    assert http.put("/v1/contracts/big", json=contract).status_code == 201
    send(http, [event(1, subject="big", value="60") | {"time": "2026-10-05T00:00:00Z"}])


def path_in(box: Mailbox) -> str:
    body = box.messages()[-1].get_body(("plain",))
    assert body is not None
    (path,) = re.findall(r"https://bill\.seller\.example(/i/\S+)", body.get_content())
    return str(path)


@pytest.mark.requirement("DEL-01")
@pytest.mark.requirement("DEL-02")
def test_the_server_bills_and_sends_by_itself_and_the_link_opens(
    state: Ratemill, http: httpx.Client, http_for: HttpFor, box: Mailbox, clock: FixedClock
) -> None:
    october(http)
    for _ in range(2):
        tick_once(state)
        deliver_once(state)
    (invoice,) = http.get("/v1/invoices", params={"contract_id": "big"}).json()["items"]
    (sent,) = http.get("/v1/deliveries", params={"invoice": invoice["number"]}).json()["items"]
    assert (sent["state"], sent["sent_at"][:10]) == ("sent", str(NOW.date()))
    (message,) = box.messages()
    assert message["To"] == "ap@acme.example"
    assert [part.get_content_type() for part in message.iter_attachments()] == ["application/pdf"]
    anybody, path = http_for(), path_in(box)
    page = anybody.get(path)
    assert page.status_code == 200
    assert invoice["number"] in page.text
    assert "€6.00" in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert not re.search(r"<script|<img|https?://", page.text)
    pdf = anybody.get(f"{path}/pdf")
    assert pdf.content == http.get(f"/v1/invoices/{invoice['number']}/pdf").content
    assert http.get(f"/v1/deliveries/{sent['delivery_id']}").json()["state"] == "opened"
    assert "Thank you" in anybody.post(f"{path}/confirm").text
    shown = http.get(f"/v1/deliveries/{sent['delivery_id']}").json()
    assert [step["kind"] for step in shown["events"]] == ["queued", "attempt", "sent", "opened", "confirmed"]
    assert anybody.get(path[:-3] + "abc").status_code == 404
    clock.advance(timedelta(days=91))
    expired = anybody.get(path, headers={"Accept-Language": "de-DE"})
    assert expired.status_code == 410
    assert "Der Link ist abgelaufen" in expired.text
    assert invoice["number"] not in expired.text
    assert anybody.get(f"{path}/pdf").status_code == 410


@pytest.mark.requirement("GEN-01")
@pytest.mark.requirement("DEL-01")
def test_a_tick_bills_and_sends_what_has_become_due_by_the_clock(
    run: Run, http: httpx.Client, box: Mailbox, clock: FixedClock
) -> None:
    october(http)
    first = run("tick", "--json").json()
    assert (first["run"]["report"]["issued"], first["delivery"]["attempts"]) == (1, {"sent": 1})
    again = run("tick")
    assert (again.status, again.out) == (0, "Nothing new is due.\nDeliveries attempted: none.\n")
    clock.move_to(datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    send(http, [event(2, subject="big", value="10") | {"time": "2026-11-05T00:00:00Z"}])
    assert "Nothing new is due." in run("tick").out
    clock.move_to(datetime(2026, 12, 3, tzinfo=UTC))
    late = run("report", "late-billing")
    assert (late.status, "2 billing dates are late." in late.out) == (1, True)
    assert "ratemill_billing_dates_late 2.0" in http.get("/metrics").text
    due = run("tick")
    assert due.status == 0
    assert "Billing run tick-2026-12-03: 2 billing dates due as of 2026-12-03: 1 invoiced (1.00 EUR net)" in (
        " ".join(due.out.split())
    )
    assert "2 of them late, by up to 2 days" in " ".join(due.out.split())
    assert "Deliveries attempted: 1 sent." in due.out
    assert "No billing date is late." in run("report", "late-billing").out
    assert len(box.messages()) == 2
    send(http, [event(3, subject="big", value="10") | {"time": "2026-12-05T00:00:00Z"}])
    clock.move_to(datetime(2027, 1, 1, tzinfo=UTC))
    box.answers = {"ap@acme.example": "550 5.1.1 no such user"}
    failing = run("tick")
    assert (failing.status, "1 failed, 1 sent" in failing.out) == (1, True)


@pytest.mark.requirement("DEL-10")
@pytest.mark.requirement("DEL-13")
def test_by_command_sent_failed_seen_and_sent_again(
    run: Run, http: httpx.Client, box: Mailbox, tmp_path: Path
) -> None:
    october(http)
    assert "No deliveries here." in run("delivery", "list").out
    run("bill", "--as-of", "2026-11-01")
    box.answers = {"ap@acme.example": "550 5.1.1 no such user"}
    failing = run("deliver")
    assert failing.status == 1
    assert "1 failed, 1 sent" in failing.out  # the owner is told
    (failed,) = run("delivery", "list", "--state", "failed", "--json").json()["items"]
    assert "no such user" in failed["reason"]
    late = run("delivery", "status")
    assert late.status == 1
    assert "Late: 1" in late.out
    metrics = http.get("/metrics").text
    assert "ratemill_deliveries_late 1.0" in metrics
    box.answers = {}
    assert run("delivery", "retry", failed["delivery_id"]).status == 0
    assert run("deliver").status == 0
    assert "Nothing is late." in run("delivery", "status").out
    again = run("invoice", "resend", "INV-2026-000001", "--to", "boss@acme.example", "--json").json()["items"]
    assert [(one["state"], one["recipient"]) for one in again] == [("sent", "boss@acme.example")]
    (first,) = http.get("/v1/deliveries", params={"purpose": "document"}).json()["items"]
    assert again[0]["content_hash"] == first["content_hash"] != ""
    shown = run("delivery", "show", again[0]["delivery_id"]).out
    assert re.search(r"queued\s+test", shown)
    assert "Subject: Invoice INV-2026-000001" in run("delivery", "preview", again[0]["delivery_id"]).out
    (tmp_path / "reply.eml").write_text(
        f"From: a@b.example\nIn-Reply-To: {again[0]['message_id']}\n\nThanks."
    )
    assert run("delivery", "reply", "reply.eml").status == 0
    assert "Thanks." in run("delivery", "show", again[0]["delivery_id"]).out
    told = {"email": "boss@acme.example", "reason": "mailbox full"}
    (bounced,) = http.post("/v1/delivery/bounces", json=told).json()["items"]
    assert (bounced["delivery_id"], bounced["state"]) == (again[0]["delivery_id"], "bounced")
    assert run("delivery", "clear", "boss@acme.example").status == 0
    assert run("delivery", "revoke-link", again[0]["delivery_id"]).status == 0
    assert run("delivery", "revoke-link", again[0]["delivery_id"]).status == 1
    assert "sender_in_address_book" in run("delivery", "onboard", "acme", "--send").out
    assert run("delivery", "webhook-secret", "acme").out.startswith("whsec_")


def test_a_draft_is_not_delivered(run: Run, http: httpx.Client, box: Mailbox) -> None:
    october(http)
    run("bill", "--as-of", "2026-11-01", "--draft")
    run("deliver")
    assert not box.taken
    (draft,) = http.get("/v1/invoices", params={"state": "draft", "contract_id": "big"}).json()["items"]
    refused = http.post(f"/v1/invoices/{draft['invoice_id']}/resend")
    assert refused.status_code == 404
    assert "Only what is issued is delivered" in refused.json()["detail"]


def test_without_settings_nothing_is_sent_and_the_status_says_what_is_missing(
    state: Ratemill, ledger: Engine, data_folder: Path, http: httpx.Client, box: Mailbox
) -> None:
    october(http)
    http.post("/v1/billing-runs", json={"as_of": "2026-11-01"})
    bare = replace(state, delivery=open_desk(Settings(data=data_folder), ledger, InvoicePrinter()))
    deliver_once(bare)
    assert not box.taken
    assert bare.delivery.missing == {
        "email": "RATEMILL_SMTP_URL, RATEMILL_MAIL_FROM, RATEMILL_PUBLIC_URL, RATEMILL_LINK_SECRET not set",
        "webhook": "RATEMILL_PUBLIC_URL, RATEMILL_LINK_SECRET not set",
        "print": "RATEMILL_PRINT_FOLDER not set",
        "network": "RATEMILL_NETWORK_FOLDER not set",
    }
    (waiting,) = http.get("/v1/deliveries").json()["items"]
    assert waiting["state"] == "queued"
    with pytest.raises(Conflict, match="RATEMILL_SMTP_URL"):
        _ = bare.delivery.mail


@pytest.mark.parametrize(
    "settings",
    [
        {"dkim_key": "no such file", "dkim_selector": "s"},
        {"dkim_key": "no such file"},
        {"smtp_url": "smtp://user:password@mail.example"},
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    ledger: Engine, data_folder: Path, settings: dict[str, Any]
) -> None:
    whole = {
        "smtp_url": "smtp://127.0.0.1",
        "mail_from": "a@b.example",
        "public_url": "https://x",
        "link_secret": "a secret of tests, long enough",
    }
    with pytest.raises(InvalidInput):
        open_desk(Settings(data=data_folder, **{**whole, **settings}), ledger, InvoicePrinter())
