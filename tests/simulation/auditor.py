"""A second opinion on what was used and what it costs: dictionaries, ``Fraction``, no code of ours.

The auditor is told every record that is sent, in order. It keeps the first of each (source, id), plays
corrections on it, says what the answer to the record must be, and adds up usage and amounts by local month.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class Fix:
    """One correction as it is sent; a field that is None is left out. Without any it cancels."""

    source: str
    id: str
    corrects: str
    reason: str
    time: datetime | None = None
    value: str | None = None
    properties: tuple[tuple[str, str], ...] | None = None

    def cancels(self) -> bool:
        return self.time is None and self.value is None and self.properties is None

    def body(self) -> tuple[object, ...]:
        number = None if self.value is None else Fraction(self.value)
        return (self.corrects, self.reason, self.time, number, self.properties)


@dataclass(slots=True)
class Auditor:
    """zones: the time zone of each subject that has a contract.

    first: what was sent first under each identity, events and corrections alike; in_force: of each event
    that is not cancelled, what counts now.
    """

    zones: dict[str, ZoneInfo]
    first: dict[tuple[str, str], Sent | Fix] = field(default_factory=dict)
    in_force: dict[tuple[str, str], Sent] = field(default_factory=dict)

    def outcome(self, record: Sent) -> str:
        """Take the record in; accepted, duplicates, conflicts or rejected."""
        if record.value == BAD_VALUE:
            return "rejected"
        known = self.first.get((record.source, record.id))
        if known is None:
            self.first[record.source, record.id] = self.in_force[record.source, record.id] = record
            return "accepted"
        return "duplicates" if known.body() == record.body() else "conflicts"

    def correct(self, fix: Fix) -> str:
        """Take the correction in; accepted, duplicates, conflicts or rejected."""
        if fix.value == BAD_VALUE:
            return "rejected"
        known = self.first.get((fix.source, fix.id))
        if known is not None:
            return "duplicates" if known.body() == fix.body() else "conflicts"
        event = self.in_force.pop((fix.source, fix.corrects), None)
        if event is None:
            return "rejected"  # never there, cancelled, or itself a correction
        self.first[fix.source, fix.id] = fix
        if not fix.cancels():
            given = {"time": fix.time, "value": fix.value, "properties": fix.properties}
            changes = {name: part for name, part in given.items() if part is not None}
            self.in_force[fix.source, fix.corrects] = replace(event, **changes)  # type: ignore[arg-type]
        return "accepted"

    def usage(self) -> dict[tuple[str, str, str], tuple[Fraction, int]]:
        """(subject, meter, month of the period as YYYY-MM) -> (quantity, events behind it)."""
        found: dict[tuple[str, str, str], tuple[Fraction, int]] = {}
        for event in self.in_force.values():
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
