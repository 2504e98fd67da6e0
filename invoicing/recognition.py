"""When an invoice line is revenue: its amount spread over the days of its service. Pure.

- usage of a period inside one month: wholly in that month. Of a period over several months each gets what was
  consumed in it, where that is known (``month_shares.py``).
- licences, fees that recur, usage that does not add up over days, and what adjusts or gives back such lines:
  straight line by day over the service period.
- a one-time charge: on the first day. A minimum or a true-up: on the last day, when it is known.
- a correction from a review: when the line it corrects is.

Parts are whole minor units. Each is the difference of two running totals, rounded half away from zero, so
that the parts of any cut sum to the amount: the days of a month come to the month, and the months to the
line.

    >>> month_parts(date(2026, 1, 15), date(2026, 3, 15), 1000)
    [(datetime.date(2026, 1, 31), 288), (datetime.date(2026, 2, 28), 475), (datetime.date(2026, 3, 14), 237)]

Two calls in three were made in January:

    >>> shared_parts(((date(2026, 1, 31), 2), (date(2026, 2, 14), 1)), 1000)
    [(datetime.date(2026, 1, 31), 667), (datetime.date(2026, 2, 14), 333)]
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from rating.steps import MINIMUM_SPEND_KIND
from rating.term_commitment import TRUE_UP_KIND

_A_DAY: Final = timedelta(days=1)
ON_FIRST_DAY: Final = frozenset({"one_time"})
ON_LAST_DAY: Final = frozenset({MINIMUM_SPEND_KIND, TRUE_UP_KIND})
CORRECTION_KIND: Final = "correction"
"""Of lines that a review put beside others, with their charge and period."""
MonthShares = tuple[tuple[date, int], ...]
"""What of a line's amount is of which month: (the month's last day within the period, share), by day. Shares
are whole numbers, in 10^-12 of a unit consumed; their sum is not 0. Those of an adjustment are in 10^-12 of
a minor unit, and some may lie below 0."""


def recognised_days(charge_kind: str, period_start: date, period_end: date) -> tuple[date, date]:
    """The days a line is recognised over, half-open: its service period, or one day of it.

    A period without a day counts as its first.
    """
    last = max(period_start, period_end - _A_DAY)
    if charge_kind in ON_FIRST_DAY:
        return period_start, period_start + _A_DAY
    if charge_kind in ON_LAST_DAY:
        return last, last + _A_DAY
    return period_start, last + _A_DAY


def line_parts(
    charge_kind: str, period_start: date, period_end: date, amount_minor: int, shares: MonthShares | None
) -> list[tuple[date, int]]:
    """What each calendar month gets of a line: by its shares where it has some, else straight line."""
    if shares:
        return shared_parts(shares, amount_minor)
    return month_parts(*recognised_days(charge_kind, period_start, period_end), amount_minor)


def shared_parts(shares: MonthShares, amount_minor: int) -> list[tuple[date, int]]:
    """What each month gets in proportion to its share; the parts sum to the amount."""
    total = sum(share for _, share in shares)
    parts, running, before = [], 0, 0
    for day, share in shares:
        running += share
        through = _rounded(amount_minor * running, total)
        parts.append((day, through - before))
        before = through
    return parts


def _rounded(number: int, divisor: int) -> int:
    """The quotient as a whole number, half away from zero."""
    size = (2 * abs(number) + abs(divisor)) // (2 * abs(divisor))
    return size if (number >= 0) == (divisor > 0) else -size


def recognised_through(period_start: date, period_end: date, amount_minor: int, day: date) -> int:
    """What of the amount is recognised by the end of ``day``. The period is half-open."""
    days = (period_end - period_start).days
    gone = min(max((day - period_start).days + 1, 0), days)
    return _rounded(amount_minor * gone, days)


def month_parts(period_start: date, period_end: date, amount_minor: int) -> list[tuple[date, int]]:
    """What each calendar month gets, dated on its last day or the last of the period."""
    last = period_end - _A_DAY
    if last >= period_start and (last.year, last.month) == (period_start.year, period_start.month):
        return [(last, amount_minor)]  # most lines: usage of one month
    parts = []
    day, before = period_start, 0
    while day < period_end:
        next_month = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        last = min(next_month, period_end) - _A_DAY
        through = recognised_through(period_start, period_end, amount_minor, last)
        parts.append((last, through - before))
        day, before = last + _A_DAY, through
    return parts


def day_parts(period_start: date, period_end: date, amount_minor: int) -> list[tuple[date, int]]:
    """What each day gets; the days of a month sum to what ``month_parts`` gives it."""
    parts, before = [], 0
    for number in range((period_end - period_start).days):
        day = period_start + timedelta(days=number)
        through = recognised_through(period_start, period_end, amount_minor, day)
        parts.append((day, through - before))
        before = through
    return parts
