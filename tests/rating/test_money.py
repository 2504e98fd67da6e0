"""Goal: minor units are those of ISO 4217, rounding is exact, and a split sums to the whole."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from babel.numbers import get_currency_precision, list_currencies
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import InvalidInput
from rating.money import MINOR_DIGITS, allocate, format_minor, minor_digits, round_to_minor

# CLDR gives what people use in cash or print where ISO 4217 has another number of minor digits.
CLDR_DIFFERS = {
    "AFN", "ALL", "IQD", "IRR", "KPW", "LAK", "LBP", "MGA", "MMK", "RSD", "SOS", "SYP", "YER",
}  # fmt: skip


def test_the_digits_of_well_known_currencies() -> None:
    table = {
        "EUR": 2,
        "USD": 2,
        "JPY": 0,
        "KRW": 0,
        "KWD": 3,
        "BHD": 3,
        "CLF": 4,
        "UYW": 4,
        "ISK": 0,
        "CLP": 0,
    }
    assert {code: minor_digits(code) for code in table} == table


def test_the_table_agrees_with_babel() -> None:
    known = list_currencies()
    differing = {
        code
        for code, digits in MINOR_DIGITS.items()
        if code in known and get_currency_precision(code) != digits
    }
    assert differing == CLDR_DIFFERS
    assert len(MINOR_DIGITS) > 160


@pytest.mark.parametrize("code", ["", "eur", "EURO", "XXX", "XAU", "DEM"])
def test_what_is_no_currency_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput, match="ISO 4217"):
        minor_digits(code)


@pytest.mark.parametrize(
    ("amount", "half_up", "half_even"),
    [
        ("0.005", 1, 0),
        ("0.015", 2, 2),
        ("0.025", 3, 2),
        ("-0.005", -1, 0),
        ("-0.015", -2, -2),
        ("0.00499999999999", 0, 0),
        ("0.00500000000001", 1, 1),
    ],
)
def test_ties(amount: str, half_up: int, half_even: int) -> None:
    assert round_to_minor(Decimal(amount), digits=2, mode="half_up") == half_up
    assert round_to_minor(Decimal(amount), digits=2, mode="half_even") == half_even


@given(st.fractions(), st.integers(0, 4), st.sampled_from(["half_up", "half_even"]))
@settings(max_examples=300, deadline=None)
def test_rounding_is_never_off_by_more_than_half(amount: Fraction, digits: int, mode: str) -> None:
    minor = round_to_minor(amount, digits=digits, mode=mode)  # type: ignore[arg-type]
    assert abs(Fraction(minor, 10**digits) - amount) <= Fraction(1, 2 * 10**digits)
    assert round_to_minor(-amount, digits=digits, mode=mode) == -minor  # type: ignore[arg-type]


def test_money_text_is_plain() -> None:
    assert [format_minor(minor, "EUR") for minor in (123450, -5, 0, 10**18)] == [
        "1234.50", "-0.05", "0.00", "10000000000000000.00",
    ]  # fmt: skip
    assert (format_minor(1234, "JPY"), format_minor(1234, "KWD")) == ("1234", "1.234")


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
@settings(max_examples=300, deadline=None)
def test_parts_sum_to_the_whole_and_are_fair(total: int, weights: list[int]) -> None:
    if sum(weights) == 0:
        with pytest.raises(InvalidInput, match="weights"):
            allocate(total, weights)
        return
    parts = allocate(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1
