"""Goal: a period comes to what was committed at least and at most, to the cent, by days in a part of one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import InvalidDocument
from invoicing.billed_time import contract_change_issues
from invoicing.document import printed
from rating.agreement_store import get_agreement
from rating.catalogue import get_plan_version, save_contract
from rating.explain import explain_line
from rating.store import get_rated_line
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, readable
from tests.rating.plans import usage_charge

THIRD = {"model": "per_unit", "unit_price": "0.333333333333"}
ONE = {"model": "per_unit", "unit_price": "1"}


def months(*commitments: dict[str, Any], calls: str = "100", hours: str = "50", **plan: Any) -> Billed:
    """From 15 January: half a month and February, each with these calls at 1.00 and hours at a third."""
    return bill(
        {
            "plan": {"charges": [usage_charge("calls", ONE), usage_charge("hours", THIRD)], **plan},
            "contract": {
                "start_date": "2026-01-15",
                "billing": {"anchor_date": "2026-01-01"},
                "commitments": list(commitments),
            },
            "usage": [
                {"day": day, "meter_id": meter, "quantity": quantity}
                for day in ("2026-01-20", "2026-02-20")
                for meter, quantity in (("calls", calls), ("hours", hours))
            ],
            "as_of": "2026-03-01",
        }
    )


def amounts(billed: Billed) -> list[tuple[str, str, str]]:
    """(billing date, charge, amount)."""
    return [
        (str(line["billing_date"]), line["charge_id"], f"{Decimal(line['amount_minor']).scaleb(-2)}")
        for line in billed.lines()
    ]


def test_a_minimum_of_the_contract_comes_before_the_plans() -> None:
    """310.00 a month are 170.00 for 17 of 31 days; 116.67 were used each time."""
    assert amounts(months({"minimum_spend": "310"}, minimum_spend="1000")) == [
        ("2026-02-01", "calls", "100.00"),
        ("2026-02-01", "hours", "16.67"),
        ("2026-02-01", "minimum-spend", "53.33"),
        ("2026-03-01", "calls", "100.00"),
        ("2026-03-01", "hours", "16.67"),
        ("2026-03-01", "minimum-spend", "193.33"),
    ]


def test_more_than_the_maximum_is_taken_off_in_shares() -> None:
    """62.00 a month are 34.00 for 17 of 31 days, of which 100.00 : 16.67 are 29.14 and 4.86."""
    billed = months({"maximum_spend": "62"})
    assert amounts(billed) == [
        ("2026-02-01", "calls", "29.14"),
        ("2026-02-01", "hours", "4.86"),
        ("2026-03-01", "calls", "53.14"),
        ("2026-03-01", "hours", "8.86"),
    ]
    line = billed.lines()[1]
    text = explain_line(line, billed.plans[1], agreement=billed.agreements[line["agreement"]]).to_text()
    assert "discounts        Maximum spend, at most 62 a period: -11.80666666665 EUR -> 4.86 EUR" in text


def test_a_commitment_may_change_in_the_middle_of_a_period() -> None:
    billed = months(
        {"minimum_spend": "280", "effective_until": "2026-02-15"},
        {"minimum_spend": "560", "effective_from": "2026-02-15"},
        calls="0",
        hours="0",
    )
    minimums = [row for row in amounts(billed) if row[1] == "minimum-spend"]
    assert [amount for _, _, amount in minimums] == ["153.55", "140.00", "280.00"]


roundings = st.sampled_from(["half_up", "half_even"])
spends = st.decimals(min_value="0", max_value="500", places=2)


@settings(max_examples=30, deadline=None)
@given(
    least=spends, most=spends, calls=spends, hours=spends, rounding=st.sampled_from(["half_up", "half_even"])
)
def test_a_whole_period_comes_to_what_was_agreed(
    least: Decimal, most: Decimal, calls: Decimal, hours: Decimal, rounding: str
) -> None:
    least, most = min(least, most), max(least, most)
    agreed = {"minimum_spend": str(least), "maximum_spend": str(most)}
    free = months(calls=str(calls), hours=str(hours), rounding=rounding)
    bound = months(agreed, calls=str(calls), hours=str(hours), rounding=rounding)
    february = [
        sum(line["amount_minor"] for line in billed.lines() if line["billing_date"] == date(2026, 3, 1))
        for billed in (free, bound)
    ]
    cents = [int(100 * limit) for limit in (least, most)]
    assert february[1] == max(cents[0], min(cents[1], february[0]))
    for line in bound.lines():
        assert explain_line(line, bound.plans[1], agreement=bound.agreements[line["agreement"]]).billed


def test_a_minimum_is_due_on_a_plan_of_nothing_but_fees_too(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contract(commitments=[{"minimum_spend": "50"}])
    world.bill("2025-02-15")
    second = world.invoices()[-1]
    assert readable(second) == [
        "2025-02-15 minimum-spend 2025-01-15..2025-02-15 0 EUR 50.00",
        "2025-02-15 fee 2025-02-15..2025-03-15 1 unit 30.00",
    ]
    assert second.invoice.lines[0].price_source == "contract"
    line = get_rated_line(world.event_store, second.invoice.lines[0].line_id)
    plan = get_plan_version(world.ledger, "gold", 1).plan
    agreement = get_agreement(world.ledger, line["agreement"])
    assert "agreed in contract c1" in explain_line(line, plan, agreement=agreement).to_text()


REFUSED = {
    "nothing": ({}, "commitment_of_nothing", "commitments[0]"),
    "below zero": ({"minimum_spend": "-1"}, "negative_number", "commitments[0].minimum_spend"),
    "least above most": (
        {"minimum_spend": "2", "maximum_spend": "1"},
        "minimum_above_maximum",
        "commitments[0].minimum_spend",
    ),
    "too large": (
        {"maximum_spend": "99999999999999999999"},
        "amount_too_large",
        "commitments[0].maximum_spend",
    ),
    "before the contract": (
        {"minimum_spend": "1", "effective_from": "2025-01-14"},
        "before_contract",
        "commitments[0].effective_from",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_commitment_that_cannot_be_is_refused(world: World, name: str) -> None:
    commitment, code, pointer = REFUSED[name]
    world.plan()
    with pytest.raises(InvalidDocument) as caught:
        world.contract(commitments=[commitment])
    assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == [(code, pointer)]


def test_two_commitments_on_one_day_are_refused(world: World) -> None:
    world.plan()
    with pytest.raises(InvalidDocument, match="commitment_overlaps"):
        world.contract(commitments=[{"minimum_spend": "1"}, {"maximum_spend": "9"}])


def test_what_was_committed_for_billed_time_stays(world: World) -> None:
    world.plan(CALLS)
    world.contract(commitments=[{"minimum_spend": "50"}])
    world.bill("2025-02-15")
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": "2025-01-15",
        "time_zone": "UTC",
    }

    def save(*commitments: dict[str, Any]) -> bool:
        changed = document | {"commitments": commitments}
        saved = save_contract(world.ledger, changed, now=LONG_AGO, further_rules=contract_change_issues)
        return saved.created

    with pytest.raises(InvalidDocument) as caught:
        save({"minimum_spend": "40"})
    assert [issue.pointer for issue in caught.value.issues] == ["commitments"]
    assert save(
        {"minimum_spend": "50", "effective_until": "2025-02-15"},
        {"minimum_spend": "40", "effective_from": "2025-02-15"},
    )


def test_a_trial_costs_nothing_but_what_is_due_once() -> None:
    set_up = {
        "charge_id": "set-up",
        "name": "Set-up",
        "kind": "one_time",
        "price": {"model": "flat", "amount": "9"},
    }
    billed = bill(
        {
            "plan": {"charges": [usage_charge("calls", ONE), set_up], "minimum_spend": "310"},
            "contract": {
                "start_date": "2026-01-01",
                "trial_days": 30,
                "commitments": [{"minimum_spend": "620"}],
            },
            "usage": [
                {"day": "2026-01-10", "meter_id": "calls", "quantity": "7"},
                {"day": "2026-01-31", "meter_id": "calls", "quantity": "7"},
            ],
            "as_of": "2026-02-01",
        }
    )
    assert amounts(billed) == [
        ("2026-02-01", "calls", "0.00"),
        ("2026-02-01", "set-up", "9.00"),
        ("2026-02-01", "calls", "7.00"),
        ("2026-02-01", "minimum-spend", "13.00"),
    ]
    first = billed.lines()[0]
    text = explain_line(first, billed.plans[1], agreement=billed.agreements[first["agreement"]]).to_text()
    assert "Trial, 100 %: -7.00 EUR -> 0.00 EUR" in text


@pytest.mark.parametrize("order", ["percentage_first", "amount_first", "as_written"])
def test_a_trial_uses_up_no_other_promise(order: str) -> None:
    """15 of 31 days are free; the 10.00 come off the 16.00 of the others, whatever the order."""
    fee = MONTHLY_FEE | {"price": {"model": "flat", "amount": "31.00"}}
    gift = {"discount_id": "gift", "name": "Gift", "amount": "10"}
    billed = bill(
        {
            "plan": {"charges": [fee], "discounts": [gift], "discounting": {"order": order}},
            "contract": {
                "start_date": "2026-01-01",
                "trial_days": 15,
            },
            "as_of": "2026-01-01",
        }
    )
    assert amounts(billed) == [("2026-01-01", "fee", "0.00"), ("2026-01-01", "fee", "6.00")]


def test_a_trial_of_billed_days_stays(world: World) -> None:
    world.plan(CALLS)
    world.contract(trial_days=20)
    world.bill("2025-02-15")
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": "2025-01-15",
        "time_zone": "UTC",
    }
    for days in (0, 10, 40):
        with pytest.raises(InvalidDocument) as caught:
            save_contract(
                world.ledger,
                document | {"trial_days": days},
                now=LONG_AGO,
                further_rules=contract_change_issues,
            )
        assert [issue.pointer for issue in caught.value.issues] == ["trial_days"]


def test_the_ids_of_trial_and_maximum_are_taken(world: World) -> None:
    world.plan()
    with pytest.raises(InvalidDocument, match="discount_id_taken"):
        world.contract(discounts=[{"discount_id": "trial", "name": "Trial", "percent": "1"}])


GROUP = {"minimum_id": "voice", "name": "Voice minimum", "amount": "310", "charge_ids": ["calls"]}


def test_a_contract_that_commits_nothing_has_no_minimum_of_a_group() -> None:
    """310.00 a month are 170.00 for 17 of 31 days; hours do not count."""
    assert amounts(months(group_minimums=[GROUP]))[:3] == [
        ("2026-02-01", "calls", "100.00"),
        ("2026-02-01", "hours", "16.67"),
        ("2026-02-01", "minimum:voice", "70.00"),
    ]
    nothing = amounts(months({"minimum_spend": "0"}, group_minimums=[GROUP]))
    assert [row for row in nothing if row[1] not in ("calls", "hours")] == []


def test_a_minimum_of_a_group_is_billed_printed_and_rated_again(world: World) -> None:
    world.plan(CALLS, MONTHLY_FEE, group_minimums=[GROUP])
    world.contract(start_date=date(2025, 1, 1))
    world.events(("call", "c1-subject", "2025-01-10", "1000"))
    world.bill("2025-02-01")
    invoice = world.invoices()[-1]
    assert readable(invoice) == [
        "2025-02-01 calls 2025-01-01..2025-02-01 1000 call 10.00",
        "2025-02-01 minimum:voice 2025-01-01..2025-02-01 10 EUR 300.00",
        "2025-02-01 fee 2025-02-01..2025-03-01 1 unit 30.00",
    ]
    line = invoice.invoice.lines[1]
    assert (line.description, line.price_text) == ("Voice minimum", "up to 310.00 a period")
    assert "what counts came to 10.00 of 310.00" in printed(invoice.invoice)["lines"][1]["detail"]
    world.events(("call", "c1-subject", "2025-01-20", "500"))  # late: 5.00 more, so 5.00 less is missing
    world.bill("2025-03-01")
    late = [row for row in readable(world.invoices()[-1]) if "2025-01-01..2025-02-01" in row]
    assert [row.split()[1:2] + row.split()[-1:] for row in late] == [
        ["calls", "5.00"],
        ["minimum:voice", "-5.00"],
    ]
    stored = get_rated_line(world.event_store, world.invoices()[-1].invoice.lines[-1].line_id)
    assert explain_line(stored, get_plan_version(world.ledger, "gold", 1).plan).to_text()
