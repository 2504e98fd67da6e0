"""Goal: who pays how late is counted right, the suggestion has its reason, and one action answers it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books
from invoicing.billing_structure import StructureChange, change_structure
from invoicing.instalment import load_plans
from invoicing.journal_check import verify_journal
from invoicing.payer_habit import PaidDocument, PayerHabit, payer_habits
from invoicing.payer_report import report_payers
from invoicing.payment_store import record_payment, return_payment
from rating.contract_store import get_contract
from tests.invoicing.books import Books
from tests.invoicing.world import World, at, readable

D = date.fromisoformat
TODAY = D("2026-06-01")
HABITS = """
paid 1 2 3 days late             | 3 of 3, median 2, longest 3    | none
paid in time twice, once 40 late | 1 of 3, median 0, longest 40   | none
paid 6 6 20 days late            | 3 of 3, median 6, longest 20   | shorter_terms
paid 10 21 days late             | 2 of 2, median 15.5, longest 21| none
paid 10 20 21 30 days late       | 4 of 4, median 20.5, longest 30| advance
paid 31 31 31 days late          | 3 of 3, median 31, longest 31  | deposit
paid 0 0 days late, open for 61  | 1 of 3, median 0, longest 61   | deposit
"""
DAYS = {
    "paid 1 2 3 days late": [1, 2, 3],
    "paid in time twice, once 40 late": [-5, 0, 40],
    "paid 6 6 20 days late": [6, 6, 20],
    "paid 10 21 days late": [10, 21],
    "paid 10 20 21 30 days late": [10, 20, 21, 30],
    "paid 31 31 31 days late": [31, 31, 31],
    "paid 0 0 days late, open for 61": [0, 0],
}


def paid(days_late: int, customer: str = "acme") -> PaidDocument:
    due = D("2026-03-01")
    return PaidDocument(customer, "INV", "EUR", due, date.fromordinal(due.toordinal() + days_late), 0)


@pytest.mark.requirement("REP-10")
@pytest.mark.parametrize("row", HABITS.strip().splitlines())
def test_the_suggestion_follows_from_how_late_they_pay(row: str) -> None:
    name, said, suggestion = (cell.strip() for cell in row.split("|"))
    documents = [paid(days) for days in DAYS[name]]
    if "open for 61" in name:
        documents.append(PaidDocument("acme", "INV", "EUR", D("2026-04-01"), None, 500))
    [habit] = payer_habits(documents, as_of=TODAY)
    shown = (
        f"{habit.late} of {habit.documents}, median {habit.median_days_late:f}, "
        f"longest {habit.longest_days_late}"
    )
    assert (shown, habit.suggestion) == (said, suggestion)
    assert habit.reason.startswith(f"{habit.late} of {habit.documents} documents late")


@settings(max_examples=100)
@given(st.lists(st.integers(-30, 90), min_size=1, max_size=9))
def test_the_median_is_in_the_middle(days: list[int]) -> None:
    [habit] = payer_habits([paid(each) for each in days], as_of=TODAY)
    clipped = sorted(max(0, each) for each in days)
    below = sum(each <= habit.median_days_late for each in clipped)
    above = sum(each >= habit.median_days_late for each in clipped)
    assert min(below, above) * 2 >= len(days)
    assert habit.longest_days_late == clipped[-1]


def habits(ledger: Engine, as_of: str = "2026-06-01", **more: Any) -> dict[str, PayerHabit]:
    found = report_payers(ledger, as_of=D(as_of), days=365, **more)
    return {one.customer_id: one for one in found}


@pytest.mark.requirement("REP-10")
def test_what_is_paid_and_when_comes_out_of_the_books(any_ledger: Engine) -> None:
    books = Books(any_ledger, at("2026-03-01"))
    first, second = books.issue(10000, 1900), books.issue(5000)  # both due on 3 March
    books.pay("60.00", first, on="2026-03-01")
    books.pay("59.00", first, on="2026-03-13")  # the last of it 10 days late
    bounced = books.pay("50.00", second, on="2026-03-02")
    books.issue(2000)
    books.issue(-2000, refers_to=f"{books.made:032x}")  # never paid: says nothing
    books.issue(700, issued="2026-05-20")  # not due yet
    books.issue(300, customer="other")
    found = habits(any_ledger)
    acme = found["acme"]
    assert (acme.documents, acme.late, acme.longest_days_late) == (2, 1, 10)
    assert (acme.median_days_late, acme.overdue) == (Decimal(5), ())
    assert [(one.currency, one.overdue_minor) for one in found["other"].overdue] == [("EUR", 300)]
    assert found["other"].longest_days_late == 90
    assert list(found) == ["other", "acme"]  # the latest payer first
    return_payment(any_ledger, bounced, reason="no funds", on=D("2026-03-05"), actor="anna", now=books.now)
    again = habits(any_ledger, customer_id="acme")["acme"]
    assert (again.late, again.longest_days_late, again.overdue[0].overdue_minor) == (2, 90, 5000)
    # As it was on a day: then it was paid.
    assert habits(any_ledger, as_of="2026-03-04")["acme"].overdue[0].overdue_minor == 5900


def bill_and_pay_late(world: World) -> None:
    world.plan()
    world.contract(terms={"payment_days": 10})
    # 1,200 calls a month at 0.01 are 12.00 in arrears, beside a fee of 30.00 in advance.
    days = ("2025-01-20", "2025-02-20", "2025-03-20", "2025-05-20", "2025-06-20")
    world.events(*(("call", "c1-subject", day, "1200") for day in days))
    for day in ("2025-02-15", "2025-03-15", "2025-04-15"):
        world.bill(day, now=at(f"{day}T12:00"))
    for stored in world.invoices():
        summary = stored.summary
        due = D(str(summary.due_date))
        document = {
            "currency": "EUR",
            "customer_id": "acme",
            "amount": f"{Decimal(summary.due_minor).scaleb(-2)}",
            "value_date": date.fromordinal(due.toordinal() + 20).isoformat(),
            "reference": summary.number,
        }
        record_payment(world.ledger, document, actor="bank", now=at("2025-05-16"))


def switch(world: World, now: str = "2025-05-20", **wanted: Any) -> list[tuple[Any, ...]]:
    change = StructureChange.model_validate({"reason": "pays late", **wanted})
    found = change_structure(world.ledger, "acme", change, actor="finance", now=at(now))
    return [(one.contract_id, one.changed, str(one.effective_from), one.amount) for one in found]


@pytest.mark.requirement("CON-20")
@pytest.mark.requirement("REP-10")
def test_a_late_payer_pays_in_advance_from_the_next_period(any_world: World) -> None:
    world = any_world
    bill_and_pay_late(world)
    [habit] = report_payers(world.ledger, as_of=D("2025-05-20"), days=365)
    assert (habit.documents, habit.late, habit.suggestion) == (4, 4, "advance")
    assert switch(world, mode=habit.suggestion, reason=habit.reason) == [
        ("c1", True, "2025-06-15", Decimal(12))
    ]
    assert switch(world, mode="advance") == [("c1", False, "2025-06-15", Decimal(12))]
    world.bill("2025-05-15", now=at("2025-05-20"))
    world.bill("2025-06-15", now=at("2025-06-15T12:00"))
    world.bill("2025-07-15", now=at("2025-07-15T12:00"))
    may, june, july = world.invoices()[-3:]
    assert not any("retainer" in line for line in readable(may))  # the period that ran when it was decided
    advance = [line for line in readable(june) if "retainer" in line]
    assert advance == [
        "2025-06-15 retainer:payment-in-advance 2025-06-15..2025-07-15 1 unit 12.00",
    ]
    assert june.invoice.credit_minor == 0
    assert july.invoice.credit_minor == 1200  # what was used from 15 June on was paid before
    [entry] = list_entries(world.ledger, chosen=AuditFilter(object_kind="customer"), limit=10)
    assert (entry.action, entry.actor, entry.reason) == ("billing_switched", "finance", habit.reason)
    assert verify_books(world.ledger).broken == ()
    assert verify_journal(world.ledger) == []


@pytest.mark.requirement("CON-20")
def test_a_deposit_is_asked_for_once_and_regular_billing_comes_back(world: World) -> None:
    world.plan()
    world.contracts(["c1", "c2"])
    world.contract("ends", end_date=D("2025-02-15"))
    world.events(*(("call", "c1-subject", day, "9000") for day in ("2025-02-20", "2025-03-20")))
    assert switch(world, now="2025-02-01", mode="deposit", amount="120.00") == [
        ("c1", True, "2025-02-15", Decimal(120)),
        ("c2", True, "2025-02-15", Decimal(120)),
    ]
    for day in ("2025-02-15", "2025-03-15", "2025-04-15"):
        world.bill(day, now=at(f"{day}T12:00"))
    deposits = [line for stored in world.invoices(contract_id="c1") for line in readable(stored)]
    assert [line for line in deposits if "deposit" in line] == [
        "2025-02-15 retainer:deposit 2025-02-15..2025-03-15 1 unit 120.00"
    ]
    drawn = [stored.invoice.credit_minor for stored in world.invoices(contract_id="c1")]
    assert drawn == [0, 0, 9000, 3000]  # 90.00 of 120.00, and what is left
    with pytest.raises(Conflict) as stands:
        switch(world, now="2025-02-02", mode="deposit", amount="10.00")
    assert stands.value.reason_code == "structure_stands"
    switch(world, now="2025-04-20", mode="advance", amount="50.00", contract_ids=["c1"])
    assert switch(world, now="2025-04-21", mode="regular", contract_ids=["c1"])[0][1]
    assert [entry.retainer_id for entry in get_contract(world.ledger, "c1").retainers] == ["deposit"]
    [(_, changed, _, _)] = switch(world, mode="shorter_terms", payment_days=7, contract_ids=["c2"])
    assert changed
    assert get_contract(world.ledger, "c2").terms.payment_days == 7
    with world.ledger.connect() as connection:
        assert load_plans(connection, [], known_at=None) == {}
    assert verify_books(world.ledger).broken == ()


def test_what_cannot_be_switched_says_why(world: World) -> None:
    world.plan()
    with pytest.raises(NotFound):
        change_structure(
            world.ledger,
            "nobody",
            StructureChange(mode="advance", reason="x"),
            actor="finance",
            now=at("2025-02-01"),
        )
    with pytest.raises(Conflict) as none:
        switch(world, mode="advance")
    assert none.value.reason_code == "no_next_period"
    world.contract()
    with pytest.raises(InvalidInput) as unknown:
        switch(world, mode="advance")
    assert unknown.value.reason_code == "structure_amount"
    with pytest.raises(Conflict):
        switch(world, mode="regular", contract_ids=["c9"])
    for wanted in ({"mode": "regular", "amount": "1"}, {"mode": "shorter_terms"}):
        with pytest.raises(InvalidDocument):
            switch(world, **wanted)
