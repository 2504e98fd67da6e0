"""Goal: what a period adds to its year, and a contract's part of its pool, are exact, sum up, and are one
thing to a run, to pricing again and to the verifier."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from api.json import to_json
from ingest.errors import BrokenState
from rating import verify
from rating.compile import PriceBook, compile_price_book
from rating.explain import explain_line
from rating.money import round_to_minor
from rating.plan_rules import price_plan_rules
from rating.price_plan import PricePlan, SimplePrice
from rating.rate import RatedLines, rate_usage
from rating.reference import price_quantity
from rating.reprice import reprice_line
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rating.store import line_to_python
from rating.wider_usage import EarlierUsage, WiderUsage
from rollup.schema import USAGE_SCHEMA
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions
from tests.rating.random_prices import random_price

NOBODY = SERVICE_PERIOD_SCHEMA.empty_table()
NOTHING = USAGE_SCHEMA.empty_table()
Counted = list[tuple[Decimal, int]]


def book_of(gold: PricePlan) -> PriceBook:
    return compile_price_book(versions(gold), METERS)


def months(
    gold: PricePlan, counted: Sequence[tuple[Decimal | str, int]], *, meter_id: str = "bytes"
) -> RatedLines:
    """The months of a year, each beginning at what came before it."""
    rows = [
        {"start": date(2026, 1 + place, 1), "end": date(2026, 2 + place, 1)} for place in range(len(counted))
    ]
    own, before = [], []
    for place, (quantity, events) in enumerate(counted):
        own.append((place, meter_id, quantity, events))
        sums = counted[:place]
        before.append(
            (place, meter_id, sum((Decimal(q) for q, _ in sums), Decimal(0)), sum(e for _, e in sums))
        )
    begun = np.arange(len(counted)) > 0
    earlier = EarlierUsage(usage(*before), begun)
    wider = WiderUsage({"year": earlier, "contract": earlier}, NOBODY, NOTHING, np.full(len(counted), -1))
    return rate_usage(
        periods=periods(*rows),
        usage=usage(*own),
        price_book=book_of(gold),
        run_id="r",
        threads=1,
        wider=wider,
    )


def checked(lines: RatedLines, gold: PricePlan) -> list[dict[str, Any]]:
    """The lines, each of which prices and verifies itself again, and no longer does when altered."""
    found = [line_to_python(lines.lines, row) for row in range(lines.lines.num_rows)]
    for line in found:
        assert reprice_line(line, gold) == 0
        explained = json.loads(to_json(explain_line(line, gold).to_dict()))
        assert verify.differences(explained) == []
        explained["amount_minor"] += 1
        assert verify.differences(explained)
    return found


def amounts(price: dict[str, Any], counted: Sequence[str], **more: Any) -> list[int]:
    gold = plan(usage_charge("bytes", price, tiers_count="year", **more))
    return [line["amount_minor"] for line in checked(months(gold, [(q, 1) for q in counted]), gold)]


def everyday_price(source: random.Random, models: Sequence[str]) -> SimplePrice:
    """A random price of one of the models, without packages so small that everything comes to too much."""
    while True:
        price = random_price(source, digits_max=13)
        sizes = [getattr(entry, "package_size", None) for entry in (price, *getattr(price, "tiers", ()))]
        if price.model in models and all(size is None or size > Decimal("0.001") for size in sizes):
            return price


TIERS = [{"up_to": "100", "unit_price": "1", "flat_amount": "5"}, {"unit_price": "0.5", "flat_amount": "2"}]


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize(
    ("price", "counted", "more", "expected"),
    [
        ({"model": "graduated", "tiers": TIERS}, ["60", "40", "1", "0"], {}, [6500, 4000, 250, 0]),
        ({"model": "graduated", "tiers": TIERS}, ["100.5", "-0.5", "-50"], {}, [10725, -225, -5000]),
        # All units at the price of the tier of the year so far: what the first month cost more is given back.
        ({"model": "volume", "tiers": TIERS}, ["100", "1", "99"], {}, [10500, -5250, 4950]),
        ({"model": "stairstep", "tiers": [{"up_to": "5", "flat_amount": "20"}, {"flat_amount": "90"}]},
         ["5", "0.01", "100"], {}, [2000, 7000, 0]),
        ({"model": "package", "package_size": "1000", "package_price": "2.5"},
         ["1", "999", "1"], {}, [250, 0, 250]),
        ({"model": "per_unit", "unit_price": "2"},
         ["80", "40", "10"], {"free_units": "100"}, [0, 4000, 2000]),
        ({"model": "percentage", "percent": "1", "fixed_per_event": "1", "free_events": 2},
         ["100", "100", "100"], {}, [100, 100, 200]),
        ({"model": "graduated_percentage", "tiers": [{"up_to": "150", "percent": "10"}, {"percent": "1"}]},
         ["100", "100"], {}, [1000, 550]),
        ({"model": "per_unit", "unit_price": "1"}, ["0.4", "0.4", "0.4"],
         {"unit_conversion": {"operation": "multiply", "factor": "1", "fraction_digits": 0, "round": "up"}},
         [100, 0, 100]),
        # The least and the most of the charge are those of the period.
        ({"model": "graduated", "tiers": TIERS}, ["60", "40", "1"],
         {"minimum_amount": "3", "maximum_amount": "50"}, [5000, 4000, 300]),
    ],
)  # fmt: skip
def test_a_period_costs_what_it_adds_to_the_year(
    price: dict[str, Any], counted: list[str], more: dict[str, Any], expected: list[int]
) -> None:
    assert amounts(price, counted, **more) == expected


def test_tiers_of_a_line_are_what_the_period_changed() -> None:
    gold = plan(usage_charge("bytes", {"model": "volume", "tiers": TIERS}, tiers_count="contract"))
    _, second, third = checked(months(gold, [("100", 1), ("1", 1), ("5", 1)]), gold)
    rows = [
        list(zip(line["tier_number"], line["tier_units"], line["tier_amount"], strict=True))
        for line in (second, third)
    ]
    assert rows == [[(1, -100, -105), (2, 101, Decimal("52.5"))], [(2, 5, Decimal("2.5"))]]


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize("seed", range(24))
def test_the_lines_of_a_year_sum_to_the_price_of_the_year(seed: int) -> None:
    """To the twelfth digit, of any model, with quantities at the bounds of tiers and beside them."""
    source = random.Random(seed)
    price = everyday_price(source, ("graduated", "volume", "stairstep", "graduated_percentage", "package",
                                    "percentage", "per_unit"))  # fmt: skip
    charge = usage_charge(
        "bytes",
        price.model_dump(mode="json"),
        tiers_count="year",
        free_units=source.choice([None, "0.7", "1000"]),
        zero_usage=source.choice(["skip", "charge"]),
    )
    gold = plan(charge)
    bounds = [Fraction(tier.up_to) for tier in getattr(price, "tiers", ()) if tier.up_to is not None]
    marks = sorted({*bounds, *(Fraction(source.randrange(10**14), 10**10) for _ in range(4))})[:8]
    counted: Counted = []
    reached = Fraction(0)
    for mark in marks:
        step = (mark - reached) * 10**12
        counted.append((Decimal(int(step)).scaleb(-12), source.randint(1, 4)))
        reached = mark
    lines = checked(months(gold, counted), gold)
    terms = book_of(gold).terms[0]
    whole = price_quantity(
        terms,
        quantity=Decimal(int(reached * 10**12)).scaleb(-12),
        event_count=sum(events for _, events in counted),
        share=Fraction(1),
    )
    assert sum((Fraction(line["amount"]) for line in lines), Fraction(0)) == whole.amount
    assert sum((Fraction(line["rated_quantity"]) for line in lines), Fraction(0)) == whole.rated_quantity


def test_a_year_without_what_came_before_stops_the_run() -> None:
    gold = plan(usage_charge("bytes", {"model": "graduated", "tiers": TIERS}, tiers_count="year"))
    with pytest.raises(BrokenState, match="what came before"):
        rate_usage(periods=periods({}), usage=usage((0, "bytes", "5")), price_book=book_of(gold), run_id="r")
    pooled = plan(usage_charge("bytes", {"model": "graduated", "tiers": TIERS}, pooled_over="customer"))
    with pytest.raises(BrokenState, match="the pools were not given"):
        rate_usage(
            periods=periods({}), usage=usage((0, "bytes", "5")), price_book=book_of(pooled), run_id="r"
        )


def pool(
    gold: PricePlan, counted: Sequence[Decimal | str], *, own: int | None = None, **period: Any
) -> RatedLines:
    """One contract a quantity, in one pool. own: how many are billed, others are companions; None: all."""
    size = len(counted) if own is None else own
    rows = periods(*({"contract_id": f"c{place:02}", **period} for place in range(len(counted))))
    used = [(place, "bytes", quantity, 1) for place, quantity in enumerate(counted)]
    wider = WiderUsage({}, rows.slice(size), usage(*used[size:]), np.zeros(len(counted), np.int64))
    return rate_usage(
        periods=rows.slice(0, size),
        usage=usage(*used[:size]),
        price_book=book_of(gold),
        run_id="r",
        threads=1,
        wider=wider,
    )


def test_a_pool_is_shared_out_by_largest_remainder() -> None:
    """10 000 pooled by three at 100.00: 33.33 each, and the odd cent to the first."""
    gold = plan(usage_charge("bytes", {"model": "flat", "amount": "100"}, pooled_over="customer"))
    lines = checked(pool(gold, ["5", "5", "5"]), gold)
    assert [line["amount_minor"] for line in lines] == [3334, 3333, 3333]
    assert [line["inputs"]["pool_quantity"] for line in lines] == [15] * 3


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize("seed", range(16))
def test_the_parts_of_a_pool_sum_to_it(seed: int) -> None:
    """Whoever is billed first: companions change no line. Who uses less than nothing is left out."""
    source = random.Random(seed)
    price = everyday_price(source, ("graduated", "volume", "stairstep", "package"))
    minimum = str(source.randrange(200)) if source.random() < 0.3 else None
    gold = plan(
        usage_charge("bytes", price.model_dump(mode="json"), pooled_over="customer", minimum_amount=minimum,
                     free_units=source.choice([None, "3.5"]))
    )  # fmt: skip
    counted = [
        Decimal(source.randrange(10**6)) / source.choice((1, 1000)) for _ in range(source.randint(2, 9))
    ]
    counted[source.randrange(len(counted))] = Decimal(0)
    lines = checked(pool(gold, counted, full_days=source.choice((31, 62))), gold)
    share = Fraction(lines[0]["days"], lines[0]["full_days"])
    whole = price_quantity(
        book_of(gold).terms[0], quantity=sum(counted, Decimal(0)), event_count=len(counted), share=share
    )
    assert sum(line["amount_minor"] for line in lines) == whole.amount_minor
    for line in lines:
        exact = Fraction(whole.amount_minor) * Fraction(line["quantity"]) / Fraction(sum(counted, Decimal(0)))
        assert abs(line["amount_minor"] - exact) < 1
    some = pool(gold, counted, own=1, full_days=lines[0]["full_days"])
    assert some.lines.num_rows == 1
    assert line_to_python(some.lines) == lines[0]


def test_a_part_that_is_not_the_share_does_not_verify() -> None:
    gold = plan(usage_charge("bytes", {"model": "per_unit", "unit_price": "1"}, pooled_over="customer"))
    line, _ = checked(pool(gold, ["10", "30"]), gold)
    explained = json.loads(to_json(explain_line(line, gold).to_dict()))
    altered = {"amount": "11", "amount_minor": 1100, "billed": "11.00 EUR"}
    explained["inputs"]["beside"]["pool_part"] = "11"
    assert verify.differences({**explained, **altered})
    with pytest.raises(BrokenState, match="not the share"):
        reprice_line({**line, "inputs": {**line["inputs"], "pool_part": Decimal(11)}}, gold)


def test_less_than_nothing_takes_no_part_in_a_pool() -> None:
    gold = plan(usage_charge("bytes", {"model": "per_unit", "unit_price": "1"}, pooled_over="customer"))
    lines = checked(pool(gold, ["10", "-5", "20"]), gold)
    assert [line["amount_minor"] for line in lines] == [1000, -500, 2000]
    tiered = plan(usage_charge("bytes", {"model": "volume", "tiers": TIERS}, pooled_over="customer"))
    found = pool(tiered, ["10", "-5", "20"])
    assert found.unrated["reason_code"].to_pylist() == ["negative_quantity"]
    assert sum(found.lines["amount_minor"].to_pylist()) == 3500


def test_a_pool_too_large_to_price_is_unrated_for_each_of_its_contracts() -> None:
    gold = plan(usage_charge("bytes", {"model": "per_unit", "unit_price": "1000000"}, pooled_over="customer"))
    smaller = {"unit_conversion": {"operation": "divide", "factor": "1000000000000"}}
    flat = usage_charge("bytes", {"model": "flat", "amount": "1"}, pooled_over="customer", **smaller)
    for one, count in ((gold, "90000000000"), (plan(flat), "9" * 26)):
        found = pool(one, [count, count])
        assert found.unrated["reason_code"].to_pylist() == ["amount_too_large"] * 2
        assert found.lines.num_rows == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tiers_count": "year", "meter_id": "peak"}, "tiers_count_meter"),
        ({"tiers_count": "year", "meter_id": "seats", "kind": "licence"}, "tiers_count_meter"),
        ({"tiers_count": "year", "meter_id": None, "formula": "calls"}, "tiers_count_meter"),
        ({"tiers_count": "year", "price": {"model": "flat", "amount": "1"}}, "tiers_count_model"),
        ({"pooled_over": "customer", "zero_usage": "charge"}, "pooled_zero_usage"),
        ({"pooled_over": "customer",
          "price": {"model": "percentage", "percent": "1", "minimum_per_event": "1"}}, "pooled_by_event"),
        ({"pooled_over": "customer", "kind": "recurring", "meter_id": None,
          "price": {"model": "flat", "amount": "1"}}, "pooled_kind"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(change: dict[str, Any], code: str) -> None:
    charge = {**usage_charge("bytes", {"model": "graduated", "tiers": TIERS}), **change}
    assert code in {issue.reason_code for issue in price_plan_rules(plan(charge), meters=METERS)}


def test_such_charges_are_allowed_and_take_no_units_off() -> None:
    off = {"discount_id": "d", "name": "Free", "units": "5", "charge_ids": ["bytes"]}
    for more in ({"tiers_count": "contract"}, {"pooled_over": "customer"}):
        charge = usage_charge("bytes", {"model": "graduated", "tiers": TIERS}, **more)
        assert not list(price_plan_rules(plan(charge), meters=METERS))
        codes = [
            issue.reason_code for issue in price_plan_rules(plan(charge, discounts=[off]), meters=METERS)
        ]
        assert codes == ["discount_of_units"]


@pytest.mark.requirement("RAT-07")
@pytest.mark.parametrize("seed", range(12))
def test_a_pool_that_goes_on_pays_what_one_contract_would(seed: int) -> None:
    """Three contracts of a pool, each with what it counted before: the parts sum to what one contract adds
    that had used it all, and each line prices, explains and verifies itself again."""
    source = random.Random(seed)
    model = source.choice(["graduated", "volume"])
    gold = plan(
        usage_charge("bytes", {"model": model, "tiers": TIERS}, tiers_count="year", pooled_over="customer"),
        rounding=source.choice(["half_up", "half_even"]),
    )
    own = [Decimal(source.randrange(1, 40_000)) / 1000 for _ in range(3)]
    before = [Decimal(source.randrange(0, 30_000)) / 1000 for _ in range(3)]
    rows = periods(*({"contract_id": f"c{place}"} for place in range(3)))
    earlier = EarlierUsage(
        usage(*((place, "bytes", quantity, 1) for place, quantity in enumerate(before))), np.ones(3, np.bool_)
    )
    wider = WiderUsage({"year": earlier}, NOBODY, NOTHING, np.zeros(3, np.int64))
    found = rate_usage(
        periods=rows,
        usage=usage(*((place, "bytes", quantity, 1) for place, quantity in enumerate(own))),
        price_book=book_of(gold),
        run_id="r",
        threads=1,
        wider=wider,
    ).lines
    terms = book_of(gold).terms[0]
    through, start = (
        price_quantity(terms, quantity=quantity, event_count=3, share=Fraction(1))
        for quantity in (sum([*own, *before], Decimal(0)), sum(before, Decimal(0)))
    )
    exact = through.amount - start.amount
    billed = sum(found["amount_minor"].to_pylist())
    assert billed == round_to_minor(exact, digits=2, mode=gold.rounding)
    for place in range(3):
        line = line_to_python(found, place)
        assert line["inputs"]["before_quantity"] == sum(before)
        assert reprice_line(line, gold) == 0
        explained = json.loads(to_json(explain_line(line, gold).to_dict()))
        assert verify.differences(explained) == []
        explained["inputs"]["beside"]["pool_quantity"] = str(line["inputs"]["pool_quantity"] + 1000)
        assert verify.differences(explained)
