"""Goal: whom drafts wait for hears of them by e-mail: once each time, however many drafts in one message."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ingest.clock import FixedClock
from ingest.errors import InvalidDocument
from invoicing.delivery.deliver import deliver_due
from invoicing.delivery.find import list_deliveries
from invoicing.delivery.status import delivery_status
from invoicing.review.moves import approve, delegate, send_back, submit
from tests.invoicing.delivery_case import Mailbox, deliver, email_channel, mail_server, plain_shelf
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_review import draft_of, person, rules
from tests.invoicing.world import World, at

ADDRESSES = {"anna": "anna@seller.example", "ben": "ben@seller.example", "clerk": "clerk@seller.example"}
BEGIN = at("2025-01-15T09:00")


class Office:
    """Two drafts of a run wait for anna and then ben; ``hear`` sends what is to be sent, an hour later."""

    def __init__(self, world: World, box: Mailbox) -> None:
        self.ledger, self.box, self.clock = world.ledger, box, FixedClock(BEGIN)
        world.plan(MONTHLY_FEE)
        world.contracts(["c1", "c2"])
        rules(world, policy="all", addresses=ADDRESSES)
        assert world.bill("2025-01-15", now=BEGIN, actor="clerk").in_review == 2
        self.first = draft_of(world, "c1").summary.invoice_id

    def hear(self) -> list[tuple[str, str, str]]:
        """(to, subject, words) of what was sent."""
        self.clock.advance(timedelta(hours=1))
        self.box.taken.clear()
        shelf = plain_shelf(self.ledger)
        deliver(self.ledger, email_channel(self.ledger, shelf, self.box.port), self.clock, shelf)
        heard = []
        for message in self.box.messages():
            body = message.get_body(("plain",))
            assert body is not None
            heard.append((message["To"], message["Subject"], body.get_content()))
        return sorted(heard)


@pytest.mark.requirement("APP-03")
def test_the_next_reviewer_is_told_on_every_transition(any_world: World) -> None:
    with mail_server() as box:
        office = Office(any_world, box)
        ledger, first = office.ledger, office.first
        [(to, subject, words)] = office.hear()
        assert (to, subject) == ("anna@seller.example", "Invoices to review: 2")
        assert "acme, c1, 2025-01-15: 30.00 EUR net; Every invoice is reviewed; id " + first in words
        assert "acme, c2, 2025-01-15: 30.00 EUR net" in words
        assert office.hear() == []  # told once

        approve(ledger, first, person("anna"), reason="", now=office.clock.now())
        [(to, subject, words)] = office.hear()
        assert (to, subject) == ("ben@seller.example", "Invoices to review: 1")
        assert "approved by anna" in words

        send_back(ledger, first, person("ben"), reason="the fee is old", now=office.clock.now())
        [(to, _, words)] = office.hear()
        assert to == "anna@seller.example"
        assert "sent back by ben: the fee is old" in words

        send_back(ledger, first, person("anna"), reason="so it is", now=office.clock.now())
        [(to, _, words)] = office.hear()
        assert to == "clerk@seller.example"  # who billed it
        assert "sent back by anna: so it is" in words

        submit(ledger, first, person("clerk"), reason="as agreed", now=office.clock.now())
        assert [to for to, _, _ in office.hear()] == ["anna@seller.example"]
        delegate(ledger, first, person("anna"), to="eve@seller.example", reason="", now=office.clock.now())
        assert [to for to, _, _ in office.hear()] == ["eve@seller.example"]  # a name that is an address
        delegate(ledger, first, person("eve@seller.example"), to="carl", reason="", now=office.clock.now())
        assert office.hear() == []  # nobody said where carl reads mail
        rules(any_world, policy="all", addresses={**ADDRESSES, "carl": "carl@seller.example"})
        assert [to for to, _, _ in office.hear()] == ["carl@seller.example"]
    told = [one for one in list_deliveries(ledger, limit=99) if one.purpose == "review"]
    assert {(one.role, one.state, one.document_id) for one in told} == {("reviewer", "sent", None)}
    assert not delivery_status(ledger, channels={"email"}, now=office.clock.now()).late


def test_without_e_mail_nothing_is_queued(world: World) -> None:
    with mail_server() as box:
        office = Office(world, box)
        shelf = plain_shelf(office.ledger)
        report = deliver_due(office.ledger, channels={}, shelf=shelf, link_days=90, clock=office.clock)
        assert (report.queued, list_deliveries(office.ledger, limit=9)) == (0, [])
        assert [subject for _, subject, _ in office.hear()] == ["Invoices to review: 2"]
    with pytest.raises(InvalidDocument) as refused:
        rules(world, addresses={"anna": "at her desk"})
    assert [issue.reason_code for issue in refused.value.issues] == ["bad_email"]
