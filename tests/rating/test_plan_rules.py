"""Goal: a plan that would bill wrongly is refused, and the message names the place."""

from __future__ import annotations

from typing import Any

import pytest

from rating.plan_rules import price_plan_rules
from tests.rating.plans import METERS, plan, usage_charge

UNIT = {"model": "per_unit", "unit_price": "1"}
FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "1"}}

AHEAD = {**usage_charge("seats", UNIT), "kind": "licence", "timing": "advance"}


def broken(*charges: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    """(reason code, path) of every rule a plan breaks."""
    issues = price_plan_rules(plan(*charges, **more), meters=METERS)
    return [(issue.reason_code, issue.pointer) for issue in issues]


def tiered(*tiers: dict[str, Any], model: str = "graduated") -> dict[str, Any]:
    return usage_charge("calls", {"model": model, "tiers": tiers})


def matrix(*cells: dict[str, Any], dimensions: tuple[str, ...] = ("region", "class")) -> dict[str, Any]:
    price = {"model": "matrix", "dimensions": dimensions, "cells": cells}
    return usage_charge("storage", price)


def cell(price: Any = UNIT, **match: str) -> dict[str, Any]:
    return {"match": match, "price": price}


def test_a_sound_plan_breaks_nothing() -> None:
    charges = (
        usage_charge("calls", UNIT, minimum_amount="1", maximum_amount="1", free_units="0"),
        tiered({"up_to": "1", "unit_price": "0"}, {"flat_amount": "2"}) | {"charge_id": "t"},
        {**usage_charge("seats", UNIT), "kind": "licence"},
        {**usage_charge("seats", UNIT), "kind": "licence", "timing": "advance", "charge_id": "ahead"},
        {**FEE, "timing": "advance"},
        {**FEE, "charge_id": "three", "kind": "one_time", "price": UNIT, "quantity": "3"},
        matrix(cell(region="eu", **{"class": "hot"}), cell(region="eu"), cell()),
        usage_charge("peak", {"model": "capacity", "tiers": [{"unit_price": "1"}]}, zero_usage="charge"),
        usage_charge("value", {"model": "dynamic", "currency": "EUR"}),
        tiered({"up_to": "10", "package_size": "5", "package_price": "1"}, {"unit_price": "1"})
        | {"charge_id": "blocks"},
        tiered(
            {"up_to": "12", "package_size": "5", "package_price": "1"}, {"unit_price": "1"}, model="volume"
        )
        | {"charge_id": "volume-blocks"},
    )
    assert broken(*charges, minimum_spend="100") == []


@pytest.mark.parametrize(
    ("charge", "reason_code", "pointer"),
    [
        (usage_charge("fax", UNIT), "unknown_meter", "charges[0].meter_id"),
        ({**usage_charge("calls", UNIT), "meter_id": None}, "meter_missing", "charges[0].meter_id"),
        ({**usage_charge("calls", UNIT), "kind": "licence"}, "licence_meter", "charges[0].meter_id"),
        (usage_charge("calls", UNIT, timing="advance"), "usage_in_advance", "charges[0].timing"),
        (AHEAD | {"zero_usage": "charge"}, "licence_in_advance", "charges[0].zero_usage"),
        (AHEAD | {"pooled_over": "customer"}, "licence_in_advance", "charges[0].pooled_over"),
        (usage_charge("calls", UNIT, quantity="3"), "quantity_unused", "charges[0].quantity"),
        ({**FEE, "meter_id": "calls"}, "meter_unused", "charges[0].meter_id"),
        ({**FEE, "price": UNIT}, "fixed_quantity", "charges[0].quantity"),
        ({**FEE, "quantity": "2"}, "fixed_quantity", "charges[0].quantity"),
        ({**FEE, "free_units": "2"}, "step_not_for_kind", "charges[0].free_units"),
        (
            {**FEE, "price": {"model": "package", "package_size": "1", "package_price": "1"}},
            "model_not_for_kind",
            "charges[0].price.model",
        ),
        ({**FEE, "charge_id": "minimum-spend"}, "charge_id_taken", "charges[0].charge_id"),
        (usage_charge("calls", UNIT, free_units="-1"), "negative_number", "charges[0].free_units"),
        (
            usage_charge("calls", UNIT, minimum_amount="2", maximum_amount="1"),
            "minimum_above_maximum",
            "charges[0].minimum_amount",
        ),
        (
            usage_charge("calls", UNIT, unit_conversion={"operation": "divide", "factor": "0"}),
            "factor_not_positive",
            "charges[0].unit_conversion.factor",
        ),
        (
            usage_charge("calls", {"model": "per_unit", "unit_price": "-0.01"}),
            "negative_number",
            "charges[0].price.unit_price",
        ),
        (
            usage_charge("calls", {"model": "package", "package_size": "0", "package_price": "1"}),
            "package_size_not_positive",
            "charges[0].price.package_size",
        ),
        (
            usage_charge("calls", {"model": "percentage", "percent": "-1"}),
            "negative_number",
            "charges[0].price.percent",
        ),
        (tiered(), "tier_count", "charges[0].price.tiers"),
        (
            tiered(
                {"up_to": "10", "unit_price": "1"}, {"up_to": "10", "unit_price": "1"}, {"unit_price": "1"}
            ),
            "tiers_not_increasing",
            "charges[0].price.tiers[1].up_to",
        ),
        (
            tiered({"up_to": "0", "unit_price": "1"}, {"unit_price": "1"}),
            "tiers_not_increasing",
            "charges[0].price.tiers[0].up_to",
        ),
        (
            tiered({"unit_price": "1"}, {"unit_price": "1"}),
            "open_tier_not_last",
            "charges[0].price.tiers[0].up_to",
        ),
        (tiered({"up_to": "10", "unit_price": "1"}), "last_tier_bounded", "charges[0].price.tiers[0].up_to"),
        (tiered({"up_to": "1"}, {"unit_price": "1"}), "tier_without_price", "charges[0].price.tiers[0]"),
        (
            tiered({"unit_price": "1", "flat_amount": "1"}, model="stairstep"),
            "unit_price_in_stairstep",
            "charges[0].price.tiers[0].unit_price",
        ),
        (tiered({}, model="stairstep"), "tier_without_price", "charges[0].price.tiers[0]"),
        (matrix(cell(), dimensions=()), "matrix_dimensions", "charges[0].price.dimensions"),
        (matrix(), "cell_count", "charges[0].price.cells"),
        (
            matrix(cell(colour="red"), dimensions=("colour",)),
            "unknown_dimension",
            "charges[0].price.dimensions[0]",
        ),
        (
            matrix(cell(region="eu"), dimensions=("class",)),
            "cell_dimension",
            "charges[0].price.cells[0].match.region",
        ),
        (matrix(cell(region="eu"), cell(region="eu")), "cell_unreachable", "charges[0].price.cells[1]"),
        (
            matrix(cell(region="eu"), cell(region="us"), cell(region="eu", **{"class": "hot"})),
            "cell_unreachable",
            "charges[0].price.cells[2]",
        ),
        (
            matrix(cell({"model": "flat", "amount": "-1"})),
            "negative_number",
            "charges[0].price.cells[0].price.amount",
        ),
        (
            {**matrix(cell()), "free_units": "1"},
            "free_units_of_matrix",
            "charges[0].free_units",
        ),
        ({**matrix(cell()), "zero_usage": "charge"}, "zero_usage_of_matrix", "charges[0].zero_usage"),
        ({**FEE, "zero_usage": "charge"}, "step_not_for_kind", "charges[0].zero_usage"),
        (
            tiered({"unit_price": "1", "package_size": "5", "package_price": "1"}),
            "unit_and_package_price",
            "charges[0].price.tiers[0].unit_price",
        ),
        (tiered({"package_size": "5"}), "package_half_said", "charges[0].price.tiers[0]"),
        (tiered({"package_price": "5"}), "package_half_said", "charges[0].price.tiers[0]"),
        (
            tiered({"package_size": "0", "package_price": "1"}),
            "package_size_not_positive",
            "charges[0].price.tiers[0].package_size",
        ),
        (
            tiered({"up_to": "12", "package_size": "5", "package_price": "1"}, {"unit_price": "1"}),
            "package_across_bound",
            "charges[0].price.tiers[0].package_size",
        ),
        (
            tiered({"flat_amount": "1", "package_price": "1", "package_size": "1"}, model="stairstep"),
            "unit_price_in_stairstep",
            "charges[0].price.tiers[0].package_price",
        ),
        (
            tiered({"percent": "-1"}, model="graduated_percentage"),
            "negative_number",
            "charges[0].price.tiers[0].percent",
        ),
        (tiered({}, model="graduated_percentage"), "tier_without_price", "charges[0].price.tiers[0]"),
        (tiered({"unit_price": "1"}, model="capacity"), "capacity_meter", "charges[0].meter_id"),
        (
            usage_charge("calls", {"model": "dynamic", "currency": "USD"}),
            "currency_differs",
            "charges[0].price.currency",
        ),
        (
            usage_charge("calls", {"model": "dynamic", "currency": "EUR", "multiplier": "-1"}),
            "negative_number",
            "charges[0].price.multiplier",
        ),
        (
            usage_charge("calls", {"model": "percentage", "percent": "1", "free_events": 2}),
            "free_events_unused",
            "charges[0].price.free_events",
        ),
    ],
)
def test_a_broken_charge_is_named(charge: dict[str, Any], reason_code: str, pointer: str) -> None:
    assert broken(charge) == [(reason_code, pointer)]


def test_rules_of_the_whole_plan() -> None:
    assert broken() == [("charge_count", "charges")]
    assert broken(FEE, FEE) == [("charge_id_taken", "charges[1].charge_id")]
    assert broken(FEE, currency="ABC") == [("unknown_currency", "currency")]
    assert broken(FEE, minimum_spend="-1") == [("negative_number", "minimum_spend")]


def test_a_fixed_amount_must_fit_minor_units() -> None:
    """2**63 cents are 92233720368547758.08 EUR."""
    fits, too_large = "92233720368547758.07", "92233720368547758.08"
    tiers = {
        "model": "graduated",
        "tiers": [{"up_to": 1, "flat_amount": fits}, {"flat_amount": too_large}],
    }
    matrix = {
        "model": "matrix",
        "dimensions": ["region"],
        "cells": [{"match": {"region": "eu"}, "price": {"model": "flat", "amount": too_large}}],
        "default": {"model": "flat", "amount": too_large},
    }
    large = {**FEE, "price": {"model": "flat", "amount": too_large}}
    bounded = usage_charge("calls", tiers, minimum_amount=fits, maximum_amount=too_large)
    assert broken(FEE, minimum_spend=fits) == []
    assert broken(large, bounded, usage_charge("storage", matrix), minimum_spend=too_large) == [
        ("amount_too_large", "minimum_spend"),
        ("amount_too_large", "charges[0].price.amount"),
        ("amount_too_large", "charges[1].maximum_amount"),
        ("amount_too_large", "charges[1].price.tiers[1].flat_amount"),
        ("amount_too_large", "charges[2].price.cells[0].price.amount"),
        ("amount_too_large", "charges[2].price.default.amount"),
    ]
    assert broken(FEE, minimum_spend=too_large, currency="JPY") == []


def test_every_issue_says_what_would_be_right() -> None:
    for issue in price_plan_rules(plan(tiered(), usage_charge("fax", UNIT), currency="ABC"), meters=METERS):
        assert issue.message.endswith(".")
        assert issue.expected.endswith(".")
