"""Goal: licences in advance are right beside all else a contract has, and when the contract changes."""

from __future__ import annotations

from datetime import date
from typing import Any

from invoicing.plan_change import plan_change_issues
from rating.price_plan import PricePlan
from tests.invoicing.support import CALLS
from tests.invoicing.test_journal import balances
from tests.invoicing.test_seats_in_advance import JANUARY, SEATS, Seats, lines, settled
from tests.invoicing.test_what_if import ask, plan_document
from tests.invoicing.test_what_if import rows as what_if_rows
from tests.invoicing.world import World

TEN = "2025-01-01T00:00 set 10"
TWO_MORE = "2025-01-11T00:00 add 2"
QUARTER = {
    "commitment_id": "quarter",
    "amount": "1200",
    "effective_from": date(2025, 1, 1),
    "effective_until": date(2025, 4, 1),
}
NEXT_TWELVE = "02-01..03-01 12 = 372.00"


def test_spend_limits_discounts_and_commitments(world: World) -> None:
    """Ten seats at 31.00, two more from 11 January on (42.00 for its 21 days), 1000 calls at 0.01 a month."""
    seats = Seats(world)
    world.plan(SEATS, CALLS, plan_id="limits", minimum_spend="25", maximum_spend="50")
    world.plan(SEATS, CALLS)
    less = {"discount_id": "d", "name": "Less", "amount": "20", "charge_ids": ["seats"]}
    tenth = {"discount_id": "t", "name": "Tenth", "percent": "10", "charge_ids": ["seats"]}
    contracts: dict[str, dict[str, Any]] = {
        "limits": {"plan_id": "limits"},
        "amount": {"discounts": [less]},
        "percent": {"discounts": [tenth]},
        "committed": {"term_commitments": [QUARTER]},
    }
    for name, more in contracts.items():
        world.contract(name, **JANUARY, **more)
        seats.send(name, TEN, TWO_MORE)
    months = ["2025-01-05", "2025-02-05", "2025-03-05"]
    world.events(*(("call", f"{name}-subject", day, "1000") for name in contracts for day in months))
    for day in ("2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01"):
        assert world.bill(day).held == ()
    found = {name: lines(world, name) for name in contracts}
    assert found["limits"][:5] == [
        "2025-01-01 01-01..02-01 10 = 310.00",
        "2025-02-01 01-01..02-01 1000 = 10.00",
        "2025-02-01 01-01..02-01 10 = 15.00",
        f"2025-02-01 {NEXT_TWELVE}",
        "2025-02-01 01-01..02-01 11.354838709677 = 42.00, of 2025-01-01: 310.00 before",
    ]
    of_january = {name: [line for line in found[name] if "01-01..02-01" in line] for name in found}
    assert of_january["amount"] == [
        "2025-01-01 01-01..02-01 10 = 290.00",
        "2025-02-01 01-01..02-01 1000 = 10.00",
        "2025-02-01 01-01..02-01 11.354838709677 = 42.00, of 2025-01-01: 290.00 before",
    ]
    assert of_january["percent"] == [
        "2025-01-01 01-01..02-01 10 = 279.00",
        "2025-02-01 01-01..02-01 1000 = 10.00",
        "2025-02-01 01-01..02-01 11.354838709677 = 37.80, of 2025-01-01: 279.00 before",
    ]
    # 1200.00 is committed: 352 + 372 + 372 for seats and 30.00 for calls are 74.00 less.
    assert "2025-04-01 01-01..04-01 1126 = 74.00" in found["committed"]
    settled(world)
    # Seats 352 + 372 + 372 at 31.00 and calls of two months; March is billed by its beginning.
    double = plan_document(SEATS | {"price": {"model": "per_unit", "unit_price": "62.00"}}, CALLS)
    asked = ask(
        world, {"same": [plan_document(SEATS, CALLS)], "double": [double]}, contract_ids=["committed"]
    )
    assert what_if_rows(asked) == [
        "same committed 111600 -> 111600: +0",
        "double committed 111600 -> 221200: +109600",
    ]


def test_a_true_up_stands_when_licences_change_after_its_term(world: World) -> None:
    """1,200.00 for a quarter, ten seats at 310.00 a month, two more from 17 March on: 30.00, adjusted on 1
    April with the true-up of 240.00. Three more from 16 April on change nothing of the quarter."""
    seats = Seats(world)
    world.plan(SEATS, CALLS)
    world.contract("c1", **JANUARY, term_commitments=[QUARTER])
    seats.send("c1", TEN, "2025-03-17T00:00 add 2", "2025-04-16T00:00 add 3")
    for day in ("2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01"):
        assert world.bill(day).held == ()
    assert lines(world, "c1")[-2:] == [
        "2025-04-01 03-01..04-01 10.967741935484 = 30.00, of 2025-03-01: 310.00 before",
        "2025-04-01 01-01..04-01 960 = 240.00",
    ]
    assert world.bill("2025-05-01").held == ()
    assert [line for line in lines(world, "c1") if line.startswith("2025-05-01")] == [
        "2025-05-01 05-01..06-01 15 = 465.00",
        "2025-05-01 04-01..05-01 13.5 = 46.50, of 2025-04-01: 372.00 before",
    ]
    settled(world)


