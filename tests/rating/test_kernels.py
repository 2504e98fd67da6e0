"""Goal: the compiled kernels and the Fraction reference agree to the last digit, on any input.

The kernels are run the way a billing run runs them (``price_batch``), but rows they hand over are
counted, so that the comparison is of the kernels and not of the reference with itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.batch import price_batch
from rating.kernel_types import Results, Rows
from rating.kernels import NEGATIVE_QUANTITY, OK, PRICED, TOO_LARGE, measure_rows
from rating.price_arrays import price_arrays
from rating.price_plan import (
    FlatPrice,
    GraduatedPercentagePrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    Tier,
    VolumePrice,
)
from rating.reference import Priced, PriceTerms, price_quantity
from rating.short_kernel import price_short_rows
from rating.unrateable import Unrateable
from tests.rating.random_prices import SCALE, random_price, random_terms, scaled

CODES = {NEGATIVE_QUANTITY: "negative_quantity", TOO_LARGE: "amount_too_large"}


def plain_terms(price: object, *, minor_digits: int = 2, rounding: str = "half_up") -> PriceTerms:
    return PriceTerms(price, None, None, None, None, False, minor_digits, rounding)  # type: ignore[arg-type]


def rows_of(cases: Sequence[tuple[int, Decimal, int, int, int]]) -> Rows:
    """cases: (price row, quantity, events, days, full days)."""
    words = [int(Fraction(case[1]) * SCALE) % 2**128 for case in cases]
    return Rows(
        price_row=np.array([case[0] for case in cases], np.int32),
        quantity=np.array([(word % 2**64, word >> 64) for word in words], np.uint64).reshape(-1, 2),
        event_count=np.array([case[2] for case in cases], np.uint64),
        days=np.array([case[3] for case in cases], np.int64),
        full_days=np.array([case[4] for case in cases], np.int64),
    )


def integers(pairs: np.ndarray) -> list[int]:
    signed = [int(low) | int(high) << 64 for low, high in pairs]
    return [number - 2**128 if number >= 2**127 else number for number in signed]


def as_integer(number: Fraction) -> int:
    whole = number * SCALE
    assert whole.denominator == 1
    return whole.numerator


def expected(terms: PriceTerms, case: tuple[int, Decimal, int, int, int]) -> Priced | str:
    try:
        return price_quantity(terms, quantity=case[1], event_count=case[2], share=Fraction(case[3], case[4]))
    except Unrateable as error:
        return error.reason_code


def compare(
    terms: Sequence[PriceTerms], cases: Sequence[tuple[int, Decimal, int, int, int]], *, threads: int = 1
) -> int:
    """Check every case; returns how many rows the kernels priced by themselves."""
    prices, rows = price_arrays(terms), rows_of(cases)
    priced = price_batch(rows, prices, terms, threads=threads)
    results = priced.results
    amounts, rated = integers(results.amount), integers(results.rated_quantity)
    units, parts = integers(results.tier_units), integers(results.tier_amount)
    for row, case in enumerate(cases):
        want = expected(terms[case[0]], case)
        note = (terms[case[0]], case, want)
        if isinstance(want, str):
            assert CODES[int(results.status[row])] == want, note
            continue
        first, last = int(results.tier_start[row]), int(results.tier_start[row + 1])
        assert results.status[row] == OK, note
        assert amounts[row] == as_integer(want.amount), note
        assert int(results.amount_minor[row]) == want.amount_minor, note
        assert rated[row] == as_integer(want.rated_quantity), note
        assert results.tier_number[first:last].tolist() == [tier.number for tier in want.tiers], note
        assert units[first:last] == [as_integer(tier.units) for tier in want.tiers], note
        assert parts[first:last] == [as_integer(part) for part in want.tier_amounts()], note
    return _by_kernel(rows, prices, cases)


def _by_kernel(rows: Rows, prices: object, cases: Sequence[object]) -> int:
    status = np.empty(len(cases), np.int8)
    measure_rows(
        rows,
        prices,
        status,
        np.zeros((len(cases), 2), np.uint64),
        np.zeros(len(cases), np.int64),
        0,
        len(cases),
    )
    return int(np.count_nonzero(status == OK))


def test_one_plain_row() -> None:
    """3.5 units at 1.999 are 6.9965, which is 7.00 in a currency of two digits."""
    terms = [plain_terms(PerUnitPrice(model="per_unit", unit_price=Decimal("1.999")))]
    priced = price_batch(rows_of([(0, Decimal("3.5"), 1, 1, 1)]), price_arrays(terms), terms, threads=1)
    assert integers(priced.results.amount) == [6_996_500_000_000]
    assert priced.results.amount_minor.tolist() == [700]


def random_quantity(source: random.Random, *, digits_max: int) -> Decimal:
    number = source.randrange(10 ** source.randint(1, digits_max))
    if source.random() < 0.3:
        number = number // SCALE * SCALE
    return scaled(-number if source.random() < 0.1 else number)


def settled_short(
    terms: Sequence[PriceTerms], cases: Sequence[tuple[int, Decimal, int, int, int]]
) -> list[bool]:
    """Which rows the short way prices by itself."""
    prices, rows, count = price_arrays(terms), rows_of(cases), len(cases)
    status, rated, tiers = (
        np.empty(count, np.int8),
        np.zeros((count, 2), np.uint64),
        np.zeros(count, np.int64),
    )
    measure_rows(rows, prices, status, rated, tiers, 0, count)
    starts = np.concatenate([[0], np.cumsum(tiers)])
    pairs = [np.zeros((size, 2), np.uint64) for size in (count, starts[-1], starts[-1])]
    numbers = np.zeros(starts[-1], np.uint16)
    results = Results(status, rated, pairs[0], np.zeros(count, np.int64), starts, numbers, pairs[1], pairs[2])
    price_short_rows(rows, prices, results, 0, count)
    return [bool(row) for row in status == PRICED]


def test_everyday_rows_go_the_short_way_and_those_it_cannot_hold_do_not() -> None:
    """4,611,686 units at 1.00 come to just less than 2**62 at scale 12; one more unit is past it."""
    terms = [
        plain_terms(PerUnitPrice(model="per_unit", unit_price=Decimal(1))),
        plain_terms(PackagePrice(model="package", package_size=Decimal(10), package_price=Decimal(3))),
        plain_terms(FlatPrice(model="flat", amount=Decimal(4_611_687))),
        plain_terms(PercentagePrice(model="percentage", percent=Decimal(1))),
        replace(plain_terms(FlatPrice(model="flat", amount=Decimal(1))), maximum_amount=Decimal(0)),
        replace(plain_terms(FlatPrice(model="flat", amount=Decimal(1))), minimum_amount=Decimal(4_611_687)),
    ]
    cases = [
        (0, Decimal(4_611_686), 1, 1, 1),
        (0, Decimal(4_611_687), 1, 1, 1),
        (0, Decimal(0), 0, 1, 1),
        (0, Decimal(-1), 1, 1, 1),
        (0, Decimal(5), 1, 1, 2),
        (1, Decimal("10.000000000001"), 1, 1, 1),
        (1, Decimal(10**8), 1, 1, 1),
        (2, Decimal(1), 1, 1, 1),
        (3, Decimal(1), 1, 1, 1),
        (4, Decimal(1), 1, 1, 1),
        (5, Decimal(1), 1, 1, 1),
    ]
    short = [True, False, True, False, False, True, False, False, False, True, False]
    assert settled_short(terms, cases) == short
    compare(terms, cases)


@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
def test_the_short_way_equals_the_reference(rounding: str) -> None:
    """Rows it holds, of every plain model, at tier bounds and on ties: what is past 12 digits decides."""
    source = random.Random(11)
    terms: list[PriceTerms] = []
    while len(terms) < 300:
        price = random_price(source, digits_max=12)
        if not isinstance(price, PercentagePrice | GraduatedPercentagePrice):
            digits = source.choice((0, 2, 3, 4))
            minimum, maximum = (Decimal(source.randrange(200)) / 8 for _ in range(2))
            terms.append(
                replace(
                    plain_terms(price, minor_digits=digits, rounding=rounding),
                    minimum_amount=minimum if source.random() < 0.3 else None,
                    maximum_amount=minimum + maximum if source.random() < 0.3 else None,
                )
            )
    cases = []
    for row, entry in enumerate(terms):
        bounds = [
            Fraction(tier.up_to) for tier in getattr(entry.price, "tiers", ()) if tier.up_to is not None
        ]
        edges = [bound + Fraction(nudge, SCALE) for bound in bounds for nudge in (-1, 0, 1)]
        used = [Fraction(source.randrange(10 ** source.randint(1, 18)), SCALE) for _ in range(20)]
        whole = [Fraction(source.randrange(1000), source.choice((1, 2, 4, 200))) for _ in range(20)]
        cases += [(row, scaled(int(units * SCALE)), 1, 1, 1) for units in (*edges, *used, *whole)]
    assert sum(settled_short(terms, cases)) > 10_000
    compare(terms, cases)


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize(
    ("seed", "price_digits", "quantity_digits"),
    [(1, 14, 18), (2, 19, 27), (3, 30, 38)],
    ids=["everyday", "12-decimal prices and quantities to 1e15", "overflowing"],
)
def test_random_rows_equal_the_reference(seed: int, price_digits: int, quantity_digits: int) -> None:
    source = random.Random(seed)
    terms = [random_terms(source, digits_max=price_digits) for _ in range(400)]
    cases = []
    for _ in range(20_000):
        full_days = source.choice((7, 28, 29, 30, 31, 90, 365, 366, 2_674_800, 31_622_400))
        days = full_days if source.random() < 0.5 else source.randint(1, full_days)
        quantity = random_quantity(source, digits_max=quantity_digits)
        cases.append((source.randrange(len(terms)), quantity, source.randrange(10**6), days, full_days))
    by_kernel = compare(terms, cases, threads=2)
    assert by_kernel > (10_000 if price_digits < 30 else 1_000)


def test_rows_at_tier_bounds_equal_the_reference() -> None:
    """Exactly on a bound, and a millionth of a millionth beside it."""
    source = random.Random(4)
    terms = [
        entry
        for entry in (random_terms(source, digits_max=16) for _ in range(900))
        if hasattr(entry.price, "tiers")
    ]
    cases = []
    for row, entry in enumerate(terms):
        free = entry.free_units or Decimal(0)
        for tier in entry.price.tiers:  # type: ignore[union-attr]
            for nudge in (-1, 0, 1):
                bound = Fraction(tier.up_to or 0) + Fraction(free) + Fraction(nudge, SCALE)
                cases.append((row, scaled(int(bound * SCALE)), 1, 1, 1))
    assert len(cases) > 3_000
    assert compare(terms, cases) > 3_000


@given(
    unit_price=st.integers(0, 10**19), quantity=st.integers(-(10**27), 10**27),
    digits=st.sampled_from([0, 2, 3, 4]), rounding=st.sampled_from(["half_up", "half_even"]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_per_unit_equals_the_reference(unit_price: int, quantity: int, digits: int, rounding: str) -> None:
    price = PerUnitPrice(model="per_unit", unit_price=scaled(unit_price))
    compare([plain_terms(price, minor_digits=digits, rounding=rounding)], [(0, scaled(quantity), 1, 1, 1)])


@given(
    half_cents=st.integers(0, 10**9),
    rounding=st.sampled_from(["half_up", "half_even"]),
    past=st.integers(-1, 1),
)
@settings(max_examples=300, deadline=None)
def test_ties_equal_the_reference(half_cents: int, rounding: str, past: int) -> None:
    """Amounts of whole and half cents, exactly and one part in 10**24 beside."""
    price = VolumePrice(
        model="volume", tiers=(Tier(unit_price=scaled(1), flat_amount=Decimal(half_cents) / 200),)
    )
    terms = plain_terms(price, rounding=rounding)
    compare([terms], [(0, scaled(max(0, past)), 1, 1, 1), (0, scaled(1), 1, 1, 1)])


@given(
    bounds=st.lists(st.integers(1, 10**24), min_size=1, max_size=8, unique=True),
    pick=st.integers(0, 7),
    nudge=st.integers(-1, 1),
)
@settings(max_examples=200, deadline=None)
def test_graduated_bounds_equal_the_reference(bounds: list[int], pick: int, nudge: int) -> None:
    ordered = sorted(bounds)
    tiers = [Tier(up_to=scaled(bound), unit_price=scaled(bound % 10**13)) for bound in ordered]
    price = GraduatedPrice(model="graduated", tiers=(*tiers, Tier(unit_price=Decimal("0.000000000001"))))
    quantity = scaled(ordered[pick % len(ordered)] + nudge)
    compare([plain_terms(price)], [(0, quantity, 1, 1, 1)])


def test_what_no_column_can_hold_is_unrated_and_never_wrapped() -> None:
    terms = [plain_terms(PerUnitPrice(model="per_unit", unit_price=Decimal(10) ** 20))]
    cases = [(0, Decimal(10) ** 14, 1, 1, 1), (0, Decimal(1), 1, 1, 1)]
    priced = price_batch(rows_of(cases), price_arrays(terms), terms, threads=1)
    assert priced.unrated.tolist() == [True, True]  # 10**20 is 10**22 cents, past 2**63
    assert expected(terms[0], cases[1]) == "amount_too_large"


@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
@pytest.mark.parametrize("minor", [2**63 - 2, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, 2**64])
@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_rounding_up_never_wraps(minor: int, beside: int, rounding: str) -> None:
    """Just below, on and above half a minor unit past the largest numbers of one word."""
    terms = [plain_terms(PerUnitPrice(model="per_unit", unit_price=Decimal(1)), rounding=rounding)]
    quantity = minor * 10**10 + 5 * 10**9 + beside  # a minor unit is 10**10 at scale 12
    compare(terms, [(0, scaled(quantity), 1, 1, 1), (0, scaled(-quantity), 1, 1, 1)])


def test_the_quantity_of_the_largest_word_and_a_half_is_unrated() -> None:
    """184467440737095.516155 at 1000.00 is 2**64 - 1 cents and a half: once billed as 0.00."""
    terms = [plain_terms(PerUnitPrice(model="per_unit", unit_price=Decimal(1000)))]
    rows = rows_of([(0, Decimal("184467440737095.516155"), 1, 1, 1)])
    assert price_batch(rows, price_arrays(terms), terms, threads=1).unrated.tolist() == [True]


def test_a_sum_of_tiers_never_wraps() -> None:
    """The second tier comes to just below 2**192 at scale 24, and the flat amount of the first passes it."""
    unit_price = 2**64 - 1
    units = 2**192 // (17 * unit_price)
    tiers = (Tier(up_to=scaled(1), flat_amount=Decimal(1)), Tier(unit_price=scaled(unit_price)))
    price = GraduatedPrice(model="graduated", tiers=tiers)
    terms = [PriceTerms(price, None, None, None, None, True, 2, "half_up")]
    cases = [(0, scaled(units + 1), 1, 17, 31)]
    assert expected(terms[0], cases[0]) == "amount_too_large"
    compare(terms, cases)


def test_the_number_of_threads_changes_nothing() -> None:
    source = random.Random(9)
    terms = [random_terms(source, digits_max=14) for _ in range(50)]
    cases = [(source.randrange(50), random_quantity(source, digits_max=18), 3, 10, 31) for _ in range(40_000)]
    one, four = (
        price_batch(rows_of(cases), price_arrays(terms), terms, threads=threads).results for threads in (1, 4)
    )
    for left, right in zip(list[Any](one), list[Any](four), strict=True):
        np.testing.assert_array_equal(left, right)
