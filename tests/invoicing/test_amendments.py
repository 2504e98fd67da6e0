"""Goal: a contract that changes in the middle of a period is put right on its next invoice, to the cent.

Billed on 1 April 2025, fees in advance for all of April (30 days); the change is saved after that.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from invoicing import billing_run
from invoicing.billed_time import contract_change_issues
from invoicing.preview import preview_contract
from rating.agreement_store import get_agreement
from rating.catalogue import load_plan_versions, save_contract
from rating.explain import explain_line
from rating.store import line_to_python, read_rated_lines
from rating.verify import differences
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
