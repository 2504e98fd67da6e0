"""What part of a billing period some days of it are: the methods a plan may choose from.

Every method counts: the days (or seconds) of the part over those of the whole period, as two whole numbers.
The price of a part is price x part / whole, rounded once with everything else. Of a whole period the two
are equal.

    by_day       calendar days; the whole is the billing period, or 30 days a month (``thirty_days``)
    by_second    seconds between the local midnights, so that a day of 23 hours is one hour less
    thirty_360   days of a calendar in which every month has 30: the 31st is counted with the 30th (30E/360)
    none         a fee, or a licence in advance, is not prorated: what is in force where the period begins is
                 charged whole; what is no fee (other levels, minimums) goes by the day

>>> units_between("thirty_360", date(2025, 1, 31), date(2025, 3, 1))
31
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from rating.price_plan import Charge, PricePlan, is_licence_in_advance

Method = Literal["by_day", "thirty_days", "by_second", "thirty_360"]
METHODS: Final[tuple[Method, ...]] = ("by_day", "thirty_days", "by_second", "thirty_360")
PERIOD_DAYS_MAX: Final = 1000
"""More than any billing period has; a larger whole is counted in seconds."""
WHOLE_MAX: Final = PERIOD_DAYS_MAX * 86_400
_MONTH: Final = 30
_Days = NDArray[np.int64]


def method_of(plan: PricePlan) -> Method:
    """How parts of a period are counted under the plan."""
    if plan.proration in {"by_second", "thirty_360"}:
        return "by_second" if plan.proration == "by_second" else "thirty_360"
    return "thirty_days" if plan.proration_divisor == "thirty_days" else "by_day"


def is_unprorated(charge: Charge, plan: PricePlan) -> bool:
    """Whether a fee or a licence in advance costs as much for a part of a period as for all of it."""
    if is_licence_in_advance(charge):
        return plan.proration == "none"
    return charge.kind == "recurring" and (not charge.prorated or plan.proration == "none")


def units_between(
    method: Method, start: date, end: date, *, seconds: int | None = None, at_most: int | None = None
) -> int:
    """How much of a period the days [start, end) are. seconds: between their midnights, for ``by_second``.
    at_most: the whole, which thirty days a month may fall short of."""
    if method == "by_second" and seconds is not None:
        return seconds
    if method == "thirty_360":
        first, past = (int(_thirty_day_number(np.array([day], "datetime64[D]"))[0]) for day in (start, end))
        return past - first
    days = (end - start).days
    return days if at_most is None else min(days, at_most)


def shares(
    method: Method, *, start: _Days, end: _Days, whole_start: _Days, whole_end: _Days
) -> tuple[_Days, _Days]:
    """(part, whole) of many periods, for the methods that count days. All are days since 1970."""
    days, full_days = end - start, whole_end - whole_start
    if method == "by_day":
        return days, full_days
    dates = [days_of.astype("datetime64[D]") for days_of in (start, end, whole_start, whole_end)]
    if method == "thirty_360":
        first, past, whole_first, whole_past = (_thirty_day_number(each) for each in dates)
        return past - first, whole_past - whole_first
    months = [each.astype("datetime64[M]").astype(np.int64) for each in dates[2:]]
    # A week has seven days, whichever months it lies in.
    whole = np.where(full_days >= 28, (months[1] - months[0]) * _MONTH, full_days)
    return np.where(days == full_days, whole, np.minimum(days, whole)), whole


def part_words(part: int, whole: int) -> str:
    """``14 of 31 days``, or seconds when so many days no period has."""
    if whole > PERIOD_DAYS_MAX:
        return f"{part:,} of {whole:,} seconds"
    return f"{part} of {whole} days"


def _thirty_day_number(days: Any) -> _Days:
    months = days.astype("datetime64[M]")
    day_of_month = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    number: _Days = months.astype(np.int64) * _MONTH + np.minimum(day_of_month, _MONTH)
    return number