def test_what_changes_in_the_contract(world: World) -> None:
    """planned: another plan from the 22nd, known before the bill. longer: an end on the 22nd is taken back.
    subject: another office comes on the 15th. mid: begins on the 15th, billed late and earned by the day."""
    seats = Seats(world)
    world.plan(SEATS)
    world.plan(SEATS | {"price": {"model": "per_unit", "unit_price": "62.00"}}, plan_id="plus")
    plus = {"phases": [{"plan_id": "plus", "effective_from": "2025-01-22"}]}
    world.contract("planned", **JANUARY, **plus)
    world.contract("longer", **JANUARY, end_date=date(2025, 1, 22))
    world.contract("subject", **JANUARY)
    world.contract("mid", start_date=date(2025, 1, 15))
    for name in ("planned", "longer", "subject", "mid"):
        seats.send(name, TEN)
    world.bill("2025-01-01")
    for name in ("planned", "longer"):
        seats.send(name, "2025-01-25T00:00 add 2")
    world.contract("longer", **JANUARY)
    world.contract("subject", **JANUARY, subjects=["subject-subject", "office-subject"])
    seats.send("office", "2025-01-15T00:00 set 3")
    for day in ("2025-02-01", "2025-03-01"):
        assert world.bill(day).held == ()
    assert {name: lines(world, name) for name in ("planned", "longer", "subject")} == {
        "planned": [
            "2025-01-01 01-01..01-22 10 = 210.00",
            "2025-01-01 01-22..02-01 10 = 200.00",
            "2025-02-01 02-01..03-01 12 = 744.00",
            "2025-02-01 01-22..02-01 11.4 = 28.00, of 2025-01-01: 200.00 before",
            "2025-03-01 03-01..04-01 12 = 744.00",
        ],
        "longer": [
            "2025-01-01 01-01..01-22 10 = 210.00",
            "2025-02-01 01-22..02-01 11.4 = 114.00",
            f"2025-02-01 {NEXT_TWELVE}",
            "2025-03-01 03-01..04-01 12 = 372.00",
        ],
        "subject": [
            "2025-01-01 01-01..02-01 10 = 310.00",
            "2025-02-01 02-01..03-01 13 = 403.00",
            "2025-02-01 01-01..02-01 11.645161290323 = 51.00, of 2025-01-01: 310.00 before",
            "2025-03-01 03-01..04-01 13 = 403.00",
        ],
    }
    earned = balances(world.ledger, contract_id="mid", on=date(2025, 2, 13))
    assert earned == {"deferred": -14000, "receivable": 31000, "revenue": -17000}
    settled(world)


def test_another_version_of_the_plan(world: World) -> None:
    """From 15 January calls cost more, which does not cut what was billed in advance. Dearer seats are
    refused inside it, and in force from the next period."""
    seats = Seats(world)
    world.plan(SEATS, CALLS)
    for name in ("quiet", "grows"):
        world.contract(name, **JANUARY)
        seats.send(name, TEN)
    world.bill("2025-01-01")
    world.plan(SEATS, CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}}, start="2025-01-15")
    dearer = {"plan_id": "gold", "name": "Gold", "currency": "EUR", "effective_from": date(2025, 1, 20)}
    charge = SEATS | {"price": {"model": "per_unit", "unit_price": "62.00"}}
    with world.ledger.connect() as connection:
        issues = list(
            plan_change_issues(connection, PricePlan.model_validate({**dearer, "charges": [charge]}))
        )
    assert [(issue.reason_code, issue.expected[:10]) for issue in issues] == [
        ("effective_in_billed_time", "2025-02-01")
    ]
    world.plan(charge, start="2025-02-01")
    seats.send("grows", TWO_MORE)
    assert world.bill("2025-02-01").held == ()
    assert {name: lines(world, name) for name in ("quiet", "grows")} == {
        "quiet": ["2025-01-01 01-01..02-01 10 = 310.00", "2025-02-01 02-01..03-01 10 = 620.00"],
        "grows": [
            "2025-01-01 01-01..02-01 10 = 310.00",
            "2025-02-01 02-01..03-01 12 = 744.00",
            "2025-02-01 01-01..02-01 11.354838709677 = 42.00, of 2025-01-01: 310.00 before",
        ],
    }
    settled(world)


def test_an_amount_promised_for_licences_stays_when_their_period_is_cut(world: World) -> None:
    """300.00 for ten seats in February less 75.00; the contract ends on the 11th. 107.14 for ten of 28 days
    less the 75.00, once."""
    seats = Seats(world)
    world.plan(SEATS | {"price": {"model": "per_unit", "unit_price": "30.00"}})
    more: dict[str, Any] = {
        "start_date": date(2025, 2, 1),
        "discounts": [{"discount_id": "d", "name": "Less", "amount": "75", "first_periods": 1}],
    }
    world.contract(**more)
    seats.send("c1", "2025-02-01T00:00 set 10")
    world.bill("2025-02-01")
    world.contract(**more, end_date=date(2025, 2, 11))
    world.bill("2025-02-11")
    assert lines(world, "c1") == [
        "2025-02-01 02-01..03-01 10 = 225.00",
        "2025-02-11 02-01..02-11 10 = 32.14, of 2025-02-01: 0.00 before",
        "2025-02-11 02-01..03-01 0 = -225.00, of 2025-02-01: 225.00 before",
    ]
    settled(world)
