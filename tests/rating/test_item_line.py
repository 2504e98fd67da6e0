"""Goal: item lines are quantity times rate, rounded once, and a rate card is nothing but a price a unit."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.discount_rules import discount_rules
from rating.item_line import ItemGroup, item_line
from rating.money import round_to_minor
from rating.plan_rules import price_plan_rules
from rating.price_plan import PricePlan
from rating.reprice import reprice_line
from tests.rating.plans import plan

CARD: dict[str, Any] = {
    "charge_id": "hours",
    "name": "Hours",
    "kind": "item",
    "unit": "hour",
    "price": {"model": "per_unit", "unit_price": "84"},
}
QUANTITIES = st.decimals(min_value="-1000", max_value="1000", places=6)
RATES = st.decimals(min_value="0", max_value="1000", places=4)


@pytest.mark.requirement("RAT-03")
@pytest.mark.parametrize(
    ("quantity", "rate", "rounding", "minor"),
    [
        ("37.25", "84.00", "half_up", 312900),
        ("0.5", "0.01", "half_up", 1),
        ("0.5", "0.01", "half_even", 0),
        ("-1.5", "84", "half_up", -12600),
    ],
)
def test_hours_times_rate(quantity: str, rate: str, rounding: str, minor: int) -> None:
    line = priced(Decimal(quantity), rate, rounding=rounding)
    assert line["amount_minor"] == minor


@settings(max_examples=200, deadline=None)
@given(QUANTITIES, RATES, st.sampled_from(["half_up", "half_even"]))
def test_a_line_is_the_exact_product_rounded_once(quantity: Decimal, rate: Decimal, rounding: Any) -> None:
    line = priced(quantity, str(rate), rounding=rounding)
    exact = Fraction(quantity) * Fraction(rate)
    assert (Fraction(line["amount"]), line["amount_minor"]) == (
        exact,
        round_to_minor(exact, digits=2, mode=rounding),
    )


@pytest.mark.parametrize(
    ("changes", "reason_code", "field"),
    [
        ({"price": {"model": "flat", "amount": "1"}}, "model_not_for_kind", "price"),
        ({"free_units": "1"}, "step_not_for_kind", "free_units"),
        ({"minimum_amount": "1"}, "step_not_for_kind", "minimum_amount"),
        ({"timing": "advance"}, "step_not_for_kind", "timing"),
        ({"meter_id": "calls"}, "step_not_for_kind", "meter_id"),
        ({"group_by": ("role", "role")}, "item_group_by", "group_by"),
        ({"kind": "recurring", "price": {"model": "flat", "amount": "1"}, "group_by": ("role",)},
         "step_not_for_kind", "group_by"),
        ({"charge_id": "stated-price"}, "charge_id_taken", "charge_id"),
    ],
)  # fmt: skip
def test_a_rate_card_is_a_price_a_unit(changes: dict[str, Any], reason_code: str, field: str) -> None:
    found = defaultdict(list)
    for issue in price_plan_rules(plan({**CARD, **changes}), meters={}):
        found[issue.reason_code].append(issue.pointer)
    assert f"charges[0].{field}" in found[reason_code]


def test_a_discount_cannot_name_a_rate_card() -> None:
    discounts = [{"discount_id": "d", "name": "D", "percent": "10", "charge_ids": ("hours",)}]
    document = plan(CARD, discounts=discounts)
    (issue,) = discount_rules(document.discounts, "discounts", plans=[document])
    assert issue.reason_code == "discount_of_items"


def test_a_plan_without_groups_has_the_text_it_always_had() -> None:
    assert "group_by" not in plan(CARD).model_dump_json()
    again = PricePlan.model_validate_json(plan({**CARD, "group_by": ("role",)}).model_dump_json())
    assert again.charges[0].group_by == ("role",)


def priced(quantity: Decimal, rate: str, **changes: Any) -> dict[str, Any]:
    """The line, checked to be priced again to the same."""
    document = plan({**CARD, "price": {"model": "per_unit", "unit_price": rate}}, **changes)
    start, end = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)
    group = ItemGroup("c", date(2026, 2, 1), 1, "", start, end, "", {}, "hour", quantity, 1)
    line = item_line(group, plan=document, charge=document.charges[0], run_id="r")
    again = {**line, "dimensions": dict(line["dimensions"]), "inputs": {}}
    assert reprice_line(again, document) == 0
    return line
