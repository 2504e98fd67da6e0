"""Document numbers: one gap-free series a kind of document and year of issue, drawn in the transaction that
uses them. Two kinds, or two billing entities, share a series where they are given the same prefix.

EU VAT Directive Art. 226(2) asks for "a sequential number, based on one or more series, which
uniquely identifies the invoice"; several countries ask for no gaps as well. So numbers come from a
counter row, never from a database sequence (a rolled-back transaction would leave a gap), a block
at a time: the counter and the invoices that use the block are committed together or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select, text

from ingest.errors import BrokenState, Conflict
from invoicing.fiscal_year import CALENDAR_YEAR, fiscal_year, load_start_month
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES

_YEAR: Final = re.compile(r"[0-9]{4}")
_EARTH_AHEAD: Final = timedelta(hours=14)
"""Where the day begins first, it is this much later than in UTC."""


@dataclass(frozen=True, slots=True)
class SeriesCheck:
    """What ``check_series`` found: ``count`` numbers from ``first`` to ``last``."""

    series: str
    count: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DrawnNumbers:
    """``count`` numbers of ``series`` from ``first`` on, for documents issued on ``issue_date``."""

    series: str
    issue_date: date
    first: int
    count: int

    def text(self, place: int) -> str:
        """The printed number of the document in that place, from 0."""
        return number_text(series=self.series, number=self.first + place)

    def part(self, place: int, count: int) -> DrawnNumbers:
        """``count`` of them from that place on."""
        return replace(self, first=self.first + place, count=count)


def series_of(*, prefix: str, issue_date: date, start_month: int = CALENDAR_YEAR) -> str:
    """``INV`` and any day of 2013 give ``INV-2013``: a new series, from 1, every year. start_month: in
    which the year begins (``fiscal_year.py``)."""
    return f"{prefix}-{fiscal_year(issue_date, start_month):04d}"


def number_text(*, series: str, number: int) -> str:
    """How a number is printed: ``INV-2013-000001``. Past 999,999 it simply grows longer."""
    return f"{series}-{number:06d}"


def split_number(printed: str) -> tuple[str, int] | None:
    """The series and number of a printed number, None when it does not look like one."""
    series, _, digits = printed.rpartition("-")
    if not series or not digits.isascii() or not digits.isdigit() or len(digits) < 6:
        return None
    return series, int(digits)


def issue_day(connection: Connection, *, prefix: str, today: date, now: datetime) -> date:
    """The day of a document that has none of its own: ``today`` where it is issued, or that of the last of
    its prefix where that is later and has begun somewhere on earth. Numbers and dates rise together, and what
    was issued for Auckland must keep nobody in Los Angeles waiting for midnight."""
    last = last_issue_date(connection, prefix=prefix)
    if last is None or last <= today or last > latest_day(now):
        return today
    return last


def latest_day(now: datetime) -> date:
    """The day it is where days begin first. now: in UTC."""
    return (now + _EARTH_AHEAD).date()


def draw_for(connection: Connection, *, prefix: str, issue_date: date, count: int) -> DrawnNumbers:
    """Take the next ``count`` numbers for documents issued on that day; see ``draw_numbers``.

    Raises Conflict for a day before the last document's of that prefix.
    """
    start_month = load_start_month(connection, prefix)
    series = series_of(prefix=prefix, issue_date=issue_date, start_month=start_month)
    first = draw_numbers(connection, series=series, count=count)
    # Only now, with the series held: of two at once the one with the earlier day could come second.
    refuse_earlier_issue_date(connection, prefix=prefix, issue_date=issue_date)
    return DrawnNumbers(series, issue_date, first, count)


def draw_numbers(connection: Connection, *, series: str, count: int) -> int:
    """Take the next ``count`` numbers of ``series`` and return the first of them.

    Call it inside the transaction that inserts the documents, nowhere else: the row stays locked
    until that transaction ends, so no other draw can come between.
    """
    if count < 1:
        raise BrokenState(f"{count} numbers of series {series} were asked for; at least 1 is drawn.")
    statement = text(
        "INSERT INTO number_series (series, next_number) VALUES (:series, 1 + :count) "
        "ON CONFLICT (series) DO UPDATE SET next_number = number_series.next_number + :count "
        "RETURNING next_number"
    )
    next_number = connection.execute(statement, {"series": series, "count": count}).scalar_one()
    return int(next_number) - count


def refuse_earlier_issue_date(connection: Connection, *, prefix: str, issue_date: date) -> None:
    """Numbers and dates rise together: refuse to issue before the last issued document's date, of
    this year's series or another year's.

    Raises Conflict naming that date.
    """
    last = last_issue_date(connection, prefix=prefix)
    if last is not None and issue_date < last:
        raise Conflict(
            f"documents of series {prefix} are issued up to {last}, so none can be issued with the earlier "
            f"date {issue_date.isoformat()}. Leave the date out, or give {last} or a later one; a billing "
            f"run as of {last} or later bills the open earlier dates as well.",
            reason_code="issue_date_not_rising",
        )


def last_issue_date(connection: Connection, *, prefix: str) -> date | None:
    """The date of the newest document over all years of ``prefix``, None when there is none."""
    in_use = connection.execute(select(NUMBER_SERIES.c.series)).scalars().all()
    ours = [series for series in in_use if _YEAR.fullmatch(series.removeprefix(f"{prefix}-"))]
    days = []
    for series in ours:
        newest = select(ISSUED_DOCUMENTS.c.issue_date).where(ISSUED_DOCUMENTS.c.series == series)
        last = connection.execute(newest.order_by(ISSUED_DOCUMENTS.c.number.desc()).limit(1)).scalar()
        if last is not None:
            days.append(date.fromisoformat(last))
    return max(days, default=None)


def check_series(connection: Connection) -> list[SeriesCheck]:
    """Every series in use; raises BrokenState when one has a gap, does not start at 1 or has lost its end."""
    table = ISSUED_DOCUMENTS
    rows = connection.execute(
        select(
            NUMBER_SERIES.c.series,
            NUMBER_SERIES.c.next_number,
            func.count(table.c.number).label("documents"),
            func.min(table.c.number).label("first"),
            func.max(table.c.number).label("last"),
        )
        .outerjoin_from(NUMBER_SERIES, table, table.c.series == NUMBER_SERIES.c.series)
        .group_by(NUMBER_SERIES.c.series, NUMBER_SERIES.c.next_number)
        .order_by(NUMBER_SERIES.c.series)
    ).all()
    for row in rows:
        if (row.first, row.last, row.documents) != (1, row.next_number - 1, row.next_number - 1):
            raise BrokenState(
                f"series {row.series} has {row.documents} documents numbered {row.first} to {row.last}, and "
                f"{row.next_number} comes next: numbers are missing. Restore the ledger from its last backup "
                "before billing again."
            )
    return [SeriesCheck(row.series, int(row.documents), int(row.first), int(row.last)) for row in rows]
