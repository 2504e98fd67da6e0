"""On which days a row of the journal is revenue, and what that moves between the accounts. Pure.

The journal posts the revenue of a line month by month, each part on its last day. Asked by day, a part is
spread over its days, from the first day of service in that month to the day it is posted on:

    >>> fee = RevenuePart(date(2026, 1, 29), date(2026, 1, 31), date(2026, 1, 30), 1000)
    >>> day_amounts(fee)
    [(datetime.date(2026, 1, 29), 333), (datetime.date(2026, 1, 30), 334), (datetime.date(2026, 1, 31), 333)]

What is recognised before the document is issued waits in ``unbilled``, what is recognised later in
``deferred``, as everywhere. So with the revenue its counterpart moves, and on each day

    recognised - billed = change of unbilled - deferred

holds for the moves alone: the journal as posted, and the moves added to it, tie on every day. The moves of a
part sum to nothing in each account, and all lie in one month: at a month's end nothing differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

from invoicing.recognition import day_parts

_A_DAY: Final = timedelta(days=1)
MovedAccount = Literal["revenue", "unbilled", "deferred"]


@dataclass(frozen=True, slots=True)
class RevenuePart:
    """What the journal has of a charge's revenue on ``last_day``, or a part of it, signed as it is shown
    (above zero). billed_on: the day its document takes it up; of what no document has taken up, any later
    day. through_minor: what of it is revenue by the end of each day, in their order; empty: straight line."""

    first_day: date
    last_day: date
    billed_on: date
    amount_minor: int
    through_minor: Sequence[int] = ()


def day_amounts(part: RevenuePart) -> list[tuple[date, int]]:
    """What each day of the part gets; they sum to it."""
    if not part.through_minor:
        return day_parts(part.first_day, part.last_day + _A_DAY, part.amount_minor)
    found, before = [], 0
    for number, through in enumerate(part.through_minor):
        found.append((part.first_day + timedelta(days=number), through - before))
        before = through
    return found


def day_moves(part: RevenuePart) -> Iterator[tuple[date, MovedAccount, int]]:
    """What is added to the journal as posted: (day, account, amount), a debit above zero; none of 0."""
    moved: dict[tuple[date, MovedAccount], int] = defaultdict(int)
    for account, day, amount in _posted(part):
        moved[day, account] -= amount
    for day, amount in day_amounts(part):
        moved[day, "revenue"] -= amount
        if day < part.billed_on:
            moved[day, "unbilled"] += amount
            moved[part.billed_on, "unbilled"] -= amount
        elif day > part.billed_on:
            moved[part.billed_on, "deferred"] -= amount
            moved[day, "deferred"] += amount
    return ((day, account, amount) for (day, account), amount in moved.items() if amount)


def _posted(part: RevenuePart) -> Iterator[tuple[MovedAccount, date, int]]:
    yield "revenue", part.last_day, -part.amount_minor
    if part.last_day < part.billed_on:
        yield "unbilled", part.last_day, part.amount_minor
        yield "unbilled", part.billed_on, -part.amount_minor
    elif part.last_day > part.billed_on:
        yield "deferred", part.billed_on, -part.amount_minor
        yield "deferred", part.last_day, part.amount_minor
