"""Goal: phases and changes in any order come to what would have been billed had all been known before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest.errors import InvalidDocument
from invoicing.plan_change import plan_change_issues
from rating.catalogue import save_price_plan
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import CALLS
from tests.invoicing.test_amendments import SEATS, SET_UP, fee, next_invoice, save
from tests.invoicing.world import LONG_AGO, World, readable


def test_a_phase_known_before_splits_fee_and_usage(world: World) -> None:
    """And a fee added in the middle of a period does not cut its usage: free units would come twice."""
    calls = CALLS | {"free_units": "100"}
    world.plan(fee("30"), calls)
    world.plan(fee("60"), CALLS, plan_id="plus")
    save(
        world,
        phases=[{"plan_id": "plus", "effective_from": "2025-05-16"}],
        additions=[{"charge": fee("15", "support"), "effective_from": "2025-04-11"}],
    )
    world.events(("call", "c1-subject", "2025-04-05", "100"), ("call", "c1-subject", "2025-04-25", "100"))
    world.bill("2025-04-01")
    assert readable(world.invoices()[-1]) == [
        "2025-04-01 fee 2025-04-01..2025-04-11 1 unit 10.00",
        "2025-04-01 fee 2025-04-11..2025-05-01 1 unit 20.00",
        "2025-04-01 support 2025-04-11..2025-05-01 1 unit 10.00",
    ]
    assert next_invoice(world) == [
        "2025-05-01 calls 2025-04-01..2025-05-01 200 call 1.00",
        "2025-05-01 fee 2025-05-01..2025-05-16 1 unit 14.52",
        "2025-05-01 support 2025-05-01..2025-05-16 1 unit 7.26",
        "2025-05-01 fee 2025-05-16..2025-06-01 1 unit 30.97",
        "2025-05-01 support 2025-05-16..2025-06-01 1 unit 7.74",
    ]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"phases": [{"plan_id": "plus", "effective_from": "2025-04-30"}]}, "phases"),
        ({"additions": [{"charge": fee("15", "support")}]}, "additions"),
        ({"quantities": [{"charge_id": "seats", "quantity": "3"}]}, "quantities"),
    ],
)
def test_days_before_the_last_bill_stay_as_they_were(
    world: World, change: dict[str, Any], pointer: str
) -> None:
    world.plan(SEATS)
    world.plan(fee("60"), plan_id="plus")
    save(world)
    world.bill("2025-05-01")
    with pytest.raises(InvalidDocument) as caught:
        save(world, **change)
    (issue,) = caught.value.issues
    assert (issue.reason_code, issue.pointer) == ("contract_already_billed", pointer)
    assert "up to 2025-05-01 as they were" in issue.expected


@pytest.mark.parametrize(
    ("start", "possible"),
    [
        (
            "2025-04-10",
            None,
        ),  # the contract is on the plan from the 16th on, and the version of 1 May replaces it
        ("2025-04-20", "2025-05-01"),
    ],
)
def test_a_plan_that_a_phase_brought_keeps_its_prices_of_billed_days(
    world: World, start: str, possible: str | None
) -> None:
    """Billed on 1 May, with the phase: the plan is billed from 16 April on, and was not before."""
    usage_only = CALLS | {"price": {"model": "per_unit", "unit_price": "0.005"}}
    world.plan(CALLS)
    world.plan(usage_only, plan_id="plus")
    world.plan(usage_only, plan_id="plus", start="2025-04-15", minimum_spend="1")
    save(world, phases=[{"plan_id": "plus", "effective_from": "2025-04-16"}])
    world.bill("2025-05-01")
    document = {
        "plan_id": "plus",
        "name": "Plus",
        "currency": "EUR",
        "effective_from": start,
        "charges": [CALLS],
    }
    if possible is None:
        assert save_price_plan(world.ledger, document, now=LONG_AGO, further_rules=plan_change_issues).created
        return
    with pytest.raises(InvalidDocument) as caught:
        save_price_plan(world.ledger, document, now=LONG_AGO, further_rules=plan_change_issues)
    (issue,) = caught.value.issues
    assert issue.reason_code == "effective_in_billed_time"
    assert issue.expected.startswith(possible)


def test_a_plan_of_a_phase_does_not_count_what_another_contract_is_billed_for(any_world: World) -> None:
    """The contract comes to the plan by a phase, and shares its subject with one that is billed for seats."""
    licence = {"charge_id": "licence", "name": "Seats", "kind": "licence", "meter_id": "seats"}
    seats = licence | {"price": {"model": "per_unit", "unit_price": "1"}}
    any_world.plan(CALLS)
    any_world.plan(fee("60"), plan_id="plus")
    any_world.plan(seats, plan_id="other")
    save(any_world, phases=[{"plan_id": "plus", "effective_from": "2025-04-16"}])
    save(any_world, contract_id="c2", plan_id="other")
    with pytest.raises(InvalidDocument) as caught:
        any_world.plan(fee("60"), seats, plan_id="plus", start="2025-05-01")
    assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == [
        ("subject_billed_twice", "charges[1].meter_id")
    ]


def test_a_plan_does_not_take_the_name_of_a_fee_that_a_contract_added(world: World) -> None:
    world.plan(CALLS)
    save(world, additions=[{"charge": fee("15", "support")}])
    with pytest.raises(InvalidDocument) as caught:
        world.plan(CALLS, fee("9", "support"), start="2026-01-01")
    assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == [
        ("charge_id_taken", "charges[1].charge_id")
    ]


DAYS_OF_APRIL = st.integers(2, 29).map(lambda day: f"2026-04-{day:02}")
SEATS_FROM = st.lists(
    st.tuples(DAYS_OF_APRIL, st.integers(0, 20)), max_size=3, unique_by=lambda change: change[0]
)


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(
    seats=SEATS_FROM,
    phase=st.none() | DAYS_OF_APRIL,
    support=st.none() | DAYS_OF_APRIL,
    end=st.none() | DAYS_OF_APRIL,
    dearer=st.none() | DAYS_OF_APRIL,
    trial_days=st.sampled_from([0, 0, 10]),
    percent=st.sampled_from([None, "10"]),
    proration=st.sampled_from(["by_day", "by_second", "thirty_360"]),
)
def test_what_is_put_right_comes_to_what_was_known_before(
    seats: list[tuple[str, int]],
    phase: str | None,
    support: str | None,
    end: str | None,
    dearer: str | None,
    trial_days: int,
    percent: str | None,
    proration: str,
) -> None:
    """A bill of April and its amendments come to the bill that knew all of it, to the last kept digit."""
    change: dict[str, Any] = {
        "quantities": [
            {"charge_id": "seats", "quantity": str(number), "effective_from": day} for day, number in seats
        ],
        "phases": [] if phase is None else [{"plan_id": "plus", "effective_from": phase}],
        "additions": [] if support is None else [{"charge": fee("15", "support"), "effective_from": support}],
    }
    if dearer is not None:
        price = {"model": "flat", "amount": "45.50"}
        change["overrides"] = [{"charge_id": "fee", "price": price, "effective_from": dearer}]
    if phase is not None and end is not None and end <= phase:
        end = None
    charges = [SEATS, fee("31.07")]
    part = {"discount_id": "part", "name": "Part", "percent": percent}
    discounts = [] if percent is None else [part]
    plans = [
        {"charges": charges, "proration": proration, "discounts": discounts},
        {"charges": [SEATS, fee("77")], "plan_id": "plus", "proration": proration, "discounts": discounts},
    ]
    contract: dict[str, Any] = {"start_date": "2026-04-01", "trial_days": trial_days}
    known = {**contract, **change, "end_date": end or "2026-05-01"}
    before = bill({"plans": plans, "contract": known, "as_of": "2026-05-01"})
    amended = bill(
        {
            "plans": plans,
            "contract": {**contract, "end_date": "2026-05-01"},
            "billed": "2026-04-01",
            "amended": {**change, "end_date": end or "2026-05-01"},
            "as_of": "2026-05-01",
        }
    )
    differs = exact_total(before) - exact_total(amended)
    assert abs(differs) < Decimal("1e-9")
    for line in amended.lines():
        if line["charge_kind"] == "fee_credit":
            assert line["amount_minor"] <= 0


def exact_total(billed: Billed) -> Decimal:
    return sum((line["amount"] for line in billed.lines()), Decimal(0))


def test_what_a_phase_charges_once_is_billed_once(world: World) -> None:
    """The phase is written before the first bill, a fee is added after it."""
    world.plan(fee("30"))
    world.plan(fee("60"), SET_UP, plan_id="plus")
    phases = [{"plan_id": "plus", "effective_from": "2025-04-16"}]
    save(world, phases=phases)
    assert next_invoice(world, "2025-04-01") == [
        "2025-04-01 fee 2025-04-01..2025-04-16 1 unit 15.00",
        "2025-04-01 fee 2025-04-16..2025-05-01 1 unit 30.00",
        "2025-04-01 set-up 2025-04-16..2025-05-01 1 unit 99.00",
    ]
    save(world, phases=phases, additions=[{"charge": fee("30", "support"), "effective_from": "2025-04-21"}])
    assert next_invoice(world) == [
        "2025-05-01 support 2025-04-21..2025-05-01 1 unit 10.00",
        "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 60.00",
        "2025-05-01 support 2025-05-01..2025-06-01 1 unit 30.00",
    ]


@pytest.mark.requirement("CON-13")
@pytest.mark.parametrize(
    ("phase_moves_to", "unused", "expected"),
    [
        (None, "credit", ["2025-05-01 set-up 2025-04-16..2025-05-01 99 EUR -99.00"]),
        ("2025-04-21", "credit", []),
        (None, "none", []),
    ],
)  # fmt: skip
def test_what_was_charged_once_for_a_phase_that_never_comes_is_given_back(
    world: World, phase_moves_to: str | None, unused: str, expected: list[str]
) -> None:
    world.plan(fee("300"))
    world.plan(fee("300"), SET_UP, plan_id="plus")
    terms = {"unused": unused}
    save(world, phases=[{"plan_id": "plus", "effective_from": "2025-04-16"}], **terms)
    world.bill("2025-04-01")
    later = [] if phase_moves_to is None else [{"plan_id": "plus", "effective_from": phase_moves_to}]
    save(world, phases=later, **terms)
    once = [line for line in next_invoice(world) if "set-up" in line]
    assert once == expected
    assert [line for line in next_invoice(world, "2025-06-01") if "set-up" in line] == []
