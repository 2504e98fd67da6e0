"""Goal: billing periods tile the calendar: no gap, no overlap, no drift, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import available_timezones

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clock import from_micros, to_micros
from ingest.errors import BrokenState, InvalidInput
from rollup.period import billing_boundaries, find_time_zone, local_midnight, local_midnights_micros

CADENCES = ("weekly", "monthly", "quarterly", "semiannual", "annual")
ZONES = sorted(available_timezones() - {"localtime", "Factory", "posixrules"})
DAY = timedelta(days=1)


def days(text: str) -> list[date]:
    return [date.fromisoformat(word) for word in text.split()]


@pytest.mark.parametrize(
    ("cadence", "anchor", "first", "last", "expected"),
    [
        ("monthly", "2025-01-01", "2025-01-01", "2025-02-28", "2025-01-01 2025-02-01 2025-03-01"),
        ("monthly", "2025-01-01", "2025-01-15", "2025-01-15", "2025-01-01 2025-02-01"),
        ("monthly", "2025-01-01", "2025-02-01", "2025-02-01", "2025-02-01 2025-03-01"),
        ("monthly", "2025-01-31", "2025-02-27", "2025-03-31", "2025-01-31 2025-02-28 2025-03-31 2025-04-30"),
        ("monthly", "2024-01-30", "2024-02-29", "2024-03-01", "2024-02-29 2024-03-30"),
        ("monthly", "2030-12-15", "2025-01-14", "2025-01-15", "2024-12-15 2025-01-15 2025-02-15"),
        ("weekly", "2025-01-06", "2025-01-05", "2025-01-06", "2024-12-30 2025-01-06 2025-01-13"),
        ("quarterly", "2024-11-30", "2025-02-27", "2025-02-28", "2024-11-30 2025-02-28 2025-05-30"),
        ("semiannual", "2024-08-31", "2025-02-28", "2025-08-31", "2025-02-28 2025-08-31 2026-02-28"),
        (
            "annual",
            "2024-02-29",
            "2024-02-29",
            "2028-02-29",
            "2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29 2029-02-28",
        ),
    ],
)
def test_boundaries_a_person_would_write(
    cadence: str, anchor: str, first: str, last: str, expected: str
) -> None:
    found = billing_boundaries(
        cadence=cadence,
        anchor_date=date.fromisoformat(anchor),
        first=date.fromisoformat(first),
        last=date.fromisoformat(last),
    )
    assert found == days(expected)


@settings(max_examples=300)
@given(
    cadence=st.sampled_from(CADENCES),
    anchor=st.dates(date(1990, 1, 1), date(2060, 12, 31)),
    first=st.dates(date(1990, 1, 1), date(2060, 12, 31)),
    length=st.integers(0, 1500),
)
def test_boundaries_cover_every_day_once(cadence: str, anchor: date, first: date, length: int) -> None:
    last = first + length * DAY
    found = billing_boundaries(cadence=cadence, anchor_date=anchor, first=first, last=last)
    assert all(a < b for a, b in pairwise(found))
    assert found[0] <= first < found[1]
    assert found[-2] <= last < found[-1]


@settings(max_examples=200)
@given(
    cadence=st.sampled_from(CADENCES),
    anchor=st.dates(date(2000, 1, 1), date(2040, 12, 31)),
    first=st.dates(date(2000, 1, 1), date(2040, 12, 31)),
    cut=st.integers(0, 700),
)
def test_boundaries_do_not_depend_on_where_one_starts_to_look(
    cadence: str, anchor: date, first: date, cut: int
) -> None:
    whole = billing_boundaries(cadence=cadence, anchor_date=anchor, first=first, last=first + 700 * DAY)
    part = billing_boundaries(
        cadence=cadence, anchor_date=anchor, first=first + cut * DAY, last=first + 700 * DAY
    )
    assert part == whole[-len(part) :]
    start = billing_boundaries(cadence=cadence, anchor_date=anchor, first=anchor, last=anchor)
    assert start[0] == anchor


@pytest.mark.parametrize(
    ("cadence", "first", "last", "reason_code"),
    [
        ("fortnightly", date(2025, 1, 1), date(2025, 1, 1), "unknown_cadence"),
        ("monthly", date(2025, 1, 2), date(2025, 1, 1), "days_backwards"),
        ("monthly", date(9999, 12, 31), date(9999, 12, 31), "date_out_of_range"),
        ("weekly", date(1, 1, 1), date(1, 1, 2), "date_out_of_range"),
    ],
)
def test_impossible_boundaries_are_refused(cadence: str, first: date, last: date, reason_code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        billing_boundaries(cadence=cadence, anchor_date=date(2025, 1, 3), first=first, last=last)
    assert caught.value.reason_code == reason_code


@pytest.mark.parametrize(
    ("day", "time_zone", "instant"),
    [
        ("2025-01-01", "UTC", "2025-01-01T00:00+00:00"),
        ("2025-07-01", "Europe/Berlin", "2025-06-30T22:00+00:00"),
        ("2025-07-01", "America/New_York", "2025-07-01T04:00+00:00"),
        # Midnight was skipped: the day starts at 01:00.
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00+00:00"),
        ("2022-03-27", "Asia/Beirut", "2022-03-26T22:00+00:00"),
        # The clock went from 23:30 on the 31st to 00:30: midnight lies inside the gap.
        ("1919-03-31", "America/Toronto", "1919-03-31T04:30+00:00"),
        # Midnight happened twice; the first counts.
        ("2020-11-01", "America/Havana", "2020-11-01T04:00+00:00"),
        ("1990-10-28", "America/St_Johns", "1990-10-28T02:30+00:00"),
        # The whole day was skipped: it starts where the next one does.
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00+00:00"),
        ("2011-12-31", "Pacific/Apia", "2011-12-30T10:00+00:00"),
    ],
)
def test_a_local_day_starts(day: str, time_zone: str, instant: str) -> None:
    assert local_midnight(date.fromisoformat(day), time_zone) == datetime.fromisoformat(instant)


@settings(max_examples=150)
@given(time_zone=st.sampled_from(ZONES), year=st.integers(1971, 2040))
def test_the_days_of_a_year_fill_it(time_zone: str, year: int) -> None:
    """Starts never run backwards, so 23, 24 and 25 hour days add up to the year whatever happened."""
    dates = [date(year, 1, 1) + number * DAY for number in range(367)]
    starts = local_midnights_micros(dates, time_zone)
    lengths = np.diff(starts)
    assert (lengths >= 0).all()
    assert set((lengths // 60_000_000).tolist()) <= set(range(20 * 60, 28 * 60 + 1)) | {0}
    assert int(lengths.sum()) == starts[-1] - starts[0]


@settings(max_examples=400)
@given(time_zone=st.sampled_from(ZONES), day=st.dates(date(1971, 1, 1), date(2100, 1, 1)))
def test_a_day_starts_at_its_first_instant(time_zone: str, day: date) -> None:
    start = local_midnight(day, time_zone)
    zone = find_time_zone(time_zone)
    assert start.tzinfo is UTC
    assert start.astimezone(zone).date() >= day
    assert (start - timedelta(microseconds=1)).astimezone(zone).date() < day


def test_many_dates_keep_their_order_and_their_repeats() -> None:
    dates = days("2025-03-30 2025-03-31 2025-03-30 1970-01-01")
    found = local_midnights_micros(dates, "Europe/Berlin")
    assert found.dtype == np.int64
    assert [from_micros(micros) for micros in found.tolist()] == [
        local_midnight(one, "Europe/Berlin") for one in dates
    ]
    assert int(found[1] - found[0]) == 23 * 3_600_000_000
    array = np.array(dates, dtype="datetime64[D]")
    assert local_midnights_micros(array, "Europe/Berlin").tolist() == found.tolist()
    assert to_micros(local_midnight(dates[3], "Europe/Berlin")) == -3_600_000_000
    assert local_midnights_micros([], "UTC").tolist() == []


@pytest.mark.parametrize("name", ["", "Mars/Base", "America", "/etc/passwd", "../UTC", "localtime", "\0"])
def test_an_unknown_zone_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(InvalidInput, match="Europe/Berlin"):
        local_midnight(date(2025, 1, 1), name)


def test_a_missing_date_stops() -> None:
    with pytest.raises(BrokenState, match="is missing"):
        local_midnights_micros(np.array(["2025-01-01", "NaT"], dtype="datetime64[D]"), "UTC")
