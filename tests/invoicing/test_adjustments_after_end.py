"""Goal: what comes after a contract's end is billed, and its preview and invoice demand say so before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pytest

from invoicing.audit_verify import verify_books
from invoicing.demand import DemandEntry, demand_of
from invoicing.invoice import Invoice
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from invoicing.preview import preview_contract
from invoicing.settings import BillingSettings
from tests.invoicing.support import CALLS
from tests.invoicing.test_adjustments import JANUARY, Sender, explained
from tests.invoicing.test_credits import give
from tests.invoicing.world import World, at


@pytest.mark.requirement("RAT-07")
@pytest.mark.requirement("RAT-09")
def test_preview_and_demand_of_an_ended_contract_are_its_bill(world: World) -> None:
    """7 calls that came late are 0.07, of which the 0.05 that credit has left pay a part; 60 that were taken
    back are -0.60 of the next day, as 0.07 was billed today, and go back to the credit that paid them."""
    sender = Sender(world)
    world.plan(CALLS)
    world.contract(**JANUARY, end_date=date(2025, 2, 1))
    give(world, amount="1.05")
    sender.calls(("k1", "c1", "2025-01-10", "100"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    assert previewed(world, "2025-02-06T05:00").lines == ()
    sender.calls(("k2", "c1", "2025-01-11", "7"))
    for day, total, due in (("2025-02-06", 7, 2), ("2025-02-07", -60, 0)):
        seen = previewed(world, "2025-02-06T07:00")
        (wanted,) = ready(world, day)
        assert (seen.billing_date, seen.total_minor, seen.due_minor) == (date.fromisoformat(day), total, due)
        assert (wanted.state, wanted.source, wanted.amount_minor) == ("ready", "adjustment", total)
        assert world.bill(day, now=at(f"{day}T06:00")).totals_minor == {"EUR": total}
        (bill,) = [one.invoice for one in world.invoices() if one.invoice.billing_date == seen.billing_date]
        assert seen == replace(bill, number=None, issue_date=None, due_date=None)
        sender.correct("k1", "40")
    sender.correct("k1", "30")
    (waiting,) = ready(world, "2025-02-07")
    assert (waiting.state, waiting.reason_code) == ("held", "final_bill_today")


def previewed(world: World, when: str) -> Invoice:
    return preview_contract(contract_id="c1", at=at(when), event_store=world.event_store, ledger=world.ledger)


def ready(world: World, day: str) -> Sequence[DemandEntry]:
    return demand_of(
        event_store=world.event_store,
        stored_usage=None,
        ledger=world.ledger,
        as_of=date.fromisoformat(day),
        now=at(f"{day}T05:00"),
        settings=BillingSettings(),
    ).entries


@pytest.mark.requirement("RAT-07")
def test_an_ended_contract_is_billed_what_comes_after(any_world: World) -> None:
    """More usage: an invoice. Less than was billed: a credit note. Nothing new: nothing. Once a day."""
    world = any_world
    sender = Sender(world)
    world.plan(CALLS)
    world.contract(**JANUARY, end_date=date(2025, 2, 1))
    sender.calls(("k1", "c1", "2025-01-10", "100"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-05")
    sender.calls(("k2", "c1", "2025-01-11", "7"))
    more = world.bill("2025-02-06", now=at("2025-02-06T06:00"))
    assert (more.due, more.invoiced, more.totals_minor) == (1, 1, {"EUR": 7})
    assert world.bill("2025-02-07", now=at("2025-02-07T06:00")).due == 0
    sender.correct("k1", "40")
    less = world.bill("2025-02-07", now=at("2025-02-07T07:00"))
    assert (less.invoiced, less.totals_minor) == (1, {"EUR": -60})
    sender.calls(("k3", "c1", "2025-01-12", "1"))
    (held,) = world.bill("2025-02-07", now=at("2025-02-07T08:00")).held
    assert held.reason_code == "final_bill_today"
    assert world.bill("2025-02-08", now=at("2025-02-08T06:00")).totals_minor == {"EUR": 1}
    assert [(stored.summary.number, stored.summary.total_minor) for stored in world.invoices()] == [
        ("INV-2025-000001", 100),
        ("INV-2025-000002", 7),
        ("CN-2025-000001", -60),
        ("INV-2025-000003", 1),
    ]
    assert {stored.summary.contract_id for stored in world.invoices()} == {"c1"}
    assert len(explained(world)) == 3  # a later bill leaves the lines of an earlier one
    assert verify_journal(world.ledger) == []
    assert verify_postings(world.ledger) == []
    assert verify_books(world.ledger).broken == ()
