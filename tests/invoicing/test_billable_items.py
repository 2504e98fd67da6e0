"""Goal: billable items are taken in once, priced by the agreed rate, and are on exactly one invoice."""

from __future__ import annotations

from datetime import date
from typing import Literal

import pytest

from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.billable_item import item_id_of
from invoicing.billable_lock import lock_items
from invoicing.billable_read import (
    ItemFilter,
    count_by_state,
    get_item,
    list_conflicts,
    list_items,
)
from invoicing.billable_store import amend_item, settle_items
from invoicing.credit_store import grant_credit
from invoicing.draft import Draft
from invoicing.invoice import invoice_text
from invoicing.preview import preview_contract
from rating.catalogue import get_plan_version
from rating.explain import explain_line
from rating.reprice import reprice_line
from rating.store import get_rated_line
from rating.verify import differences
from tests.invoicing.items_case import CONSULTING, expense, hours, outcomes, take
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at, readable


@pytest.mark.requirement("MET-05")
def test_each_entry_is_one_item_and_again_nothing_changes(any_world: World) -> None:
    batch = [hours("1", "2.5"), hours("2", "0.25"), expense("1", "49.90")]
    assert outcomes(take(any_world, *batch)) == ["accepted"] * 3
    assert outcomes(take(any_world, *batch)) == ["duplicate"] * 3
    assert [one.item.external_id for one in list_items(any_world.ledger, chosen=ItemFilter(), limit=9)]
    assert len(list_items(any_world.ledger, chosen=ItemFilter(), limit=9)) == 3


@pytest.mark.requirement("RAT-03", "RAT-02", "GEN-03")
def test_hours_are_billed_at_the_agreed_rate_with_everything_else(any_world: World) -> None:
    any_world.plan(CONSULTING, MONTHLY_FEE, CALLS)
    any_world.contract()
    take(
        any_world,
        hours("1", "30"),
        hours("2", "7.25", date="2025-02-14"),
        hours("3", "2", role="senior"),
        expense("1", "49.90"),
        hours("4", "1", date="2025-02-15"),  # the first day of the next period
    )
    report = any_world.bill("2025-02-15")
    assert not report.held
    (_, second) = any_world.invoices()
    assert [line.split(" ", 1)[1] for line in readable(second)] == [
        "fee 2025-02-15..2025-03-15 1 unit 30.00",
        "consulting Relaunch junior 2025-01-20..2025-02-15 37.25 hour 3129.00",
        "consulting Relaunch senior 2025-01-20..2025-01-21 2 hour 240.00",
        "stated-price Train to Berlin 49.9 2025-01-21..2025-01-22 1 unit 49.90",
    ]
    said = [(line.description, line.price_text, line.price_source) for line in second.invoice.lines[1:]]
    assert said == [
        ("Consulting: Relaunch, junior", "84.00 per hour", "plan"),
        ("Consulting: Relaunch, senior", "120.00 per hour", "plan"),
        ("Train to Berlin", "49.90 per unit", "item"),
    ]
    assert invoice_text(second.invoice) == second.text  # the compiled text is the plain one
    stored = get_item(any_world.ledger, item_id_of("clock", "2"))
    assert (stored.state, stored.invoice_id) == ("invoiced", second.summary.invoice_id)
    behind = list_items(any_world.ledger, chosen=ItemFilter(line_id=stored.line_id), limit=9)
    assert {one.item.external_id for one in behind} == {"1", "2"}
    assert get_item(any_world.ledger, item_id_of("clock", "4")).state == "open"
    for line in second.invoice.lines:
        assert is_explained(any_world, line.line_id)
    assert not any_world.bill("2025-02-15").invoiced


