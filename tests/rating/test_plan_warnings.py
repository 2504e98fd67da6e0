"""Goal: a plan in which one more unit lowers the bill is saved, and says so with figures."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.meter_store import save_meter
from rating.catalogue import save_price_plan
from rating.plan_warnings import price_plan_warnings
from rating.reference import model_tiers
from tests.rating.plans import METERS, plan, usage_charge
from tests.rating.random_prices import random_tiered_price
from tests.rating.test_catalogue import NOW

FALLING = {
    "model": "volume",
    "tiers": [
        {"up_to": "1000", "unit_price": "0.10"},
        {"up_to": "2000", "unit_price": "0.05", "flat_amount": "60"},
        {"unit_price": "0.04"},
    ],
}


def warned(price: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    return [
        (issue.pointer, issue.message)
        for issue in price_plan_warnings(plan(usage_charge("calls", price, **more)))
    ]


def test_the_place_and_both_amounts_are_named() -> None:
    """2,000 units cost 60 + 100; 2,001 at 0.04 cost 80.04. From 1,000 to 1,001 the bill rises by 10.05."""
    assert warned(FALLING, unit="call") == [
        (
            "charges[0].price.tiers[1].up_to",
            "2000 call cost 160.00 EUR, and 2001 cost 80.04: one more lowers the bill.",
        )
    ]


def test_stairs_and_blocks_may_fall_and_bounds_of_the_charge_count() -> None:
    stairs = {"model": "stairstep", "tiers": [{"up_to": "5", "flat_amount": "20"}, {"flat_amount": "19.99"}]}
    blocks = {
        "model": "volume",
        "tiers": [
            {"up_to": "101000", "package_size": "1000", "package_price": "1"},
            {"package_size": "1000", "package_price": "0.5"},
        ],
    }
    assert [message for _, message in warned(stairs)] == [
        "5 unit cost 20.00 EUR, and 6 cost 19.99: one more lowers the bill."
    ]
    assert "101000 unit cost 101.00 EUR, and 101001 cost 51.00" in warned(blocks)[0][1]
    assert warned(FALLING, maximum_amount="80") == []
    assert warned(FALLING, minimum_amount="200") == []
    matrix = {"model": "matrix", "dimensions": ["region"], "cells": [{"match": {}, "price": stairs}]}
    gold = plan(usage_charge("storage", {**matrix, "default": stairs}))
    assert [issue.pointer for issue in price_plan_warnings(gold)] == [
        "charges[0].price.cells[0].price.tiers[0].up_to",
        "charges[0].price.default.tiers[0].up_to",
    ]


@pytest.mark.parametrize("model", ["graduated", "volume", "stairstep", "capacity", "graduated_percentage"])
def test_a_warning_is_where_the_bill_falls_and_nowhere_else(model: str) -> None:
    source = random.Random(5)
    for _ in range(60):
        price = random_tiered_price(source, model, digits_max=13)
        document = price.model_dump(mode="json")
        found = {pointer for pointer, _ in warned(document)}
        bounds = [tier["up_to"] for tier in document["tiers"][:-1]]
        falling = {
            f"charges[0].price.tiers[{position}].up_to"
            for position, bound in enumerate(bounds)
            if total(price, Fraction(bound) + 1) < total(price, Fraction(bound))
        }
        assert found == (set() if model.startswith("graduated") else falling)


def total(price: Any, units: Fraction) -> Fraction:
    return sum((tier.amount for tier in model_tiers(price, units, 0, zero_reaches=False)), Fraction(0))


def test_a_plan_with_a_warning_is_saved(ledger: Engine) -> None:
    save_meter(ledger, METERS["calls"], now=NOW)
    for created in (True, False):
        saved = save_price_plan(ledger, plan(usage_charge("calls", FALLING)), now=NOW)
        assert saved.created is created
        assert [warning.reason_code for warning in saved.warnings] == ["more_costs_less"]
