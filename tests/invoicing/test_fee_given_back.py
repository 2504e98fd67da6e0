"""Goal: a fee that ends early comes to what it would with all usage and credit known in time."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import JANUARY, Sender, totals
from tests.invoicing.test_credit_before_tax import welcome
from tests.invoicing.test_einvoice_billing import BUYER, SELLER
from tests.invoicing.test_given_back_at_most import (
    left,
    lines_of,
)
from tests.invoicing.test_seats_in_advance import settled
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World, at


@pytest.mark.parametrize("credit", ["53.29", "58.00"])
def test_a_fee_that_credit_paid_gives_back_its_credit(world: World, credit: str) -> None:
    """31.00 less its share of 12.00 for February are 23.71; credit pays all of it, or all but 4.71. The
    contract ends after 10 of 28 days, 8.47: 15.24 come back, the 4.71 in money. Late calls take 3.61 more of
    the discount, of which 10 of 28 days of the fee are 1.29, and 46.39 are due for themselves: less the
    credit that came back."""
    sender = Sender(world)
    setting(world, customer=BUYER, **SELLER)
    calls = CALLS | {"price": {"model": "per_unit", "unit_price": "1"}}
    world.plan(calls, MONTHLY_FEE | {"price": {"model": "flat", "amount": "31"}}, credits="before_tax")
    terms = {**JANUARY, "discounts": [{"discount_id": "d", "name": "Less", "amount": "12"}]}
    world.contracts(["c2"], **terms)
    welcome(world, credit)
    sender.calls(("call", "c2", "2025-01-10", "20"))
    world.bill("2025-02-01")
    paid = 5800 - int(Decimal(credit) * 100)
    assert lines_of(world) == [("calls", 0), ("fee", paid)]
    world.contracts(["c2"], **terms, end_date=date(2025, 2, 11))
    world.bill("2025-02-11")
    assert lines_of(world) == [("fee", -paid)]
    sender.correct("call", value="70")
    world.bill("2025-02-20")
    assert sum(amount for _, amount in lines_of(world)) == 4639 + 129 - (1524 - paid)
    settled(world)
    sender.correct("call", value="20")
    world.bill("2025-03-01")
    assert sum(amount for _, amount in lines_of(world)) == -(4639 + 129 - (1524 - paid))
    settled(world)
    assert left(world) == 1524 - paid


@pytest.mark.requirement("RAT-07")
@pytest.mark.parametrize("off", ["12", "45"])
@pytest.mark.parametrize("late", ["2025-02-05", "2025-02-20"])
@pytest.mark.parametrize("committed", [False, True])
def test_a_fee_that_ends_early_comes_to_what_it_would_with_all_usage_known(
    world: World, off: str, late: str, committed: bool
) -> None:
    """A fee of 31.00 for February and calls of January share a discount of 12.00 (or of 45.00, which leaves
    neither); the contract ends on the 11th. 50 more calls come in before its last bill or after it, and of
    another contract in time: both are billed the same in all, and so is what raises both to a commitment."""
    sender = Sender(world)
    calls = CALLS | {"price": {"model": "per_unit", "unit_price": "1"}}
    world.plan(calls, MONTHLY_FEE | {"price": {"model": "flat", "amount": "31"}})
    terms: dict[str, Any] = {**JANUARY, "discounts": [{"discount_id": "d", "name": "Less", "amount": off}]}
    if committed:
        term = {
            "effective_from": date(2025, 1, 1),
            "effective_until": date(2025, 4, 1),
            "ended_early": "full",
        }
        commitment = {"commitment_id": "q", "amount": "200", "counts_fees": True, **term}
        terms["term_commitments"] = [commitment]
    both = ["known", "late"]
    world.contracts(both, **terms)
    sender.calls(*((f"{name}-1", name, "2025-01-10", "10") for name in both))
    sender.calls(("known-2", "known", "2025-01-11", "50"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    ended = terms | {"end_date": date(2025, 2, 11)}
    for day in ("2025-02-05", "2025-02-11", "2025-02-20", "2025-02-21"):
        if day == late:
            sender.received_at = at(day)
            sender.calls(("late-2", "late", "2025-01-11", "50"))
        if day == "2025-02-11":
            world.contracts(both, **ended)
        assert world.bill(day, now=at(f"{day}T06:00")).held == ()
    billed = totals(world)
    assert billed["known"] == billed["late"]
    settled(world)
