"""Goal: tiers that begin again with each event come to what the events cost alone, to the last digit."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from api.json import to_json
from ingest.errors import InvalidInput
from rating import verify
from rating.compile import compile_price_book
from rating.event_tiers import tier_meter
from rating.explain import explain_line
from rating.plan_rules import price_plan_rules
from rating.price import price_request
from rating.price_plan import simple_prices
from rating.priced_meters import priced_meters
from rating.rate import rate_usage
from rating.reference import model_tiers
from rating.reprice import reprice_line
from rating.store import line_to_python
from rollup.banded_meter import charged_by_band
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

CALLS = {
    "model": "graduated",
    "tiers": [
        {"up_to": "60", "package_size": "60", "package_price": "0.20", "flat_amount": "0.40"},
        {"package_size": "1", "package_price": "0.01"},
    ],
}
"""A connect fee of 0.40, the first minute whole at 0.20, then 0.01 a started second."""
SIZES = {"model": "volume", "tiers": [{"up_to": "512", "unit_price": "0.01"}, {"unit_price": "0.005"}]}
STAIRS = {"model": "stairstep", "tiers": [{"up_to": "10", "flat_amount": "1"}, {"flat_amount": "3"}]}
PACKS = {"model": "package", "package_size": "6", "package_price": "0.05"}
MINUTES = {"operation": "divide", "factor": "60"}
SHARES = {"model": "graduated_percentage", "tiers": [{"up_to": "100", "percent": "3"}, {"percent": "1"}]}


def price(values: Sequence[str], charge: dict[str, Any]) -> dict[str, Any]:
    events = [{"value": value} for value in values]
    return price_request({"charge": {"tiers_count": "event", **charge}, "currency": "EUR", "events": events})


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize(
    ("charge", "values", "billed"),
    [
        ({"price": CALLS}, ["60"], "0.60"),
        ({"price": CALLS}, ["1", "0.5"], "1.20"),  # each pays the fee and a minute
        ({"price": CALLS}, ["60.000000000001", "85"], "1.46"),  # 0.61 and 0.85
        ({"price": CALLS}, ["0", "85"], "0.85"),  # nothing was said: no fee
        ({"price": SIZES}, ["512", "513"], "7.69"),  # 5.12 and 2.565, rounded once
        ({"price": STAIRS}, ["10", "10", "11"], "5.00"),
        ({"price": PACKS}, ["6", "7", "1"], "0.20"),
        ({"price": {**PACKS, "round": "down"}}, ["6", "7", "1"], "0.10"),
        ({"price": SHARES}, ["150", "50"], "5.00"),  # 3.00 + 0.50 + 1.50
        ({"free_units": "5", "price": {"model": "per_unit", "unit_price": "2"}}, ["7", "5", "3"], "4.00"),
        ({"free_units": "5", "price": STAIRS}, ["15", "16", "5"], "4.00"),
        ({"price": STAIRS, "maximum_amount": "4"}, ["10", "10", "11"], "4.00"),
        ({"unit_conversion": MINUTES, "price": STAIRS}, ["600", "601"], "4.00"),
    ],
)  # fmt: skip
def test_each_event_begins_at_the_first_tier(charge: dict[str, Any], values: list[str], billed: str) -> None:
    assert price(values, charge)["billed"] == billed


def test_the_same_calls_together_would_cost_less() -> None:
    together = {"charge": {"price": CALLS}, "currency": "EUR", "quantity": "60", "event_count": 2}
    assert price_request(together)["billed"] == "0.60"
    assert price(["30", "30"], {"price": CALLS})["billed"] == "1.20"


def test_an_event_below_zero_has_no_price_and_a_sum_is_not_enough() -> None:
    with pytest.raises(InvalidInput, match="1 events are below zero") as caught:
        price(["5", "-1"], {"price": SIZES})
    assert caught.value.reason_code == "negative_quantity"
    with pytest.raises(InvalidInput, match="give the events"):
        price_request(
            {"charge": {"tiers_count": "event", "price": SIZES}, "currency": "EUR", "quantity": "5"}
        )


def random_tiers(source: random.Random) -> dict[str, Any]:
    """Graduated or volume tiers, by the unit, in packages, with flat amounts."""
    bounds, below = [], 0
    for _ in range(source.randint(0, 3)):
        below += source.randint(1, 9) * 12
        bounds.append(below)
    tiers = []
    for bound in [*bounds, None]:
        tier: dict[str, Any] = {} if bound is None else {"up_to": str(bound)}
        if source.random() < 0.5:
            size = source.choice(["1", "3", "6"])
            tier |= {"package_size": size, "package_price": "0.37", "round": source.choice(["up", "down"])}
        else:
            tier["unit_price"] = str(Decimal(source.randrange(10**6)) / 10**5)
        if source.random() < 0.5:
            tier["flat_amount"] = str(Decimal(source.randrange(1000)) / 100)
        tiers.append(tier)
    return {"model": source.choice(["graduated", "volume"]), "tiers": tiers}


@pytest.mark.requirement("RAT-08")
@pytest.mark.parametrize("seed", range(24))
def test_a_run_equals_pricing_every_event_alone(seed: int) -> None:
    """Values at every bound and beside them; the line explains, prices and verifies itself again."""
    source = random.Random(seed)
    more: dict[str, Any] = {} if seed % 3 else {"free_units": "2.5"}
    if seed % 4 == 1:
        more["unit_conversion"] = {"operation": "multiply", "factor": "0.5"}
    charge = usage_charge("value", random_tiers(source), tiers_count="event", **more)
    gold = plan(charge)
    assert list(price_plan_rules(gold, meters=METERS)) == []
    (simple,) = simple_prices(gold.charges[0].price)
    meter = tier_meter(gold.charges[0], simple, METERS["value"])
    ulp = Decimal("0.000000000001")
    edges = [bound + nudge for bound in meter.thresholds for nudge in (0, ulp, -ulp)]
    values = [edge for edge in edges if edge >= 0]
    values += [Decimal(source.randrange(10**6)) / 1000 for _ in range(20)]
    rows: list[tuple[Any, ...]] = [(0, "value", sum(values, Decimal(0)), len(values))]
    bands = charged_by_band(meter, [Fraction(value) for value in values])
    rows += [
        (0, meter.meter_id, Decimal(int(sum(part) * 10**12)).scaleb(-12), len(part), {"(band)": band})
        for band, part in bands.items()
    ]
    assert [one.meter_id for one in priced_meters(versions(gold), METERS)] == ["value", meter.meter_id]
    book = compile_price_book(versions(gold), METERS)
    lines = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r", threads=1).lines
    line = line_to_python(lines, 0)
    factor, free = Fraction(1, 2) if "unit_conversion" in more else 1, Fraction(more.get("free_units", 0))
    alone = Fraction(0)
    for value in values:
        units = max(Fraction(0), Fraction(value) * factor - free)
        reached = model_tiers(simple, units, 1, zero_reaches=False)
        alone += sum((tier.amount for tier in reached), Fraction(0))
    assert int(alone * 10**12) == int(line["amount"].scaleb(12))
    assert reprice_line(line, gold) == 0
    explained = json.loads(to_json(explain_line(line, gold).to_dict()))
    assert verify.differences(explained) == []
    name = next(name for name in explained["inputs"]["beside"] if name.startswith(("value_t", "packages_t")))
    explained["inputs"]["beside"][name] = str(Decimal(explained["inputs"]["beside"][name]) + 7)
    assert verify.differences(explained)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"price": {"model": "flat", "amount": "1"}}, "tiers_count_model"),
        ({"price": {"model": "percentage", "percent": "1"}}, "tiers_count_model"),
        ({"zero_usage": "charge"}, "zero_usage_of_events"),
        ({"pooled_over": "customer"}, "pooled_by_event"),
        ({"meter_id": "calls"}, "meter_of_events"),
        ({"unit_conversion": {**MINUTES, "fraction_digits": 0}}, "conversion_rounds"),
        ({"unit_conversion": {**MINUTES, "operation": "multiply"}, "price": PACKS}, "packages_of_events"),
        ({"price": {**PACKS, "package_size": "0.1"}}, "packages_of_events"),
    ],
)  # fmt: skip
def test_what_has_no_tiers_for_an_event_is_refused(change: dict[str, Any], code: str) -> None:
    charge = {**usage_charge("value", SIZES, tiers_count="event"), **change}
    assert code in {issue.reason_code for issue in price_plan_rules(plan(charge), meters=METERS)}


def test_an_event_that_comes_between_the_counts_leaves_its_period_to_the_next_run() -> None:
    gold = plan(usage_charge("value", SIZES, tiers_count="event"))
    (_, banded) = priced_meters(versions(gold), METERS)
    book = compile_price_book(versions(gold), METERS)
    for value, count in (("15", 2), ("10", 1)):
        rows = [(0, "value", value, count), (0, banded.meter_id, "10", 2, {"(band)": "2"})]
        found = rate_usage(periods=periods({}), usage=usage(*rows), price_book=book, run_id="r")
        assert found.unrated["reason_code"].to_pylist() == ["usage_changed"]
