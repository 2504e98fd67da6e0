"""Goal: percentages taken off by the compiled way and by plain integers are the same, digit for digit, and
only invoices of one plan with nothing but percentages go the compiled way."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import rating.discount_lines
from rating.compile import compile_price_book
from rating.percent_kernel import takes_percentages_only
from rating.price_plan import PricePlan
from rating.rate import rate_usage
from rating.store import line_to_python
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

PRICES: list[dict[str, Any]] = [
    {"model": "per_unit", "unit_price": "0.333333333333"},
    {"model": "dynamic", "currency": "EUR", "multiplier": "1.1"},
    {"model": "graduated", "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.005"}]},
]


def random_discounts(source: random.Random) -> list[dict[str, Any]]:
    found = []
    for number in range(source.randint(1, 4)):
        one: dict[str, Any] = {"discount_id": f"d{number}", "name": "D"}
        one["percent"] = str(Decimal(source.randint(1, 10**14)) / 10**12)
        if source.random() < 0.4:
            one["charge_ids"] = source.sample(["c0", "c1", "c2", "fee"], source.randint(1, 3))
        if source.random() < 0.3:
            one["charge_kinds"] = [source.choice(["usage", "recurring"])]
        window = source.random()
        if window < 0.2:
            one["first_periods"] = source.randint(1, 3)
        elif window < 0.4:
            one["effective_from"] = date(2026, source.randint(1, 4), 1)
        elif window < 0.6:
            one["effective_until"] = date(2026, source.randint(2, 5), 1)
        found.append(one)
    return found


def random_plan(source: random.Random, plan_id: str) -> PricePlan:
    charges = [
        usage_charge("bytes", source.choice(PRICES)) | {"charge_id": f"c{number}"} for number in range(3)
    ]
    fee = {"charge_id": "fee", "name": "F", "kind": "recurring", "price": {"model": "flat", "amount": "9.99"}}
    return plan(
        *charges,
        fee,
        plan_id=plan_id,
        rounding=source.choice(["half_up", "half_even"]),
        discounts=random_discounts(source),
        discounting={
            "order": source.choice(["percentage_first", "amount_first", "as_written"]),
            "mode": source.choice(["stacked", "parallel"]),
        },
    )


def rated(plans: list[PricePlan], rows: list[dict[str, Any]], used: pa.Table) -> pa.Table:
    book = compile_price_book(versions(*plans), METERS)
    found = rate_usage(periods=periods(*rows), usage=used, price_book=book, run_id="r", threads=1)
    return found.lines


@pytest.mark.parametrize("seed", range(12))
def test_both_ways_give_the_same_lines(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Months of several contracts and plans; credits; quantities that leave half a cent."""
    source = random.Random(seed)
    plans = [random_plan(source, f"p{number}") for number in range(3)]
    assert all(takes_percentages_only(one) for one in plans)
    rows = [
        {
            "contract_id": f"c{contract}",
            "plan_id": f"p{contract % 3}",
            "start": date(2026, month, 1),
            "end": date(2026, month + 1, 1),
            "full_days": source.choice((31, 62)),
            "period_number": month - 1,
        }
        for contract in range(5)
        for month in (1, 2, 3, 4)
    ]
    quantities = [
        source.choice([Decimal(source.randrange(10**9)) / 10**4, Decimal(1), Decimal("4503599627370495.5")])
        for _ in rows
    ]
    signs = [-1 if row["plan_id"] == "p0" and source.random() < 0.2 else 1 for row in rows]
    pairs = zip(quantities, signs, strict=True)
    used = usage(*((key, "bytes", one * sign, 1) for key, (one, sign) in enumerate(pairs)))
    compiled = rated(plans, rows, used)
    monkeypatch.setattr(rating.discount_lines, "takes_percentages_only", lambda _: False)
    plain = rated(plans, rows, used)
    assert compiled.to_pylist() == plain.to_pylist()
    assert any(compiled["discount_number"].to_pylist())


@pytest.mark.parametrize(
    ("more", "simple"),
    [
        ({"discounts": [{"discount_id": "d", "name": "D", "percent": "5"}]}, True),
        ({"discounts": [{"discount_id": "d", "name": "D", "amount": "5"}]}, False),
        ({"discounts": [{"discount_id": "d", "name": "D", "percent": "5"}], "maximum_spend": "9"}, False),
        (
            {
                "discounts": [{"discount_id": "d", "name": "D", "percent": "5"}],
                "discounting": {"rounding": "each_step"},
            },
            False,
        ),
    ],
)
def test_what_goes_the_compiled_way(more: dict[str, Any], simple: bool) -> None:
    assert takes_percentages_only(plan(usage_charge("bytes", PRICES[0]), **more)) is simple


def test_both_ways_stand_in_one_batch_and_an_invoice_of_two_versions_goes_the_plain_one() -> None:
    """10.00 each: 20 % off one contract, 3.00 off another, and a month of which the second half is under a
    version that takes 50 % off: each line keeps what its own plan says, in the order of the lines."""
    flat = {"model": "flat", "amount": "10"}
    percent = {"discount_id": "d", "name": "D", "percent": "20"}
    first = plan(usage_charge("bytes", flat), discounts=[percent])
    second = plan(usage_charge("bytes", flat), discounts=[{**percent, "percent": "50"}])
    amount = plan(
        usage_charge("bytes", flat),
        plan_id="silver",
        discounts=[{"discount_id": "a", "name": "A", "amount": "3"}],
    )
    half, month = date(2026, 1, 16), date(2026, 2, 1)
    rows: list[dict[str, Any]] = [
        {"contract_id": "a"},
        {"contract_id": "b", "plan_id": "silver"},
        {"contract_id": "c", "end": half, "billing_date": month},
        {"contract_id": "c", "start": half, "plan_version": 2},
        {"contract_id": "d"},
    ]
    used = usage(*((key, "bytes", "1", 1) for key in range(len(rows))))
    lines = rated([first, second, amount], rows, used)
    found = [line_to_python(lines, row) for row in range(lines.num_rows)]
    assert [(line["contract_id"], line["amount_minor"], line["discount_amount"]) for line in found] == [
        ("a", 800, [Decimal(2)]),
        ("b", 700, [Decimal(3)]),
        ("c", 800, [Decimal(2)]),
        ("c", 500, [Decimal(5)]),
        ("d", 800, [Decimal(2)]),
    ]
