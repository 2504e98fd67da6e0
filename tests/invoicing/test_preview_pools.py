"""A preview of one contract of a pool is the invoice that a run writes it beside the others."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

import pytest

from ingest.errors import Conflict
from invoicing.customer_store import save_customer
from invoicing.invoice import Invoice
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_adjustments import Sender
from tests.invoicing.test_special_prices import charge, previewed
from tests.invoicing.world import LONG_AGO, World, at

NAMES = "abcd"
BILLED = (date(2025, 2, 1), date(2025, 3, 1), date(2025, 4, 1))


def pooled(over: str, counting: str, first: str, price: str) -> dict[str, Any]:
    tiers = [{"up_to": first, "unit_price": price}, {"unit_price": "0.5"}]
    return charge("calls", {"model": "graduated", "tiers": tiers}, pooled_over=over, tiers_count=counting)


def a_pool(world: World, dice: Random) -> dict[str, date]:
    """Four contracts of two customers and two pools: some begin later, end, get 10 % off, let late usage be;
    a new price in the middle of a month cuts its periods. Gives the end of each."""
    ends = dict.fromkeys(NAMES, date.max)
    save_customer(world.ledger, {"customer_id": "north", "name": "North"}, now=LONG_AGO)
    over = dice.choice(["customer", "pool"])
    counting = dice.choice(["period", "year", "whole_period", "contract"])
    more = dice.choice([{}, {"minimum_spend": "40"}])
    world.plan(MONTHLY_FEE, pooled(over, counting, "100", "1"), **more)
    if dice.random() < 0.7:
        world.plan(MONTHLY_FEE, pooled(over, counting, "50", "2"), start="2025-03-11", **more)
    for name in NAMES:
        agreed: dict[str, Any] = {"start_date": date(2025, 1, 1)}
        if dice.random() < 0.3:
            agreed["start_date"] = dice.choice([date(2025, 1, 10), date(2025, 2, 1)])
        if dice.random() < 0.3:
            agreed["end_date"] = ends[name] = dice.choice([date(2025, 3, 1), date(2025, 2, 10)])
        if dice.random() < 0.3:
            agreed["discounts"] = [{"discount_id": "ten", "name": "Ten", "percent": "10"}]
        if dice.random() < 0.2:
            agreed["late_usage"] = "ignore"
        if over == "pool":
            agreed["pool_id"] = dice.choice(["p", "p", "q"])
        customer_id = dice.choice(["acme", "acme", "north"])
        world.contract(name, customer_id=customer_id, billing={"anchor_date": date(2025, 1, 1)}, **agreed)
    return ends


def use(sender: Sender, dice: Random, month: int, sent: list[str]) -> None:
    """Calls of this month and earlier ones; at times one of them is corrected."""
    for name in NAMES:
        for _ in range(dice.randrange(3)):
            day = date(2025, dice.randrange(1, month + 1), dice.randrange(1, 28))
            sent.append(f"k{len(sent)}")
            sender.calls((sent[-1], name, day.isoformat(), str(dice.randrange(1, 90))))
    if sent and dice.random() < 0.6:
        sender.correct(dice.choice(sent), str(dice.randrange(1, 60)))


def looked(world: World, when: str, name: str) -> Invoice | str:
    try:
        found: Invoice = previewed(world, when, name)
    except Conflict as held:
        return str(held)
    return found


@pytest.mark.requirement("RAT-09")
@pytest.mark.parametrize("seed", [2, 5])
def test_every_preview_before_a_run_is_what_it_bills(world: World, seed: int) -> None:
    """The evening before, of a contract with a date to come; the morning of the run once it has ended."""
    dice = Random(seed)
    ends = a_pool(world, dice)
    sender, sent = Sender(world), list[str]()
    for day in BILLED:
        use(sender, dice, day.month - 1, sent)
        evening, morning = f"{day - timedelta(days=1)}T23:00", f"{day}T00:00"
        seen = {name: looked(world, evening if ends[name] >= day else morning, name) for name in NAMES}
        before = {stored.summary.invoice_id for stored in world.invoices()}
        held = {entry.contract_id for entry in world.bill(day.isoformat(), now=at(f"{day}T06:00")).held}
        new = [one.invoice for one in world.invoices() if one.summary.invoice_id not in before]
        for name in NAMES:
            found, bills = seen[name], [one for one in new if one.contract["contract_id"] == name]
            if isinstance(found, str):
                assert name in held, found
                continue
            assert name not in held
            assert list(found.lines) == [line for bill in bills for line in bill.lines]
            assert found.total_minor == sum(bill.total_minor for bill in bills)
