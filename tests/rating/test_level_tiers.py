"""Goal: each unit of a level is priced in the tier it stands in, for the time it stands there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.json import to_json
from ingest.errors import InvalidDocument
from rating import verify
from rating.compile import compile_price_book
from rating.explain import explain_line
from rating.plan_rules import price_plan_rules
from rating.price import price_request
from rating.priced_meters import priced_meters
from rating.rate import rate_usage
from rating.reprice import reprice_line
from rating.store import line_to_python
from rollup.level_part import LevelPart
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

SEATS = {
    "model": "graduated",
    "tiers": [
        {"up_to": "10", "unit_price": "10", "flat_amount": "3"},
        {"up_to": "20", "unit_price": "8", "flat_amount": "2"},
        {"unit_price": "5"},
    ],
}
LICENCE = {"kind": "licence", "tiers_count": "moment", "price": SEATS}


def price(*levels: tuple[str, int], **more: Any) -> dict[str, Any]:
    """What levels that stand for so many days cost."""
    stood = [{"level": level, "days": days} for level, days in levels]
    return price_request({"charge": {**LICENCE, **more}, "currency": "EUR", "levels": stood})


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize(
    ("levels", "more", "billed"),
    [
        ([("10", 30)], {}, "103.00"),
        ([("10", 15), ("14", 15)], {}, "121.00"),  # ten at 10, two (four for half the time) at 8, 3 + 2 flat
        ([("10", 29), ("30", 1)], {}, "109.33"),  # 100 + 80 / 30 + 50 / 30, and 3 + 2
        ([("0", 15), ("20", 15)], {}, "95.00"),  # ten seats for half the time are no cheaper than five
        ([("0", 30)], {}, "0.00"),
        ([("0", 30)], {"zero_usage": "charge"}, "3.00"),
        ([("12", 15), ("4", 15)], {"free_units": "4"}, "43.00"),  # eight for half the time
        ([("10", 15), ("14", 15)], {"maximum_amount": "100"}, "100.00"),
    ],
)
def test_what_levels_over_time_cost(levels: list[tuple[str, int]], more: dict[str, Any], billed: str) -> None:
    assert price(*levels, **more)["billed"] == billed


def test_an_average_alone_would_be_another_price() -> None:
    """Twenty seats for half the time: ten on average, all of them in the first tier."""
    average = {"charge": {"kind": "licence", "price": SEATS}, "currency": "EUR", "quantity": "10"}
    assert price_request(average)["billed"] == "103.00"
    assert price(("0", 15), ("20", 15))["billed"] == "95.00"
    with pytest.raises(InvalidDocument, match="levels_unused"):
        price(("10", 30), tiers_count="period")


def rated(levels: Sequence[tuple[Fraction, int]], **more: Any) -> tuple[dict[str, Any], Any]:
    """The line of levels that stood for so many days of a month, read plainly."""
    gold = plan(usage_charge("seats", SEATS, **{"kind": "licence", "tiers_count": "moment", **more}))
    days = sum(stood for _, stood in levels)

    def average(parts: list[Fraction]) -> Decimal:
        exact = (
            sum((part * stood for part, (_, stood) in zip(parts, levels, strict=True)), Fraction(0)) / days
        )
        return Decimal((2 * exact * 10**12 + 1) // 2).scaleb(-12)

    rows = [(0, "seats", average([level for level, _ in levels]), 1)]
    rows += [
        (0, meter.meter_id, average([meter.part_of(level) for level, _ in levels]), 1)
        for meter in priced_meters(versions(gold), METERS)
        if isinstance(meter, LevelPart)
    ]
    book = compile_price_book(versions(gold), METERS)
    lines = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r", threads=1).lines
    return line_to_python(lines, 0), gold


@settings(max_examples=60, deadline=None)
@given(
    levels=st.lists(
        st.tuples(st.fractions(0, 40, max_denominator=8), st.integers(1, 15)), min_size=1, max_size=5
    )
)
@pytest.mark.requirement("RAT-08")
def test_a_run_equals_pricing_every_day_alone(levels: list[tuple[Fraction, int]]) -> None:
    """The units of each day at the prices of its tiers, over all days; the line verifies itself."""
    line, gold = rated(levels)
    days = sum(stood for _, stood in levels)
    unit_prices = ((Fraction(0), Fraction(10), 10), (Fraction(10), Fraction(20), 8), (Fraction(20), None, 5))
    exact = Fraction(0)
    for low, high, unit_price in unit_prices:
        for level, stood in levels:
            upper = level if high is None else min(level, high)
            exact += max(Fraction(0), upper - low) * unit_price * stood / days
    peak = max(level for level, _ in levels)
    exact += 3 * (peak > 0) + 2 * (peak > 10)
    assert abs(Fraction(line["amount"]) - exact) <= Fraction(
        12, 10**12
    )  # three readings, half a last digit each
    assert reprice_line(line, gold) == 0
    explained = json.loads(to_json(explain_line(line, gold).to_dict()))
    assert verify.differences(explained) == []
    explained["inputs"]["beside"]["level_tier_1"] = str(line["inputs"]["level_tier_1"] + 7)
    assert verify.differences(explained)


def test_a_level_that_changed_while_it_was_read_waits() -> None:
    gold = plan(usage_charge("seats", SEATS, kind="licence", tiers_count="moment"))
    parts = [one for one in priced_meters(versions(gold), METERS) if isinstance(one, LevelPart)]
    parts.sort(key=lambda part: part.above)
    assert [str(part.up_to) for part in parts] == ["10", "20", "None"]
    rows = [(0, "seats", "12"), (0, parts[0].meter_id, "10"), (0, parts[1].meter_id, "3")]
    book = compile_price_book(versions(gold), METERS)
    found = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r")
    assert found.unrated["reason_code"].to_pylist() == ["usage_changed"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"price": {"model": "volume", "tiers": SEATS["tiers"]}}, "tiers_count_model"),
        ({"price": {"model": "graduated", "tiers": [{"package_size": "1", "package_price": "1"}]}},
         "tiers_count_model"),
        ({"meter_id": "calls", "kind": "usage"}, "tiers_count_meter"),
        ({"unit_conversion": {"operation": "divide", "factor": "2"}}, "moment_converted"),
        ({"pooled_over": "customer"}, "pooled_moment"),
    ],
)  # fmt: skip
def test_what_has_no_tiers_for_a_moment_is_refused(change: dict[str, Any], code: str) -> None:
    charge = {**usage_charge("seats", SEATS, kind="licence", tiers_count="moment"), **change}
    assert code in {issue.reason_code for issue in price_plan_rules(plan(charge), meters=METERS)}