@pytest.mark.requirement("CON-08")
def test_a_price_agreed_with_the_customer_comes_before_the_plan_and_a_cell_before_the_default(
    world: World,
) -> None:
    listed = {**CONSULTING["price"], "default": {"model": "per_unit", "unit_price": "50"}}
    world.plan({**CONSULTING, "price": listed})
    world.contract("c1")
    agreed = {"charge_id": "consulting", "price": {"model": "per_unit", "unit_price": "70"}}
    world.contract("c2", overrides=[{**agreed, "effective_from": "2025-01-21"}])
    for contract in ("c1", "c2"):
        take(
            world,
            hours(f"{contract}-1", "1", contract_id=contract),
            hours(f"{contract}-2", "1", contract_id=contract, role="trainee"),
            hours(f"{contract}-3", "1", contract_id=contract, date="2025-01-21"),
        )
    world.bill("2025-02-15")
    told = {
        stored.summary.contract_id: sorted(line.rsplit(" ", 1)[1] for line in readable(stored))
        for stored in world.invoices()
    }
    assert told == {"c1": ["168.00", "50.00"], "c2": ["50.00", "70.00", "84.00"]}
    sources = {line.price_source for line in world.invoices(contract_id="c2")[0].invoice.lines}
    assert sources == {"plan", "contract"}


@pytest.mark.parametrize("amend", [False, True])
def test_another_body_is_a_conflict_or_amends_what_is_not_billed(world: World, amend: bool) -> None:
    take(world, hours("1", "2"))
    other = hours("1", "3")
    assert outcomes(take(world, other, amend=amend)) == ["amended" if amend else "conflict"]
    assert outcomes(take(world, other, amend=amend)) == ["duplicate" if amend else "conflict"]
    stored = get_item(world.ledger, item_id_of("clock", "1"))
    assert (str(stored.item.quantity), stored.version) == (("3", 2) if amend else ("2", 1))
    waiting = list_conflicts(world.ledger, limit=9)
    assert [one["item"]["quantity"] for one in waiting] == ([] if amend else ["3"])
    changes = list_entries(world.ledger, chosen=AuditFilter(object_id=stored.item_id), limit=9)
    assert [(one.action, one.actor, '"quantity":"2"' in str(one.before)) for one in changes] == (
        [("amended", "test", True)] if amend else []
    )


def test_a_broken_item_is_refused_with_all_that_is_wrong_and_keeps_no_other_out(world: World) -> None:
    wrong = hours("2", "0", unit_price="1", amount="2", billable=False)
    good, bad, twice = take(world, hours("1", "1"), wrong, hours("1", "1"))
    assert outcomes([good, bad, twice]) == ["accepted", "rejected", "duplicate"]
    assert {issue.reason_code for issue in bad.issues} == {
        "item_quantity",
        "item_price",
        "item_currency",
        "item_billable",
    }
    assert (bad.row, bad.external_id) == (2, "2")


def test_an_item_without_a_price_holds_its_invoice_until_it_is_priced_or_closed(world: World) -> None:
    world.plan(CONSULTING, CALLS)
    world.contract()
    take(world, hours("1", "1"), hours("2", "1", role="wizard"))
    (held,) = world.bill("2025-02-15").held
    assert (held.reason_code, held.billing_date.isoformat()) == ("item_unpriced", "2025-02-15")
    assert "'2' of 'clock'" in held.message
    assert get_item(world.ledger, item_id_of("clock", "1")).state == "open"
    settle(world, "closed", "2")
    assert world.bill("2025-02-15").invoiced == 1
    assert count_by_state(world.ledger.connect()) == {
        "open": 0,
        "not_billable": 0,
        "invoiced": 1,
        "closed": 1,
        "cancelled": 0,
    }


def test_what_is_billed_closed_or_cancelled_stays_so(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "1"), hours("2", "1"), hours("3", "1"))
    ids = [item_id_of("clock", number) for number in "123"]
    settle(world, "closed", "2")
    settle(world, "cancelled", "3")
    world.bill("2025-02-15")
    assert [get_item(world.ledger, item_id).state for item_id in ids] == ["invoiced", "closed", "cancelled"]
    for number, item_id in zip("123", ids, strict=True):
        with pytest.raises(Conflict, match="cannot be"):
            settle(world, "closed", number)
        with pytest.raises(Conflict, match="cannot be"):
            amend_item(world.ledger, item_id, hours(number, "9"), reason="r", actor="ann", now=LONG_AGO)
        assert outcomes(take(world, hours(number, "9"), amend=True)) == ["conflict"]
    assert not world.bill("2025-03-15").invoiced


