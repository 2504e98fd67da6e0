"""Unsigned integers of 128 and 192 bits for the kernels, as two or three 64-bit words, low first.

Every literal is a ``uint64``: numba would silently turn ``uint64`` mixed with ``int64`` into a
binary float. Division is by one word, after Knuth's algorithm D (The Art of Computer Programming,
vol. 2, 4.3.1).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

from ingest.compiled import compiled

Word: TypeAlias = np.uint64
Flag: TypeAlias = Any
"""True or False: Python's before compilation, numpy's or the processor's after it."""
Wide: TypeAlias = tuple[np.uint64, np.uint64, np.uint64]

ZERO: Final = np.uint64(0)
ONE: Final = np.uint64(1)
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
_BASE: Final = np.uint64(1 << 32)
_FIVE_12: Final = np.uint64(5**12)
_UNIT_SHIFT: Final = np.uint64(12)
_UNIT_REST: Final = np.uint64(52)
_UNIT_MASK: Final = np.uint64(2**12 - 1)
_ALL: Final = np.uint64(64)


@compiled
def multiply_words(left: Word, right: Word) -> tuple[Word, Word]:
    """The 128-bit product as (low, high)."""
    left_low, left_high = left & _LOW, left >> _HALF
    right_low, right_high = right & _LOW, right >> _HALF
    lowest = left_low * right_low
    middle = left_high * right_low + (lowest >> _HALF)
    other = left_low * right_high + (middle & _LOW)
    high = left_high * right_high + (middle >> _HALF) + (other >> _HALF)
    return left * right, high


@compiled
def multiply_128(low: Word, high: Word, factor: Word) -> Wide:
    """(low, high) x factor, exactly, in 192 bits."""
    w0, carry = multiply_words(low, factor)
    w1, w2 = multiply_words(high, factor)
    w1 = w1 + carry
    if w1 < carry:
        w2 = w2 + ONE
    return w0, w1, w2


@compiled
def multiply_192(w0: Word, w1: Word, w2: Word, factor: Word) -> tuple[Word, Word, Word, Word]:
    """The low 192 bits of the product, and the word above them: not zero means it does not fit."""
    r0, r1, carry = multiply_128(w0, w1, factor)
    r2, over = multiply_words(w2, factor)
    r2 = r2 + carry
    if r2 < carry:
        over = over + ONE
    return r0, r1, r2, over


@compiled
def add_192(a0: Word, a1: Word, a2: Word, b0: Word, b1: Word, b2: Word) -> Wide:
    """The sum; the kernels keep both sides far below 2**191."""
    s0 = a0 + b0
    carry = ONE if s0 < a0 else ZERO
    s1 = a1 + b1
    carry_above = ONE if s1 < a1 else ZERO
    s1 = s1 + carry
    if s1 < carry:
        carry_above = carry_above + ONE
    return s0, s1, a2 + b2 + carry_above


@compiled
def subtract_192(a0: Word, a1: Word, a2: Word, b0: Word, b1: Word, b2: Word) -> Wide:
    """a - b for a >= b."""
    d0 = a0 - b0
    borrow = ONE if a0 < b0 else ZERO
    d1 = a1 - b1
    borrow_above = ONE if a1 < b1 else ZERO
    if d1 < borrow:
        borrow_above = borrow_above + ONE
    return d0, d1 - borrow, a2 - b2 - borrow_above


@compiled
def less_192(a0: Word, a1: Word, a2: Word, b0: Word, b1: Word, b2: Word) -> Flag:
    """a < b."""
    if a2 != b2:
        return a2 < b2
    if a1 != b1:
        return a1 < b1
    return a0 < b0


@compiled
def less_128(a_low: Word, a_high: Word, b_low: Word, b_high: Word) -> Flag:
    """a < b."""
    return a_high < b_high or (a_high == b_high and a_low < b_low)


@compiled
def subtract_128(a_low: Word, a_high: Word, b_low: Word, b_high: Word) -> tuple[Word, Word]:
    """a - b modulo 2**128."""
    borrow = ONE if a_low < b_low else ZERO
    return a_low - b_low, a_high - b_high - borrow


