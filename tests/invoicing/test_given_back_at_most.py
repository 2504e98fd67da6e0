"""Goal: no bill gives back more of a line than was paid of it: no credit that was given for nothing, and no
fee twice."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import InvalidInput
from invoicing.audit_verify import verify_books
from invoicing.credit_store import grants_of_customer
from invoicing.fee_return import CreditAgain, FeeReturn, fee_credits
from invoicing.given_back_at_most import give_back_at_most
from invoicing.journal_check import verify_journal
from rating.credit_line import UnusedTime
from rating.price_plan import PricePlan
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import JANUARY, Sender
from tests.invoicing.test_credit_before_tax import welcome
from tests.invoicing.test_credit_note_store import credit
from tests.invoicing.test_einvoice_billing import BUYER, SELLER
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.test_seats_in_advance import SEATS, Seats, lines, settled
from tests.invoicing.test_tax_billing import setting, tax_lines
from tests.invoicing.world import World, at

TEN = "2025-01-01T00:00 set 10"
AMOUNT = st.integers(0, 5000)


FEE_ID = bytes(16)


def fee_of(minor: int) -> dict[str, Any]:
    """A fee of 28 days, and whatever else a credit copies of it."""
    return {
        "line_id": FEE_ID, "contract_id": "c1", "billing_date": date(2025, 2, 1), "days": 28, "inputs": {},
        "quantity": Decimal(1), "amount": Decimal(minor).scaleb(-2), "amount_minor": minor, "dimensions": {},
    }  # fmt: skip


@given(AMOUNT, st.lists(AMOUNT, max_size=5), st.lists(st.integers(1, 14), max_size=2), AMOUNT)
def test_all_adjustments_of_a_fee_come_to_what_is_kept_of_it_in_whatever_steps(
    billed: int, steps: list[int], days: list[int], allowed: int
) -> None:
    """A step is what the fee comes to for all its days; some days of it were given back. Fee, credits as they
    were billed and adjustments come to the fee less credits of what it comes to: that is kept of it."""
    plan = PricePlan.model_validate(
        {
            "plan_id": "p",
            "name": "P",
            "currency": "EUR",
            "effective_from": date(2025, 1, 1),
            "charges": [MONTHLY_FEE],
        }
    )
    returns = [
        FeeReturn(fee_of(billed), UnusedTime(at(f"2025-02-0{place + 1}"), at("2025-03-01"), Decimal(1), part),
                  plan, date(2025, 2, 11), billed)
        for place, part in enumerate(days)
    ]  # fmt: skip
    charged = billed
    for now in steps:
        then = [
            CreditAgain(FEE_ID, was, credit)
            for was, credit in zip(fee_credits(returns, {}, run_id=""),
                                   fee_credits(returns, {FEE_ID: fee_of(now)}, run_id=""), strict=True)
        ]  # fmt: skip
        row = {"line_id": FEE_ID, "contract_id": "c1", "billing_date": date(2025, 2, 1)}
        row |= {"charged_minor": charged - min(charged, allowed), "allowed_minor": min(charged, allowed)}
        frame = give_back_at_most(pl.DataFrame([row]), then=[], at_once=then)
        charged += now - frame["billed_minor"][0]
        kept = charged + sum(one.was["amount_minor"] for one in then if one.was is not None)
        exact = Fraction(now * (28 - sum(days)), 28)
        assert abs(kept - exact) <= len(days), "each credit is rounded once"
        assert 0 <= kept <= now
        assert charged == now + sum(one.difference_minor for one in then)


def agreed(world: World) -> None:
    """Nothing is left to put right, and the books agree; also where credit is taken off an adjustment."""
    assert rows(again(world, end="2025-12-01")) == []
    assert verify_journal(world.ledger) == []
    assert verify_books(world.ledger).broken == ()


def left(world: World) -> int:
    """What is left of all credit, minor units."""
    return sum(stored.remaining_minor for stored in grants_of_customer(world.ledger, "acme"))


def lines_of(world: World) -> list[tuple[str, int]]:
    """(charge, net minor units) of the newest bill."""
    newest = max(world.invoices(), key=lambda stored: stored.invoice.billing_date)
    return [(line.charge_id, line.amount_minor) for line in newest.invoice.lines]


def licensed(world: World, credit: str) -> Seats:
    """Ten seats at 31.00 a month with 19 % tax; so much given for nothing comes off before tax."""
    seats = Seats(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(SEATS, credits="before_tax")
    world.contract(**JANUARY)
    welcome(world, credit)
    seats.send("c1", TEN)
    world.bill("2025-01-01")
    return seats


@pytest.mark.parametrize(
    ("credit", "end", "paid", "given_back"),
    [
        ("300.00", 2, "net 1000 gross 1190 due 1190", "net -1000 gross -1190 due -1190"),
        ("310.00", 2, "net 0 gross 0 due 0", None),
        ("150.00", 22, "net 16000 gross 19040 due 19040", "net -10000 gross -11900 due -11900"),
    ],
)
def test_licences_that_end_give_back_at_most_what_was_paid(
    world: World, credit: str, end: int, paid: str, given_back: str | None
) -> None:
    licensed(world, credit)
    assert tax_lines(world.invoices()[0])[-1] == paid
    world.contract(**JANUARY, end_date=date(2025, 1, end))
    assert world.bill(f"2025-01-{end:02d}").held == ()
    last = world.invoices()[-1]
    assert tax_lines(last)[-1] == (given_back or "net 0 gross 0 due 0")
    settled(world)


def test_what_a_credit_note_took_is_not_given_back_again(world: World) -> None:
    """Half of the 10.00 that were paid is credited, and with it half of the 300.00 that were given: so not
    all of 300.00 can come back when the contract ends."""
    licensed(world, "300.00")
    (first,) = world.invoices()
    credit(world, first.summary.invoice_id, amount="5.00", now=at("2025-01-01T12:00"))
    ended = JANUARY | {"end_date": date(2025, 1, 2)}
    world.contract(**ended)
    (held,) = world.bill("2025-01-02").held
    assert held.reason_code == "adjustment_refused"
    assert "by 30000 minor units, and credit notes left 15500 of it" in held.message
    world.contract(**ended, late_usage="ignore")
    assert world.bill("2025-01-02").held == ()


def test_what_comes_late_after_an_end_is_put_right_to_the_cent(world: World) -> None:
    """10.00 of ten seats were paid and came back. Then five of the seats turn out to have never been: nothing
    more is given back. Then there were thirty: 30 x 31.00 / 31 are less than the 300.00 that were given."""
    seats = licensed(world, "300.00")
    world.contract(**JANUARY, end_date=date(2025, 1, 2))
    world.bill("2025-01-02")
    assert lines(world, "c1")[1:] == [
        "2025-01-02 01-01..01-02 10 = 10.00, of 2025-01-01: 0.00 before",
        "2025-01-02 01-01..02-01 0 = -20.00, of 2025-01-01: 310.00 before",
    ]
    for day, value in (("2025-01-10", "5"), ("2025-01-11", "30"), ("2025-01-12", "500")):
        seats.amend([1], value=value)
        assert world.bill(day, now=at(f"{day}T06:00")).held == ()
        settled(world)
    net = [stored.summary.total_minor for stored in world.invoices()]
    assert net == [1000, -1000, 0, 0, 20000]  # 500.00 for a day of 500 seats, 300.00 of them given
    with pytest.raises(InvalidInput, match="left"):
        credit(world, world.invoices()[0].summary.invoice_id, amount="0.01")


def test_no_credit_goes_to_seats_that_the_same_bill_takes_away(world: World) -> None:
    """Two seats more on the 2nd are 60.00, and from the 3rd on there are none: -348.00. 50.00 that were given
    for seats stay, for they would be lost on the addition."""
    seats = Seats(world)
    setting(world, customer=BUYER, **SELLER)
    fee = MONTHLY_FEE | {"price": {"model": "flat", "amount": "400"}}
    world.plan(SEATS, fee, credits="before_tax")
    world.contract(**JANUARY)
    seats.send("c1", TEN, "2025-01-02T00:00 add 2", "2025-01-03T00:00 remove 12")
    world.bill("2025-01-01")
    welcome(world, "50.00", charge_ids=["seats"])
    world.bill("2025-02-01")
    of_january = [line for line in world.invoices()[1].invoice.lines if line.adjusts is not None]
    assert [(line.amount_minor, line.allowances) for line in of_january] == [(6000, ()), (-34800, ())]
    settled(world)


def test_usage_that_is_lowered_and_raised_again(world: World) -> None:
    """20.00 of calls, 15.00 of them given for nothing: 5.00 come back when four fifths were too many, and
    are owed again when they were not."""
    sender = Sender(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(CALLS, credits="before_tax")
    world.contract(**JANUARY)
    sender.calls(("one", "c1", "2025-01-10", "1880"))  # with the 120 of the setting
    welcome(world, "15.00", expires_on="2025-02-01")
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    for month, value in ((3, "400"), (4, "200"), (5, "1600"), (6, "2000"), (7, "3000")):
        sender.received_at = at(f"2025-{month - 1:02d}-05")
        sender.correct("one", value)
        assert world.bill(f"2025-{month:02d}-01", now=at(f"2025-{month:02d}-01T06:00")).held == ()
        settled(world)
    january = [
        line.amount_minor
        for stored in world.invoices()
        for line in stored.invoice.lines
        if line.period_start == date(2025, 1, 1)
    ]
    assert january == [500, -500, 0, 100, 400, 1000]


@pytest.mark.parametrize(
    ("more", "paid"),
    [
        # 100.00 of credit cover the minimum: whatever of it turns out to be usage, up to 100.00
        ({}, [0, 0, 0, 5000, 0, 0]),
        # 30.00 more are given for calls: what they free of the other goes to the minimum of February
        ({"charge_ids": ["calls"]}, [0, 0, 0, 5000, 1200, 3000]),
    ],
)
def test_usage_that_takes_the_place_of_a_minimum_keeps_its_credit(
    world: World, more: dict[str, Any], paid: list[int]
) -> None:
    """100.00 a month at least, and 100.00 given for nothing. 60.00 of calls come late, become 150.00, 20.00
    and none: the month comes to 100.00, and once to 150.00."""
    setting(world, customer=BUYER, **SELLER)
    sender = Sender(world)
    world.plan(CALLS, credits="before_tax", minimum_spend="100")
    world.contract(**JANUARY, subjects=["c1-subject"])
    welcome(world, "100.00")
    sender.calls(("one", "c1", "2025-01-10", "80"))  # with the 120 of the setting 2.00
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    if more:
        welcome(world, "30.00", "calls", **more)
    for month, value in ((3, "5880"), (4, "5880"), (5, "14880"), (6, "1880"), (7, "80")):
        sender.received_at = at(f"2025-{month - 1:02d}-05")
        sender.correct("one", value)
        assert world.bill(f"2025-{month:02d}-01", now=at(f"2025-{month:02d}-01T06:00")).held == ()
        agreed(world)
    january = [
        sum(line.amount_minor for line in stored.invoice.lines if line.period_start == date(2025, 1, 1))
        for stored in world.invoices()
    ]
    assert [sum(january[: place + 1]) for place in range(len(january))] == paid


def test_a_minimum_of_usage_that_is_taxed_apart_pays_out_no_tax(world: World) -> None:
    """100.00 of credit cover the minimum, at 19 %. 60.00 of it turn out to be calls at 7 %: were they to take
    the place of 60.00 at 19 %, 7.20 of tax would come back that nobody paid."""
    setting(world, customer=BUYER, **SELLER)
    sender = Sender(world)
    more = CALLS | {"charge_id": "seats", "meter_id": "seats", "kind": "licence"}
    world.plan(CALLS | {"tax_class": "reduced"}, more, credits="before_tax", minimum_spend="100")
    world.contract(**JANUARY)
    welcome(world, "100.00")
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-05")
    sender.calls(("late", "c1", "2025-01-10", "5880"))
    assert world.bill("2025-03-01", now=at("2025-03-01T06:00")).held == ()
    agreed(world)
    assert all(group.tax_minor >= 0 for stored in world.invoices() for group in stored.invoice.tax)


def test_usage_with_credit_that_falls_below_a_minimum_is_not_paid_twice(world: World) -> None:
    """60.00 of calls that credit covers and 40.00 up to the minimum. Without the calls the minimum is 100.00:
    40.00 are paid as before, and the credit of the calls pays the rest."""
    setting(world, customer=BUYER, **SELLER)
    sender = Sender(world)
    world.plan(CALLS, credits="before_tax", minimum_spend="100")
    world.contract(**JANUARY)
    welcome(world, "60.00")
    sender.calls(("one", "c1", "2025-01-10", "5880"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-05")
    sender.correct("one", None)
    assert world.bill("2025-03-01", now=at("2025-03-01T06:00")).held == ()
    agreed(world)
    lines_of_january = [
        (line.charge_id, line.amount_minor)
        for stored in world.invoices()
        for line in stored.invoice.lines
        if line.period_start == date(2025, 1, 1)
    ]
    assert lines_of_january == [
        ("calls", 0),
        ("minimum-spend", 4000),
        ("calls", 0),
        ("minimum-spend", 0),
    ]


def test_a_discount_of_periods_to_come_leaves_what_is_paid_alone(world: World) -> None:
    """A fee of 30.00 and ten seats of 31.00, which credit covers. 10 % off from February on, agreed before,
    change nothing of January: it is neither given back nor charged once more."""
    seats = Seats(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(SEATS, MONTHLY_FEE, credits="before_tax")
    world.contract(**JANUARY)
    welcome(world, "340.00")
    seats.send("c1", TEN)
    world.bill("2025-01-01")
    less = {"discount_id": "d", "name": "Less", "percent": "10", "effective_from": date(2025, 2, 1)}
    world.contract(**JANUARY, discounts=[less])
    assert world.bill("2025-02-01").held == ()
    assert [(line.charge_id, line.amount_minor) for line in world.invoices()[1].invoice.lines] == [
        ("seats", 27900),
        ("fee", 2700),
    ]
    settled(world)


def test_a_fee_that_shares_an_amount_with_licences_is_given_back_once(world: World) -> None:
    """100.00 for the fee and 300.00 for ten seats, less 100.00; the contract ends after a day. 75.00 were
    billed of the fee: its 27 of 28 days come back, and as fewer seats share the discount it is 9.68 for the
    month, of which a day is 0.35."""
    seats = Seats(world)
    price: dict[str, Any] = {"price": {"model": "per_unit", "unit_price": "30.00"}}
    world.plan(SEATS | price, MONTHLY_FEE | {"price": {"model": "flat", "amount": "100"}})
    more: dict[str, Any] = {
        "start_date": date(2025, 2, 1),
        "discounts": [{"discount_id": "d", "name": "Less", "amount": "100", "first_periods": 1}],
    }
    world.contract(**more)
    seats.send("c1", "2025-02-01T00:00 set 10")
    world.bill("2025-02-01")
    world.contract(**more, end_date=date(2025, 2, 2))
    assert world.bill("2025-02-02").held == ()
    first, last = world.invoices()
    assert first.summary.total_minor == 30000
    back = {(line.charge_id, line.charge_kind): line.amount_minor for line in last.invoice.lines}
    assert back["fee", "fee_credit"] == -7232
    assert back["fee", "adjustment"] == -233
    assert -30000 <= last.summary.total_minor < -29000
    settled(world)
