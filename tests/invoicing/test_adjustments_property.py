"""Goal: whatever comes late, is corrected or is killed, all bills sum to one that had known all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any

import pytest

from invoicing import billing_run, price_due
from tests.invoicing.support import CALLS
from tests.invoicing.test_adjustments import GRADUATED, JANUARY, Sender, adjustments, explained, totals
from tests.invoicing.test_billing_run import check_numbers
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.world import World

CENT = Decimal("0.01")
MONTHS = range(1, 5)
STEPS = (
    (billing_run, "find_late_usage"),
    (price_due, "adjustments_due"),
    (price_due, "price_periods"),
    (billing_run, "delete_unsettled_lines"),
    (billing_run, "start_writing"),
    (billing_run, "write_invoices"),
    (billing_run, "expire_credit"),
)


def graduated(units: Decimal) -> Decimal:
    return min(units, Decimal(100)) * Decimal("0.10") + max(units - 100, Decimal(0)) * Decimal("0.05")


def by_month(price: Callable[[Decimal], Decimal]) -> Callable[[list[Decimal]], Decimal]:
    return lambda months: sum((price(units).quantize(CENT, ROUND_HALF_UP) for units in months), Decimal(0))


ONE_BILL: dict[str, Callable[[list[Decimal]], Decimal]] = {
    "each": by_month(lambda units: units * Decimal("0.01")),
    "least": by_month(lambda units: max(Decimal(5), units * Decimal("0.01"))),
    "percent": by_month(lambda units: units * Decimal("0.009")),
    "tiers": by_month(graduated),
    "bill": by_month(lambda units: units * Decimal("0.0103")),
    "year": lambda months: graduated(sum(months, Decimal(0))),
}
"""What each contract comes to, from its units by month: plain decimals."""
TWO_OF_ONE = (
    CALLS | {"price": {"model": "per_unit", "unit_price": "0.0051"}},
    CALLS | {"charge_id": "again", "price": {"model": "per_unit", "unit_price": "0.0052"}},
)
"""Two lines of the same calls, which are rounded together."""


class Killed(BaseException):
    """The process dies here."""


@dataclass(slots=True)
class Life:
    """Calls by name: (contract, day, value); None for one that was cancelled."""

    sender: Sender
    random: Random
    calls: dict[str, tuple[str, date, int]] = field(default_factory=dict)
    sent: int = 0

    def send(self, until: int, count: int) -> None:
        """So many calls in months up to ``until``."""
        made = []
        for _ in range(count):
            self.sent += 1
            name, contract = f"call{self.sent}", self.random.choice(sorted(ONE_BILL))
            self.calls[name] = (contract, self._day(until), self.random.randint(1, 90))
            made.append(name)
        sent = [(name, *self.calls[name]) for name in made]
        self.sender.calls(*((name, contract, str(day), str(value)) for name, contract, day, value in sent))

    def correct(self, until: int) -> None:
        """Another value, another day, or never."""
        if not self.calls:
            return
        name = self.random.choice(sorted(self.calls))
        contract, day, value = self.calls[name]
        kind = self.random.choice(["value", "day", "cancel"])
        if kind == "cancel":
            del self.calls[name]
            self.sender.correct(name, None)
            return
        value = self.random.randint(1, 90)
        day = self._day(until) if kind == "day" else day
        self.calls[name] = (contract, day, value)
        self.sender.correct(name, str(value), str(day))

    def _day(self, until: int) -> date:
        return date(2025, self.random.randint(1, until), self.random.randint(1, 28))

    def one_bill(self, base: int) -> dict[str, Decimal]:
        units: defaultdict[tuple[str, int], Decimal] = defaultdict(Decimal)
        for contract, day, value in self.calls.values():
            units[contract, day.month] += value
        return {
            contract: price([units[contract, month] + base for month in MONTHS])
            for contract, price in ONE_BILL.items()
        }


def dies_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The run dies before or after its step number ``step``, counted over all that it does to the stores."""
    seen = [0]

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            _count(seen, step)
            answer = real(*arguments, **named)
            _count(seen, step)
            return answer

        return call

    for module, name in STEPS:
        monkeypatch.setattr(module, name, watched(getattr(module, name)))


def _count(seen: list[int], step: int) -> None:
    seen[0] += 1
    if seen[0] == step:
        raise Killed


@pytest.mark.requirement("RAT-07")
@pytest.mark.parametrize("seed", [1, 2])
def test_all_bills_sum_to_the_one_that_had_known_everything(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """1,000 calls a month in time, so that no bill is below zero, and everything else at any time."""
    random = Random(seed)
    world.plan(CALLS)
    world.plan(GRADUATED, plan_id="tiers")
    world.plan(GRADUATED | {"tiers_count": "year"}, plan_id="year")
    world.plan(CALLS, plan_id="least", minimum_spend="5")
    world.plan(*TWO_OF_ONE, plan_id="bill", rounding_place="invoice")
    for name in ONE_BILL:
        plan_id = name if name in {"tiers", "year", "least", "bill"} else "gold"
        off = [{"discount_id": "ten", "name": "Ten", "percent": "10"}] if name == "percent" else []
        world.contract(name, plan_id=plan_id, **JANUARY, discounts=off)
    life = Life(Sender(world), random)
    for month in MONTHS:
        life.sender.calls(*((f"{name}-{month}", name, f"2025-{month:02}-01", "1000") for name in ONE_BILL))
        life.send(month, random.randint(1, 6))
        for _ in range(random.randint(0, 3)):
            life.correct(month)
        with monkeypatch.context() as patched:
            dies_at(patched, random.randint(1, 40))
            try:
                world.bill(f"2025-{month + 1:02}-01", pricing_contracts=2, chunk_contracts=1)
            except Killed:
                life.send(month, random.randint(1, 2))
        world.bill(f"2025-{month + 1:02}-01", pricing_contracts=3, chunk_contracts=2)
    life.send(4, 3)
    life.correct(4)
    # A last bill of a month without usage but what was in time.
    life.sender.calls(*((f"{name}-5", name, "2025-05-01", "1000") for name in ONE_BILL))
    report = world.bill("2025-06-01")
    assert report.held == ()
    may = {name: price([Decimal(1000)]) for name, price in ONE_BILL.items()}
    may["year"] = Decimal("50.00")
    expected = {name: amount + may[name] for name, amount in life.one_bill(1000).items()}
    assert totals(world) == expected
    assert rows(again(world, end="2025-08-01")) == []
    assert len(explained(world)) == len(adjustments(world)) > 3
    check_numbers(world.ledger)
