"""Billing periods: which local days start one, and which instants those days start at.

Two steps, kept apart. ``billing_boundaries`` works on plain calendar dates and knows no clock;
``local_midnight`` turns a date into the UTC instant at which that day starts in a time zone. A
period is half-open, [boundary, next boundary), so periods neither overlap nor leave a gap.

>>> [str(day) for day in billing_boundaries(
...     cadence="monthly", anchor_date=date(2025, 1, 31), first=date(2025, 2, 1), last=date(2025, 4, 1))]
['2025-01-31', '2025-02-28', '2025-03-31', '2025-04-30']
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ingest.clock import to_micros
from ingest.errors import BrokenState, InvalidInput

Cadence = Literal["weekly", "monthly", "quarterly", "semiannual", "annual"]

_WEEK_DAYS: Final = 7
MONTHS_MAX: Final = 24
"""The longest billing period."""
EVERY: Final[dict[str, str]] = {"weekly": "weeks", "monthly": "months"}
"""The cadences of which several may make a period, and their unit."""
_STEPS: Final[dict[str, tuple[str, int]]] = {
    "weekly": ("weeks", 1),
    "monthly": ("months", 1),
    "quarterly": ("months", 3),
    "semiannual": ("months", 6),
    "annual": ("months", 12),
}
_EVERY: Final = re.compile(r"every ([1-9][0-9]{0,2}) (weeks|months)")
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_NO_ZONES: Final = frozenset({"Factory", "posixrules", "localtime"})
_SECOND: Final = timedelta(seconds=1)


def billing_boundaries(*, cadence: str, anchor_date: date, first: date, last: date) -> list[date]:
    """The period starts needed to cover every day of ``first`` to ``last``, both included.

    Returns strictly increasing dates ``b`` with ``b[0] <= first < b[1]`` and
    ``b[-2] <= last < b[-1]``: the period of each day asked is [b[i], b[i+1]) for one i.

    cadence: weekly, monthly, quarterly, semiannual, annual, or like ``every 2 months``, ``every 3 weeks``.
    anchor_date: a day that starts a period; it may lie before, inside or after the days asked. An
        anchor on the 29th to 31st falls on the last day of shorter months and returns to its own
        day afterwards (Jan 31, Feb 28, Mar 31); Feb 29 is Feb 28 in common years.

    Raises InvalidInput for an unknown cadence, for ``first > last``, and for days so near the ends
    of the calendar (years 1 and 9999) that a boundary cannot be written.
    """
    if first > last:
        raise InvalidInput(
            f"the days asked run backwards: first {first} is after last {last}. Swap them.",
            reason_code="days_backwards",
        )
    cadence_step(cadence)
    try:
        return _walk(cadence, anchor_date, first, last)
    except (OverflowError, ValueError) as error:
        raise InvalidInput(
            f"no {cadence} billing period can be written around {first} to {last}: {error}. "
            "Use dates between the years 2 and 9997.",
            reason_code="date_out_of_range",
        ) from error


def interval_words(cadence: str, every: int) -> str:
    """A cadence of which ``every`` make a period: ``monthly``, ``every 2 months``."""
    return cadence if every == 1 or cadence not in EVERY else f"every {every} {EVERY[cadence]}"


def cadence_step(cadence: str) -> tuple[str, int]:
    """(unit, how many): what lies between two boundaries, in weeks or months. Raises InvalidInput."""
    if cadence in _STEPS:
        return _STEPS[cadence]
    every = _EVERY.fullmatch(cadence)
    if every is None:
        raise InvalidInput(
            f"{cadence!r} is not a billing cadence; use weekly, monthly, quarterly, semiannual, annual, or "
            "like 'every 2 months' and 'every 3 weeks'.",
            reason_code="unknown_cadence",
        )
    return every[2], int(every[1])


def local_midnight(day: date, time_zone: str) -> datetime:
    """The instant ``day`` starts at in ``time_zone``, aware and in UTC.

    When the clock skips midnight (Sao Paulo 2018-11-04, Beirut most springs) the day starts at the
    first instant after the gap; a day that was skipped whole (Apia 2011-12-30) starts where the
    next one does. When midnight happens twice, the day starts at the first. Raises InvalidInput
    for an unknown zone.
    """
    return _midnight(day, find_time_zone(time_zone), time_zone)


def local_midnights_micros(dates: Sequence[date] | NDArray[Any], time_zone: str) -> NDArray[np.int64]:
    """``local_midnight`` of many days: int64 microseconds since 1970 UTC, in the order of ``dates``.

    dates: dates, or an array of datetime64[D]. Each distinct day is computed once.
    """
    zone = find_time_zone(time_zone)
    days = np.asarray(dates, dtype="datetime64[D]")
    if np.isnat(days).any():
        raise BrokenState(
            f"a date to be placed in {time_zone} is missing; every period needs its start and its end."
        )
    distinct, places = _distinct(days.astype(np.int64))
    starts = [to_micros(_midnight(day, zone, time_zone)) for day in distinct.astype("datetime64[D]").tolist()]
    return np.array(starts, dtype=np.int64)[places]


def _distinct(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct numbers in order, and the place of each number among them. Many days of few years need no
    sort: 300,000 take 1 ms instead of 10."""
    if not len(numbers) or int(numbers.max()) - int(numbers.min()) > len(numbers):
        distinct, places = np.unique(numbers, return_inverse=True)
        return distinct, places
    first = numbers.min()
    offsets = numbers - first
    seen = np.zeros(int(offsets.max()) + 1, np.bool_)
    seen[offsets] = True
    return np.flatnonzero(seen) + first, (np.cumsum(seen) - 1)[offsets]


