"""A preview is the later invoice, as far as it is known now."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from ingest.errors import Conflict, NotFound
from invoicing.invoice import Invoice
from invoicing.preview import preview_contract
from invoicing.store import InvoiceFilter, list_invoices
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at

SEATS = {
    "charge_id": "seats",
    "name": "Seats",
    "kind": "licence",
    "meter_id": "seats",
    "unit": "seat",
    "price": {"model": "per_unit", "unit_price": "8"},
}


def preview(world: World, when: str, contract_id: str = "c1") -> Invoice:
    return preview_contract(
        contract_id=contract_id, at=at(when), event_store=world.event_store, ledger=world.ledger
    )


@pytest.mark.requirement("RAT-09")
def test_a_preview_is_the_later_invoice_if_nothing_changes(world: World) -> None:
    world.plan(MONTHLY_FEE, CALLS, SEATS, minimum_spend="50")
    world.contract()
    world.bill("2025-01-15")
    world.events(
        ("call", "c1-subject", "2025-01-20", "1234.5"),
        ("seat", "c1-subject", "2025-01-15", "3"),
        ("seat", "c1-subject", "2025-01-31", "5"),
    )
    seen = preview(world, "2025-02-02")
    world.bill("2025-02-15")
    later = world.invoices()[-1].invoice
    assert seen.state == "draft"
    assert seen.lines == later.lines
    assert seen == replace(later, number=None, issue_date=None, due_date=None)


def test_usage_after_the_moment_is_not_in_it_and_nothing_is_stored(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", "100"), ("call", "c1-subject", "2025-02-03", "11"))
    assert [line.quantity for line in preview(world, "2025-02-03").lines] == [100]
    assert [line.quantity for line in preview(world, "2025-02-04").lines] == [111]
    assert list_invoices(world.ledger, chosen=InvoiceFilter(), limit=10).invoices == ()
    assert world.event_store.command("SELECT count() FROM rated_lines") == 0


def test_unbilled_dates_and_the_open_period_are_one_bill(world: World) -> None:
    world.plan()
    world.contract()
    world.events(("call", "c1-subject", "2025-02-20", "100"))
    seen = preview(world, "2025-03-01")
    assert [(line.charge_id, line.period_start.isoformat()) for line in seen.lines] == [
        ("fee", "2025-01-15"),
        ("fee", "2025-02-15"),
        ("calls", "2025-02-15"),
        ("fee", "2025-03-15"),
    ]
    assert (seen.billing_date, seen.total_minor) == (date(2025, 3, 15), 9100)
    assert (seen.period_start, seen.period_end) == (date(2025, 1, 15), date(2025, 4, 15))


def test_with_nothing_to_bill_it_is_empty(world: World) -> None:
    world.plan(CALLS)
    world.contract(end_date=date(2025, 2, 1))
    world.bill("2025-02-01")
    seen = preview(world, "2025-02-02")
    assert (seen.lines, seen.total_minor, seen.currency) == ((), 0, "EUR")


def test_what_would_be_held_is_told(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", ""))
    with pytest.raises(Conflict, match="meter 'calls' cannot count 1 events"):
        preview(world, "2025-02-01")


def test_whatever_the_run_would_hold_is_told_and_not_shown(world: World) -> None:
    world.plan()
    world.contract("nobody", customer_id="ghost")
    world.contract("moved")
    world.bill("2025-02-15")
    world.contract("moved", billing={"anchor_date": date(2025, 2, 20)})
    expected = {"nobody": "customer 'ghost' is not on record", "moved": "changed behind its last bill"}
    for contract_id, words in expected.items():
        with pytest.raises(Conflict, match=words) as told:
            preview(world, "2025-02-25", contract_id)
        assert told.value.reason_code == "invoice_held"
        assert str(told.value).count(words) == 1, "a reason is said once, whatever dates it holds"


def test_an_unknown_contract_is_named(world: World) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        preview(world, "2025-02-01", "nothing")


def test_a_seat_level_counts_to_the_end_of_the_period(world: World) -> None:
    world.plan(SEATS)
    world.contract()
    world.events(("seat", "c1-subject", "2025-01-15", "4"))
    (line,) = preview(world, "2025-01-16").lines
    assert (line.quantity, line.amount) == (Decimal(4), Decimal(32))
