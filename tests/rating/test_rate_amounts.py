"""Goal: amounts without lines are the sums of the lines, to the last unit, and never wrap."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.compile import compile_price_book
from rating.minor_sums import exact_sum, sums_by_group
from rating.rate import rate_amounts, rate_usage
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

TIERS = [{"up_to": "100", "unit_price": "0.125"}, {"unit_price": "0.0333", "flat_amount": "2"}]
FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "31"}}
BOOK = compile_price_book(
    versions(
        plan(
            FEE,
            usage_charge("calls", {"model": "graduated", "tiers": TIERS}, zero_usage="charge"),
            usage_charge("hours", {"model": "per_unit", "unit_price": "84.005"}),
            minimum_spend="40",
        ),
        plan(
            usage_charge("calls", {"model": "volume", "tiers": TIERS}),
            usage_charge("hours", {"model": "package", "package_size": "8", "package_price": "99"}),
            plan_id="silver",
            discounts=[{"discount_id": "ten", "name": "Ten", "percent": "10"}],
            maximum_spend="500",
        ),
    ),
    METERS,
)
QUANTITY = st.integers(-(10**4), 10**9).map(lambda number: Decimal(number) / 1000)
ROW = st.tuples(st.integers(0, 3), st.sampled_from(["calls", "hours"]), QUANTITY)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=8, unique_by=lambda row: row[:2]))
def test_amounts_are_the_sums_of_the_lines(rows: list[tuple[int, str, Decimal]]) -> None:
    table = periods(*({"plan_id": ("gold", "silver")[key % 2], "contract_id": str(key)} for key in range(4)))
    used = usage(*rows)
    amounts = rate_amounts(periods=table, usage=used, price_book=BOOK, threads=1)
    whole = rate_usage(periods=table, usage=used, price_book=BOOK, run_id="r", threads=1)
    assert amounts.unrated.equals(whole.unrated)
    assert not amounts.too_large.any()
    sums = [0] * table.num_rows
    starts = table["contract_id"].to_pylist()
    for line in whole.lines.to_pylist():
        sums[starts.index(line["contract_id"])] += line["amount_minor"]
    assert amounts.amount_minor.tolist() == sums


@pytest.mark.parametrize(
    ("amounts", "total", "wrapped"),
    [
        ([2**63 - 1], 2**63 - 1, False),
        ([2**63 - 1, 1], 0, True),
        ([-(2**63)], -(2**63), False),
        ([-(2**63), -1], 0, True),
        ([2**63 - 1, 2**63 - 1, -(2**63) + 1, -(2**63) + 1], 0, False),
    ],
)
def test_a_sum_past_64_bits_is_said(amounts: list[int], total: int, wrapped: bool) -> None:
    column = np.array(amounts, np.int64)
    sums, too_large = sums_by_group(np.ones(len(amounts), np.int64), column, 2)
    assert (sums.tolist(), too_large.tolist()) == ([0, total], [False, wrapped])
    assert exact_sum(column) == sum(amounts)
