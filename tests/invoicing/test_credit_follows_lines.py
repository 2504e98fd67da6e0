"""Goal: credit taken off before tax follows what its line comes to: no more, and none of it is lost."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import JANUARY, Sender
from tests.invoicing.test_credit_before_tax import welcome
from tests.invoicing.test_einvoice_billing import BUYER, SELLER
from tests.invoicing.test_given_back_at_most import left, licensed, lines_of
from tests.invoicing.test_seats_in_advance import settled
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World, at

CALL = CALLS | {"price": {"model": "per_unit", "unit_price": "1"}}
VOLUME = {
    "model": "volume",
    "tiers": [{"up_to": 100, "unit_price": "1.00"}, {"up_to": None, "unit_price": "0.50"}],
}
TERM = {
    "commitment_id": "q",
    "amount": "100",
    "effective_from": date(2025, 1, 1),
    "effective_until": date(2025, 4, 1),
}


@pytest.mark.parametrize(
    ("plan", "terms", "credit", "january", "paid", "remaining"),
    [
        # at most 60.00: 80 calls, then 30, then 90; what came back is taken again
        ({"maximum_spend": "60"}, {}, "60.00", [80, 30, 90], [0, 0, 0], [0, 3000, 0]),
        # 40.00 of which 30.00 are credit, then 10.00, then 25.00; the term is trued up to 100.00 in April
        ({}, {"term_commitments": [TERM]}, "30.00", [40, 10, 25], [1000, -1000, 7000], [0, 2000, 0]),
    ],
)
def test_credit_follows_what_a_line_comes_to(
    world: World,
    plan: dict[str, Any],
    terms: dict[str, Any],
    credit: str,
    january: list[int],
    paid: list[int],
    remaining: list[int],
) -> None:
    """Calls of January in what the bills of February, March and April knew: what each bill comes to, net, and
    what is left of the credit after it."""
    sender = Sender(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(CALL, credits="before_tax", **plan)
    world.contracts(["c2"], **JANUARY, **terms)
    welcome(world, credit)
    found = []
    for month, value in enumerate(january, start=2):
        sender.received_at = at(f"2025-{month - 1:02d}-20")
        if month == 2:
            sender.calls(("one", "c2", "2025-01-10", str(value)))
        else:
            sender.correct("one", str(value))
        assert world.bill(f"2025-{month:02d}-01", now=at(f"2025-{month:02d}-01T06:00")).held == ()
        settled(world)
        found.append((sum(amount for _, amount in lines_of(world)), left(world)))
    assert found == list(zip(paid, remaining, strict=True))


def test_tiers_over_a_year_pay_out_no_credit(world: World) -> None:
    """90 calls that credit paid, 8 for 8.00 in money, then 10 more, with which all cost half: 54.00 in all.
    8.00 come back in money and 36.00 as credit."""
    sender = Sender(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(CALLS | {"price": VOLUME, "tiers_count": "year"}, credits="before_tax")
    world.contracts(["c2"], **JANUARY)
    welcome(world, "90.00")
    for month, value in ((1, "90"), (2, "8"), (3, "10")):
        sender.calls((f"calls{month}", "c2", f"2025-{month:02d}-10", value))
        world.bill(f"2025-{month + 1:02d}-01", now=at(f"2025-{month + 1:02d}-01T06:00"))
    assert [stored.summary.total_minor for stored in world.invoices()] == [0, 800, -800]
    assert left(world) == 3600
    settled(world)


def test_a_price_that_changes_in_a_billed_period_keeps_the_credit(world: World) -> None:
    """Ten seats of 31.00, of which 300.00 are credit; from the 11th on a seat is 62.00. All of the period is
    billed again: 100.00 for ten days, 420.00 for the rest, less the same 300.00."""
    licensed(world, "300.00")
    dearer = {
        "charge_id": "seats",
        "price": {"model": "per_unit", "unit_price": "62.00"},
        "effective_from": date(2025, 1, 11),
    }
    world.contract(**JANUARY, overrides=[dearer], end_date=date(2025, 2, 1))
    world.bill("2025-02-01")
    assert [stored.summary.total_minor for stored in world.invoices()] == [1000, 42000 + 10000 - 31000]
    assert left(world) == 0
    settled(world)


def test_a_bill_that_credit_lifts_above_zero_is_an_invoice(world: World) -> None:
    """A fee of 30.00 that credit paid ends after half of its days, with 10.00 of calls: as it is rated the
    bill is -5.00. 15.00 go back to credit, which is for the fee alone, so the calls are to pay."""
    sender = Sender(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(CALL, MONTHLY_FEE | {"price": {"model": "flat", "amount": "30"}}, credits="before_tax")
    april = {"start_date": date(2025, 4, 1)}
    world.contracts(["c2"], **april)
    welcome(world, "30.00", charge_ids=["fee"])
    world.bill("2025-04-01")
    sender.calls(("call", "c2", "2025-04-05", "10"))
    world.contracts(["c2"], **april, end_date=date(2025, 4, 16))
    world.bill("2025-04-16")
    first, last = world.invoices()
    assert (first.invoice.gross_minor, last.invoice.gross_minor, left(world)) == (0, 1190, 1500)
    assert str(last.summary.number).startswith("INV")
    settled(world)
