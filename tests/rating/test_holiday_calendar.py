"""Goal: a billing date is invoiced on the business day asked for, and never before what it bills is over."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Engine

from ingest.errors import InvalidDocument, NotFound
from rating.holiday_calendar import WEEK, WEEKENDS, BusinessDays, HolidayCalendar, calendar_rules
from rating.holiday_calendar_store import get_calendar, list_calendars, save_calendar
from rating.invoice_day import InvoiceDayRule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BANKS = HolidayCalendar.model_validate(
    {
        "calendar_id": "banks",
        "holidays": [
            {"date": "2026-01-01"},
            {"date": "2026-04-03", "name": "Good Friday"},
            {"date": "2026-04-06", "name": "Easter Monday"},
            {"date": "2026-05-29"},
        ],
    }
)
DAYS = BusinessDays.of(BANKS)


@pytest.mark.parametrize(
    ("rule", "billing_date", "bills_past", "invoiced"),
    [
        ("none", "2026-01-25", True, "2026-01-25"),  # a Sunday
        ("next", "2026-01-25", True, "2026-01-26"),
        ("next", "2026-01-26", True, "2026-01-26"),
        ("next", "2026-04-03", True, "2026-04-07"),  # over Easter
        ("previous", "2026-01-25", False, "2026-01-23"),
        ("previous", "2026-04-06", False, "2026-04-02"),
        ("previous", "2026-01-25", True, "2026-01-26"),  # the usage of the 23rd to the 25th is not known
        ("last", "2026-01-25", True, "2026-01-30"),  # a Friday; the 31st is a Saturday
        ("last", "2026-05-25", True, "2026-05-28"),  # the 29th is a holiday
        ("last", "2026-01-31", True, "2026-02-02"),  # the 31st lies behind the last business day
    ],
)
def test_the_day_of_the_invoice(rule: str, billing_date: str, bills_past: bool, invoiced: str) -> None:
    found = InvoiceDayRule(rule, DAYS).invoice_day(date.fromisoformat(billing_date), bills_past=bills_past)
    assert found == date.fromisoformat(invoiced)


def test_other_weekends() -> None:
    friday_free = HolidayCalendar.model_validate({"calendar_id": "x", "weekend": ["friday", "saturday"]})
    assert BusinessDays.of(friday_free).next(date(2026, 1, 2)) == date(2026, 1, 4)
    assert WEEKENDS.next(date(2026, 1, 3)) == date(2026, 1, 5)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"weekend": list(WEEK)}, "no_business_day"),
        ({"holidays": [{"date": "2026-01-01"}, {"date": "2026-01-01"}]}, "holiday_twice"),
        (
            {
                "holidays": [{"date": date(2026, month, day)} for month in (1, 2, 3) for day in range(1, 29)]
                + [{"date": date(2026, 1, day)} for day in (29, 30, 31)]
            },
            "no_business_day",
        ),
    ],
)
def test_a_calendar_must_leave_business_days(document: dict[str, object], code: str) -> None:
    calendar = HolidayCalendar.model_validate({"calendar_id": "x", **document})
    assert code in [issue.reason_code for issue in calendar_rules(calendar)]


def test_saved_again_is_unchanged_and_changed_is_a_version(ledger: Engine) -> None:
    assert save_calendar(ledger, BANKS, now=NOW).created
    assert not save_calendar(ledger, BANKS, now=NOW).created
    saved = save_calendar(ledger, {"calendar_id": "banks", "name": "Banks"}, now=NOW)
    assert (saved.version, saved.created) == (2, True)
    assert get_calendar(ledger, "banks").calendar.name == "Banks"
    assert [entry.version for entry in list_calendars(ledger)] == [2]
    with pytest.raises(NotFound, match="ratemill calendar list"):
        get_calendar(ledger, "none")
    with pytest.raises(InvalidDocument):
        save_calendar(ledger, {"calendar_id": "banks", "holidays": [{"date": "soon"}]}, now=NOW)
