"""Goal: what is issued is queued once, sent once, tried again with patience, and never lost or sent twice."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ingest.clock import FixedClock
from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from invoicing.delivery.again import retry_delivery
from invoicing.delivery.deliver import deliver_due
from invoicing.delivery.delivery import BACK_OFF, LEASE, WAITED_TOO_LONG, Delivery, Refused, TryAgain, Unclear
from invoicing.delivery.find import events_of, list_deliveries
from invoicing.delivery.outbox import claim_next, retry, settle
from invoicing.delivery.queue import queue_issued
from tests.invoicing.delivery_case import NOW, Recorder, customer, deliver, issue, plain_shelf

MINUTE = timedelta(minutes=1)


def the_one(ledger: Engine) -> Delivery:
    (only,) = list_deliveries(ledger, limit=10)
    return only


def kinds(ledger: Engine, delivery_id: str) -> list[str]:
    return [event["kind"] for event in events_of(ledger, delivery_id)]


@pytest.mark.requirement("DEL-01")
def test_what_is_issued_is_sent_once_and_on_record(any_ledger: Engine) -> None:
    customer(any_ledger)
    document_id = issue(any_ledger)
    shelf, clock = plain_shelf(any_ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    assert deliver(any_ledger, channel, clock, shelf).to_dict() == {
        "queued": 1,
        "follow_ups": 0,
        "taken_over": 0,
        "held": 0,
        "attempts": {"sent": 1},
    }
    assert not deliver(any_ledger, channel, clock, shelf).states
    (parcel,) = channel.sent
    sent = the_one(any_ledger)
    assert (sent.document_id, sent.recipient, sent.state) == (document_id, "ap@acme.example", "sent")
    assert sent.sent_at is not None
    assert sent.sent_at.startswith("2026-02-01T08:00:00")
    assert (sent.message_id, sent.message_hash) == (parcel.message_id, parcel.message_hash)
    assert kinds(any_ledger, sent.delivery_id) == ["queued", "attempt", "sent"]


@pytest.mark.requirement("DEL-13")
def test_temporary_failures_are_tried_again_less_and_less_often_and_then_given_up(any_ledger: Engine) -> None:
    customer(any_ledger)
    issue(any_ledger, terms={"payment_days": 30})
    shelf, clock = plain_shelf(any_ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    channel.answers = [TryAgain("smtp_temporary", "451 later")] * 20
    for number, wait in enumerate(BACK_OFF, start=1):
        assert deliver(any_ledger, channel, clock, shelf).states == {"queued": 1}
        assert the_one(any_ledger).attempts == number
        clock.advance(wait - MINUTE / 60)
        assert not deliver(any_ledger, channel, clock, shelf).states  # not before its time
        clock.advance(MINUTE / 60)
    assert deliver(any_ledger, channel, clock, shelf).states == {"failed": 1}
    failed = the_one(any_ledger)
    assert (failed.state, failed.reason_code, failed.attempts) == ("failed", "smtp_temporary", 8)
    clock.advance(timedelta(days=9))
    assert not deliver(any_ledger, channel, clock, shelf).states
    channel.answers = []
    retry(any_ledger, failed.delivery_id, actor="ann", now=clock.now())
    assert deliver(any_ledger, channel, clock, shelf).states == {"sent": 1}
    assert len({parcel.message_id for parcel in channel.sent}) == 1
    with pytest.raises(Conflict, match="is sent"):
        retry(any_ledger, failed.delivery_id, actor="ann", now=clock.now())


@pytest.mark.requirement("DEL-13")
def test_a_refusal_is_final_and_doubt_is_left_to_a_person(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger, terms={"payment_days": 30})
    issue(ledger, terms={"payment_days": 30})
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    channel.answers = [Refused("smtp_refused", "550 no such user"), Unclear("smtp_broke_off", "gone")]
    assert deliver(ledger, channel, clock, shelf).states == {"failed": 1, "unknown": 1}
    clock.advance(timedelta(days=3))
    assert not deliver(ledger, channel, clock, shelf).states


@pytest.mark.requirement("DEL-13")
def test_the_owner_hears_of_a_failure_once(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    channel.answers = [Refused("smtp_refused", "550 no such user")]
    assert deliver(ledger, channel, clock, shelf).states == {"failed": 1, "sent": 1}
    (alert,) = list_deliveries(ledger, limit=10, purpose="alert")
    assert (alert.recipient, alert.role, alert.state) == ("jane@seller.example", "owner", "sent")


@pytest.mark.requirement("DEL-13")
def test_two_workers_never_send_the_same_message(any_ledger: Engine) -> None:
    customer(any_ledger)
    for _ in range(12):
        issue(any_ledger)
    shelf, clock = plain_shelf(any_ledger), FixedClock(NOW)
    channels = [Recorder(shelf), Recorder(shelf)]
    together = threading.Barrier(2)
    failures: list[BaseException] = []

    def work(channel: Recorder) -> None:
        together.wait()
        try:
            deliver(any_ledger, channel, clock, shelf)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(channel,)) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    sent = [parcel.message_id for channel in channels for parcel in channel.sent]
    assert len(sent) == len(set(sent)) == 12
    assert all(one.state == "sent" and one.attempts == 1 for one in list_deliveries(any_ledger, limit=20))


@pytest.mark.requirement("DEL-13")
@pytest.mark.parametrize(
    ("idempotent", "dies", "state", "later"),
    [
        (False, "composing", "sending", "sent"),  # nothing had left: safe to send
        (False, "sending", "sending", "unknown"),  # it may be out: a person decides
        (True, "sending", "sending", "sent"),  # the other side tells a repeat by its id
    ],
)
def test_killed_at_any_point_nothing_is_lost_or_sent_twice(
    any_ledger: Engine, idempotent: bool, dies: str, state: str, later: str
) -> None:
    customer(any_ledger)
    issue(any_ledger, terms={"payment_days": 30})
    shelf, clock = plain_shelf(any_ledger), FixedClock(NOW)
    channel = Recorder(shelf, idempotent=idempotent, dies_composing=dies == "composing")
    channel.answers = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        deliver(any_ledger, channel, clock, shelf)
    assert the_one(any_ledger).state == state
    healthy = Recorder(shelf, idempotent=idempotent)
    clock.advance(LEASE / 2)
    assert not deliver(any_ledger, healthy, clock, shelf).states  # the other worker may be at it still
    clock.advance(LEASE)
    assert deliver(any_ledger, healthy, clock, shelf).taken_over == 1
    assert the_one(any_ledger).state == later
    assert len(healthy.sent) == (0 if later == "unknown" else 1)


def test_an_answer_that_comes_late_still_counts_once(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    queue_issued(ledger, now=NOW)
    delivery = claim_next(ledger, channels={"email"}, now=NOW)
    assert delivery is not None
    retaken = NOW + LEASE + MINUTE
    shelf = plain_shelf(ledger)
    deliver(ledger, Recorder(shelf), FixedClock(retaken), shelf)
    late = TryAgain("smtp_unreachable", "too late")
    assert settle(ledger, delivery, late, follow_up_at=None, now=retaken + MINUTE) == "sent"
    assert the_one(ledger).attempts == 2


def test_what_nobody_could_send_for_a_week_is_not_sent_unasked(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)
    assert deliver_due(ledger, channels={}, shelf=shelf, link_days=90, clock=clock).queued == 1
    assert the_one(ledger).state == "queued"
    clock.advance(WAITED_TOO_LONG + MINUTE)
    channel = Recorder(shelf)
    assert deliver(ledger, channel, clock, shelf).held == 1
    assert (the_one(ledger).state, the_one(ledger).reason_code) == ("held", "waited_too_long")
    assert not channel.sent


def test_a_customer_without_an_address_is_held_with_a_reason(ledger: Engine) -> None:
    customer(ledger, email="")
    issue(ledger)
    queue_issued(ledger, now=NOW)
    assert (the_one(ledger).state, the_one(ledger).reason_code) == ("held", "no_address")
    assert "delivery.recipients" in the_one(ledger).reason


def test_what_had_no_address_goes_to_those_the_customer_names_later(any_ledger: Engine) -> None:
    customer(any_ledger, email="")
    issue(any_ledger)
    queue_issued(any_ledger, now=NOW)
    held = the_one(any_ledger)
    with pytest.raises(Conflict, match="Put an address on customer 'acme' first") as caught:
        retry_delivery(any_ledger, held.delivery_id, actor="ada", now=NOW)
    assert (caught.value.reason_code, the_one(any_ledger).state) == ("no_address", "held")
    recipients = [
        {"email": "payer@acme.example", "role": "payer"},
        {"email": "ap@acme.example", "role": "accounts_payable"},
    ]
    customer(any_ledger, email="", delivery={"recipients": recipients})
    assert (
        retry_delivery(any_ledger, held.delivery_id, actor="ada", now=NOW).recipient == "payer@acme.example"
    )
    shelf, clock = plain_shelf(any_ledger), FixedClock(NOW)
    channel = Recorder(shelf)
    assert deliver(any_ledger, channel, clock, shelf).states == {"sent": 2}
    sent = {one.recipient: one.role for one in list_deliveries(any_ledger, limit=9)}
    assert sent == {one["email"]: one["role"] for one in recipients}
    with pytest.raises(Conflict):
        retry_delivery(any_ledger, held.delivery_id, actor="ada", now=NOW)


def test_a_message_that_cannot_be_made_does_not_stop_the_others(ledger: Engine) -> None:
    customer(ledger)
    issue(ledger)
    issue(ledger)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)

    class Choosy(Recorder):
        def compose(self, delivery, document, *, now):  # type: ignore[no-untyped-def]
            if document is not None and document.number.endswith("1") and delivery.purpose == "document":
                raise ValueError("a header with a line break")
            return super().compose(delivery, document, now=now)

    assert deliver(ledger, Choosy(shelf), clock, shelf).states == {"failed": 1, "sent": 2}
    (failed,) = list_deliveries(ledger, limit=10, state="failed")
    assert failed.reason_code == "not_composed"


def test_what_happened_is_only_added_to(any_ledger: Engine) -> None:
    customer(any_ledger)
    issue(any_ledger)
    queue_issued(any_ledger, now=NOW)
    for statement in ("UPDATE delivery_events SET kind = 'sent'", "DELETE FROM delivery_events"):
        with pytest.raises(DBAPIError, match="never changed"), ledger_transaction(any_ledger) as connection:
            connection.execute(sa.text(statement))
