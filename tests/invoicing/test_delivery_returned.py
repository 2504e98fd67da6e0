"""Goal: what comes back finds the message it is about: bounces, delays, replies, opened links, resends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select

from ingest.clock import FixedClock
from ingest.errors import Conflict, InvalidInput, NotFound
from invoicing.audit_tables import AUDIT_ENTRIES
from invoicing.customer_store import get_customer
from invoicing.delivery.again import onboarding_of, queue_onboarding, resend
from invoicing.delivery.delivery import Refused, TryAgain
from invoicing.delivery.documents import PDF, DocumentShelf
from invoicing.delivery.find import events_of, get_delivery, list_deliveries
from invoicing.delivery.links import mark_seen
from invoicing.delivery.returned import clear_address, read_bounces, read_reply, take_bounce, take_reply
from invoicing.delivery.status import count_late, delivery_status
from tests.invoicing.delivery_case import (
    NOW,
    Recorder,
    customer,
    deliver,
    email_channel,
    issue,
    mail_server,
    plain_shelf,
)

BOUNCE = """From: MAILER-DAEMON@mx.acme.example
To: invoices@seller.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.acme.example
Arrival-Date: Sun, 1 Feb 2026 08:00:00 +0000

Final-Recipient: rfc822; AP@acme.example
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <ap@acme.example>: User unknown

--b
Content-Type: text/rfc822-headers

Message-ID: {message_id}
From: invoices@seller.example

--b--
"""
REPLY = """From: Ann Payer <ap@acme.example>
To: jane@seller.example
Subject: Re: Invoice INV-2026-000001
Message-ID: <answer@acme.example>
In-Reply-To: {message_id}
References: <other@acme.example> {message_id}

