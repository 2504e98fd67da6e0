"""Goal: one setting makes a plan reckon like another product does, to the cents that product publishes."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.due import due_service_periods
from rating.compile import compile_price_book
from rating.line_discounts import discounts_of
from rating.price_plan import PricePlan
from rating.profile import PROFILES
from rating.proration import shares
from rating.rate import rate_usage
from rating.reprice import reprice_line
from rollup.schema import USAGE_SCHEMA
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.credit_case import cart, given_for_nothing, settled, taxed
from tests.invoicing.support import MONTHLY_FEE, contract_row, contracts_table, settled_table
from tests.invoicing.support import plan as plan_version

FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "timing": "advance"}


def of_100(amount: str, *discounts: tuple[str, str], **plan: Any) -> Billed:
    """A fee with discounts (kind, value), in the order written."""
    named = [
        {"discount_id": f"d{number}", "name": f"{value}", kind: value}
        for number, (kind, value) in enumerate(discounts)
    ]
    charge = FEE | {"price": {"model": "flat", "amount": amount}}
    return bill(
        {
            "plan": {"charges": [charge], "discounts": named, **plan},
            "contract": {"start_date": "2026-01-01"},
            "as_of": "2026-01-01",
        }
    )


THREE = (("percent", "5"), ("percent", "10"), ("percent", "15"))
HALF_AND_TEN = (("percent", "50"), ("amount", "10"))
TEN_AND_HALF = (("amount", "10"), ("percent", "50"))


@pytest.mark.parametrize(
    ("profile", "discounts", "plain", "like"),
    [
        # Zuora's published example: $5, $9.50 and $12.83, of $100 leave $72.67; 72.675 rounded once is 72.68
        ("zuora", THREE, 7268, 7267),
        ("stripe", THREE, 7268, 7267),
        ("lago", THREE, 7268, 7267),
        ("orb", THREE, 7268, 7268),
        ("aws", THREE, 7268, 7268),
        # amounts first: (100 - 10) / 2; percentages first: 100 / 2 - 10
        ("orb", HALF_AND_TEN, 4000, 4500),
        ("zuora", HALF_AND_TEN, 4000, 4000),
        # as written
        ("stripe", TEN_AND_HALF, 4000, 4500),
        ("lago", TEN_AND_HALF, 4000, 4500),
        ("stripe", HALF_AND_TEN, 4000, 4000),
    ],
)
def test_discounts_like(profile: str, discounts: tuple[Any, ...], plain: int, like: int) -> None:
    assert of_100("100", *discounts).total_minor() == plain
    assert of_100("100", *discounts, profile=profile).total_minor() == like


def test_stacked_percentages_of_zuora_are_parallel_ones() -> None:
    """Its other published way, $100 * (5% + 10% + 15%) = $30: what the plan says itself comes before the
    profile."""
    billed = of_100("100", *THREE, profile="zuora", discounting={"mode": "parallel"})
    assert billed.total_minor() == 7000


@pytest.mark.parametrize(
    ("first", "past", "actual", "thirty_days", "strict"),
    [
        # Zuora, "When prorating a month": last days inclusive there, half-open here
        (date(2021, 1, 27), date(2021, 2, 1), (5, 31), (5, 30), (4, 30)),
        (date(2021, 2, 27), date(2021, 3, 1), (2, 28), (2, 30), (4, 30)),
        (date(2021, 4, 21), date(2021, 4, 30), (9, 30), (9, 30), (9, 30)),
    ],
)
def test_the_published_parts_of_a_month(
    first: date, past: date, actual: Any, thirty_days: Any, strict: Any
) -> None:
    month = np.datetime64(first, "M")
    edges = [np.array([edge], "datetime64[D]").astype(np.int64) for edge in (first, past, month, month + 1)]
    found = [
        tuple(
            int(number[0])
            for number in shares(
                method, start=edges[0], end=edges[1], whole_start=edges[2], whole_end=edges[3]
            )
        )
        for method in ("by_day", "thirty_days", "thirty_360")
    ]
    assert found == [actual, thirty_days, strict]


@pytest.mark.parametrize(("profile", "cents"), [("stripe", 19341), ("aws", 19341), ("lago", 19355)])
def test_a_month_with_a_clock_change(profile: str, cents: int) -> None:
    """300.00 for March 2026 in Berlin, from the 12th on: 479 of 743 hours, or 20 of 31 days."""
    charge = {**MONTHLY_FEE, "price": {"model": "flat", "amount": "300"}}
    version = plan_version(charges=[charge], profile=profile)
    row = contract_row(start_date=date(2026, 3, 12), anchor_date=date(2026, 1, 1), time_zone="Europe/Berlin")
    periods = due_service_periods(
        contracts=contracts_table(row),
        plan_versions=[version],
        settled=settled_table(),
        as_of=date(2026, 3, 12),
    )
    book = compile_price_book([version], {})
    nothing = USAGE_SCHEMA.empty_table()
    rated = rate_usage(periods=periods, usage=nothing, price_book=book, run_id="r", threads=1)
    assert rated.lines["amount_minor"].to_pylist() == [cents]


PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
CART = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("profile", "line", "net", "tax", "due"), CART)
def test_one_cart_under_each_profile(profile: str, line: str, net: str, tax: str, due: str) -> None:
    """The table of docs/contracts.md: 300.00 from 12 March in Berlin, discounts of 10.00, 5 % and 10 %, 30.00
    of promotional credit, 19 % tax. One setting makes all of the difference."""
    written = [{"amount": "10"}, {"percent": "5"}, {"percent": "10"}]
    discounts = [{"discount_id": f"d{n}", "name": "D", **each} for n, each in enumerate(written)]
    charge = {**MONTHLY_FEE, "price": {"model": "flat", "amount": "300"}}
    version = plan_version(charges=[charge], profile=profile, discounts=discounts)
    row = contract_row(start_date=date(2026, 3, 12), anchor_date=date(2026, 1, 1), time_zone="Europe/Berlin")
    periods = due_service_periods(
        contracts=contracts_table(row),
        plan_versions=[version],
        settled=settled_table(),
        as_of=date(2026, 3, 12),
    )
    book = compile_price_book([version], {})
    nothing = USAGE_SCHEMA.empty_table()
    rated = rate_usage(periods=periods, usage=nothing, price_book=book, run_id="r", threads=1)
    [amount] = rated.lines["amount_minor"].to_pylist()
    bill = cart(taxed(amount, Decimal(19)), credits=version.plan.credits)
    found = settled(bill, given_for_nothing("promotion", "30"))
    told = (amount, found.total_minor, found.tax_minor, found.due_minor)
    assert [f"{Decimal(minor) / 100:.2f}" for minor in told] == [line, net, tax, due]


def test_the_table_of_the_page_has_each_profile_once() -> None:
    assert sorted(row[0] for row in CART) == sorted(PROFILES)
    assert len({row[4] for row in CART}) == len(PROFILES)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_profile_fills_in_and_never_overrides(profile: str) -> None:
    document: dict[str, Any] = {
        "plan_id": "p",
        "name": "P",
        "currency": "EUR",
        "effective_from": "2026-01-01",
        "charges": [FEE | {"price": {"model": "flat", "amount": "1"}}],
        "profile": profile,
    }
    plan = PricePlan.model_validate(document)
    assert plan.proration == PROFILES[profile]["proration"]
    assert plan.rounding_place == PROFILES[profile]["rounding_place"]
    assert plan.credits == PROFILES[profile]["credits"]
    own = {
        "rounding_place": "invoice",
        "proration": "none",
        "discounting": {"order": "percentage_first", "rounding": "once"},
    }
    mine = PricePlan.model_validate(document | own)
    assert mine.rounding_place == "invoice"
    assert (mine.proration, mine.discounting.order, mine.discounting.rounding) == (
        "none",
        "percentage_first",
        "once",
    )
    for each in (plan, mine):
        assert PricePlan.model_validate_json(each.model_dump_json()) == each


CENTS = st.integers(0, 1_000_000).map(lambda cents: f"{cents / 1000:.3f}")
TENTHS = st.integers(1, 1000).map(lambda tenth: ("percent", f"{tenth / 10}"))


@settings(max_examples=60, deadline=None)
@given(
    amount=CENTS,
    percents=st.lists(TENTHS, min_size=1, max_size=4),
    mode=st.sampled_from(["stacked", "parallel"]),
)
def test_each_step_is_whole_cents_and_the_line_is_proved_again(
    amount: str, percents: list[tuple[str, str]], mode: str
) -> None:
    billed = of_100(amount, *percents, discounting={"rounding": "each_step", "mode": mode})
    for line in billed.lines():
        plan = billed.plans[1]
        assert reprice_line(line, plan) == 0
        steps = discounts_of(line, plan)
        assert all(step.amount * 100 % 1 == 0 or step.left == 0 for step in steps)
