"""Goal: a formula of meters is read safely, worked out exactly, and refused where it is wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.json import to_json
from ingest.errors import InvalidInput
from rating import verify
from rating.compile import compile_price_book
from rating.explain import explain_line
from rating.formula import (
    Expression,
    FormulaError,
    MeterValue,
    Number,
    Operation,
    evaluate,
    formula_meters,
    formula_quantity,
    is_sum_of_meters,
    parse_formula,
    tree_to_json,
)
from rating.plan_rules import price_plan_rules
from rating.price import price_request
from rating.rate import RatedLines, rate_usage
from rating.reprice import reprice_line
from rating.store import line_to_python
from tests.rating.plans import METERS, periods, plan, rows_of, usage, versions

PER_UNIT = {"model": "per_unit", "unit_price": "2"}


def charge(formula: str, **more: Any) -> dict[str, Any]:
    return {"charge_id": "f", "name": "F", "kind": "usage", "formula": formula, "price": PER_UNIT, **more}


def rated(gold: Any, *used: tuple[Any, ...], **period: Any) -> RatedLines:
    book = compile_price_book(versions(gold), METERS)
    return rate_usage(periods=periods(period), usage=usage(*used), price_book=book, run_id="r", threads=1)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("a", "10"),
        ("a + b * 2", "16"),
        ("(a + b) * 2", "26"),
        ("a - b - 1", "6"),
        ("-a + 12.5", "2.5"),
        ("a - -b", "13"),
        ("a / b", "3.333333333333"),
        ("-a / b", "-3.333333333333"),
        ("divide(a, b, 0, up)", "4"),
        ("divide(a, b, 1, down)", "3.3"),
        ("divide(a, 4, 0, half_up)", "3"),
        ("round(a / b, 2, up)", "3.34"),
        ("round(-2.5, 0, half_up) + a", "7"),
        ("min(a, b, 7)", "3"),
        ("max(0, b - a)", "0"),
        ('"odd-name" * 2 + missing', "8"),
        ("0.000001 * 0.0000001 * a", "0.000000000001"),
        ("tier(a, 10, 20)", "1"),
        ("tier(a + 0.000000000001, 10, 20)", "2"),
        ("tier(a * 3, 10, 20)", "3"),
        ("tier(a - a, 10) + tier(-a, 10)", "0"),
        ("max(tier(a, 10, 20), tier(b, 1, 2.5, 9))", "3"),
    ],
)
def test_what_a_formula_comes_to(formula: str, expected: str) -> None:
    values = {"a": Decimal(10), "b": Decimal(3), "odd-name": Decimal(4)}
    assert formula_quantity(formula, values) == Decimal(expected)


@pytest.mark.parametrize(
    ("formula", "position", "problem"),
    [
        ("", 1, "the formula ends where a meter"),
        ("a +", 4, "the formula ends where a meter"),
        ("a + * b", 5, "'*' stands where a meter"),
        ("a b", 3, "'b' stands behind the end"),
        ("(a", 3, "the formula ends where ')' is wanted"),
        ("a % b", 3, "'%' has no meaning here"),
        ("  §", 3, "'§' has no meaning here"),
        ("sqrt(a)", 1, "'sqrt' is no function"),
        ("min(a)", 1, "min needs two or more"),
        ("round(a)", 8, "')' stands where ',' is wanted"),
        ("round(a, 13, up)", 10, "the number of digits is a whole number from 0 to 12"),
        ("divide(a, 2, 1, sideways)", 17, "the rounding is one of half_up, up, down"),
        ("1e5 * a", 2, "'e5' stands behind the end"),
        ("__import__(os)", 1, "'__import__' is no function"),
        ("open('x')", 6, "has no meaning here"),
        ("(" * 50 + "a" + ")" * 50, 42, "more than 40 levels"),
        ("a+" * 1001 + "a", 2001, "longer than 2000"),
        ("1" * 39 + "*a", 1, "at most 38 digits"),
        ("tier(a)", 1, "tier needs two or more"),
        ("tier(a, 10, 10)", 1, "each above the one before"),
        ("tier(a, 0, 10)", 1, "numbers above 0"),
        ("2 * tier(a, b)", 5, "the bounds of tier are numbers"),
    ],
)
def test_what_is_no_formula_is_refused_at_its_character(formula: str, position: int, problem: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(formula)
    assert (caught.value.position, problem in caught.value.problem) == (position, True), caught.value.problem


def test_meters_are_named_once_in_their_order() -> None:
    assert formula_meters('b + a * min(b, "x-1") + max(a, 2)') == ("b", "a", "x-1")
    assert formula_meters("a +") == formula_meters(None) == ()


leaves = st.one_of(
    st.decimals(min_value=0, max_value=1000, places=3).map(Number),
    st.sampled_from(["a", "b"]).map(MeterValue),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Operation, st.sampled_from("+-*"), st.tuples(inner, inner)),
        st.builds(Operation, st.sampled_from(("min", "max")), st.tuples(inner, inner, inner)),
        st.builds(
            Operation, st.just("round"), st.tuples(inner), st.integers(0, 12), st.sampled_from(("up", "down"))
        ),
        st.builds(
            Operation,
            st.just("divide"),
            st.tuples(inner, st.just(Number(Decimal(7)))),
            st.integers(0, 12),
            st.sampled_from(("half_up", "up", "down")),
        ),
    ),
    max_leaves=8,
)


def text_of(tree: Expression) -> str:
    """The tree as somebody might write it, with all parentheses."""
    if isinstance(tree, Number):
        return f"{tree.value:f}"
    if isinstance(tree, MeterValue):
        return tree.meter_id
    parts = [text_of(argument) for argument in tree.arguments]
    if tree.name in "+-*":
        return f"({parts[0]} {tree.name} {parts[1]})"
    more = [str(tree.digits), tree.rounding] if tree.name in {"round", "divide"} else []
    return f"{tree.name}({', '.join([*parts, *more])})"


@settings(max_examples=150)
@given(trees, st.decimals(-1000, 1000, places=12), st.decimals(-1000, 1000, places=2))
def test_text_tree_and_verifier_are_one(tree: Expression, a: Decimal, b: Decimal) -> None:
    """What is written is read as the same tree, and the verifier's own arithmetic agrees with it."""
    values = {"a": a, "b": b}
    wanted = evaluate(tree, values)
    assert evaluate(parse_formula(text_of(tree)), values) == wanted
    known = {name: Fraction(value) for name, value in values.items()}
    assert verify.formula_value(json.loads(json.dumps(tree_to_json(tree))), known) == wanted


