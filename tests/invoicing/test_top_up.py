"""Goal: credit that has become low is sold again, once, with an invoice of its own, whatever is repeated."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ingest.clock import FixedClock
from ingest.errors import InvalidDocument, NotFound
from invoicing.credit_store import get_grant, grant_credit, grants_of_customer
from invoicing.number import check_series
from invoicing.settings import BillingSettings
from invoicing.store import find_line
from invoicing.tick import tick
from invoicing.top_up import get_top_up, live_balance, save_top_up, top_up_credit
from tests.invoicing.credit_case import grant
from tests.invoicing.support import CALLS
from tests.invoicing.world import LONG_AGO, World, at, unseen

TERMS = {"contract_id": "c1", "threshold": "5", "amount": "20", "price": "16", "expires_after_days": 365}


def prepaid(world: World, calls: int, **terms: Any) -> None:
    """10.00 of credit from 1 January, so many calls at 0.01 on the tenth, topped up below 5.00."""
    world.plan(CALLS)
    world.contract(start_date=date(2025, 1, 1))
    grant_credit(world.ledger, grant("g", "10", effective_from="2025-01-01"), now=LONG_AGO)
    world.events(("call", "c1-subject", "2025-01-10", str(calls)))
    save_top_up(world.ledger, {**TERMS, **terms}, now=LONG_AGO)


def look(world: World, when: str) -> None:
    tick(
        clock=FixedClock(at(when)),
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        progress=unseen,
    )


def balance(world: World, when: str) -> tuple[int, int, int]:
    top_up = get_top_up(world.ledger, "c1")
    found = live_balance(top_up=top_up, at=at(when), event_store=world.event_store, ledger=world.ledger)
    return found.credit_minor, found.unbilled_minor, found.balance_minor


@pytest.mark.requirement("PAY-09")
def test_credit_that_is_low_is_sold_once(any_world: World) -> None:
    world = any_world
    prepaid(world, 501)
    look(world, "2025-01-09T12:00")  # nothing used yet
    assert [entry.grant.grant_id for entry in grants_of_customer(world.ledger, "acme")] == ["g"]
    assert balance(world, "2025-01-11") == (1000, 501, 499)
    for time in ("00:01", "00:02", "23:59"):
        look(world, f"2025-01-11T{time}")
    (invoice,) = world.invoices(contract_id="c1")
    assert (invoice.summary.number, invoice.summary.contract_id) == ("INV-2025-000001", "c1")
    assert (str(invoice.summary.issue_date), invoice.summary.total_minor) == ("2025-01-11", 1600)
    line = invoice.invoice.lines[0]
    assert (line.description, line.price_text) == ("Credit top-up", "for 20.00 of credit")
    assert find_line(world.ledger, line.line_id).invoice_id == invoice.summary.invoice_id
    sold = get_grant(world.ledger, "c1:top-up:2025-01-11")
    assert (sold.amount_minor, sold.cost_minor, sold.origin, sold.origin_id) == (
        2000,
        1600,
        "top_up",
        line.line_id,
    )
    assert (sold.grant.expires_on, sold.grant.contract_ids) == (date(2026, 1, 11), ("c1",))
    assert balance(world, "2025-01-12") == (3000, 501, 2499)
    look(world, "2025-01-12")
    look(world, "2025-02-01")  # the contract's own billing date: January draws on what it has
    assert [entry.summary.total_minor for entry in world.invoices()] == [1600, 501]
    assert [entry.summary.credit_minor for entry in world.invoices()] == [0, 501]
    with world.ledger.connect() as connection:
        assert [check.count for check in check_series(connection)] == [2]


def test_at_the_threshold_nothing_is_sold(world: World) -> None:
    prepaid(world, 500)
    look(world, "2025-01-11")
    assert world.invoices() == []


def test_a_top_up_that_is_not_enough_comes_again_the_next_day(world: World) -> None:
    prepaid(world, 3000)
    for day in ("2025-01-11", "2025-01-11T18:00", "2025-01-12", "2025-01-13"):
        look(world, day)
    assert [str(entry.summary.billing_date) for entry in world.invoices()] == ["2025-01-11", "2025-01-12"]


def test_a_top_up_falls_on_a_billing_date_too(world: World) -> None:
    prepaid(world, 3000)
    look(world, "2025-02-01")
    assert sorted(entry.summary.total_minor for entry in world.invoices()) == [1600, 3000]


def test_killed_before_the_end_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepaid(world, 600)

    def killed(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("invoicing.top_up.write_grant", killed)
        with pytest.raises(RuntimeError):
            look(world, "2025-01-11")
    assert world.invoices() == []
    look(world, "2025-01-11")
    assert [entry.summary.number for entry in world.invoices()] == ["INV-2025-000001"]


def test_usage_that_cannot_be_billed_is_left_alone(world: World) -> None:
    prepaid(world, 600)
    world.events(("call", "c1-subject", "2025-01-10", ""))  # a sum without a value
    (found,) = top_up_credit(
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        now=at("2025-01-11"),
        issue_date=date(2025, 1, 11),
    )
    assert found.invoice_id is None
    assert "unusable" in (found.held or "") or "cannot count" in (found.held or "")
    assert world.invoices() == []


def test_what_is_off_or_ended_is_not_topped_up(world: World) -> None:
    prepaid(world, 600, enabled=False)
    look(world, "2025-01-11")
    assert world.invoices() == []
    save_top_up(world.ledger, TERMS, now=LONG_AGO)
    world.contract(start_date=date(2025, 1, 1), end_date=date(2025, 1, 11))
    look(world, "2025-01-11")
    assert [entry.summary.total_minor for entry in world.invoices()] == [600]  # its last bill only


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"price": "21"}, "price"),
        ({"price": "0"}, "price"),
        ({"threshold": "-1"}, "threshold"),
        ({"amount": "20.005"}, "amount"),
    ],
)
def test_terms_that_cannot_be_are_refused(world: World, changes: dict[str, Any], pointer: str) -> None:
    world.plan(CALLS)
    world.contract()
    with pytest.raises(InvalidDocument) as caught:
        save_top_up(world.ledger, TERMS | changes, now=LONG_AGO)
    assert [issue.pointer for issue in caught.value.issues] == [pointer]


def test_a_contract_must_be_there(world: World) -> None:
    with pytest.raises(NotFound):
        save_top_up(world.ledger, TERMS, now=LONG_AGO)
    with pytest.raises(NotFound):
        get_top_up(world.ledger, "c1")


def test_usage_that_a_formula_prices_takes_from_the_balance(world: World) -> None:
    prepaid(world, 0)
    doubled = {name: value for name, value in CALLS.items() if name != "meter_id"}
    world.plan({**doubled, "formula": "calls * 2"}, start="2025-01-01")
    world.events(("call", "c1-subject", "2025-01-10", "300"))
    assert balance(world, "2025-01-11") == (1000, 600, 400)
