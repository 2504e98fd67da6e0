"""Goal: whatever happens to seats and whenever it becomes known, what was billed in advance and what was put
right come to what an auditor of plain fractions says, and to what the same charge in arrears bills.

A failure names its seed; ``RATEMILL_SIMULATION_SEEDS=7,8`` runs those.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from invoicing.store import StoredInvoice
from tests.invoicing.test_adjustments_property import Killed, dies_at
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.test_seats_in_advance import SEATS, Seats
from tests.invoicing.world import World

ZONE = ZoneInfo("Europe/Berlin")  # its March of 2025 is an hour short
MONTHS = [date(2025, month, 1) for month in range(2, 5)]
END = date(2025, 3, 13)
PRICE = Fraction(31)
TIERS = {
    "model": "graduated",
    "tiers": [{"up_to": "25", "unit_price": "10"}, {"up_to": None, "unit_price": "8.50"}],
}
BY_MOMENT = {"price": TIERS, "tiers_count": "moment"}
PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "exact": ({}, "by_second"),
    "exact-arrears": ({"timing": "arrears"}, "by_second"),
    "day": ({}, "by_day"),
    "high": ({"meter_id": "high"}, "by_day"),
    "peak": ({"meter_id": "peak"}, "by_day"),
    "tiers": (BY_MOMENT, "by_second"),
    "tiers-arrears": (BY_MOMENT | {"timing": "arrears"}, "by_second"),
    "ends": ({}, "by_day"),
}
"""The charge beside SEATS, and how the plan prorates."""


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)


def seeds() -> list[int]:
    given = os.environ.get("RATEMILL_SIMULATION_SEEDS", "1")
    return [int(number) for number in given.split(",")]


@dataclass(slots=True)
class Auditor:
    """Every change of seats in force: number -> (time, operation, value)."""

    changes: dict[int, tuple[datetime, str, int]] = field(default_factory=dict)

    def level(self, instant: datetime) -> Fraction:
        """What holds at an instant, changes of that instant included."""
        level = Fraction(0)
        for time, operation, value in sorted(self.changes.values()):
            if time <= instant:
                level = {"set": Fraction(value), "add": level + value, "remove": level - value}[operation]
        return level

    def pieces(self, start: datetime, end: datetime) -> list[tuple[Fraction, int]]:
        """(level, seconds) of [start, end)."""
        inside = {time for time, _, _ in self.changes.values() if start < time < end}
        edges = sorted({start, end, *inside})
        return [(self.level(left), int((right - left).total_seconds())) for left, right in pairwise(edges)]

    def days(self, start: date, end: date) -> list[Fraction]:
        """The level of each local day: what its last change left."""
        number = (end - start).days
        marks = [midnight(start + timedelta(days=day + 1)) for day in range(number)]
        return [self.level(mark - timedelta(microseconds=1)) for mark in marks]

    def cents(self, name: str, start: date, end: date, share: Fraction = Fraction(1)) -> int:
        """What [start, end) comes to in the end, in cents."""
        pieces = self.pieces(midnight(start), midnight(end))
        seconds = sum(part for _, part in pieces)
        if name.startswith("tiers"):
            lower = sum((min(level, Fraction(25)) * part for level, part in pieces), Fraction(0)) / seconds
            upper = (
                sum((max(level - 25, Fraction(0)) * part for level, part in pieces), Fraction(0)) / seconds
            )
            return rounded(digits12(lower) * 10 + digits12(upper) * Fraction("8.5"))
        days = self.days(start, end)
        if name == "high":
            days = [max(days[: place + 1]) for place in range(len(days))]
        if name.startswith("exact"):
            quantity = sum((level * part for level, part in pieces), Fraction(0)) / seconds
        elif name == "peak":
            quantity = max(level for level, part in pieces if part)
        else:
            quantity = sum(days, Fraction(0)) / len(days)
        return rounded(digits12(quantity) * PRICE * share)


def digits12(number: Fraction) -> Fraction:
    return Fraction(int(number * 10**12 + Fraction(1, 2)), 10**12)


def rounded(amount: Fraction) -> int:
    return int(amount * 100 + Fraction(1, 2))


@dataclass(slots=True)
class Life:
    seats: Seats
    random: Random
    auditor: Auditor = field(default_factory=Auditor)
    taken: set[datetime] = field(default_factory=set)

    def send(self, until: date, count: int) -> None:
        """So many changes of any time before ``until``, the same of every contract."""
        operations = self.random.choices(["set", "add", "remove"], [1, 2, 1], k=count)
        self._send([(self._time(until), operation, self._value(operation)) for operation in operations])

    def begin(self) -> None:
        self._send([(midnight(MONTHS[0]), "set", 50)])

    def correct(self, until: date) -> None:
        """Another value, another time, or never: of any change but the first."""
        numbers = sorted(self.auditor.changes)[1:]
        if not numbers:
            return
        number = self.random.choice(numbers)
        time, operation, value = self.auditor.changes[number]
        kind = self.random.choice(["value", "time", "cancel"])
        if kind == "cancel":
            del self.auditor.changes[number]
            self._amend(number)
        elif kind == "value":
            value = self._value(operation)
            self.auditor.changes[number] = (time, operation, value)
            self._amend(number, value=str(value))
        else:
            time = self._time(until)
            self.auditor.changes[number] = (time, operation, value)
            self._amend(number, time=time.isoformat())

    def _send(self, changes: list[tuple[datetime, str, int]]) -> None:
        sent = []
        for place, (time, operation, value) in enumerate(changes):
            self.auditor.changes[self.seats.sent + 1 + place * len(PLANS)] = (time, operation, value)
            sent += [(name, f"{time:%Y-%m-%dT%H:%M} {operation} {value}") for name in PLANS]
        self.seats.send_all(sent)

    def _amend(self, number: int, **changes: str) -> None:
        self.seats.amend(range(number, number + len(PLANS)), **changes)

    def _time(self, until: date) -> datetime:
        while True:
            minutes = int((midnight(until) - midnight(MONTHS[0])).total_seconds()) // 60
            time = midnight(MONTHS[0]) + timedelta(minutes=self.random.randrange(1, minutes))
            if time not in self.taken:
                self.taken.add(time)
                return time

    def _value(self, operation: str) -> int:
        """So that no level can fall below zero, whatever comes in between."""
        return self.random.randint(20, 35) if operation == "set" else self.random.randint(1, 2)


@pytest.mark.requirement("RAT-07")
@pytest.mark.parametrize("seed", seeds())
def test_bills_in_advance_and_what_is_put_right_come_to_what_was_had(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(Seats(world), Random(seed))
    for name, (more, proration) in PLANS.items():
        world.plan(SEATS | more, plan_id=name, proration=proration)
        world.contract(name, plan_id=name, start_date=MONTHS[0], time_zone=ZONE.key)
    life.begin()
    world.bill(MONTHS[0].isoformat())
    for before, day in pairwise(MONTHS):
        life.send(day, 5)
        life.correct(day)
        if day == MONTHS[-1]:
            changed = {"plan_id": "ends", "start_date": MONTHS[0], "time_zone": ZONE.key, "end_date": END}
            world.contract("ends", **changed)
            with monkeypatch.context() as patch, contextlib.suppress(Killed):
                dies_at(patch, life.random.randint(1, 12))
                world.bill(day.isoformat())
        assert world.bill(day.isoformat()).held == (), f"seed {seed}, {before}"
        check_advance(world, life.auditor, day, seed)
    life.send(MONTHS[-1], 3)  # after the last bills, also of the contract that has ended
    assert world.bill("2025-04-02").held == ()
    assert world.bill("2025-05-01").held == ()
    check_sums(world, life.auditor, seed)
    assert rows(again(world, end="2025-12-01")) == [], f"seed {seed}"


def check_advance(world: World, auditor: Auditor, day: date, seed: int) -> None:
    """Every bill of that day has the level at its beginning, as it is known now."""
    for stored in world.invoices():
        invoice, name = stored.invoice, stored.summary.contract_id
        if invoice.billing_date == day and not name.endswith("arrears"):
            opening = [line.quantity for line in invoice.lines if line.adjusts is None]
            wanted = [] if name == "ends" and day > END else [auditor.level(midnight(day))]
            assert opening == wanted, f"seed {seed}, {name}, {day}"


def check_sums(world: World, auditor: Auditor, seed: int) -> None:
    for name in PLANS:
        billed = sums_by_month(world, name)
        for start, end in pairwise(MONTHS):
            if name == "ends" and end > END:
                wanted = auditor.cents(name, start, END, Fraction((END - start).days, 31))
            else:
                wanted = auditor.cents(name, start, end)
            assert billed[start] == wanted, f"seed {seed}, {name}, {start}"


def sums_by_month(world: World, name: str) -> dict[date, int]:
    found: dict[date, int] = {}
    for stored in invoices_of(world, name):
        for line in stored.invoice.lines:
            month = line.period_start.replace(day=1)
            found[month] = found.get(month, 0) + line.amount_minor
    return found


def invoices_of(world: World, name: str) -> list[StoredInvoice]:
    """Also the bill of what came in after the contract's end."""
    return [one for one in world.invoices() if one.summary.contract_id.split("/")[0] == name]
