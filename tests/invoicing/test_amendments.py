"""Goal: a contract that changes in the middle of a period is put right on its next invoice, to the cent.

Billed on 1 April 2025, fees in advance for all of April (30 days); the change is saved after that.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest.errors import InvalidDocument
from invoicing import billing_run
from invoicing.billed_time import contract_change_issues
from invoicing.plan_change import plan_change_issues
from invoicing.preview import preview_contract
from rating.agreement_store import get_agreement
from rating.catalogue import load_plan_versions, save_contract, save_price_plan
from rating.explain import explain_line
from rating.store import line_to_python, read_rated_lines
from rating.verify import differences
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import CALLS
from tests.invoicing.world import LONG_AGO, World, at, readable


def fee(amount: str, charge_id: str = "fee", **more: Any) -> dict[str, Any]:
    price = {"model": "flat", "amount": amount}
    return {"charge_id": charge_id, "name": charge_id.title(), "kind": "recurring", "timing": "advance"} | {
        "price": price,
        **more,
    }


SET_UP = fee("99", "set-up", kind="one_time")
SEATS = fee("0", "seats") | {"price": {"model": "per_unit", "unit_price": "10"}, "quantity": "10"}


def save(world: World, **changes: Any) -> None:
    """As the API saves: with what is billed held against the change."""
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": date(2025, 4, 1),
        "time_zone": "UTC",
        **changes,
    }
    save_contract(world.ledger, document, now=LONG_AGO, further_rules=contract_change_issues)


def next_invoice(world: World, as_of: str = "2025-05-01") -> list[str]:
    """The lines of the last invoice after billing; every line of the contract is proved first."""
    report = world.bill(as_of)
    assert [(held.reason_code, held.message) for held in report.held] == []
    check_every_line(world)
    return readable(world.invoices()[-1])


def check_every_line(world: World) -> None:
    """Each line is what its plan version and agreement give, explained, and agrees with the verifier."""
    plans = {(entry.plan.plan_id, entry.version): entry.plan for entry in load_plan_versions(world.ledger)}
    lines = read_rated_lines(world.event_store)
    for row in range(lines.num_rows):
        line = line_to_python(lines, row)
        agreement = get_agreement(world.ledger, line["agreement"])
        plan = plans[line["plan_id"], line["plan_version"]]
        explanation = explain_line(line, plan, agreement=agreement if line["agreement"] else None)
        assert differences(explanation.to_dict()) == []
        assert explanation.to_text()


@pytest.mark.requirement("CON-13")
def test_an_upgrade_is_a_charge_and_a_credit(any_world: World) -> None:
    """Preview and invoice say the same; billing again changes nothing."""
    world = any_world
    world.events(("call", "c1-subject", "2025-04-05", "1000"), ("call", "c1-subject", "2025-04-25", "1000"))
    phase = {"plan_id": "plus", "effective_from": "2025-04-11"}
    world.plan(fee("30"), CALLS)
    world.plan(
        fee("60"), CALLS | {"price": {"model": "per_unit", "unit_price": "0.005"}}, SET_UP, plan_id="plus"
    )
    save(world)
    world.bill("2025-04-01")
    save(world, phases=[phase])
    draft = preview_contract(
        contract_id="c1", at=at("2025-04-30"), event_store=world.event_store, ledger=world.ledger
    )
    assert next_invoice(world) == [
        "2025-05-01 calls 2025-04-01..2025-04-11 1000 call 10.00",
        "2025-05-01 calls 2025-04-11..2025-05-01 1000 call 5.00",
        "2025-05-01 fee 2025-04-11..2025-05-01 1 unit 40.00",
        "2025-05-01 set-up 2025-04-11..2025-05-01 1 unit 99.00",
        "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 60.00",
        "2025-05-01 fee 2025-04-11..2025-05-01 30 EUR -20.00",
    ]
    assert draft.lines == world.invoices()[-1].invoice.lines
    assert world.bill("2025-05-01").invoiced == 0
    assert next_invoice(world, "2025-06-01") == ["2025-06-01 fee 2025-06-01..2025-07-01 1 unit 60.00"]


TWICE = [
    {"charge_id": "seats", "quantity": "12", "effective_from": "2025-04-11"},
    {"charge_id": "seats", "quantity": "6", "effective_from": "2025-04-21"},
]
FROM_11 = {"effective_from": "2025-04-11"}
NEXT_SEATS = "2025-05-01 seats 2025-05-01..2025-06-01"
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], list[str]]] = {
    "a downgrade": (
        [fee("90")],
        {"phases": [{"plan_id": "plus"} | FROM_11]},
        [
            "2025-05-01 fee 2025-04-11..2025-05-01 1 unit 40.00",
            "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 60.00",
            "2025-05-01 fee 2025-04-11..2025-05-01 90 EUR -60.00",
        ],
    ),
    "a downgrade at the end of the period": (
        [fee("90")],
        {"phases": [{"plan_id": "plus", "change": "at_period_end"} | FROM_11]},
        ["2025-05-01 fee 2025-05-01..2025-06-01 1 unit 60.00"],
    ),
    "a downgrade, nothing given back: the new fee begins with the next period": (
        [fee("90")],
        {"phases": [{"plan_id": "plus"} | FROM_11], "unused": "none"},
        ["2025-05-01 fee 2025-05-01..2025-06-01 1 unit 60.00"],
    ),
    "a product more, the others untouched": (
        [fee("30"), CALLS],
        {"additions": [{"charge": fee("15", "support")} | FROM_11]},
        [
            "2025-05-01 support 2025-04-11..2025-05-01 1 unit 10.00",
            "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 30.00",
            "2025-05-01 support 2025-05-01..2025-06-01 1 unit 15.00",
        ],
    ),
    "seats added": (
        [SEATS],
        {"quantities": [{"charge_id": "seats", "quantity": "12"} | FROM_11]},
        [
            "2025-05-01 seats 2025-04-11..2025-05-01 2 unit 13.33",
            f"{NEXT_SEATS} 12 unit 120.00",
        ],
    ),
    "seats removed": (
        [SEATS],
        {"quantities": [{"charge_id": "seats", "quantity": "7"} | FROM_11]},
        [
            f"{NEXT_SEATS} 7 unit 70.00",
            "2025-05-01 seats 2025-04-11..2025-05-01 100 EUR -20.00",
        ],
    ),
    "seats added and removed": (
        [SEATS],
        {"quantities": TWICE},
        [
            "2025-05-01 seats 2025-04-11..2025-04-21 2 unit 6.67",
            f"{NEXT_SEATS} 6 unit 60.00",
            "2025-05-01 seats 2025-04-21..2025-05-01 100 EUR -13.33",
        ],
    ),
    "the high water of seats: what is removed is paid to the end of the period": (
        [SEATS],
        {"quantities": TWICE, "unused": "none"},
        [
            "2025-05-01 seats 2025-04-11..2025-05-01 2 unit 13.33",
            f"{NEXT_SEATS} 6 unit 60.00",
        ],
    ),
    "another price: the whole fee is exchanged": (
        [SEATS],
        {"overrides": [{"charge_id": "seats", "price": {"model": "per_unit", "unit_price": "9"}} | FROM_11]},
        [
            "2025-05-01 seats 2025-04-11..2025-05-01 10 unit 60.00",
            f"{NEXT_SEATS} 10 unit 90.00",
            "2025-05-01 seats 2025-04-11..2025-05-01 100 EUR -66.67",
        ],
    ),
    "a price of usage: fees are left alone": (
        [fee("30"), CALLS],
        {
            "overrides": [
                {"charge_id": "calls", "price": {"model": "per_unit", "unit_price": "0.02"}} | FROM_11
            ]
        },
        [
            "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 30.00",
        ],
    ),
}


@pytest.mark.requirement("CON-13")
def test_what_changes_in_april_is_on_the_invoice_of_may(world: World) -> None:
    """Every case on a plan and a contract of its own, billed together."""
    world.plan(fee("60"), CALLS, plan_id="plus")
    for number, (charges, _, _) in enumerate(CASES.values()):
        world.plan(*charges, plan_id=f"plan-{number}")
        save(world, contract_id=f"c{number}", plan_id=f"plan-{number}", subjects=[])
    world.bill("2025-04-01")
    for number, (_, change, _) in enumerate(CASES.values()):
        save(world, contract_id=f"c{number}", plan_id=f"plan-{number}", subjects=[], **change)
    assert world.bill("2025-05-01").held == ()
    check_every_line(world)
    invoices = {
        stored.summary.contract_id: readable(stored)
        for stored in world.invoices()
        if stored.summary.billing_date == date(2025, 5, 1)
    }
    assert {name: invoices[f"c{number}"] for number, name in enumerate(CASES)} == {
        name: lines for name, (_, _, lines) in CASES.items()
    }


def test_what_was_paid_is_what_is_given_back(world: World) -> None:
    """30.00 less 20 % less 4.00 were 20.00: of these 20 of 30 days, 13.33. The new fee has the percentage,
    and not the amount a second time."""
    discounts = [
        {"discount_id": "part", "name": "Part", "percent": "20"},
        {"discount_id": "gift", "name": "Gift", "amount": "4.00", "first_periods": 1},
    ]
    phase = {"plan_id": "plus", "effective_from": "2025-04-11"}
    world.plan(fee("30"), CALLS)
    world.plan(fee("60"), CALLS, plan_id="plus")
    save(world, discounts=discounts)
    world.bill("2025-04-01")
    assert readable(world.invoices()[-1]) == ["2025-04-01 fee 2025-04-01..2025-05-01 1 unit 20.00"]
    save(world, discounts=discounts, phases=[phase])
    assert next_invoice(world) == [
        "2025-05-01 fee 2025-04-11..2025-05-01 1 unit 32.00",
        "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 48.00",
        "2025-05-01 fee 2025-04-11..2025-05-01 20 EUR -13.33",
    ]


@pytest.mark.parametrize(("unused", "last"), [("credit", ["-15.00"]), ("none", [])])
def test_an_end_gives_back_what_is_paid_for_later_days(world: World, unused: str, last: list[str]) -> None:
    """Ended on 16 April: 15 of 30 days of the fee, on the last invoice, which also has the usage."""
    world.plan(fee("30"), CALLS)
    save(world, unused=unused)
    world.bill("2025-04-01")
    save(world, unused=unused, end_date=date(2025, 4, 16))
    world.events(("call", "c1-subject", "2025-04-05", "2000"))
    assert next_invoice(world, "2025-04-16") == [
        "2025-04-16 calls 2025-04-01..2025-04-16 2000 call 20.00",
        *(f"2025-04-16 fee 2025-04-16..2025-05-01 30 EUR {amount}" for amount in last),
    ]


def test_a_killed_run_bills_an_amendment_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its lines were written: the next run has the same ones, on one invoice, and no others."""

    def killed(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    world.plan(fee("30"))
    world.plan(fee("60"), plan_id="plus")
    save(world)
    world.bill("2025-04-01")
    save(world, phases=[{"plan_id": "plus", "effective_from": "2025-04-11"}])
    monkeypatch.setattr(billing_run, "write_invoices", killed)
    with pytest.raises(RuntimeError, match="killed"):
        world.bill("2025-05-01")
    monkeypatch.undo()
    written = read_rated_lines(world.event_store, billing_date=date(2025, 5, 1))["line_id"].to_pylist()
    assert next_invoice(world) == [
        "2025-05-01 fee 2025-04-11..2025-05-01 1 unit 40.00",
        "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 60.00",
        "2025-05-01 fee 2025-04-11..2025-05-01 30 EUR -20.00",
    ]
    invoiced = {line.line_id for line in world.invoices()[-1].invoice.lines}
    stored = read_rated_lines(world.event_store, billing_date=date(2025, 5, 1))["line_id"].to_pylist()
    assert {key.hex() for key in stored} == {key.hex() for key in written} == invoiced


def test_a_credit_without_anything_to_bill_is_a_credit_note(world: World) -> None:
    world.plan(fee("30"), CALLS)
    save(world)
    world.bill("2025-04-01")
    save(world, end_date=date(2025, 4, 16))
    (held,) = world.bill("2025-04-16", negative_total="hold").held
    assert (held.reason_code, held.message[:30]) == ("negative_total", "the lines come to -1500 minor ")
    assert not world.bill("2025-04-16").held
    assert world.invoices()[-1].summary.number == "CN-2025-000001"


def test_an_end_moved_out_bills_the_rest(world: World) -> None:
    world.plan(fee("30"), CALLS)
    save(world, end_date=date(2025, 4, 16))
    world.bill("2025-04-01")
    save(world)
    assert next_invoice(world) == [
        "2025-05-01 fee 2025-04-16..2025-05-01 1 unit 15.00",
        "2025-05-01 fee 2025-05-01..2025-06-01 1 unit 30.00",
    ]


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
