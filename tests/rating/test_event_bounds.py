"""Goal: an event's percentage has a least and a most, exactly, as if each event were priced alone."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from api.json import to_json
from ingest.errors import BrokenState, InvalidDocument, InvalidInput
from rating import verify
from rating.compile import compile_price_book
from rating.event_bounds import event_meter
from rating.explain import explain_line
from rating.needed_meters import needed_meters
from rating.plan_rules import price_plan_rules
from rating.price import price_request
from rating.price_plan import PercentagePrice
from rating.priced_meters import priced_meters
from rating.rate import rate_usage
from rating.reprice import reprice_line
from rating.store import line_to_python
from rollup.banded_meter import BandedMeter, charged_by_band
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

CARDS = {"model": "percentage", "percent": "2.9", "fixed_per_event": "0.30"}
"""2.9 % and 0.30: 0.88 and more from 20.00 on, more than 10.00 from 334.49 on."""


def price(values: Sequence[str], charge: dict[str, Any], **more: Any) -> dict[str, Any]:
    events = [{"value": value} for value in values]
    return price_request({"charge": charge, "currency": "EUR", "events": events, **more})


def bounded(least: str | None, most: str | None, **more: Any) -> dict[str, Any]:
    return {"price": {**CARDS, "minimum_per_event": least, "maximum_per_event": most, **more}}


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize(
    ("least", "most", "more", "values", "billed"),
    [
        ("0.88", None, {}, ["10", "20", "100"], "4.96"),  # 0.88 + 0.88 + 3.20
        (None, "10", {}, ["100", "1000"], "13.20"),  # 3.20 + 10
        ("0.88", "10", {}, ["1", "20", "334.48", "334.49", "9000"], "31.76"),  # .88 .88 9.99992 10 10
        ("5", "5", {}, ["1", "1000"], "10.00"),
        ("0", None, {}, ["-100", "100"], "3.20"),  # taken back: -2.60, and no less than nothing
        ("0.88", "10", {"free_events": 2}, ["1000", "5", "10", "100"], "4.08"),  # free free .88 3.20
        ("0.88", "10", {"free_events": 9}, ["1000", "5"], "0.00"),
    ],
)
def test_each_event_costs_at_least_and_at_most(
    least: str | None, most: str | None, more: dict[str, Any], values: list[str], billed: str
) -> None:
    assert price(values, bounded(least, most, **more))["billed"] == billed


@pytest.mark.parametrize(
    ("free", "values", "billed"),
    [
        ("150", ["100", "40", "20", "100"], "4.08"),  # free, free, 10 of 20: 0.59 -> 0.88, 3.20
        ("140", ["100", "40", "100"], "4.08"),  # the event that reaches it pays its least: 0.88, 3.20
        ("1000", ["100", "40"], "0.00"),
    ],
)
def test_free_value_is_taken_from_the_first_events(free: str, values: list[str], billed: str) -> None:
    assert price(values, {**bounded("0.88", "10"), "free_units": free})["billed"] == billed


def test_cents_are_converted_and_the_charge_has_bounds_of_its_own() -> None:
    cents = {"unit_conversion": {"operation": "divide", "factor": "100"}}
    assert price(["1000", "2000", "10000"], {**bounded("0.88", None), **cents})["billed"] == "4.96"
    assert price(["10", "20", "100"], {**bounded("0.88", None), "maximum_amount": "3"})["billed"] == "3.00"


def test_a_sum_alone_is_not_enough() -> None:
    with pytest.raises(InvalidInput, match="give the events"):
        price_request({"charge": bounded("1", None), "currency": "EUR", "quantity": "5"})


def rated(charge: dict[str, Any], values: Sequence[Decimal]) -> tuple[list[dict[str, Any]], Any]:
    """The lines of payments of these values, their usage counted plainly."""
    gold = plan(usage_charge("value", charge["price"], **{k: v for k, v in charge.items() if k != "price"}))
    rows = [(0, "value", sum(values, Decimal(0)), len(values))]
    for meter in priced_meters(versions(gold), METERS):
        if isinstance(meter, BandedMeter):
            bands = charged_by_band(meter, [Fraction(value) for value in values])
            rows += [
                (0, meter.meter_id, Decimal(int(sum(part) * 10**12)).scaleb(-12), len(part), {"(band)": band})  # type: ignore[misc]
                for band, part in bands.items()
            ]
    book = compile_price_book(versions(gold), METERS)
    lines = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r", threads=1).lines
    return [line_to_python(lines, row) for row in range(lines.num_rows)], gold


@pytest.mark.requirement("RAT-08")
@pytest.mark.parametrize("seed", range(16))
def test_a_run_equals_pricing_every_event_alone(seed: int) -> None:
    """Values at both bounds and beside them; the line explains, prices and verifies itself again."""
    source = random.Random(seed)
    least, most = sorted(Decimal(source.randrange(0, 3000)) / 100 for _ in range(2))
    percent, fixed = Decimal(source.randrange(1, 900)) / 100, Decimal(source.randrange(0, 100)) / 100
    bounds = {"minimum_per_event": str(least), "maximum_per_event": str(most)}
    dropped = source.choice([None, "minimum_per_event", "maximum_per_event"])
    bounds.pop(dropped or "", None)
    charge = {
        "price": {"model": "percentage", "percent": str(percent), "fixed_per_event": str(fixed), **bounds}
    }
    meter = event_meter(
        plan(usage_charge("value", charge["price"])).charges[0],
        PercentagePrice.model_validate(charge["price"]),
        METERS["value"],
    )
    edges = [
        bound + nudge
        for bound in meter.thresholds
        for nudge in (0, Decimal("0.000000000001"), Decimal("-0.000000000001"))
    ]
    values = [edge for edge in edges if abs(edge) < 10**15]
    values += [Decimal(source.randrange(-(10**6), 10**7)) / 1000 for _ in range(20)]
    (line,), gold = rated(charge, values)
    alone = [Fraction(value) * Fraction(percent) / 100 + Fraction(fixed) for value in values]
    if "minimum_per_event" in bounds:
        alone = [max(amount, Fraction(least)) for amount in alone]
    if "maximum_per_event" in bounds:
        alone = [min(amount, Fraction(most)) for amount in alone]
    exact = sum(alone, Fraction(0)) * 10**12
    assert int(exact) == int(line["amount"].scaleb(12))
    assert reprice_line(line, gold) == 0
    explained = json.loads(to_json(explain_line(line, gold).to_dict()))
    assert verify.differences(explained) == []
    if line["inputs"].get("events_between"):
        explained["inputs"]["beside"]["value_between"] += "1"
        assert verify.differences(explained)


def test_usage_without_the_bands_stops_the_run() -> None:
    gold = plan(usage_charge("value", bounded("1", None)["price"]))
    book = compile_price_book(versions(gold), METERS)
    with pytest.raises(BrokenState, match="priced each by itself"):
        rate_usage(periods=periods({}), usage=usage((0, "value", "5", 2)), price_book=book, run_id="r")


@pytest.mark.parametrize(("value", "count"), [("15", 3), ("10", 1), ("11", 2)])
def test_an_event_that_comes_between_the_counts_leaves_its_period_to_the_next_run(
    value: str, count: int
) -> None:
    """The bands say two events of 10: an event more, one less, or an amended value."""
    gold = plan(usage_charge("value", bounded("1", None)["price"]))
    (banded,) = [meter for meter in priced_meters(versions(gold), METERS) if isinstance(meter, BandedMeter)]
    rows = [(0, "value", value, count), (0, banded.meter_id, "10", 2, {"(band)": "0"})]
    book = compile_price_book(versions(gold), METERS)
    found = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r")
    assert found.unrated["reason_code"].to_pylist() == ["usage_changed"]
    assert found.lines.num_rows == 0


def test_only_the_versions_of_the_periods_are_counted_by() -> None:
    """Three versions with bounds of their own, and one without: a period needs the one it is priced by."""
    calls = usage_charge("calls", {"model": "per_unit", "unit_price": "1"})
    entries = [plan(usage_charge("value", bounded(least, None)["price"]), calls) for least in ("1", "2", "3")]
    numbered = versions(*entries, plan(calls))
    every = priced_meters(numbered, METERS)
    assert [meter.meter_id for meter in every][:2] == ["calls", "value"]
    assert len(every) == 5
    book = compile_price_book(numbered, METERS)
    for version, expected in ((1, 3), (2, 3), (4, 2)):
        needed = needed_meters(book, periods({"plan_version": version}), every)
        own = [meter.meter_id for meter in priced_meters([numbered[version - 1]], METERS)]
        assert [meter.meter_id for meter in needed] == (own if version < 4 else ["calls", "value"])
        assert len(needed) == expected
    assert len(needed_meters(book, periods({}, {"plan_version": 3}), every)) == 4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"price": {**CARDS, "minimum_per_event": "2", "maximum_per_event": "1"}}, "minimum_above_maximum"),
        ({"price": {**CARDS, "minimum_per_event": "-1"}}, "negative_number"),
        ({"price": {**CARDS, "percent": "0", "minimum_per_event": "1"}}, "percent_not_positive"),
        ({"price": {**CARDS, "free_events": 1, "minimum_per_event": "1"}, "free_units": "1"},
         "free_events_and_units"),
        ({"unit_conversion": {"operation": "divide", "factor": "3", "fraction_digits": 2}},
         "conversion_rounds"),
        ({"unit_conversion": {"operation": "multiply", "factor": "3"}, "free_units": "1"},
         "free_units_inexact"),
        ({"meter_id": "calls"}, "meter_of_events"),
    ],
)  # fmt: skip
def test_what_cannot_be_priced_by_the_event_is_refused(change: dict[str, Any], code: str) -> None:
    charge = {**usage_charge("value", {**CARDS, "minimum_per_event": "1"}), **change}
    assert code in {issue.reason_code for issue in price_plan_rules(plan(charge), meters=METERS)}
    with pytest.raises(InvalidDocument):
        price_request(
            {"charge": {**charge, "kind": "licence"}, "currency": "EUR", "events": [{"value": "1"}]}
        )


def test_a_meter_that_rounds_does_not_go_with_exact_events() -> None:
    cents = METERS["value"].model_copy(update={"fraction_digits": 2})
    gold = plan(usage_charge("value", {**CARDS, "minimum_per_event": "1"}))
    issues = price_plan_rules(gold, meters={"value": cents})
    assert [issue.reason_code for issue in issues] == ["meter_rounds"]


def test_units_are_not_taken_off_such_a_charge() -> None:
    off = {"discount_id": "d", "name": "Free", "units": "5", "charge_ids": ["value"]}
    gold = plan(usage_charge("value", {**CARDS, "minimum_per_event": "1"}), discounts=[off])
    assert [issue.reason_code for issue in price_plan_rules(gold, meters=METERS)] == ["discount_of_units"]


def test_each_cell_of_a_matrix_has_bounds_of_its_own() -> None:
    """5 and 100 in each region: 0.88 + 3.20 in the EU, 5.00 + 5.00 in the US."""
    cells = [
        {"match": {"region": "eu"}, "price": {**CARDS, "minimum_per_event": "0.88"}},
        {"match": {"region": "us"}, "price": {**CARDS, "minimum_per_event": "5"}},
    ]
    matrix = {"model": "matrix", "dimensions": ["region"], "cells": cells}
    gold = plan(usage_charge("storage", matrix))
    rows: list[tuple[Any, ...]] = []
    values = [Fraction(5), Fraction(100)]
    for region in ("eu", "us"):
        own = {"region": region, "class": "a"}
        rows.append((0, "storage", "105", 2, own))
        for meter in priced_meters(versions(gold), METERS):
            if isinstance(meter, BandedMeter):
                bands = charged_by_band(meter, values)
                rows += [
                    (0, meter.meter_id, str(sum(part)), len(part), {**own, "(band)": band})
                    for band, part in bands.items()
                ]
    book = compile_price_book(versions(gold), METERS)
    lines = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r", threads=1).lines
    found = [line_to_python(lines, row) for row in range(lines.num_rows)]
    assert [(line["dimensions"]["region"], line["amount_minor"]) for line in found] == [
        ("eu", 408),
        ("us", 1000),
    ]
    assert [reprice_line(line, gold) for line in found] == [0, 0]
    events = [
        {"value": "5", "properties": {"region": "us"}},
        {"value": "100", "properties": {"region": "eu"}},
    ]
    asked = price_request({"charge": {"price": matrix}, "currency": "EUR", "events": events})
    assert [line["amount_minor"] for line in asked["lines"]] == [320, 500]
