"""Goal: some charges of a plan come to a minimum together, in a line of its own that explains itself."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from api.json import to_json
from rating.compile import compile_price_book
from rating.explain import explain_line, reprice_line
from rating.money import round_to_minor
from rating.plan_rules import price_plan_rules
from rating.price_plan import PricePlan
from rating.rate import RatedLines, rate_amounts, rate_usage
from rating.store import line_to_python
from rating.verify import differences
from tests.rating.plans import METERS, periods, plan, rows_of, usage, usage_charge, versions

ONE = {"model": "per_unit", "unit_price": "1"}
FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "7"}}
CHARGES = (usage_charge("calls", ONE), usage_charge("hours", ONE), usage_charge("bytes", ONE), FEE)


def group(amount: str, *charge_ids: str, minimum_id: str = "compute", **more: Any) -> dict[str, Any]:
    return {"minimum_id": minimum_id, "amount": amount, "charge_ids": charge_ids, **more}


def rate(gold: PricePlan, *used: tuple[Any, ...], rows: tuple[Mapping[str, Any], ...] = ({},)) -> RatedLines:
    book = compile_price_book(versions(gold), METERS)
    rated = rate_usage(periods=periods(*rows), usage=usage(*used), price_book=book, run_id="r", threads=1)
    amounts = rate_amounts(periods=periods(*rows), usage=usage(*used), price_book=book)
    assert sum(rated.lines["amount_minor"].to_pylist()) == amounts.amount_minor.sum()
    return rated


def minimums(rated: RatedLines) -> list[tuple[Any, ...]]:
    found = rows_of(rated.lines, ["charge_id", "quantity", "rated_quantity", "amount_minor", "charge_kind"])
    return [row[:4] for row in found if row[4] == "minimum_spend"]


@pytest.mark.requirement("CON-12")
@pytest.mark.parametrize(
    ("minimum", "used", "days", "expected"),
    [
        # calls, hours, what the line says was reached, the minimum, what is missing in cents
        ("50", (20, 10), 31, [("minimum:compute", 30, 50, 2000)]),
        ("30", (20, 10), 31, []),  # reached to the cent
        ("29.99", (20, 10), 31, []),
        ("50", (0, 0), 31, [("minimum:compute", 0, 50, 5000)]),  # nothing was used
        ("62", (20, 10), 17, [("minimum:compute", 30, 34, 400)]),  # 17 of 31 days
        ("50", (20, -5), 31, [("minimum:compute", 15, 50, 3500)]),
    ],
)
def test_what_is_missing_to_the_minimum_is_one_more_line(
    minimum: str, used: tuple[int, int], days: int, expected: list[tuple[Any, ...]]
) -> None:
    """Bytes and the fee do not count."""
    gold = plan(*CHARGES, group_minimums=[group(minimum, "calls", "hours")])
    counted = [(0, "calls", str(used[0])), (0, "hours", str(used[1])), (0, "bytes", "1000")]
    row = {"end": date(2026, 1, 1 + days), "full_days": 31} if days < 31 else {}
    rated = rate(gold, *counted, rows=(row,))
    assert minimums(rated) == expected
    for number in range(rated.lines.num_rows):
        line = line_to_python(rated.lines, number)
        explanation = explain_line(line, gold)
        assert differences(json.loads(to_json(explanation.to_dict()))) == []
        assert reprice_line(line, gold) == 0
        if line["charge_kind"] == "minimum_spend":
            assert "lines of calls, hours of the period come to" in explanation.to_text()
            assert reprice_line({**line, "amount_minor": line["amount_minor"] + 1}, gold) != 0


def test_groups_may_share_a_charge_and_count_towards_the_minimum_spend() -> None:
    """10 calls and 5 hours: both groups lack 15 and 30, so 60 is reached of 100."""
    groups = [
        group("30", "calls", "hours"),
        group("40", "calls", minimum_id="voice"),
    ]
    gold = plan(*CHARGES, group_minimums=groups, minimum_spend="100")
    rated = rate(gold, (0, "calls", "10"), (0, "hours", "5"))
    assert rows_of(rated.lines, ["charge_id", "amount_minor"]) == [
        ("calls", 1000), ("hours", 500), ("fee", 700),
        ("minimum:compute", 1500), ("minimum:voice", 3000), ("minimum-spend", 4000),
    ]  # fmt: skip
    assert len(set(rated.lines["line_id"].to_pylist())) == 6


def test_only_the_plans_that_have_groups_and_their_arrears_periods_get_lines() -> None:
    gold = plan(*CHARGES, group_minimums=[group("50", "calls")])
    book = compile_price_book(versions(plan(*CHARGES, plan_id="plain"), gold), METERS)
    rows = periods({"plan_id": "plain"}, {}, {"timing": "advance"}, {"plan_id": "plain"}, {})
    used = usage((0, "calls", "1"), (1, "calls", "2"), (3, "calls", "3"), (4, "calls", "60"))
    lines = rate_usage(periods=rows, usage=used, price_book=book, run_id="r", threads=1).lines
    assert [row for row in rows_of(lines, ["charge_id", "amount_minor"]) if ":" in row[0]] == [
        ("minimum:compute", 4800)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_many_periods_equal_a_plain_count(seed: int) -> None:
    source = random.Random(seed)
    metered = ("calls", "hours", "bytes")
    groups = [
        group(str(source.randrange(100)), *source.sample(metered, source.randint(1, 3)), minimum_id=f"g{n}")
        for n in range(source.randint(1, 4))
    ]
    gold = plan(*CHARGES, group_minimums=groups)
    used: dict[tuple[int, str], int] = {
        (key, meter_id): source.randrange(60)
        for key in range(30)
        for meter_id in metered
        if source.random() < 0.7
    }
    days = [source.randint(1, 31) for _ in range(30)]
    rows = tuple({"end": date(2026, 1, 1 + n) if n < 31 else date(2026, 2, 1), "full_days": 31} for n in days)
    rated = rate(gold, *((key, meter, str(count)) for (key, meter), count in used.items()), rows=rows)
    expected = []
    for key, part in enumerate(days):
        for entry in groups:
            reached = sum(100 * used.get((key, name), 0) for name in entry["charge_ids"])
            least = round_to_minor(
                Fraction(Decimal(entry["amount"])) * Fraction(part, 31), digits=2, mode="half_up"
            )
            if least > reached:
                expected.append((f"minimum:{entry['minimum_id']}", least - reached))
    assert [(row[0], row[3]) for row in minimums(rated)] == expected


def test_a_minimum_too_large_to_keep_is_unrated() -> None:
    gold = plan(*CHARGES, group_minimums=[group("92233720368547758.08", "calls")])
    rated = rate(gold, (0, "calls", "1"))
    assert rows_of(rated.unrated, ["charge_id", "reason_code"]) == [("minimum:compute", "amount_too_large")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"group_minimums": [group("1", "fax")]}, "group_minimum_charges"),
        ({"group_minimums": [group("1", "fee")]}, "group_minimum_charges"),
        ({"group_minimums": [group("1")]}, "group_minimum_charges"),
        ({"group_minimums": [group("1", "calls", "calls")]}, "group_minimum_charges"),
        ({"group_minimums": [group("-1", "calls")]}, "negative_number"),
        ({"group_minimums": [group("1", "calls"), group("2", "hours")]}, "minimum_id_taken"),
        ({"group_minimums": [group("1", "calls")], "maximum_spend": "5"}, "group_minimum_and_maximum"),
        ({"group_minimums": [group("92233720368547758.08", "calls")]}, "amount_too_large"),
    ],
)
def test_a_group_that_cannot_be_is_refused(change: dict[str, Any], code: str) -> None:
    assert code in {issue.reason_code for issue in price_plan_rules(plan(*CHARGES, **change), meters=METERS)}


def test_no_charge_may_take_the_id_of_a_minimum() -> None:
    charge = usage_charge("calls", ONE, charge_id="minimum:compute")
    assert [issue.reason_code for issue in price_plan_rules(plan(charge), meters=METERS)] == [
        "charge_id_taken"
    ]


def test_a_minimum_is_of_charges_in_arrears() -> None:
    ahead = usage_charge("seats", {"model": "per_unit", "unit_price": "1"}) | {
        "kind": "licence",
        "timing": "advance",
    }
    found = price_plan_rules(
        plan(*CHARGES, ahead, group_minimums=[group("5", "calls", "seats")]), meters=METERS
    )
    assert [issue.reason_code for issue in found] == ["group_minimum_charges"]
