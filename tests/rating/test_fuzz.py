"""Goal: the command that compares millions of cases compares, and finds a difference when there is one; and
kernels, reference and verifier agree on a grid of boundaries, whatever the order, threads and batches.

``RATEMILL_CASES=2000000`` compares so many random cases here too.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import pytest

from rating.batch import price_batch
from rating.price_arrays import price_arrays
from rating.price_plan import (
    CapacityPrice,
    DynamicPrice,
    FlatPrice,
    GraduatedPercentagePrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PercentTier,
    PerUnitPrice,
    RoundingMode,
    StairstepPrice,
    Tier,
    VolumePrice,
)
from rating.reference import PriceTerms
from rating.special_price import NO_INPUTS
from tests.rating import fuzz
from tests.rating.random_prices import scaled
from tests.rating.test_kernels import rows_of

CASES = int(os.environ.get("RATEMILL_CASES", "3000"))
ULP = scaled(1)
EDGES = (Decimal("0.000000000001"), Decimal("10.5"), Decimal(100), Decimal(10**15))
PRICES = (
    Decimal("0.005"),
    Decimal("0.000000000001"),
    Decimal("1.234567890123"),
    Decimal("99999.999999999999"),
)
"""Ties of cents, the smallest price there is, 12 decimals, and what overflows beside 1e15 units."""


@pytest.mark.requirement("RAT-01")
def test_a_few_cases_agree_and_the_kernels_did_most_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--cases", str(CASES), "--seed", "5"]) == 0
    assert f"kernels, reference and verifier agree: {CASES:,} cases" in capsys.readouterr().out
    ((tally, wrong),) = fuzz.run(3000, 5)
    assert wrong == []
    assert tally["kernels"] > 2000
    assert min(tally["going on"], tally["amount_too_large"], tally["negative_quantity"]) > 50


def test_a_verifier_that_is_told_another_price_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    terms, cases = fuzz.random_block(random.Random(1), 300)
    plain = fuzz._terms_inputs
    monkeypatch.setattr(fuzz, "_terms_inputs", lambda entry: plain(replace(entry, maximum_amount=Decimal(0))))
    _, wrong = fuzz.check_block(terms, cases)
    assert len(wrong) > 100
    assert "verifier" in wrong[0]


def grid_prices() -> list[Any]:
    """Every model that a kernel prices, each with each of the prices."""
    found: list[Any] = []
    for price in PRICES:
        tiers = tuple(
            Tier(up_to=edge, unit_price=price * (4 - place), flat_amount=price)
            for place, edge in enumerate((*EDGES[1:], None))
        )
        blocks = tuple(
            Tier(up_to=edge, package_size=Decimal("0.5"), package_price=price) for edge in (*EDGES[1:], None)
        )
        stairs = tuple(Tier(up_to=edge, flat_amount=price) for edge in (*EDGES, None))
        shares = tuple(PercentTier(up_to=edge, percent=price, flat_amount=price) for edge in (*EDGES, None))
        found += [
            FlatPrice(model="flat", amount=price),
            PerUnitPrice(model="per_unit", unit_price=price),
            GraduatedPrice(model="graduated", tiers=tiers),
            GraduatedPrice(model="graduated", tiers=blocks),
            VolumePrice(model="volume", tiers=tiers),
            CapacityPrice(model="capacity", tiers=tiers),
            StairstepPrice(model="stairstep", tiers=stairs),
            GraduatedPercentagePrice(model="graduated_percentage", tiers=shares),
            PercentagePrice(model="percentage", percent=price, fixed_per_event=price, free_events=1),
            DynamicPrice(model="dynamic", currency="EUR", multiplier=price),
        ]
        found += [
            PackagePrice(model="package", package_size=EDGES[1], package_price=price, round=way)
            for way in ("up", "down")
        ]
    return found


def grid() -> tuple[list[PriceTerms], list[fuzz.Case]]:
    """Prices x (places of money, rounding) x every edge and one unit of the last place beside it."""
    money = list(product((0, 2, 3), get_args(RoundingMode)))
    terms = [
        PriceTerms(price, None, None, None, None, False, digits, rounding)
        for price in grid_prices()
        for digits, rounding in money
    ]
    points = sorted(
        {edge + nudge for edge in (Decimal(0), *EDGES, Decimal(10**24)) for nudge in (-ULP, 0, ULP)}
    )
    cases = [
        fuzz.Case(row, point, 2, 1, 1, NO_INPUTS)
        for row in range(len(terms))
        for point in points
        if point >= 0
    ]
    return terms, cases


def results(terms: Sequence[PriceTerms], cases: Sequence[fuzz.Case], *, threads: int) -> list[Any]:
    """Amount, minor units, rated quantity and tiers of each case, or why there are none."""
    rows = rows_of([(c.price_row, c.quantity, c.event_count, c.days, c.full_days) for c in cases])
    found = fuzz._Lines(price_batch(rows, price_arrays(terms), terms, threads=threads))
    return [found.line(row) for row in range(len(cases))]


@pytest.mark.requirement("RAT-01")
def test_kernels_reference_and_verifier_agree_on_the_grid_of_boundaries() -> None:
    terms, cases = grid()
    tally, wrong = fuzz.check_block(terms, cases)
    assert wrong == []
    assert tally["cases"] == len(cases) > 3_500
    assert tally["amount_too_large"] > 300
    assert tally["kernels"] > 3_000


def test_the_grid_is_the_same_in_any_order_threads_and_batches() -> None:
    terms, cases = grid()
    whole = results(terms, cases, threads=1)
    assert results(terms, cases, threads=3) == whole
    assert results(terms, cases[::-1], threads=2)[::-1] == whole
    batches = [cases[first : first + 701] for first in range(0, len(cases), 701)]
    assert [line for batch in batches for line in results(terms, batch, threads=2)] == whole
