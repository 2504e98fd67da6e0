"""A holiday calendar as people write it: the days on which nobody pays or sends invoices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

from ingest.document import Document
from ingest.errors import Issue
from ingest.meter import Key

WeekDay = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEK: Final[tuple[WeekDay, ...]] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
_FREE_RUN_MAX: Final = 60
"""More free days on end than any country has; a longer run is a mistake in the calendar."""


class Holiday(Document):
    """One free day and what it is called."""

    date: date
    name: str = ""


class HolidayCalendar(Document):
    """``weekend``: the free days of every week. ``holidays``: single free days, of all years needed."""

    calendar_id: Key
    name: str = ""
    weekend: tuple[WeekDay, ...] = ("saturday", "sunday")
    holidays: tuple[Holiday, ...] = ()


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """The same for looking up. weekend: numbers from 0, Monday."""

    weekend: frozenset[int]
    holidays: frozenset[date]

    @classmethod
    def of(cls, calendar: HolidayCalendar) -> BusinessDays:
        weekend = frozenset(WEEK.index(day) for day in calendar.weekend)
        return cls(weekend, frozenset(holiday.date for holiday in calendar.holidays))

    def is_business_day(self, day: date) -> bool:
        """Whether it is neither weekend nor holiday."""
        return day.weekday() not in self.weekend and day not in self.holidays

    def next(self, day: date) -> date:
        """The first business day from ``day`` on."""
        while not self.is_business_day(day):
            day += timedelta(days=1)
        return day

    def previous(self, day: date) -> date:
        """The last business day up to ``day``."""
        while not self.is_business_day(day):
            day -= timedelta(days=1)
        return day


WEEKENDS: Final = BusinessDays(frozenset({5, 6}), frozenset())
"""Of a contract that names no calendar: Saturday and Sunday."""


def calendar_rules(calendar: HolidayCalendar) -> Iterator[Issue]:
    """What a calendar must keep beyond its field types."""
    if len(set(calendar.weekend)) == len(WEEK):
        yield Issue("no_business_day", "weekend", "Every day of the week is free.", "at most six days.")
        return
    seen: set[date] = set()
    for position, holiday in enumerate(calendar.holidays):
        if holiday.date in seen:
            yield Issue(
                "holiday_twice",
                f"holidays[{position}].date",
                f"{holiday.date} is named twice.",
                "each day once.",
            )
        seen.add(holiday.date)
    days = BusinessDays.of(calendar)
    for holiday in calendar.holidays:
        free = (holiday.date + timedelta(days=number) for number in range(_FREE_RUN_MAX))
        if not any(map(days.is_business_day, free)):
            yield Issue(
                "no_business_day",
                "holidays",
                f"From {holiday.date} on, {_FREE_RUN_MAX} days on end are free.",
                "a business day at least every two months.",
            )
            return
