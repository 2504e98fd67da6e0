"""Goal: what a period adds to what came before is the same by the kernels and by plain fractions, digit for
digit, and what does not fit the kernels goes to the fractions."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.added_rows import price_added_rows
from rating.batch import price_batch
from rating.kernels import OK
from rating.price_arrays import price_arrays
from rating.price_plan import GraduatedPrice, Tier, VolumePrice
from rating.reference import Priced, PriceTerms
from rating.special_price import BEFORE_EVENTS, BEFORE_QUANTITY, Inputs, price_line
from rating.unrateable import Unrateable
from tests.rating.random_prices import random_terms, scaled
from tests.rating.test_kernels import CODES, as_integer, integers, plain_terms, rows_of

Case = tuple[int, Decimal, int, int, int]


def priced_plainly(
    terms: PriceTerms, quantity: Decimal, events: int, share: Fraction, inputs: Inputs
) -> Priced | str:
    try:
        return price_line(terms, quantity=quantity, event_count=events, share=share, inputs=inputs)
    except Unrateable as error:
        return error.reason_code


def compare(terms: list[PriceTerms], cases: list[Case], before: list[tuple[Decimal, int]]) -> int:
    """Check every case; returns how many rows the kernels priced by themselves."""
    prices, rows = price_arrays(terms), rows_of(cases)
    inputs: dict[int, Inputs] = {
        row: {BEFORE_QUANTITY: quantity, BEFORE_EVENTS: Decimal(events)}
        for row, (quantity, events) in enumerate(before)
    }
    priced = price_batch(rows, prices, terms, threads=1, inputs=inputs)
    results = priced.results
    amounts, rated = integers(results.amount), integers(results.rated_quantity)
    units, parts = integers(results.tier_units), integers(results.tier_amount)
    for row, (price_row, quantity, events, days, full_days) in enumerate(cases):
        share = Fraction(days, full_days)
        want = priced_plainly(terms[price_row], quantity, events, share, inputs[row])
        if isinstance(want, str):
            assert CODES[int(results.status[row])] == want
            continue
        first, last = int(results.tier_start[row]), int(results.tier_start[row + 1])
        note = (terms[price_row], cases[row], before[row])
        assert results.status[row] == OK, note
        assert amounts[row] == as_integer(want.amount), note
        assert int(results.amount_minor[row]) == want.amount_minor, note
        assert rated[row] == as_integer(want.rated_quantity), note
        assert results.tier_number[first:last].tolist() == [tier.number for tier in want.tiers], note
        assert units[first:last] == [as_integer(tier.units) for tier in want.tiers], note
        assert parts[first:last] == [as_integer(part) for part in want.tier_amounts()], note
    by_kernel = price_added_rows(rows, prices, inputs, threads=1)
    return 0 if by_kernel is None else len(by_kernel.rows)


TIERS = (
    Tier(up_to=Decimal(10), unit_price=Decimal("0.005"), flat_amount=Decimal(1)),
    Tier(up_to=Decimal(20), package_size=Decimal(5), package_price=Decimal("0.333333333333")),
    Tier(unit_price=Decimal("0.001")),
)
GRID = [
    "0",
    "0.000000000001",
    "9.999999999999",
    "10",
    "10.000000000001",
    "15",
    "20",
    "20.000000000001",
    "1000",
]


@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
@pytest.mark.parametrize("zero_reaches", [False, True])
def test_every_pair_of_bounds(rounding: str, zero_reaches: bool) -> None:
    """From each bound and its neighbours to each other, also back."""
    terms = [
        replace(plain_terms(price, rounding=rounding), zero_reaches=zero_reaches, free_units=free)
        for price in (
            GraduatedPrice(model="graduated", tiers=TIERS),
            VolumePrice(model="volume", tiers=TIERS),
        )
        for free in (None, Decimal(3))
    ]
    marks = [Decimal(mark) for mark in GRID]
    pairs = [(row, first, last) for row in range(len(terms)) for first in marks for last in marks]
    cases: list[Case] = [(row, last - first, 1, 1, 1) for row, first, last in pairs]
    assert compare(terms, cases, [(first, 2) for _, first, _ in pairs]) == len(cases)


@pytest.mark.parametrize(
    ("seed", "price_digits", "quantity_digits", "share"),
    [(1, 13, 18, 0.5), (2, 19, 27, 0.3), (3, 30, 38, 0.0)],
    ids=["everyday", "large", "overflowing"],
)
def test_random_rows_equal_the_reference(
    seed: int, price_digits: int, quantity_digits: int, share: float
) -> None:
    source = random.Random(seed)
    terms = [replace(random_terms(source, digits_max=price_digits), prorated=False) for _ in range(150)]

    def number() -> Decimal:
        found = source.randrange(10 ** source.randint(1, quantity_digits))
        return scaled(-found if source.random() < 0.1 else found)

    cases: list[Case] = []
    for _ in range(2500):
        full = source.choice((30, 31))
        days = full if source.random() < 0.8 else source.randint(1, full)
        cases.append((source.randrange(len(terms)), number(), source.randrange(9), days, full))
    before = [(number() if source.random() < 0.9 else Decimal(0), source.randrange(9)) for _ in cases]
    assert compare(terms, cases, before) >= share * len(cases)


quantities = st.integers(-(10**20), 10**20).map(scaled)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 10**16), st.integers(0, 10**15), st.integers(0, 10**14)),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.lists(st.tuples(quantities, quantities), min_size=1, max_size=6),
)
def test_whatever_comes_before(
    tiers: list[tuple[int, int, int]], volume: bool, steps: list[tuple[Decimal, Decimal]]
) -> None:
    bounds = sorted({scaled(bound) for bound, _, _ in tiers})
    made = [
        Tier(up_to=bound, unit_price=scaled(price), flat_amount=scaled(flat))
        for bound, (_, price, flat) in zip([*bounds[:-1], None], tiers, strict=False)
    ]
    price = (
        VolumePrice(model="volume", tiers=tuple(made))
        if volume
        else GraduatedPrice(model="graduated", tiers=tuple(made))
    )
    cases: list[Case] = [(0, added, 1, 1, 1) for _, added in steps]
    compare([plain_terms(price)], cases, [(before, 1) for before, _ in steps])


def test_others_of_the_batch_are_left_alone() -> None:
    """Rows that go on from something stand among rows that do not."""
    terms = [plain_terms(GraduatedPrice(model="graduated", tiers=TIERS))]
    rows = rows_of([(0, Decimal(quantity), 1, 1, 1) for quantity in (15, 15, 25)])
    inputs = {1: {BEFORE_QUANTITY: Decimal(8), BEFORE_EVENTS: Decimal(1)}}
    results = price_batch(rows, price_arrays(terms), terms, threads=1, inputs=inputs).results
    assert np.diff(results.tier_start).tolist() == [2, 3, 3]
    assert results.tier_number.tolist() == [1, 2, 1, 2, 3, 1, 2, 3]
    assert results.amount_minor.tolist() == [138, 68, 172]
