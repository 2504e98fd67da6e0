"""Goal: arithmetic on two and three words equals Python's integers, carries and borrows included."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rating import wide

TOP = 2**64 - 1
words = st.one_of(
    st.integers(0, TOP), st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, TOP - 1, TOP])
)


def number(*parts: np.uint64) -> int:
    return sum(int(part) << (64 * place) for place, part in enumerate(parts))


def u(*values: int) -> list[np.uint64]:
    return [np.uint64(value) for value in values]


@given(words, words, words, words)
@example(TOP, TOP, TOP, TOP)
@settings(max_examples=400, deadline=None)
def test_multiply(a: int, b: int, c: int, factor: int) -> None:
    assert number(*wide.multiply_words(*u(a, factor))) == a * factor
    assert number(*wide.multiply_128(*u(a, b, factor))) == (a + (b << 64)) * factor
    assert number(*wide.multiply_192(*u(a, b, c, factor))) == (a + (b << 64) + (c << 128)) * factor


@given(words, words, words, words)
@example(0, 2**63, 0, 2**63 + 1)
@example(TOP, TOP, TOP, 1)
@settings(max_examples=600, deadline=None)
def test_divide(a: int, b: int, c: int, divisor: int) -> None:
    divisor = max(divisor, 1)
    *quotient, rest = wide.divide_192(*u(a, b, c, divisor))
    assert divmod(a + (b << 64) + (c << 128), divisor) == (number(*quotient), int(rest))


@given(words, words, words)
@example(TOP, TOP, TOP)
@settings(max_examples=400, deadline=None)
def test_divide_by_unit(a: int, b: int, c: int) -> None:
    *quotient, rest = wide.divide_by_unit(*u(a, b, c))
    assert divmod(a + (b << 64) + (c << 128), 10**12) == (number(*quotient), int(rest))


@given(words, words)
@example(TOP, TOP)
@example(2**12 - 1, 10**12 - 1)
@example(0, 10**12)
@settings(max_examples=400, deadline=None)
def test_divide_short(a: int, b: int) -> None:
    quotient, rest, fits = wide.divide_short(*u(a, b))
    assert bool(fits) == (b < 10**12)
    if fits:
        assert divmod(a + (b << 64), 10**12) == (int(quotient), int(rest))


@given(words, words, words, words, words, words)
@settings(max_examples=400, deadline=None)
def test_add_subtract_and_compare(a: int, b: int, c: int, d: int, e: int, f: int) -> None:
    left, right = u(a, b, c // 2), u(d, e, f // 2)
    assert number(*wide.add_192(*left, *right)) == number(*left) + number(*right)
    assert bool(wide.less_192(*left, *right)) == (number(*left) < number(*right))
    low, high = sorted((left, right), key=lambda parts: number(*parts))
    assert number(*wide.subtract_192(*high, *low)) == number(*high) - number(*low)
    assert number(*wide.subtract_128(*u(a, b, d, e))) == (number(*u(a, b)) - number(*u(d, e))) % 2**128
    assert bool(wide.less_128(*u(a, b, d, e))) == (number(*u(a, b)) < number(*u(d, e)))
