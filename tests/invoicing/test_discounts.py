"""Goal: what was promised is taken off without asking, in the documented order; parts sum to the whole."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import InvalidDocument
from invoicing.billed_time import contract_change_issues
from invoicing.document import printed
from invoicing.invoice import invoice_text, parse_invoice
from rating.agreement import Agreement
from rating.agreement_store import get_agreement
from rating.catalogue import get_plan_version, save_contract
from rating.explain import explain_line
from rating.line_discounts import list_amount
from rating.reprice import reprice_line
from rating.store import get_rated_line
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World
from tests.rating.plans import usage_charge

ONE_EURO = {"model": "per_unit", "unit_price": "1"}
FEE = {
    "charge_id": "fee",
    "name": "Fee",
    "kind": "recurring",
    "timing": "advance",
    "price": {"model": "flat", "amount": "100"},
}


def discount(discount_id: str = "promo", **changes: Any) -> dict[str, Any]:
    return {"discount_id": discount_id, "name": discount_id.title(), **changes}


def one_month(*discounts: dict[str, Any], calls: str = "100", **plan: Any) -> Billed:
    """100 calls at 1.00 and 50 hours at 1.00, billed on 1 February."""
    return bill(
        {
            "plan": {"charges": [usage_charge("calls", ONE_EURO), usage_charge("hours", ONE_EURO)], **plan},
            "contract": {"start_date": "2026-01-01", "discounts": list(discounts)},
            "usage": [
                {"day": "2026-01-10", "meter_id": "calls", "quantity": calls},
                {"day": "2026-01-10", "meter_id": "hours", "quantity": "50"},
            ],
            "as_of": "2026-02-01",
        }
    )


def shown(billed: Billed) -> list[tuple[str, list[str], str]]:
    """(charge, what each discount took, what is left)."""
    return [
        (
            line["charge_id"],
            [f"{part.normalize():f}" for part in line["discount_amount"]],
            f"{Decimal(line['amount_minor']).scaleb(-2)}",
        )
        for line in billed.lines()
    ]


TEN, FIFTH = discount("ten", amount="10"), discount("fifth", percent="20")
AMOUNT_FIRST = {"discounting": {"order": "amount_first"}}
AS_WRITTEN = {"discounting": {"order": "as_written"}}
PARALLEL: dict[str, Any] = {"discounting": {"mode": "parallel"}}
HALF = discount("half", percent="50")

ORDERS: dict[str, tuple[dict[str, Any], list[tuple[str, list[str], str]]]] = {
    # 100 - 20 % = 80 and 50 - 20 % = 40; ten euros by 80 : 40 are 6.67 and 3.33
    "percentage first": ({}, [("calls", ["20", "6.67"], "73.33"), ("hours", ["10", "3.33"], "36.67")]),
    # ten euros by 100 : 50 are 6.67 and 3.33; then 20 % of 93.33 and 46.67
    "amount first": (
        AMOUNT_FIRST,
        [("calls", ["6.67", "18.666"], "74.66"), ("hours", ["3.33", "9.334"], "37.34")],
    ),
    "as written": (
        AS_WRITTEN,
        [("calls", ["6.67", "18.666"], "74.66"), ("hours", ["3.33", "9.334"], "37.34")],
    ),
}


@pytest.mark.requirement("RAT-05")
@pytest.mark.parametrize("name", ORDERS)
def test_percentage_and_amount_in_each_order(name: str) -> None:
    plan, expected = ORDERS[name]
    assert shown(one_month(TEN, FIFTH, **plan)) == expected


@pytest.mark.requirement("RAT-05")
def test_two_percentages_stacked_or_parallel() -> None:
    """20 % and 50 % of 100: 20 and then 50 % of 80, or 20 and 50 of the list amount."""
    only_calls = {"charge_ids": ["calls"]}
    both = (FIFTH | only_calls, HALF | only_calls)
    assert shown(one_month(*both))[0] == ("calls", ["20", "40"], "40.00")
    assert shown(one_month(*both, **PARALLEL))[0] == ("calls", ["20", "50"], "30.00")
    three = (*both, discount("more", percent="60") | only_calls)
    assert shown(one_month(*three, **PARALLEL))[0] == ("calls", ["20", "50", "30"], "0.00")


def test_units_are_the_last_ones_of_the_line() -> None:
    """The first 10 of 100 calls cost 2.00 and the rest 1.00: 30 units off are 30 of the cheaper ones."""
    tiers = {"model": "graduated", "tiers": [{"up_to": "10", "unit_price": "2"}, {"unit_price": "1"}]}
    billed = bill(
        {
            "plan": {"charges": [usage_charge("calls", tiers)]},
            "contract": {
                "start_date": "2026-01-01",
                "discounts": [FIFTH, discount(units="30", charge_ids=["calls"])],
            },
            "usage": [{"day": "2026-01-10", "meter_id": "calls", "quantity": "100"}],
            "as_of": "2026-02-01",
        }
    )
    assert shown(billed) == [("calls", ["30", "16"], "64.00")]
    assert billed.lines()[0]["discount_number"] == [2, 1]


def test_nothing_falls_below_zero() -> None:
    large = discount(amount="1000")
    assert shown(one_month(large)) == [("calls", ["100"], "0.00"), ("hours", ["50"], "0.00")]
    credit = shown(one_month(FIFTH, large, calls="-100"))
    assert credit == [("calls", ["-20"], "-80.00"), ("hours", ["10", "40"], "0.00")]


@pytest.mark.requirement("CON-07")
def test_a_promotion_reduces_the_first_invoices() -> None:
    """10.00 off the first two invoices, 50 % off the first two months of calls, nothing afterwards."""
    billed = bill(
        {
            "plan": {"charges": [usage_charge("calls", ONE_EURO), FEE]},
            "contract": {
                "start_date": "2026-01-01",
                "discounts": [
                    discount("welcome", amount="10", first_periods=2),
                    discount("launch", percent="50", charge_ids=["calls"], first_periods=2),
                ],
            },
            "usage": [
                {"day": f"2026-{month:02}-10", "meter_id": "calls", "quantity": "100"} for month in (1, 2, 3)
            ],
            "as_of": "2026-04-01",
        }
    )
    assert billed.table() == [
        "2026-01-01 fee 2026-01-01..2026-02-01 1 = 90.00",
        "2026-02-01 calls 2026-01-01..2026-02-01 100 = 46.67",
        "2026-02-01 fee 2026-02-01..2026-03-01 1 = 93.33",
        "2026-03-01 calls 2026-02-01..2026-03-01 100 = 50.00",
        "2026-03-01 fee 2026-03-01..2026-04-01 1 = 100.00",
        "2026-04-01 calls 2026-03-01..2026-04-01 100 = 100.00",
        "2026-04-01 fee 2026-04-01..2026-05-01 1 = 100.00",
    ]


def test_a_promotion_of_certain_days_follows_the_periods_that_begin_on_them() -> None:
    billed = bill(
        {
            "plan": {"charges": [FEE]},
            "contract": {
                "start_date": "2026-01-01",
                "end_date": "2026-05-01",
                "discounts": [
                    discount(percent="100", effective_from="2026-01-15", effective_until="2026-03-02")
                ],
            },
            "as_of": "2026-05-01",
        }
    )
    assert [row.partition(" = ")[2] for row in billed.table()] == ["100.00", "0.00", "0.00", "100.00"]


def test_a_discount_of_the_contract_takes_the_place_of_the_plans_of_that_id() -> None:
    listed: dict[str, Any] = {"discounts": [discount("all", percent="10"), discount("more", percent="10")]}
    assert shown(one_month(**listed))[0] == ("calls", ["10", "9"], "81.00")
    assert shown(one_month(discount("all", percent="30"), **listed))[0] == ("calls", ["10", "27"], "63.00")


def test_the_minimum_spend_is_compared_with_what_discounts_left() -> None:
    billed = one_month(FIFTH, minimum_spend="130")
    assert shown(billed)[-1] == ("minimum-spend", [], "10.00")


values = st.decimals(min_value="0.01", max_value="400", places=2)
some_discounts = st.lists(
    st.one_of(
        st.builds(lambda value: {"percent": str(value / 4)}, values),
        st.builds(lambda value: {"amount": str(value)}, values),
        st.builds(lambda value: {"units": str(value), "charge_ids": ["hours"]}, values),
    ),
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(
    given_discounts=some_discounts,
    calls=st.decimals(min_value="0.001", max_value="900", places=3),
    order=st.sampled_from(["percentage_first", "amount_first", "as_written"]),
    mode=st.sampled_from(["stacked", "parallel"]),
)
def test_the_parts_sum_to_the_whole_and_every_line_explains_itself(
    given_discounts: list[dict[str, Any]], calls: Decimal, order: str, mode: str
) -> None:
    discounts = [discount(f"d{number}", **entry) for number, entry in enumerate(given_discounts)]
    billed = one_month(*discounts, calls=str(calls), discounting={"order": order, "mode": mode})
    taken: dict[int, Fraction] = {}
    listed = Fraction(0)
    for line in billed.lines():
        assert line["amount_minor"] >= 0
        listed += list_amount(line)
        for number, part in zip(line["discount_number"], line["discount_amount"], strict=True):
            taken[number] = taken.get(number, Fraction(0)) + Fraction(part)
        agreement = billed.agreements.get(line["agreement"], Agreement())
        explanation = explain_line(line, billed.plans[1], agreement=agreement)
        assert len([step for step in explanation.steps if step.step == "discounts"]) == len(
            line["discount_number"]
        )
    left = sum(Fraction(line["amount"]) for line in billed.lines())
    assert listed - sum(taken.values()) == left >= 0
    for number, entry in enumerate(given_discounts, start=1):
        if "amount" in entry:  # an amount is taken whole, or there was nothing left to take it from
            assert taken.get(number, 0) == Fraction(entry["amount"]) or left == 0


def test_a_discounted_line_is_stored_shown_explained_and_repriced(world: World) -> None:
    world.plan(MONTHLY_FEE, CALLS, discounts=[discount("launch", percent="20", charge_kinds=["usage"])])
    world.contract(discounts=[discount("welcome", amount="5", first_periods=1)])
    world.events(("call", "c1-subject", "2025-01-20", "1234"))
    report = world.bill("2025-02-15")
    assert report.held == ()
    first, second = world.invoices()
    assert (first.invoice.total_minor, second.invoice.total_minor) == (2500, 987 + 3000)
    calls = second.invoice.lines[0]
    assert [(entry.name, entry.words, entry.amount) for entry in calls.discounts] == [
        ("Launch", "20 %", Decimal("2.468"))
    ]
    assert invoice_text(parse_invoice(second.text)) == second.text
    rows = printed(second.invoice)["lines"][0]["tiers"]
    assert [(row["label"], row["price"], row["amount"]) for row in rows] == [
        ("Before discounts", "", "12.34"),
        ("Launch", "20 %", "-2.468"),
    ]
    line = get_rated_line(world.event_store, calls.line_id)
    plan = get_plan_version(world.ledger, "gold", 1).plan
    agreement = get_agreement(world.ledger, line["agreement"])
    text = explain_line(line, plan, agreement=agreement).to_text()
    assert "  discounts        Launch, 20 %: -2.468 EUR -> 9.872 EUR" in text
    assert reprice_line(line, plan) == 0
    assert reprice_line({**line, "amount_minor": 988}, plan) == Decimal("0.01")
    assert reprice_line({**line, "discount_amount": [Decimal(2)]}, plan) != 0


REFUSED = {
    "two values": (discount(percent="1", amount="1"), "discount_value", "discounts[0]"),
    "no value": (discount(), "discount_value", "discounts[0]"),
    "more than all": (discount(percent="100.1"), "discount_out_of_range", "discounts[0].percent"),
    "below zero": (discount(amount="-1"), "discount_out_of_range", "discounts[0].amount"),
    "a tenth of a cent": (discount(amount="0.001"), "discount_finer_than_money", "discounts[0].amount"),
    "no such charge": (
        discount(percent="1", charge_ids=["fax"]),
        "unknown_charge",
        "discounts[0].charge_ids[0]",
    ),
    "units of a fee": (
        discount(units="1", charge_ids=["fee"]),
        "discount_of_units",
        "discounts[0].charge_ids",
    ),
    "units of all": (discount(units="1"), "discount_of_units", "discounts[0].charge_ids"),
    "periods and days": (
        discount(percent="1", first_periods=1, effective_from="2025-02-01"),
        "discount_window",
        "discounts[0].first_periods",
    ),
    "no days": (
        discount(percent="1", effective_from="2025-02-01", effective_until="2025-02-01"),
        "end_not_after_start",
        "discounts[0].effective_until",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_discount_that_cannot_be_is_refused_on_plan_and_contract(world: World, name: str) -> None:
    given_discount, code, pointer = REFUSED[name]
    world.plan()
    expected = [(code, pointer)]
    with pytest.raises(InvalidDocument) as on_contract:
        world.contract(discounts=[given_discount])
    with pytest.raises(InvalidDocument) as on_plan:
        world.plan(start="2025-01-01", discounts=[given_discount])
    for caught in (on_contract, on_plan):
        assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == expected


@pytest.mark.requirement("CON-07")
def test_billed_time_keeps_its_discounts(world: World) -> None:
    """Billed on 15 February: calls up to it, the fee up to 15 March; two periods have begun."""
    world.plan(MONTHLY_FEE, CALLS)
    promised = discount(percent="20", first_periods=3)
    world.contract(discounts=[promised])
    world.bill("2025-02-15")
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": "2025-01-15",
        "time_zone": "UTC",
    }

    def save(*discounts: dict[str, Any]) -> bool:
        changed = document | {"discounts": discounts}
        saved = save_contract(world.ledger, changed, now=LONG_AGO, further_rules=contract_change_issues)
        return saved.created

    for behind in (
        (),
        (promised | {"percent": "30"},),
        (promised | {"first_periods": 1},),
        (promised, discount("more", percent="1", effective_from="2025-03-14")),
        (promised, discount("more", percent="1", effective_from="2025-02-14", charge_ids=["calls"])),
    ):
        with pytest.raises(InvalidDocument) as caught:
            save(*behind)
        assert [issue.pointer for issue in caught.value.issues] == ["discounts"]
    assert save(promised | {"first_periods": 2})
    assert save(promised | {"first_periods": 6})
    assert save(promised, discount("more", percent="1", effective_from="2025-03-15"))
    assert save(promised, discount("more", percent="1", effective_from="2025-02-15", charge_ids=["calls"]))


def test_a_percentage_is_taken_as_the_plan_of_each_line_says(world: World) -> None:
    """12.5 % of 33.33 in each part of a month. The second plan rounds what a percentage takes, 4.17 instead
    of 4.16625; the first does not, and neither does its proof."""
    percentages = [discount(percent="12.5")]
    price = {"model": "per_unit", "unit_price": "0.01"}
    world.plan({**CALLS, "price": price}, discounts=percentages)
    world.plan(
        {**CALLS, "price": price},
        plan_id="plus",
        discounts=percentages,
        discounting={"rounding": "each_step"},
    )
    phases = [{"plan_id": "plus", "effective_from": "2025-01-29"}]
    world.contract("c1", phases=phases)
    for day in ("2025-01-20", "2025-02-01"):
        world.events(("call", "c1-subject", day, "3333"))
    world.bill("2025-02-15")
    (stored,) = world.invoices()
    taken = []
    for line in stored.invoice.lines:
        rated = get_rated_line(world.event_store, line.line_id)
        plan = get_plan_version(world.ledger, rated["plan_id"], rated["plan_version"]).plan
        agreement = get_agreement(world.ledger, rated["agreement"])
        assert explain_line(rated, plan, agreement=agreement).amount_minor == line.amount_minor
        taken += [(plan.plan_id, *(f"{amount.normalize():f}" for amount in rated["discount_amount"]))]
    assert taken == [("gold", "4.16625"), ("plus", "4.17")]
