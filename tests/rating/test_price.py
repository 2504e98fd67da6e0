"""Goal: ``ratemill price`` prices one object exactly, says what is wrong with a bad one, starts fast."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import InvalidDocument, InvalidInput
from rating.price import price_request

GRADUATED = {
    "price": {
        "model": "graduated",
        "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.5", "flat_amount": "2"}],
    }
}


def test_a_quantity_is_priced_with_its_tiers() -> None:
    answer = price_request({"charge": GRADUATED, "quantity": "10.5", "currency": "EUR"})
    assert answer == {
        "charge_id": "charge",
        "price_model": "graduated",
        "dimensions": {},
        "quantity": "10.5",
        "rated_quantity": "10.5",
        "unit": "unit",
        "event_count": 1,
        "tiers": [
            {"number": 1, "above": "0", "up_to": "10", "units": "10", "price": "1.00 each", "amount": "10"},
            {
                "number": 2,
                "above": "10",
                "up_to": None,
                "units": "0.5",
                "price": "0.50 each and flat 2.00",
                "amount": "2.25",
            },
        ],
        "bound": None,
        "amount": "12.25",
        "amount_minor": 1225,
        "currency": "EUR",
        "rounding": "half_up",
        "billed": "12.25",
    }


def test_events_are_summed_or_counted() -> None:
    request = {
        "charge": {"price": {"model": "per_unit", "unit_price": "84"}},
        "currency": "EUR",
        "events": [{"value": "30.25"}, {"value": "7"}],
    }
    assert price_request(request)["billed"] == "3129.00"
    counted = price_request({**request, "meter": {"aggregation": "count"}})
    assert (counted["billed"], counted["event_count"]) == ("168.00", 2)


def test_events_of_a_matrix_are_priced_by_combination() -> None:
    price = {
        "model": "matrix",
        "dimensions": ["region"],
        "cells": [{"match": {"region": "eu"}, "price": {"model": "per_unit", "unit_price": "2"}}],
        "default": {"model": "per_unit", "unit_price": "3"},
    }
    events = [{"value": "1", "properties": {"region": region}} for region in ("eu", "us", "eu")]
    answer = price_request({"charge": {"price": price}, "currency": "EUR", "events": events})
    assert [
        (line["dimensions"], line["billed" if "billed" in line else "amount"]) for line in answer["lines"]
    ] == [
        ({"region": "eu"}, "4"),
        ({"region": "us"}, "3"),
    ]
    assert answer["billed"] == "7.00"


def test_a_recurring_fee_is_prorated() -> None:
    charge = {"kind": "recurring", "price": {"model": "flat", "amount": "31"}}
    request = {"charge": charge, "quantity": "1", "currency": "EUR", "days": 17, "full_days": 31}
    assert price_request(request)["billed"] == "17.00"


def test_a_level_is_prorated_and_usage_is_not() -> None:
    charge = {"price": {"model": "per_unit", "unit_price": "31"}}
    request = {"charge": charge, "quantity": "1", "currency": "EUR", "days": 17, "full_days": 31}
    assert price_request(request)["billed"] == "31.00"
    assert price_request({**request, "meter": {"aggregation": "unique_count"}})["billed"] == "31.00"
    assert price_request({**request, "meter": {"aggregation": "max"}})["billed"] == "17.00"
    of_parts = [
        ("highest_sum", {"by": "day", "time_zone": "UTC"}, "17.00"),
        ("highest_count", {"by": "hour"}, "17.00"),
        ("sum_of_highest", {"by": "hour"}, "31.00"),
        ("highest_sum", {"by": "properties.team"}, "31.00"),
        ("sum_of_highest", {"by": "properties.vm"}, "17.00"),
    ]
    for aggregation, parts, billed in of_parts:
        assert (
            price_request({**request, "meter": {"aggregation": aggregation, "parts": parts}})["billed"]
            == billed
        )
    licence = {**request, "charge": {**charge, "kind": "licence"}}
    assert price_request(licence)["billed"] == "17.00"
    assert price_request({**licence, "meter": {"reading": "unit_days"}})["billed"] == "31.00"


@pytest.mark.parametrize(
    ("changes", "reason_code"),
    [
        ({"quantity": None}, "quantity_or_events"),
        ({"events": []}, "quantity_or_events"),
        ({"currency": "EURO"}, "string_pattern_mismatch"),
        ({"currency": "XXX"}, "unknown_currency"),
        ({"quantity": 0.1}, "value_error"),
        ({"days": 5, "full_days": 2}, "days_above_full_days"),
        ({"charge": {"price": {"model": "volume", "tiers": []}}}, "tier_count"),
        ({"quantity": None, "events": [], "meter": {"aggregation": "max"}}, "events_not_counted"),
        ({"meter": {"aggregation": "highest_sum"}}, "parts_mismatch"),
        ({"charge": {"price": {"model": "barter"}}}, "union_tag_invalid"),
        ({"tax": "19"}, "extra_forbidden"),
    ],
)
def test_a_bad_request_says_what_is_wrong(changes: dict[str, Any], reason_code: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        price_request({"charge": GRADUATED, "quantity": "1", "currency": "EUR", **changes})
    assert reason_code in {issue.reason_code for issue in refused.value.issues}


def test_a_quantity_without_a_price_is_refused() -> None:
    with pytest.raises(InvalidInput, match="negative") as refused:
        price_request({"charge": GRADUATED, "quantity": "-1", "currency": "EUR"})
    assert refused.value.reason_code == "negative_quantity"
    with pytest.raises(InvalidInput, match="no value to sum"):
        price_request({"charge": GRADUATED, "events": [{}], "currency": "EUR"})


def test_it_needs_no_compiler_and_no_store() -> None:
    code = (
        "import sys; from rating.price import price_request; "
        "print(sorted({'numba', 'chdb', 'sqlalchemy', 'polars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_an_event_adds_at_its_place_in_the_tiers_sums_to_the_price_of_all() -> None:
    """Events of 4, 4, 4 and 0.5 units, each told at once."""
    told, before = [], Decimal(0)
    for units in ("4", "4", "4", "0.5"):
        request = {"charge": GRADUATED, "currency": "EUR", "quantity": units}
        told.append(price_request({**request, "before": {"quantity": str(before)}})["billed"])
        before += Decimal(units)
    assert told == ["4.00", "4.00", "5.00", "0.25"]
    assert price_request({"charge": GRADUATED, "currency": "EUR", "quantity": "12.5"})["billed"] == "13.25"


@pytest.mark.parametrize(
    "charge",
    [
        {"price": {"model": "flat", "amount": "1"}},
        {"kind": "licence", "price": {"model": "per_unit", "unit_price": "1"}},
    ],
)
def test_what_goes_on_from_nothing_takes_no_before(charge: dict[str, Any]) -> None:
    request = {"charge": charge, "currency": "EUR", "quantity": "1", "before": {"quantity": "1"}}
    with pytest.raises(InvalidInput, match="leave `before` out") as caught:
        price_request(request)
    assert caught.value.reason_code == "before_unused"
    with pytest.raises(InvalidDocument, match="before_unused"):
        price_request({**request, "charge": {**GRADUATED, "tiers_count": "event"}})
