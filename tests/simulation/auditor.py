"""A second opinion on what was used and what it costs: dictionaries, ``Fraction``, no code of ours.

The auditor is told every record that is sent, in order. It keeps the first of each (source, id),
says what the answer to the record must be, and adds up usage and amounts by local month.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

CALL_TIERS: Final = ((Fraction(100), Fraction("0.25")), (Fraction(1000), Fraction("0.125")))
CALL_LAST_PRICE: Final = Fraction("0.0625")
EVENT_PRICE: Final = Fraction("0.015")
BAD_VALUE: Final = "not a number"


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as it is sent; ``value`` as text. Two records with equal fields have equal bodies
    when their values are equal numbers. BAD_VALUE makes the record bad."""

    source: str
    id: str
    type: str
    subject: str
    time: datetime
    value: str
    properties: tuple[tuple[str, str], ...]

    def body(self) -> tuple[object, ...]:
        return (self.type, self.subject, self.time, Fraction(self.value), self.properties)


@dataclass(slots=True)
class Auditor:
    """zones: the time zone of each subject that has a contract."""

    zones: dict[str, ZoneInfo]
    first: dict[tuple[str, str], Sent] = field(default_factory=dict)

    def outcome(self, record: Sent) -> str:
        """Take the record in; accepted, duplicates, conflicts or rejected."""
        if record.value == BAD_VALUE:
            return "rejected"
        known = self.first.get((record.source, record.id))
        if known is None:
            self.first[record.source, record.id] = record
            return "accepted"
        return "duplicates" if known.body() == record.body() else "conflicts"

    def usage(self) -> dict[tuple[str, str, str], tuple[Fraction, int]]:
        """(subject, meter, month of the period as YYYY-MM) -> (quantity, events behind it)."""
        found: dict[tuple[str, str, str], tuple[Fraction, int]] = {}
        for event in self.first.values():
            if event.subject not in self.zones:
                continue
            month = event.time.astimezone(self.zones[event.subject]).strftime("%Y-%m")
            for meter, quantity in _counted(event):
                total, events = found.get((event.subject, meter, month), (Fraction(0), 0))
                found[event.subject, meter, month] = (total + quantity, events + 1)
        return found

    def invoices(self, *, months: tuple[str, ...]) -> dict[tuple[str, str], int]:
        """(subject, month) -> invoice total in cents, for those with anything to bill."""
        totals: dict[tuple[str, str], int] = {}
        for (subject, meter, month), (quantity, _) in self.usage().items():
            if month in months:
                totals[subject, month] = totals.get((subject, month), 0) + line_cents(meter, quantity)
        return totals


def line_cents(meter: str, quantity: Fraction) -> int:
    """The price of a quantity in cents, a half rounded up."""
    if meter == "events":
        amount = quantity * EVENT_PRICE
    else:
        amount, below = Fraction(0), Fraction(0)
        for upper, price in CALL_TIERS:
            amount += (min(quantity, upper) - below) * price if quantity > below else 0
            below = upper
        amount += max(quantity - below, Fraction(0)) * CALL_LAST_PRICE
    return int(amount * 100 + Fraction(1, 2))


def month_start(month: str, zone: ZoneInfo) -> datetime:
    """First instant of a local month, in UTC."""
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=zone).astimezone(UTC)


def _counted(event: Sent) -> list[tuple[str, Fraction]]:
    """What the two meters make of one event: the sum of ``call`` values in Europe, and a count."""
    counted = []
    if event.type == "call" and ("region", "eu") in event.properties:
        counted.append(("eu_calls", Fraction(event.value)))
    if event.type == "call":
        counted.append(("events", Fraction(1)))
    return counted