@compiled
def divide_words(low: Word, high: Word, divisor: Word) -> tuple[Word, Word]:
    """(quotient, remainder) of a 128-bit number by a word above its high word."""
    if high == ZERO:
        quotient = low // divisor
        return quotient, low - quotient * divisor
    shift = _leading_zeros(divisor)
    divisor = divisor << shift
    divisor_high, divisor_low = divisor >> _HALF, divisor & _LOW
    if shift > ZERO:
        high = (high << shift) | (low >> (_ALL - shift))
        low = low << shift
    quotient_high = _digit(high, low >> _HALF, divisor_high, divisor_low)
    rest = high * _BASE + (low >> _HALF) - quotient_high * divisor
    quotient_low = _digit(rest, low & _LOW, divisor_high, divisor_low)
    remainder = rest * _BASE + (low & _LOW) - quotient_low * divisor
    return quotient_high * _BASE + quotient_low, remainder >> shift


@compiled
def _leading_zeros(word: Word) -> Word:
    # By halves: six comparisons instead of up to 63 turns of a loop.
    zeros = ZERO
    for width in (32, 16, 8, 4, 2, 1):
        step = np.uint64(width)
        if word >> (_ALL - step) == ZERO:
            word = word << step
            zeros = zeros + step
    return zeros


@compiled
def _digit(high: Word, next_half: Word, divisor_high: Word, divisor_low: Word) -> Word:
    # One 32-bit digit of the quotient: the estimate is at most two too large.
    digit = high // divisor_high
    rest = high - digit * divisor_high
    while digit >= _BASE or digit * divisor_low > rest * _BASE + next_half:
        digit = digit - ONE
        rest = rest + divisor_high
        if rest >= _BASE:
            break
    return digit


@compiled
def divide_192(w0: Word, w1: Word, w2: Word, divisor: Word) -> tuple[Word, Word, Word, Word]:
    """(quotient words, remainder) of a 192-bit number by a word."""
    if w1 == ZERO and w2 == ZERO:
        q0 = w0 // divisor
        return q0, ZERO, ZERO, w0 - q0 * divisor
    q2 = w2 // divisor
    rest = w2 - q2 * divisor
    q1, rest = divide_words(w1, rest, divisor)
    q0, rest = divide_words(w0, rest, divisor)
    return q0, q1, q2, rest


@compiled
def divide_by_unit(w0: Word, w1: Word, w2: Word) -> tuple[Word, Word, Word, Word]:
    """``divide_192`` by 10**12, several times as fast: 2**12 goes by shifting, and 5**12 is a constant
    of 28 bits, so that each 32-bit step is one multiplication."""
    low_bits = w0 & _UNIT_MASK
    w0 = (w0 >> _UNIT_SHIFT) | (w1 << _UNIT_REST)
    w1 = (w1 >> _UNIT_SHIFT) | (w2 << _UNIT_REST)
    w2 = w2 >> _UNIT_SHIFT
    q2, rest = ZERO, ZERO
    if w2 != ZERO:
        q2, rest = _divide_by_five(w2, rest)
    q1, rest = _divide_by_five(w1, rest)
    q0, rest = _divide_by_five(w0, rest)
    return q0, q1, q2, (rest << _UNIT_SHIFT) | low_bits


@compiled
def divide_short(low: Word, high: Word) -> tuple[Word, Word, Flag]:
    """(quotient, remainder) of (low, high) by 10**12, and whether the quotient fits one word."""
    over = high >> _UNIT_SHIFT
    quotient, rest = _divide_by_five((low >> _UNIT_SHIFT) | (high << _UNIT_REST), over)
    return quotient, (rest << _UNIT_SHIFT) | (low & _UNIT_MASK), over < _FIVE_12


@compiled
def _divide_by_five(word: Word, rest: Word) -> tuple[Word, Word]:
    # One word of a long division by 5**12; ``rest`` is the remainder of the words above.
    upper = (rest << _HALF) | (word >> _HALF)
    q_upper = upper // _FIVE_12
    lower = ((upper - q_upper * _FIVE_12) << _HALF) | (word & _LOW)
    q_lower = lower // _FIVE_12
    return (q_upper << _HALF) | q_lower, lower - q_lower * _FIVE_12


@compiled
def negate_128(low: Word, high: Word) -> tuple[Word, Word]:
    """The two's complement of the opposite number."""
    return subtract_128(ZERO, ZERO, low, high)