Thank you, it is paid on the 20th.
"""


def bounce(message_id: str, action: str = "failed") -> bytes:
    return BOUNCE.format(message_id=message_id, action=action).replace("\n", "\r\n").encode()


@pytest.mark.requirement("DEL-03")
@pytest.mark.requirement("DEL-13")
def test_a_bounce_marks_the_contact_and_alerts_the_owner(any_ledger: Engine) -> None:
    ledger = any_ledger
    customer(ledger)
    issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    deliver(ledger, channel, clock, shelf)
    (sent,) = list_deliveries(ledger, limit=9)
    (read,) = read_bounces(bounce(sent.message_id))
    assert (read.address, read.action, read.status) == ("ap@acme.example", "failed", "5.1.1")
    for _ in range(2):  # told twice, it counts once
        take_bounce(ledger, read, shelf=shelf, actor="mailbox", now=clock.now())
    bounced = get_delivery(ledger, sent.delivery_id)
    assert bounced.state == "bounced"
    assert "User unknown" in bounced.reason
    assert [event["kind"] for event in events_of(ledger, sent.delivery_id)].count("bounced") == 1
    assert deliver(ledger, channel, clock, shelf).states == {"sent": 1}
    (alert,) = list_deliveries(ledger, limit=9, purpose="alert")
    assert (alert.recipient, alert.state) == ("jane@seller.example", "sent")
    status = delivery_status(ledger, channels={"email"}, now=clock.now())
    assert [address for address, _, _ in status.bounced_addresses] == ["ap@acme.example"]
    assert [late.delivery_id for late in status.late] == [sent.delivery_id]


@pytest.mark.requirement("DEL-03")
def test_nothing_more_is_sent_to_an_address_that_bounced_until_it_is_cleared(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger, terms={"payment_days": 30})
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    with mail_server() as box:
        channel = email_channel(ledger, shelf, box.port)
        deliver(ledger, channel, clock, shelf)
        (sent,) = list_deliveries(ledger, limit=9)
        (read,) = read_bounces(bounce(sent.message_id))
        take_bounce(ledger, read, shelf=shelf, actor="mailbox", now=clock.now())
        clock.advance(timedelta(days=1))
        issue(ledger, terms={"payment_days": 30}, at=clock.now())
        assert deliver(ledger, channel, clock, shelf).states == {"failed": 1}
        (failed,) = list_deliveries(ledger, limit=9, state="failed")
        assert failed.reason_code == "address_bounced"
        assert "ratemill delivery clear ap@acme.example" in failed.reason
        clear_address(ledger, "AP@acme.example", actor="ann", now=clock.now())
        with pytest.raises(NotFound):
            clear_address(ledger, "ap@acme.example", actor="ann", now=clock.now())
        assert len(box.taken) == 1


def test_a_delay_is_on_record_and_no_more(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    deliver(ledger, Recorder(shelf), clock, shelf)
    (sent,) = list_deliveries(ledger, limit=9)
    (read,) = read_bounces(bounce(sent.message_id, "delayed"))
    take_bounce(ledger, read, shelf=shelf, actor="mailbox", now=NOW)
    assert get_delivery(ledger, sent.delivery_id).state == "sent"
    assert events_of(ledger, sent.delivery_id)[-1]["kind"] == "delayed"


@pytest.mark.requirement("DEL-06")
def test_a_reply_is_logged_on_the_invoice_it_answers(ledger: Engine) -> None:
    customer(ledger, delivery={"confirm_above_minor": 0})
    document_id = issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    deliver(ledger, Recorder(shelf), clock, shelf)
    (sent,) = list_deliveries(ledger, limit=9)
    reply = read_reply(REPLY.format(message_id=sent.message_id).encode())
    found = take_reply(ledger, reply, actor="mailbox", now=NOW)
    assert found.document_id == document_id
    event = events_of(ledger, sent.delivery_id)[-1]
    assert (event["kind"], event["detail"]["from"]) == ("reply", "Ann Payer <ap@acme.example>")
    assert "paid on the 20th" in event["detail"]["text"]
    clock.advance(timedelta(days=9))
    assert deliver(ledger, Recorder(shelf), clock, shelf).follow_ups == 0


@pytest.mark.parametrize("raw", [b"", b"hello", b"Subject: x\r\n\r\nhello", b"\x00\xff\xfe" * 10])
def test_what_is_neither_is_refused_in_words(ledger: Engine, raw: bytes) -> None:
    for read in (read_bounces, read_reply):
        with pytest.raises(InvalidInput):
            read(raw)
    strange = read_reply(REPLY.format(message_id="<not@ours>").encode())
    with pytest.raises(NotFound):
        take_reply(ledger, strange, actor="mailbox", now=NOW)


@pytest.mark.requirement("DEL-10")
def test_a_resend_is_the_same_bytes_whatever_has_changed(any_ledger: Engine) -> None:
    ledger = any_ledger
    customer(ledger)
    document_id = issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    deliver(ledger, channel, clock, shelf)
    # A newer version would print it otherwise; what went out is what goes out again.
    newer = DocumentShelf(ledger, {PDF: lambda _: b"another look"})
    document, owner = newer.get(document_id), get_customer(ledger, "acme").customer
    clock.advance(timedelta(days=40))
    for to in (None, None, "boss@acme.example"):
        (again,) = resend(ledger, document, owner, recipient=to, actor="ann", now=clock.now())
        assert events_of(ledger, again.delivery_id)[0]["actor"] == "ann"
    with ledger.connect() as connection:
        kept = connection.execute(select(AUDIT_ENTRIES.c.actor, AUDIT_ENTRIES.c.object_id)).all()
    assert [tuple(entry) for entry in kept if entry.actor == "ann"] == [("ann", document_id)] * 3
    again_channel = Recorder(newer)
    assert deliver(ledger, again_channel, clock, newer).states == {"sent": 3}
    sent = list_deliveries(ledger, limit=9)
    assert len({one.content_hash for one in sent}) == 1
    assert len({one.message_id for one in sent}) == 4
    assert {one.recipient for one in sent} == {"ap@acme.example", "boss@acme.example"}
    with pytest.raises(InvalidInput):
        resend(ledger, document, owner, recipient="no address", actor="ann", now=NOW)


@pytest.mark.requirement("DEL-13")
def test_opened_and_confirmed_are_seen_and_never_go_back(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    shelf = plain_shelf(ledger)
    deliver(ledger, Recorder(shelf), FixedClock(NOW), shelf)
    (sent,) = list_deliveries(ledger, limit=9)
    for seen, state in (("opened", "opened"), ("confirmed", "confirmed"), ("opened", "confirmed")):
        mark_seen(ledger, sent.delivery_id, seen, now=NOW)
        assert get_delivery(ledger, sent.delivery_id).state == state
    kinds = [event["kind"] for event in events_of(ledger, sent.delivery_id)]
    assert kinds == ["queued", "attempt", "sent", "opened", "confirmed"]


@pytest.mark.requirement("GEN-08")
def test_what_is_due_and_not_delivered_is_late(ledger: Engine) -> None:
    customer(ledger, "a", delivery={"hour": 12})
    customer(ledger, "b")
    customer(ledger, "c", email="")
    for owner in ("a", "b", "c"):
        issue(ledger, owner, terms={"payment_days": 30})
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    channel.answers = [TryAgain("smtp_temporary", "451"), Refused("smtp_refused", "550")]
    deliver(ledger, channel, clock, shelf)

    def late() -> list[tuple[str, str]]:
        status = delivery_status(ledger, channels=set(), now=clock.now())
        assert status.late_count == count_late(ledger, now=clock.now())
        return sorted((one.customer_id, one.state) for one in status.late)

    assert late() == [("b", "queued"), ("c", "held")]  # a's hour has not come
    clock.advance(timedelta(hours=4))
    assert late() == [("a", "queued"), ("b", "queued"), ("c", "held")]
    assert delivery_status(ledger, channels=set(), now=clock.now()).waiting == {"email": 2}
    channel.answers = []
    deliver(ledger, channel, clock, shelf)
    assert late() == [("c", "held")]


@pytest.mark.requirement("CRM-11")
@pytest.mark.requirement("DEL-05")
def test_onboarding_asks_to_add_the_address_and_knows_who_did(ledger: Engine) -> None:
    customer(ledger)
    owner = get_customer(ledger, "acme").customer
    assert [item["state"] for item in onboarding_of(ledger, owner)] == ["open"]
    with mail_server() as box:
        shelf = plain_shelf(ledger)
        channel = email_channel(ledger, shelf, box.port)
        for _ in range(2):
            queue_onboarding(ledger, owner, actor="ann", now=NOW)
        deliver(ledger, channel, FixedClock(NOW), shelf)
        (message,) = box.messages()
    body = message.get_body(("plain",))
    assert body is not None
    assert "invoices@seller.example. Please add this address to your address book" in body.get_content()
    (sent,) = list_deliveries(ledger, limit=9)
    mark_seen(ledger, sent.delivery_id, "confirmed", now=NOW)
    assert [item["state"] for item in onboarding_of(ledger, owner)] == ["confirmed"]
    customer(ledger, "silent", email="")
    with pytest.raises(Conflict):
        queue_onboarding(ledger, get_customer(ledger, "silent").customer, actor="ann", now=NOW)
