"""Sums of minor units by group that never wrap unseen."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_HALF: Final = 32
_LOW_HALF: Final = 2**32 - 1


def sums_by_group(
    group: NDArray[np.int64], amount: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """By group 0 .. groups - 1: the sum of its amounts, and whether it is past 64 bits (the sum is 0 then).

    group, amount: one entry each an amount; fewer than 2**31 of them.
    """
    high, low = (np.zeros(groups, np.int64) for _ in range(2))
    # In halves of 32 bits, so that the sum of fewer than 2**31 amounts cannot wrap.
    np.add.at(high, group, amount >> _HALF)
    np.add.at(low, group, amount & _LOW_HALF)
    high += low >> _HALF
    wrapped = (high >= 2**31) | (high < -(2**31))
    return (np.where(wrapped, 0, high) << _HALF) | (np.where(wrapped, 0, low) & _LOW_HALF), wrapped


def exact_sum(amount: NDArray[np.int64]) -> int:
    """The sum of fewer than 2**31 amounts, of any size."""
    return (int((amount >> _HALF).sum()) << _HALF) + int((amount & _LOW_HALF).sum())
