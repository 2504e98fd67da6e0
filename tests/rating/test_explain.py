"""Goal: every line explains itself, the explanation sums to the line, and a wrong line is caught."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from ingest.errors import BrokenState
from rating.compile import compile_price_book
from rating.explain import explain_line, reprice_line
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.rate import rate_usage
from rating.store import line_to_python
from tests.rating.plans import METERS, periods, plan, usage, usage_charge
from tests.rating.random_prices import random_price

TIERS = {
    "model": "graduated",
    "tiers": [
        {"up_to": "100", "unit_price": "0.10", "flat_amount": "5"},
        {"up_to": "1000", "unit_price": "0.08"},
        {"unit_price": "0.05"},
    ],
}


def lines_of(gold: PricePlan, used: Any, **period: Any) -> list[dict[str, Any]]:
    book = compile_price_book([PlanVersion(gold, 1)], METERS)
    lines = rate_usage(periods=periods(period), usage=used, price_book=book, run_id="r", threads=1).lines
    return [line_to_python(lines, row) for row in range(lines.num_rows)]


@pytest.mark.requirement("RAT-08")
def test_an_explanation_reads_like_the_derivation() -> None:
    gold = plan(usage_charge("calls", TIERS, free_units="50", maximum_amount="100", unit="call"))
    (line,) = lines_of(gold, usage((0, "calls", "1650", 1650)))
    explanation = explain_line(line, gold)
    assert explanation.to_text().splitlines()[1:] == [
        "  price: Gold (gold version 1, from 2026-01-01)",
        "  from 1,650 events",
        "  quantity         meter calls -> 1,650",
        "  free_units       50 free -> 1,600 call",
        "  price_model      graduated -> 117.00 EUR",
        "    tier 1 (0 to 100): 100 units, 0.10 each and flat 5.00 = 15.00",
        "    tier 2 (100 to 1,000): 900 units, 0.08 each = 72.00",
        "    tier 3 (above 1,000): 600 units, 0.05 each = 30.00",
        "  minimum_maximum  cut to the maximum 100.00 EUR -> 100.00 EUR",
        "  rounding         half_up to 2 digits -> 100.00",
        "  billed           100.00 EUR",
    ]
    assert explanation.to_dict()["tiers"][0]["units"] == "100"


@pytest.mark.requirement("RAT-08")
@pytest.mark.requirement("CON-06")
@pytest.mark.parametrize("seed", range(8))
def test_every_line_explains_itself_and_reprices_to_nothing(seed: int) -> None:
    """Random prices, whole and partial periods: the tiers sum to the amount, the difference is 0."""
    source = random.Random(seed)
    charges = [
        {
            **usage_charge(meter, random_price(source, digits_max=13).model_dump(mode="json")),
            "charge_id": f"{meter}-{number}",
            **({"minimum_amount": "12.5"} if source.random() < 0.3 else {}),
            **({"kind": "licence"} if meter.startswith("seat") else {}),
        }
        for meter in ("calls", "hours", "seats", "seat_days")
        for number in range(5)
    ]
    fee = {
        "charge_id": "fee",
        "name": "Fee",
        "kind": "recurring",
        "price": {"model": "flat", "amount": "9.99"},
    }
    gold = plan(*charges, fee, minimum_spend="99999999")
    rows = [(0, meter, f"{source.randrange(10**9)}.{source.randrange(10**9):09}", 7) for meter in METERS][:7]
    used = usage(*(row for row in rows if row[1] in {"calls", "hours", "seats", "seat_days"}))
    for period in ({}, {"start": date(2026, 1, 15), "full_days": 31}):
        lines = lines_of(gold, used, **period)
        assert len(lines) >= 20
        for line in lines:
            assert reprice_line(line, gold) == 0
            explanation = explain_line(line, gold)
            assert explanation.amount_minor == line["amount_minor"]
            tiers = sum((Fraction(row.amount) for row in explanation.tiers), Fraction(0))
            bounded = any(step.step == "minimum_maximum" for step in explanation.steps)
            assert bounded or tiers == Fraction(explanation.amount)


def test_a_partial_period_is_explained_by_its_days() -> None:
    fee = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "10"}}
    gold = plan(fee, minimum_spend="20")
    fee_line, minimum_line = lines_of(gold, usage(), start=date(2026, 1, 15), full_days=31)
    assert "x 17/31 of the period" in explain_line(fee_line, gold).to_text()
    assert explain_line(minimum_line, gold).billed == "10.97 EUR"
    assert explain_line(fee_line, gold).billed == "5.48 EUR"


def test_the_proration_of_usage_is_shown_for_a_level_only() -> None:
    """Of one quantity on 17 of 31 days: seats at their average, seat-days, calls."""
    meters = ("seats", "seat_days", "calls")
    price = {"model": "per_unit", "unit_price": "31"}
    gold = plan(
        *(usage_charge(meter, price) for meter in meters),
        {**usage_charge("seat_days", price), "charge_id": "licence-days", "kind": "licence"},
    )
    used = usage(*((0, meter, "10") for meter in meters))
    lines = lines_of(gold, used, start=date(2026, 1, 15), full_days=31)
    shown = {line["charge_id"]: explain_line(line, gold) for line in lines}
    assert {charge: (text.billed, "17/31" in text.to_text()) for charge, text in shown.items()} == {
        "seats": ("170.00 EUR", True),
        "seat_days": ("310.00 EUR", False),
        "licence-days": ("310.00 EUR", False),
        "calls": ("310.00 EUR", False),
    }


@pytest.mark.requirement("RAT-08")
@pytest.mark.parametrize(
    ("price", "quantity", "rows"),
    [
        (
            {
                "model": "graduated_percentage",
                "tiers": [{"up_to": "1000", "percent": "3"}, {"percent": "0.5", "flat_amount": "10"}],
            },
            "1500",
            [
                "tier 1 (0 to 1,000): 1,000 units, 3 % = 30.00",
                "tier 2 (above 1,000): 500 units, 0.5 % and flat 10.00 = 12.50",
            ],
        ),
        (
            {
                "model": "graduated",
                "tiers": [
                    {"up_to": "1000", "package_size": "100", "package_price": "1"},
                    {"package_size": "1000", "package_price": "0.5", "round": "down"},
                ],
            },
            "3500",
            [
                (
                    "tier 1 (0 to 1,000): 1,000 units, 1.00 for each package of 100 units, "
                    "a started one whole = 10.00"
                ),
                (
                    "tier 2 (above 1,000): 2,500 units, 0.50 for each package of 1,000 units, "
                    "a started one free = 1.00"
                ),
            ],
        ),
        (
            {"model": "dynamic", "currency": "EUR", "multiplier": "1.2"},
            "10",
            ["tier 1 (above 0): 10 units, amount of the events x 1.2 = 12.00"],
        ),
        (
            {"model": "percentage", "percent": "2", "fixed_per_event": "0.25", "free_events": 3},
            "100",
            ["tier 1 (above 0): 100 units, 2 % and 0.25 for each event after the first 3 = 3.00"],
        ),
        (
            {"model": "capacity", "tiers": [{"up_to": "5", "flat_amount": "1"}, {"unit_price": "2"}]},
            "6",
            ["tier 2 (above 5): 6 units, 2.00 each = 12.00"],
        ),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else "",
)
def test_every_way_to_price_is_said_in_words(price: dict[str, Any], quantity: str, rows: list[str]) -> None:
    gold = plan(usage_charge("peak", price))
    (line,) = lines_of(gold, usage((0, "peak", quantity, 7)))
    text = explain_line(line, gold).to_text().splitlines()
    assert [row.strip() for row in text if row.startswith("    tier")] == rows


@pytest.mark.requirement("CON-06")
def test_a_line_that_is_not_the_menu_is_caught() -> None:
    gold = plan(usage_charge("calls", {"model": "per_unit", "unit_price": "0.12"}))
    other = plan(usage_charge("calls", {"model": "per_unit", "unit_price": "0.13"}))
    (line,) = lines_of(gold, usage((0, "calls", "100")))
    assert reprice_line(line, gold) == 0
    assert reprice_line(line, other) == Decimal(-1)
    assert reprice_line({**line, "amount_minor": 1201}, gold) == Decimal("0.01")
    for altered, menu in (
        (line, other),
        ({**line, "amount_minor": 1201}, gold),
        ({**line, "tier_amount": []}, gold),
    ):
        with pytest.raises(BrokenState, match="does not come to"):
            explain_line(altered, menu)
    with pytest.raises(BrokenState, match="does not have"):
        explain_line({**line, "charge_id": "fax"}, gold)
