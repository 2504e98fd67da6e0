"""How late customers pay, and what that suggests for their terms. Pure.

Late is counted in days beyond the due date: of what is paid, to the day the last of it was; of what is open
and due, so far. A document on which nothing was ever paid because credit notes or prepaid credit settled it
says nothing of how its customer pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal

Structure = Literal["deposit", "advance", "shorter_terms"]
STRUCTURES: Final[tuple[Structure, ...]] = ("deposit", "advance", "shorter_terms")
"""What may be done about it, the strictest first; ``billing_structure.py`` does it."""
Suggestion = Literal["deposit", "advance", "shorter_terms", "none"]
DOCUMENTS_MIN: Final = 3
"""With fewer documents nothing is suggested."""
SHORTER_ABOVE: Final = 5
ADVANCE_ABOVE: Final = 15
DEPOSIT_ABOVE: Final = 30
"""Median days beyond due, above which each is suggested."""
DEPOSIT_OPEN_ABOVE: Final = 60
"""Days that one open document is overdue, above which a deposit is."""


@dataclass(frozen=True, slots=True)
class PaidDocument:
    """A document that was to be paid. settled_on: None while something of it is open. open_minor: then, tax
    included, in minor units of ``currency``."""

    customer_id: str
    number: str
    currency: str
    due_date: date
    settled_on: date | None
    open_minor: int

    def days_late(self, as_of: date) -> int:
        """0 when it was paid in time."""
        return max(0, ((self.settled_on or as_of) - self.due_date).days)


@dataclass(frozen=True, slots=True)
class OverdueAmount:
    """What is open past its due date, in minor units."""

    currency: str
    overdue_minor: int


@dataclass(frozen=True, slots=True)
class PayerHabit:
    """Of one customer. documents: paid, or due and open; late: of them, beyond the due date.
    median_days_late: of all of them, those in time as 0. reason: why ``suggestion``, in a sentence."""

    customer_id: str
    documents: int
    late: int
    median_days_late: Decimal
    longest_days_late: int
    overdue: tuple[OverdueAmount, ...]
    suggestion: Suggestion
    reason: str


def payer_habits(documents: Sequence[PaidDocument], *, as_of: date) -> list[PayerHabit]:
    """One a customer, the latest payer first."""
    of_customer: dict[str, list[PaidDocument]] = {}
    for document in documents:
        of_customer.setdefault(document.customer_id, []).append(document)
    found = [_habit(key, own, as_of) for key, own in of_customer.items()]
    return sorted(found, key=lambda one: (-one.median_days_late, -one.longest_days_late, one.customer_id))


def median(numbers: Sequence[int]) -> Decimal:
    """The middle one, or half the sum of the middle two.

    >>> median([3, 0, 10]), median([3, 0])
    (Decimal('3'), Decimal('1.5'))
    """
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return Decimal(ordered[middle])
    return Decimal(ordered[middle - 1] + ordered[middle]) / 2


def _habit(customer_id: str, documents: Sequence[PaidDocument], as_of: date) -> PayerHabit:
    days = [document.days_late(as_of) for document in documents]
    late = sum(each > 0 for each in days)
    overdue: dict[str, int] = {}
    for document in documents:
        if document.settled_on is None:
            overdue[document.currency] = overdue.get(document.currency, 0) + document.open_minor
    open_days = max((one.days_late(as_of) for one in documents if one.settled_on is None), default=0)
    suggestion = _suggestion(len(documents), median(days), open_days)
    return PayerHabit(
        customer_id=customer_id,
        documents=len(documents),
        late=late,
        median_days_late=median(days),
        longest_days_late=max(days),
        overdue=tuple(OverdueAmount(currency, overdue[currency]) for currency in sorted(overdue)),
        suggestion=suggestion,
        reason=_reason(len(documents), late, median(days), open_days, suggestion),
    )


def _suggestion(count: int, middle: Decimal, open_days: int) -> Suggestion:
    if count < DOCUMENTS_MIN:
        return "none"
    if middle > DEPOSIT_ABOVE or open_days > DEPOSIT_OPEN_ABOVE:
        return "deposit"
    if middle > ADVANCE_ABOVE:
        return "advance"
    return "shorter_terms" if middle > SHORTER_ABOVE else "none"


def _reason(count: int, late: int, middle: Decimal, open_days: int, suggestion: Suggestion) -> str:
    known = f"{late} of {count} documents late, {middle:f} days beyond due in the median"
    longest = f", one open for {open_days} days" if open_days else ""
    if count < DOCUMENTS_MIN:
        return f"{known}{longest}: fewer than {DOCUMENTS_MIN} documents say too little."
    rule = {
        "deposit": f"a median above {DEPOSIT_ABOVE} or an open one above {DEPOSIT_OPEN_ABOVE} days",
        "advance": f"a median above {ADVANCE_ABOVE} days",
        "shorter_terms": f"a median above {SHORTER_ABOVE} days",
        "none": f"a median of {SHORTER_ABOVE} days or less needs nothing",
    }[suggestion]
    return f"{known}{longest}: {rule}."
