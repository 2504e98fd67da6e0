"""On which days the usage of a line was consumed, so that a part of its revenue is on them.

Where a meter adds up over days (``month_shares.py``) a part of a line in one month is revenue of the days by
what was consumed on each, by running totals, rounded half away from zero:

    >>> used = UsedByDay({date(2026, 1, 30): 2, date(2026, 1, 31): 1})
    >>> used.amounts(date(2026, 1, 29), date(2026, 1, 31), 1000)
    [0, 667, 333]

An adjustment of late usage is, day by day, what the line comes to by what is known now less what it and its
earlier adjustments were; as ``adjustment_shares.py`` has it month by month. Where nothing is known of the
days, or usage lies above zero on some and below on others, a part is straight line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final

from invoicing.adjustment_shares import BilledPart
from invoicing.month_shares import USAGE_KIND
from invoicing.recognition import day_parts, line_parts, shared_parts
from rollup.period import find_time_zone, local_midnight

_A_DAY: Final = timedelta(days=1)
DayQuantities = Mapping[date, int]
"""What was consumed on each day, whole numbers in 10^-12 of a unit; days without any may be left out."""


@dataclass(frozen=True, slots=True)
class UsedByDay:
    """Of a line as it was billed: what was consumed, as known then."""

    quantities: DayQuantities

    def amounts(self, first_day: date, last_day: date, amount_minor: int) -> list[int]:
        """What each day gets of the line's part in one month; empty: straight line."""
        known = self.quantities
        shares = [(day, known[day]) for day in _days(first_day, last_day) if known.get(day)]
        if not shares or (any(share < 0 for _, share in shares) and any(share > 0 for _, share in shares)):
            return []
        parts = dict(shared_parts(tuple(shares), amount_minor))
        return [parts.get(day, 0) for day in _days(first_day, last_day)]


@dataclass(frozen=True, slots=True)
class AdjustedByDay:
    """Of an adjustment: the line's days and all that was billed of it before, by what was known then (empty:
    nothing was), and what is known now. The period is half-open."""

    period_start: date
    period_end: date
    before: Sequence[BilledPart]
    known_before: UsedByDay
    known_now: UsedByDay

    def amounts(self, first_day: date, last_day: date, amount_minor: int) -> list[int]:
        """As of ``UsedByDay``; some may be below zero and others above."""
        billed = 0
        for part in self.before:
            whole = (self.period_start, self.period_end, part.amount_minor, part.shares)
            billed += sum(amount for day, amount in line_parts(USAGE_KIND, *whole) if day == last_day)
        now = self.known_now.amounts(first_day, last_day, billed + amount_minor)
        was = self.known_before.amounts(first_day, last_day, billed)
        if not now and not was:
            return []
        straight = [
            [amount for _, amount in day_parts(first_day, last_day + _A_DAY, whole)]
            for whole in (billed + amount_minor, billed)
        ]
        return [after - before for after, before in zip(now or straight[0], was or straight[1], strict=True)]


@lru_cache(maxsize=4096)
def days_between(
    period_start: datetime, period_end: datetime, time_zone: str
) -> Sequence[tuple[datetime, datetime, date]]:
    """The days of a period, both instants at the start of a local day: [start, end) of each, and the day."""
    zone = find_time_zone(time_zone)
    first, end = period_start.astimezone(zone).date(), period_end.astimezone(zone).date()
    edges = [local_midnight(day, time_zone) for day in _days(first, end)]
    days = zip(pairwise(edges), _days(first, end - _A_DAY), strict=True)
    return [(*edge, day) for edge, day in days if edge[0] < edge[1]]


@lru_cache(maxsize=4096)
def _days(first: date, last: date) -> Sequence[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
