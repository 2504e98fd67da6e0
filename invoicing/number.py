"""Invoice numbers: one gap-free series a year of issue, drawn in the transaction that uses them.

EU VAT Directive Art. 226(2) asks for "a sequential number, based on one or more series, which
uniquely identifies the invoice"; several countries ask for no gaps as well. So numbers come from a
counter row, never from a database sequence (a rolled-back transaction would leave a gap), a block
at a time: the counter and the invoices that use the block are committed together or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import Connection, func, select, text

from ingest.errors import BrokenState, Conflict
from invoicing.tables import INVOICES, NUMBER_SERIES

_YEAR: Final = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class SeriesCheck:
    """What ``check_series`` found: ``count`` numbers from ``first`` to ``last``."""

    series: str
    count: int
    first: int
    last: int


def series_of(*, prefix: str, issue_date: date) -> str:
    """``INV`` and any day of 2013 give ``INV-2013``: a new series, from 1, every year."""
    return f"{prefix}-{issue_date.year:04d}"


def number_text(*, series: str, number: int) -> str:
    """How a number is printed: ``INV-2013-000001``. Past 999,999 it simply grows longer."""
    return f"{series}-{number:06d}"


def split_number(printed: str) -> tuple[str, int] | None:
    """The series and number of a printed number, None when it does not look like one."""
    series, _, digits = printed.rpartition("-")
    if not series or not digits.isascii() or not digits.isdigit() or len(digits) < 6:
        return None
    return series, int(digits)


def draw_numbers(connection: Connection, *, series: str, count: int) -> int:
    """Take the next ``count`` numbers of ``series`` and return the first of them.

    Call it inside the transaction that inserts the invoices, nowhere else: the row stays locked
    until that transaction ends, so no other draw can come between.
    """
    if count < 1:
        raise BrokenState(f"{count} invoice numbers of series {series} were asked for; at least 1 is drawn.")
    statement = text(
        "INSERT INTO number_series (series, next_number) VALUES (:series, 1 + :count) "
        "ON CONFLICT (series) DO UPDATE SET next_number = number_series.next_number + :count "
        "RETURNING next_number"
    )
    next_number = connection.execute(statement, {"series": series, "count": count}).scalar_one()
    return int(next_number) - count


def refuse_earlier_issue_date(connection: Connection, *, prefix: str, issue_date: date) -> None:
    """Numbers and dates rise together: refuse to issue before the last issued invoice's date, of
    this year's series or another year's.

    Raises Conflict naming that date.
    """
    last = last_issue_date(connection, prefix=prefix)
    if last is not None and issue_date < last:
        raise Conflict(
            f"invoices of series {prefix} are issued up to {last}, so none can be issued with the earlier "
            f"date {issue_date.isoformat()}. Run billing as of {last} or later: it bills the open earlier "
            "dates as well.",
            reason_code="issue_date_not_rising",
        )


def last_issue_date(connection: Connection, *, prefix: str) -> date | None:
    """The date of the newest invoice over all years of ``prefix``, None when there is none."""
    in_use = connection.execute(select(NUMBER_SERIES.c.series)).scalars().all()
    ours = [series for series in in_use if _YEAR.fullmatch(series.removeprefix(f"{prefix}-"))]
    days = []
    for series in ours:
        newest = select(INVOICES.c.issue_date).where(INVOICES.c.series == series)
        last = connection.execute(newest.order_by(INVOICES.c.number.desc()).limit(1)).scalar()
        if last is not None:
            days.append(date.fromisoformat(last))
    return max(days, default=None)


def check_series(connection: Connection) -> list[SeriesCheck]:
    """Every series in use; raises BrokenState when one has a gap or does not start at 1."""
    rows = connection.execute(
        select(
            INVOICES.c.series,
            func.count().label("count"),
            func.min(INVOICES.c.number).label("first"),
            func.max(INVOICES.c.number).label("last"),
        )
        .where(INVOICES.c.number.is_not(None))
        .group_by(INVOICES.c.series)
        .order_by(INVOICES.c.series)
    )
    checks = [SeriesCheck(row[0], int(row[1]), int(row[2]), int(row[3])) for row in rows]
    for check in checks:
        if check.first != 1 or check.count != check.last:
            raise BrokenState(
                f"series {check.series} has {check.count} invoices numbered {check.first} to {check.last}: "
                "numbers are missing. Restore the ledger from its last backup before billing again."
            )
    return checks
