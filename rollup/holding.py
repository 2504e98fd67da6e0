"""How far levels are known, and how their days count; see ``held_levels.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CountedDays:
    """The days of one stretch of time. starts: the instants they begin, in microseconds and in order, the
    first and the last those of the stretch itself. units: how many units lie before each of them."""

    starts: NDArray[np.int64]
    units: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Holding:
    """known_until: of each row of the calendar, in microseconds: changes at or after it do not count.
    days: by period_key, of periods whose average is counted by the day; others by the microsecond.
    only_added: what is taken away in a period does not count, of readings that give back for it."""

    known_until: NDArray[np.int64]
    days: Mapping[int, CountedDays] = field(default_factory=dict)
    only_added: bool = False