def find_time_zone(time_zone: str) -> ZoneInfo:
    """The zone of an IANA name, by the rules of the pinned ``tzdata`` package and never by the
    machine's own files: two machines must cut the same periods. Raises InvalidInput with an example
    of a right name."""
    try:
        return _packaged_zone(time_zone)
    except (ValueError, OSError):
        raise InvalidInput(
            f"{time_zone!r} is not a time zone; use a name from the IANA list, "
            "like 'Europe/Berlin' or 'UTC'.",
            reason_code="unknown_time_zone",
        ) from None


@cache
def _packaged_zone(name: str) -> ZoneInfo:
    if name in _NO_ZONES or not _ZONE_NAME.fullmatch(name):
        raise ValueError(name)
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def _walk(cadence: str, anchor_date: date, first: date, last: date) -> list[date]:
    step = _step_holding(cadence, anchor_date, first)
    boundaries = [_boundary(cadence, anchor_date, step)]
    while boundaries[-1] <= last:
        step += 1
        boundaries.append(_boundary(cadence, anchor_date, step))
    return boundaries


def _step_holding(cadence: str, anchor_date: date, day: date) -> int:
    """How many steps from the anchor the period lies that holds ``day``; negative before it."""
    unit, count = cadence_step(cadence)
    if unit == "weeks":
        return (day - anchor_date).days // (_WEEK_DAYS * count)
    step = (_month_number(day) - _month_number(anchor_date)) // count
    return step if _boundary(cadence, anchor_date, step) <= day else step - 1


def _boundary(cadence: str, anchor_date: date, step: int) -> date:
    """Computed from the anchor, never from the boundary before it: so a clamped day cannot drift."""
    unit, count = cadence_step(cadence)
    if unit == "weeks":
        return anchor_date + timedelta(days=_WEEK_DAYS * count * step)
    year, month = divmod(_month_number(anchor_date) + count * step, 12)
    return date(year, month + 1, min(anchor_date.day, monthrange(year, month + 1)[1]))


def _month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def _midnight(day: date, zone: ZoneInfo, name: str) -> datetime:
    try:
        first = datetime.combine(day, time(fold=0), tzinfo=zone)
        start = first.astimezone(UTC)
        wall = first.replace(tzinfo=None)
        if start.astimezone(zone).replace(tzinfo=None) == wall:
            return start
        # Midnight was skipped: the clock jumps somewhere in (the instant read with the later offset,
        # the instant read with the earlier one]; halve down to the first second on the far side.
        before, after = first.replace(fold=1).astimezone(UTC), start
        while after - before > _SECOND:
            middle = before + (after - before) // (2 * _SECOND) * _SECOND
            if middle.astimezone(zone).replace(tzinfo=None) < wall:
                before = middle
            else:
                after = middle
    except OverflowError as error:
        raise InvalidInput(
            f"{day} has no midnight in {name} that can be written; use dates between the years 2 and 9997.",
            reason_code="date_out_of_range",
        ) from error
    return after