def test_a_line_of_a_formula_shows_its_values_and_follows_from_them() -> None:
    """Calls beyond 100 a seat: 750 - 2.5 x 100."""
    gold = plan(charge("max(0, calls - 100 * seats)", unit="call"))
    found = rated(gold, (0, "calls", "750", 750), (0, "seats", "2.5", 0))
    line = line_to_python(found.lines)
    assert (line["quantity"], line["event_count"], line["amount_minor"]) == (500, 750, 100_000)
    assert (line["meter_id"], line["unit"]) == ("", "call")
    assert line["inputs"] == {"calls": Decimal(750), "seats": Decimal("2.5")}
    assert reprice_line(line, gold) == 0
    explained = explain_line(line, gold)
    assert "max(0, calls - 100 * seats), with calls 750, seats 2.5 -> 500" in explained.to_text()
    exported = json.loads(to_json(explained.to_dict()))
    assert verify.differences(exported) == []
    exported["inputs"]["beside"]["seats"] = "2"
    assert verify.differences(exported) == ["quantity says 500, the formula gives 550"]
    assert reprice_line({**line, "inputs": {**line["inputs"], "seats": Decimal(2)}}, gold) != 0


def test_nothing_used_is_no_line_unless_it_is_charged() -> None:
    assert rated(plan(charge("calls + hours"))).lines.num_rows == 0
    steps = {"model": "graduated", "tiers": [{"unit_price": "1", "flat_amount": "5"}]}
    gold = plan(charge("calls + hours", price=steps, zero_usage="charge"))
    assert rows_of(rated(gold).lines, ["quantity", "amount_minor"]) == [(0, 500)]
    assert rows_of(rated(gold, (0, "hours", "2", 1)).lines, ["quantity", "amount_minor"]) == [(2, 700)]


def test_what_has_no_quantity_is_unrated_and_the_rest_is_rated() -> None:
    gold = plan(
        charge("calls / hours"),
        charge("calls * bytes * bytes", charge_id="large"),
        charge("hours - calls", charge_id="below", price={"model": "flat", "amount": "1"}),
        charge("calls", charge_id="fine"),
    )
    found = rated(gold, (0, "calls", "5", 5), (0, "bytes", "900000000000000", 1))
    assert rows_of(found.unrated, ["charge_id", "reason_code"]) == [
        ("below", "negative_quantity"),
        ("f", "formula_divides_by_zero"),
        ("large", "amount_too_large"),
    ]
    assert rows_of(found.lines, ["charge_id", "amount_minor"]) == [("fine", 1000)]