def test_an_item_that_changes_while_it_is_being_billed_is_billed_by_the_next_run(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "1"))
    stored = get_item(world.ledger, item_id_of("clock", "1"))
    with (
        pytest.raises(Conflict, match="amended, closed or billed"),
        ledger_transaction(world.ledger) as connection,
    ):
        lock_items(
            connection, [a_draft("line")], {"line": [(stored.item_id, stored.version + 1)]}, now=LONG_AGO
        )
    assert get_item(world.ledger, stored.item_id).state == "open"
    world.bill("2025-02-15")
    assert get_item(world.ledger, stored.item_id).state == "invoiced"


def test_items_are_left_out_of_discounts_and_minimum_spends_and_paid_by_credit(world: World) -> None:
    world.plan(
        CONSULTING,
        CALLS,
        minimum_spend="100",
        discounts=[{"discount_id": "ten", "name": "Ten", "percent": "10"}],
    )
    world.contract()
    grant = {"grant_id": "g", "customer_id": "acme", "name": "Credit", "kind": "paid", "currency": "EUR"}
    amounts = {"amount": "500", "cost_basis": "500", "effective_from": "2025-01-01"}
    grant_credit(world.ledger, {**grant, **amounts}, now=LONG_AGO)
    take(world, hours("1", "5"))
    seen = preview_contract(
        contract_id="c1", at=at("2025-02-01"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-02-15")
    (stored,) = world.invoices()
    assert [line.rsplit(" ", 1)[1] for line in readable(stored)] == ["100.00", "420.00"]
    assert (stored.summary.credit_minor, stored.summary.due_minor) == (50000, 2000)
    assert [line.line_id for line in seen.lines] == [line.line_id for line in stored.invoice.lines]


def test_late_usage_leaves_billed_items_alone(world: World) -> None:
    world.plan(CONSULTING, CALLS)
    world.contract()
    take(world, hours("1", "5"))
    world.bill("2025-02-15")
    world.events(("call", "c1-subject", "2025-01-20", "1000"))
    world.bill("2025-03-15")
    told = [line for stored in world.invoices() for line in readable(stored)]
    assert [line.split(" ")[1] for line in told] == ["consulting", "calls"]
    assert not world.bill("2025-04-15").invoiced


def test_items_of_a_customer_find_the_only_contract_of_the_day(world: World) -> None:
    world.plan(CONSULTING)
    world.contract("old", end_date=date(2025, 2, 15))
    world.contract("new", start_date=date(2025, 2, 15))
    take(
        world,
        hours("1", "1", contract_id=None, customer_id="acme"),
        hours("2", "1", contract_id=None, customer_id="acme", date="2025-02-15"),
        hours("3", "1", contract_id=None, customer_id="acme", date="2024-01-01"),
        hours("4", "1", contract_id="nobody"),
    )
    world.bill("2025-03-15")
    found = {one.item.external_id: one for one in list_items(world.ledger, chosen=ItemFilter(), limit=9)}
    placed = {stored.summary.invoice_id: stored.summary.contract_id for stored in world.invoices()}
    assert {number: placed.get(one.invoice_id or "") for number, one in found.items()} == {
        "1": "old",
        "2": "new",
        "3": None,
        "4": None,
    }


def settle(world: World, state: Literal["closed", "cancelled"], number: str) -> None:
    ids = [item_id_of("clock", number)]
    settle_items(world.ledger, ids, state=state, reason="a favour", actor="ann", now=LONG_AGO)


def is_explained(world: World, line_id: str) -> bool:
    """Whether the line is priced again to the same amount, and the lone verifier agrees."""
    line = get_rated_line(world.event_store, line_id)
    plan = get_plan_version(world.ledger, line["plan_id"], line["plan_version"]).plan
    explained = explain_line(line, plan)
    assert explained.counted == ("items" if line["charge_kind"] == "item" else "events")
    return reprice_line(line, plan) == 0 and not differences(explained.to_dict())


def a_draft(line_id: str) -> Draft:
    return Draft(
        "i", "c1", "c1", "acme", date(2025, 2, 15), "EUR", 0, 30, "", "", "", (line_id,), ("c",), (0,), ()
    )
