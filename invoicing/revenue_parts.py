"""From which days the journal's rows of revenue are, as documents say it. Pure.

A row of the journal is what one charge of a document is revenue by month. Here it is taken apart by the first
day its lines were had: most rows are one part. The parts of a row sum to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import accumulate
from typing import NamedTuple, Protocol

from invoicing.posting import PostedDocument, catches_up, revenue_lines
from invoicing.recognition import day_parts, line_parts, recognised_days


class DayPart(NamedTuple):
    """Of a row: what is of the days from first_day to the row's. through_minor: what of it is revenue by the
    end of each of them; empty: straight line."""

    first_day: date
    amount_minor: int
    through_minor: Sequence[int] = ()


class DaysOfUse(Protocol):
    """On which days a line is revenue that goes by what was used."""

    def amounts(self, first_day: date, last_day: date, amount_minor: int) -> Sequence[int]:
        """What each day gets of the line's part in one month; empty: straight line."""


RowKey = tuple[date, str]
"""The day of a row of revenue, and the charge."""


def document_parts(
    document: PostedDocument, used: Mapping[str, DaysOfUse]
) -> dict[RowKey, dict[tuple[date, bool], list[int]]]:
    """Of each row: by first day, and whether it goes straight line, the amount (one number) or the amounts
    of the days. used: by line_id, of lines that go by usage."""
    rows: dict[RowKey, dict[tuple[date, bool], list[int]]] = {}
    for line, left in revenue_lines(document):
        _, charge_id, kind, period_start, period_end, _ = line
        start, _ = recognised_days(kind, period_start, period_end)
        shares = document.shares.get(line.line_id)
        for last, amount in line_parts(kind, period_start, period_end, left, shares):
            first = max(start, last.replace(day=1))
            if catches_up(document) and last <= document.issue_date:
                _add(
                    rows.setdefault((document.issue_date, charge_id), {}),
                    (document.issue_date, True),
                    [amount],
                )
                continue
            days: Sequence[int] = ()
            if catches_up(document) and first < document.issue_date:
                days = _no_day_before(document.issue_date, first, last, amount)
                first = document.issue_date
            elif first < last and line.line_id in used:
                days = used[line.line_id].amounts(first, last, amount)
            parts = rows.setdefault((last, charge_id), {})
            _add(parts, (first, not days), days or (amount,))
    return rows


def _no_day_before(issue_date: date, first: date, last: date, amount_minor: int) -> list[int]:
    """The amounts of the days, those before a credit note on its own day."""
    found = [0] * ((last - issue_date).days + 1)
    for day, amount in day_parts(first, last.fromordinal(last.toordinal() + 1), amount_minor):
        found[max(0, (day - issue_date).days)] += amount
    return found


def _add(parts: dict[tuple[date, bool], list[int]], key: tuple[date, bool], amounts: Iterable[int]) -> None:
    known = parts.get(key)
    parts[key] = list(amounts) if known is None else [sum(both) for both in zip(known, amounts, strict=True)]


def parts_of_row(
    last_day: date, amount_minor: int, parts: Mapping[tuple[date, bool], list[int]]
) -> list[DayPart]:
    """The parts of a row that lie over several days. amount_minor: of the row, as it is posted.

    Where what documents say now does not come to it (credit was voided since), it is straight line from the
    first of the days.
    """
    if sum(map(sum, parts.values())) != amount_minor:
        first = min((first for first, _ in parts), default=last_day)
        return [DayPart(first, amount_minor)] if first < last_day else []
    found = []
    for (first, straight), amounts in sorted(parts.items()):
        if first < last_day and any(amounts):
            through = () if straight else tuple(accumulate(amounts))
            found.append(DayPart(first, sum(amounts), through))
    return found


def accrued_part(first_day: date, last_day: date, before_minor: int, amount_minor: int) -> DayPart:
    """The part of an accrual after others of the same days: all of them together are straight line, so what
    takes them back leaves nothing on any day."""
    if not before_minor:
        return DayPart(first_day, amount_minor)
    end = last_day.fromordinal(last_day.toordinal() + 1)
    after, before = (
        accumulate(amount for _, amount in day_parts(first_day, end, whole))
        for whole in (before_minor + amount_minor, before_minor)
    )
    through = [one - other for one, other in zip(after, before, strict=True)]
    return DayPart(first_day, amount_minor, through)
