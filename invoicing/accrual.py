"""What of a line that is not invoiced yet is revenue by the end of a month. Pure.

    >>> accrued_parts("recurring", date(2026, 1, 15), date(2026, 2, 15), 3100, through=date(2026, 1, 31))
    [(datetime.date(2026, 1, 31), 1700)]

Usage that adds up over days is revenue of the months it was consumed in. Of what does not (a peak, an
average), what it comes to by then is spread over all days of its period, as its invoice will spread it:

    >>> january = ((date(2026, 1, 31), 3),)
    >>> accrued_parts("usage", date(2026, 1, 15), date(2026, 2, 15), 500, date(2026, 1, 31), shares=january)
    [(datetime.date(2026, 1, 31), 500)]
    >>> accrued_parts("usage", date(2026, 1, 15), date(2026, 2, 15), 500, date(2026, 1, 31))
    [(datetime.date(2026, 1, 31), 274)]

Accruals are entries of their own kind under the id of the document that will bill them:

    2026-01-31 accrual   Dr unbilled 5.00   Cr revenue 5.00

Each changes what is recognised and what is unbilled by the same amount, so what is recognised less what is
billed stays what waits between, on any day and as known at any time. When the document is issued, its
accruals are taken back on their own days and its own recognition stands in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from ingest.errors import InvalidInput
from invoicing.journal import JournalEntry, JournalLine
from invoicing.recognition import MonthShares, line_parts, recognised_days

_A_DAY = timedelta(days=1)


class AccrualKey(NamedTuple):
    """What an accrued amount is of; day: the last of its month, or of its period."""

    document_id: str
    day: date
    customer_id: str
    contract_id: str
    charge_id: str
    currency: str


class Accrued(NamedTuple):
    """What is accrued of one line for one month. first_day: the first of its days in that month."""

    key: AccrualKey
    amount_minor: int
    first_day: date


@dataclass(frozen=True, slots=True)
class NotAccrued:
    """A billing date of a contract that is left out, and why."""

    contract_id: str
    billing_date: date
    reason_code: str
    message: str


def check_month_end(through: date) -> None:
    """Raises InvalidInput for a day that is not the last of its month: revenue is posted by month."""
    if (through + _A_DAY).day != 1:
        last = (through.replace(day=1) + timedelta(days=32)).replace(day=1) - _A_DAY
        raise InvalidInput(
            f"{through} is not the last day of a month, and revenue is posted by month. Give {last}.",
            reason_code="not_a_month_end",
        )


def accrued_parts(
    charge_kind: str,
    period_start: date,
    period_end: date,
    amount_minor: int,
    through: date,
    shares: MonthShares | None = None,
) -> list[tuple[date, int]]:
    """What each month up to ``through`` gets, dated as ``month_parts`` does. The period is half-open.
    shares: where the usage of the line is known month by month."""
    if period_start > through:
        return []
    parts = line_parts(charge_kind, period_start, period_end, amount_minor, shares)
    return [(day, part) for day, part in parts if day <= through and part]


def first_day_of(charge_kind: str, period_start: date, period_end: date, day: date) -> date:
    """The first of the days in a month that a line is revenue of. day: the last of them, as of a part."""
    return max(recognised_days(charge_kind, period_start, period_end)[0], day.replace(day=1))


def accrual_entries(
    changes: Mapping[AccrualKey, int], *, already: Mapping[str, int], description: str
) -> list[JournalEntry]:
    """One entry a document and day for what its accruals change by; changes of 0 are left out. already: how
    many entries of this kind each document has, which makes the ids."""
    grouped: dict[tuple[str, date], list[JournalLine]] = {}
    for key in sorted(changes):
        amount = changes[key]
        if not amount:
            continue
        lines = grouped.setdefault((key.document_id, key.day), [])
        whose = (key.customer_id, key.contract_id, key.currency, key.charge_id)
        lines += [JournalLine("unbilled", amount, *whose), JournalLine("revenue", -amount, *whose)]
    counts = dict(already)
    entries = []
    for (document_id, day), lines in grouped.items():
        counts[document_id] = number = counts.get(document_id, 0) + 1
        entries.append(
            JournalEntry(
                entry_id=f"accrual/{document_id}/{number}",
                kind="accrual",
                entry_date=day,
                lines=tuple(lines),
                document_id=document_id,
                description=description,
            )
        )
    return entries