def test_a_formula_of_levels_is_prorated_and_any_other_is_not() -> None:
    half = {"full_days": 62}
    levels = rated(plan(charge("max(seats, peak)")), (0, "seats", "4", 1), (0, "peak", "6", 1), **half)
    mixed = rated(plan(charge("calls + seats")), (0, "calls", "4", 1), (0, "seats", "2", 1), **half)
    assert levels.lines["amount_minor"].to_pylist() == [600]
    assert mixed.lines["amount_minor"].to_pylist() == [1200]


def test_formula_lines_count_towards_the_minimum_spend() -> None:
    gold = plan(charge("calls"), minimum_spend="25")
    assert rated(gold, (0, "calls", "10", 1)).lines["amount_minor"].to_pylist() == [2000, 500]


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"formula": "calls +"}, ["formula_unreadable"]),
        ({"formula": "calls + nothing"}, ["unknown_meter"]),
        ({"formula": "storage"}, ["formula_meter_grouped"]),
        ({"formula": "2 * 3"}, ["formula_without_meter"]),
        ({"meter_id": "calls"}, ["formula_and_meter"]),
        ({"kind": "licence"}, ["formula_not_for_kind"]),
        ({"price": {"model": "matrix", "dimensions": ["r"], "cells": [{"match": {}, "price": PER_UNIT}]}},
         ["formula_of_matrix"]),
        ({"price": {"model": "percentage", "percent": "1", "minimum_per_event": "1"}}, ["meter_of_events"]),
        ({"price": {"model": "capacity", "tiers": [{"unit_price": "1"}]}}, ["capacity_meter"]),
        ({"formula": "max(peak, peak)", "price": {"model": "capacity", "tiers": [{"unit_price": "1"}]}}, []),
    ],
)  # fmt: skip
def test_rules_of_formulas(change: dict[str, Any], codes: list[str]) -> None:
    issues = list(price_plan_rules(plan({**charge("calls"), **change}), meters=METERS))
    assert [issue.reason_code for issue in issues] == codes
    if codes == ["formula_unreadable"]:
        assert (issues[0].pointer, issues[0].message[:14]) == ("charges[0].formula", "At character 8")


def test_a_fee_has_no_formula() -> None:
    fee = {
        "charge_id": "x",
        "name": "X",
        "kind": "recurring",
        "formula": "calls",
        "price": {"model": "flat", "amount": "1"},
    }
    assert "formula_not_for_kind" in [i.reason_code for i in price_plan_rules(plan(fee), meters=METERS)]


def test_the_price_command_takes_what_the_meters_counted() -> None:
    request = {"charge": {"formula": "gb * hours", "price": PER_UNIT}, "currency": "EUR"}
    assert price_request({**request, "meters": {"gb": "2.5", "hours": "10"}})["billed"] == "50.00"
    with pytest.raises(InvalidInput, match="worked out from"):
        price_request({**request, "quantity": "5"})
    with pytest.raises(InvalidInput, match="divides by zero"):
        price_request(
            {"charge": {"formula": "a / b", "price": PER_UNIT}, "currency": "EUR", "meters": {"a": "1"}}
        )


@pytest.mark.parametrize(
    ("formula", "adds_up"),
    [
        ("a", True),
        ("a + 4 * b / 1000", True),
        ("-(a - 2 * (b + c)) * 0.5", True),
        ("a + 1", False),
        ("a * b", False),
        ("a / b", False),
        ("divide(a, 1000, 0, up)", False),
        ("round(a, 2, half_up)", False),
        ("max(a, b)", False),
        ("tier(a, 100)", False),
    ],
)
@given(first=st.integers(0, 10**9), second=st.integers(0, 10**9))
@settings(max_examples=10)
def test_a_sum_of_meters_is_the_sum_of_its_parts(
    formula: str, adds_up: bool, first: int, second: int
) -> None:
    """To the 12 digits that a quotient has."""
    tree = parse_formula(formula)
    assert is_sum_of_meters(tree) is adds_up
    if adds_up:
        parts = [
            {name: Decimal(number + place) for place, name in enumerate("abc")} for number in (first, second)
        ]
        whole = {name: parts[0][name] + parts[1][name] for name in "abc"}
        both = sum(evaluate(tree, part) for part in parts)
        assert abs(evaluate(tree, whole) - both) <= Fraction(2, 10**12)
