"""On which day a billing date is invoiced: its own, or the business day that the customer asks for.

Billing dates cut service periods and never move; only the invoice does. It never comes before the end of what
it bills, so a rule that would put it earlier falls back to the next business day.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import Literal

from rating.holiday_calendar import BusinessDays

BusinessDayRule = Literal["none", "next", "previous", "last"]


@dataclass(frozen=True, slots=True)
class InvoiceDayRule:
    """rule: as in ``BusinessDayRule``."""

    rule: str
    days: BusinessDays

    def invoice_day(self, billing_date: date, *, bills_past: bool) -> date:
        """bills_past: whether the date bills time up to itself, which must be over.

        next: the first business day from the billing date on. previous: the last one up to it. last: the
        last business day of its month.
        """
        if self.rule == "none":
            return billing_date
        wanted = self.days.next(billing_date)
        if self.rule == "previous":
            wanted = self.days.previous(billing_date)
        elif self.rule == "last":
            _, length = monthrange(billing_date.year, billing_date.month)
            wanted = self.days.previous(billing_date.replace(day=length))
        if wanted < billing_date and (bills_past or self.rule == "last"):
            return self.days.next(billing_date)
        return wanted
