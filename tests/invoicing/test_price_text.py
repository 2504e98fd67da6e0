"""Goal: an invoice says in words what a charge costs, also where its columns have no place for it."""

from __future__ import annotations

from typing import Any

import pytest

from invoicing.price_text import charge_terms
from tests.rating.plans import plan, usage_charge


@pytest.mark.requirement("RAT-08")
@pytest.mark.parametrize(
    ("price", "text"),
    [
        ({"model": "dynamic", "currency": "EUR"}, "as the events say"),
        ({"model": "dynamic", "currency": "EUR", "multiplier": "1.2"}, "as the events say x 1.2"),
        (
            {"model": "percentage", "percent": "2.9", "fixed_per_event": "0.3", "free_events": 4},
            "2.9 % + 0.30 per event after the first 4",
        ),
        (
            {
                "model": "graduated_percentage",
                "tiers": [{"up_to": "5", "percent": "3"}, {"percent": "0.5", "flat_amount": "1"}],
            },
            "each part at the percentage of its tier (tier 1: 3 %; tier 2: 0.5 %)",
        ),
        (
            {
                "model": "volume",
                "tiers": [{"up_to": "5", "unit_price": "3"}, {"package_size": "10", "package_price": "2"}],
            },
            "all units at the price of the tier reached (tier 2: 2.00 per started package of 10 call)",
        ),
    ],
)
def test_a_price_in_words(price: dict[str, Any], text: str) -> None:
    terms = charge_terms(plan(usage_charge("calls", price)), charge_id="calls", dimensions={}, unit="call")
    assert terms.price_text == text
    assert len(terms.tiers) == len(price.get("tiers", [1]))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tiers_count": "year"}, " (counted over the contract year)"),
        ({"tiers_count": "contract"}, " (counted over the contract)"),
        ({"pooled_over": "customer"}, " (counted together with the customer's other contracts)"),
        ({"meter_id": None, "formula": "calls * hours"}, " (quantity: calls * hours)"),
    ],
)
def test_what_is_counted_beyond_the_period_is_said(more: dict[str, Any], said: str) -> None:
    charge = usage_charge("calls", {"model": "per_unit", "unit_price": "1"}) | more
    terms = charge_terms(plan(charge), charge_id="calls", dimensions={}, unit="call")
    assert terms.price_text == "1.00 per call" + said


def test_the_bounds_of_an_event_are_said() -> None:
    price = {"model": "percentage", "percent": "2", "minimum_per_event": "0.5", "maximum_per_event": "9"}
    terms = charge_terms(plan(usage_charge("calls", price)), charge_id="calls", dimensions={}, unit="call")
    assert terms.price_text == "2 %, at least 0.50 and at most 9.00 per event"
    assert len(terms.tiers) == 3
