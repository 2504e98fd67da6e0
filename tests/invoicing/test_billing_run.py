"""Billing runs end to end on real stores: right lines on the right date, once, whatever happens."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import orjson
import pytest
from sqlalchemy import Engine, select

from ingest.meter_store import get_meter
from invoicing.invoice import invoice_hash, invoice_text
from invoicing.number import check_series
from invoicing.settings import Seller
from invoicing.store import find_line
from invoicing.tables import SETTLED_BILLING_DATES
from rating.store import get_rated_line, read_rated_lines
from rollup.source import events_behind
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, readable

SEATS = {
    "charge_id": "seats",
    "name": "Seats",
    "kind": "licence",
    "meter_id": "seats",
    "unit": "seat",
    "price": {"model": "per_unit", "unit_price": "8"},
}
SET_UP = {
    "charge_id": "set-up",
    "name": "Set-up",
    "kind": "one_time",
    "timing": "advance",
    "price": {"model": "flat", "amount": "99.50"},
}
TRANSFER_PRICE = {
    "model": "matrix",
    "dimensions": ["region"],
    "cells": [{"match": {"region": "eu"}, "price": {"model": "per_unit", "unit_price": "0.07"}}],
}
DEFAULT_PRICE = {"default": {"model": "per_unit", "unit_price": "0.1"}}
TRANSFER = {
    "charge_id": "transfer",
    "name": "Transfer",
    "kind": "usage",
    "meter_id": "transfer",
    "unit": "GB",
    "price": TRANSFER_PRICE,
}


@pytest.mark.requirement("CON-02")
@pytest.mark.requirement("CON-03")
@pytest.mark.requirement("GEN-03")
def test_a_month_with_a_fee_in_advance_and_calls_in_arrears(any_world: World) -> None:
    any_world.plan()
    any_world.contract()
    any_world.events(
        ("call", "c1-subject", "2025-01-14T23:59", "1000"),  # before the contract
        ("call", "c1-subject", "2025-01-15T00:00", "100"),
        ("call", "c1-subject", "2025-02-14T23:59", "20"),
        ("call", "c1-subject", "2025-02-15T00:00", "3"),  # the next period
        ("call", "somebody-else", "2025-02-01", "500"),
    )
    report = any_world.bill("2025-02-15")
    first, second = any_world.invoices()
    assert readable(first) == ["2025-01-15 fee 2025-01-15..2025-02-15 1 unit 30.00"]
    assert readable(second) == [
        "2025-02-15 calls 2025-01-15..2025-02-15 120 call 1.20",
        "2025-02-15 fee 2025-02-15..2025-03-15 1 unit 30.00",
    ]
    assert (report.due, report.invoiced, report.held) == (2, 2, ())
    assert report.totals_minor == {"EUR": 6120}
    assert [stored.summary.number for stored in (first, second)] == ["INV-2025-000001", "INV-2025-000002"]
    assert second.summary.due_date == date(2025, 3, 17)


def test_a_second_run_finds_nothing_and_says_why(any_world: World) -> None:
    any_world.plan()
    any_world.contract()
    first = any_world.bill("2025-02-15")
    second = any_world.bill("2025-02-15")
    assert second.due == 0
    assert second.already_settled == 2
    assert second.summary().startswith("0 billing dates due as of 2025-02-15; 2 are settled already")
    assert second.manifest_hash == first.manifest_hash
    assert len(any_world.invoices()) == 2


@pytest.mark.requirement("CON-04")
def test_fee_seats_usage_and_a_one_time_charge_in_one_contract(world: World) -> None:
    world.plan(MONTHLY_FEE, SEATS, CALLS, SET_UP)
    world.contract()
    world.events(
        ("seat", "c1-subject", "2025-01-15", "10"),
        ("call", "c1-subject", "2025-01-20", "250"),
    )
    world.bill("2025-03-15")
    assert [readable(stored) for stored in world.invoices()] == [
        [
            "2025-01-15 fee 2025-01-15..2025-02-15 1 unit 30.00",
            "2025-01-15 set-up 2025-01-15..2025-02-15 1 unit 99.50",
        ],
        [
            "2025-02-15 seats 2025-01-15..2025-02-15 10 seat 80.00",
            "2025-02-15 calls 2025-01-15..2025-02-15 250 call 2.50",
            "2025-02-15 fee 2025-02-15..2025-03-15 1 unit 30.00",
        ],
        [
            "2025-03-15 seats 2025-02-15..2025-03-15 10 seat 80.00",
            "2025-03-15 fee 2025-03-15..2025-04-15 1 unit 30.00",
        ],
    ]


@pytest.mark.requirement("CON-05")
@pytest.mark.requirement("RAT-06")
def test_a_new_price_counts_from_its_day_for_every_contract_and_for_no_day_before(world: World) -> None:
    dearer = CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}}
    world.plan(CALLS)
    world.plan(dearer, start="2025-02-01")
    world.contracts(["c1", "c2"])
    world.events(
        ("call", "c1-subject", "2025-01-31T23:59", "100"),
        ("call", "c1-subject", "2025-02-01T00:00", "100"),
        ("call", "c2-subject", "2025-02-10", "50"),
    )
    world.bill("2025-02-15")
    first, second = world.invoices()
    assert readable(first) == [
        "2025-02-15 calls 2025-01-15..2025-02-01 100 call 1.00",
        "2025-02-15 calls 2025-02-01..2025-02-15 100 call 2.00",
    ]
    assert [line.plan_version for line in first.invoice.lines] == [1, 2]
    assert readable(second) == ["2025-02-15 calls 2025-02-01..2025-02-15 50 call 1.00"]


@pytest.mark.requirement("CON-01")
@pytest.mark.requirement("GEN-05")
def test_the_invoice_carries_parties_prices_dates_and_terms_of_the_contract_alone(world: World) -> None:
    world.plan()
    terms = {"payment_days": 14, "late_payment": "8 % a year", "purchase_order": "PO-1"}
    world.contract(terms=terms)
    world.bill("2025-01-15", seller=Seller(name="Northwind"))
    (stored,) = world.invoices()
    document = orjson.loads(stored.text)
    assert document["customer"]["name"] == "Acme"
    assert document["seller"]["name"] == "Northwind"
    assert document["terms"] | terms == document["terms"]
    assert (document["issue_date"], document["due_date"]) == ("2025-01-15", "2025-01-29")
    assert (document["period_start"], document["period_end"]) == ("2025-01-15", "2025-02-15")
    assert document["lines"][0]["price_text"] == "flat 30.00"
    assert stored.summary.document_hash == invoice_hash(stored.text)


def test_the_stored_text_is_the_canonical_text(world: World) -> None:
    odd = CALLS | {
        "name": 'Calls "à la carte" \\ \n',
        "price": {
            "model": "graduated",
            "tiers": [{"up_to": "1.5", "unit_price": "0.1"}, {"unit_price": "0.05", "flat_amount": "2"}],
        },
    }
    world.plan(odd, TRANSFER, MONTHLY_FEE, minimum_spend="50")
    world.contract(time_zone="Europe/Berlin")
    world.events(
        ("call", "c1-subject", "2025-01-20", "2.000000000001"),
        ("transfer", "c1-subject", "2025-01-20", "3", {"region": "eu"}),
    )
    world.bill("2025-02-15")
    stored = world.invoices()[1]
    assert [line.charge_id for line in stored.invoice.lines] == ["calls", "transfer", "minimum-spend", "fee"]
    assert invoice_text(stored.invoice) == stored.text
    first, second = stored.invoice.lines[0].tiers
    assert (first.above, first.up_to, first.units, first.amount) == (
        Decimal(0),
        Decimal("1.5"),
        Decimal("1.5"),
        Decimal("0.15"),
    )
    assert (second.above, second.up_to, second.units) == (Decimal("1.5"), None, Decimal("0.500000000001"))
    assert (second.unit_price, second.flat_amount) == (Decimal("0.05"), Decimal(2))
    assert stored.invoice.total_minor == 5000 + 3000


@pytest.mark.requirement("MET-06")
@pytest.mark.requirement("AUD-02")
def test_a_thousand_transactions_stand_behind_one_line_and_can_be_listed(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    world.events(
        *[("call", "c1-subject", f"2025-01-{16 + n % 10}T0{n % 7}:{n % 60:02}", "1.25") for n in range(1_000)]
    )
    world.bill("2025-02-15")
    (stored,) = world.invoices()
    (line,) = stored.invoice.lines
    assert (line.event_count, line.quantity, line.amount_minor) == (1000, Decimal(1250), 1250)
    assert find_line(world.ledger, line.line_id).invoice_id == stored.summary.invoice_id
    rated = get_rated_line(world.event_store, line.line_id)
    assert rated["amount_minor"] == line.amount_minor
    events = events_behind(
        world.event_store,
        meter=get_meter(world.ledger, "calls"),
        subjects=["c1-subject"],
        period_start=rated["period_start"],
        period_end=rated["period_end"],
        dimensions={},
        limit=2000,
        after=None,
    )
    assert events.num_rows == line.event_count
    assert sum(events["value"].to_pylist()) == line.quantity


def test_every_group_of_a_charge_is_a_line(world: World) -> None:
    world.plan(TRANSFER | {"price": TRANSFER_PRICE | DEFAULT_PRICE})
    world.contract()
    world.events(*[("transfer", "c1-subject", "2025-01-20", "1", {"region": f"r{n:02}"}) for n in range(60)])
    report = world.bill("2025-02-15")
    (stored,) = world.invoices()
    assert [line.dimensions["region"] for line in stored.invoice.lines] == [f"r{n:02}" for n in range(60)]
    assert (report.lines, stored.invoice.total_minor) == (60, 600)


def test_a_date_with_no_lines_is_settled_without_an_invoice(any_world: World) -> None:
    any_world.plan(CALLS)
    any_world.contract()
    report = any_world.bill("2025-02-15")
    assert (report.due, report.invoiced, report.nothing_due) == (1, 0, 1)
    assert any_world.invoices() == []
    with any_world.ledger.connect() as connection:
        assert connection.execute(select(SETTLED_BILLING_DATES.c.outcome)).scalars().all() == ["nothing_due"]
    assert any_world.bill("2025-02-15").due == 0


def test_what_cannot_be_billed_is_held_with_its_reason_and_billed_later(world: World) -> None:
    world.plan(MONTHLY_FEE, CALLS, TRANSFER)
    world.contracts(["fine", "no-value", "no-price"])
    world.contract("nobody", customer_id="ghost")
    world.events(
        ("call", "no-value-subject", "2025-01-20", ""),
        ("transfer", "no-price-subject", "2025-01-20", "5", {"region": "mars"}),
    )
    report = world.bill("2025-03-15")
    assert [(held.contract_id, str(held.billing_date), held.reason_code) for held in report.held] == [
        ("no-price", "2025-02-15", "unrated_usage"),
        ("no-price", "2025-03-15", "earlier_date_held"),
        ("no-value", "2025-02-15", "unusable_events"),
        ("no-value", "2025-03-15", "earlier_date_held"),
        ("nobody", "2025-01-15", "customer_unknown"),
        ("nobody", "2025-02-15", "customer_unknown"),
        ("nobody", "2025-03-15", "customer_unknown"),
    ]
    assert "meter 'calls' cannot count 1 events" in report.held[2].message
    assert "(test, e1)" in report.held[2].message
    assert report.due == 12 == report.invoiced + report.nothing_due + len(report.held)
    held_lines = read_rated_lines(world.event_store, contract_id="no-price")
    assert set(held_lines["billing_date"].to_pylist()) == {date(2025, 1, 15)}

    world.plan(MONTHLY_FEE, CALLS, TRANSFER | {"price": TRANSFER_PRICE | DEFAULT_PRICE})
    later = world.bill("2025-03-15")
    assert later.invoiced == 2
    assert {held.contract_id for held in later.held} == {"no-value", "nobody"}
    check_numbers(world.ledger)


def check_numbers(ledger: Engine) -> None:
    with ledger.connect() as connection:
        check_series(connection)


def test_a_contract_changed_behind_its_last_bill_is_held_not_billed_twice(world: World) -> None:
    world.plan(CALLS)
    world.contract(end_date=date(2025, 2, 1))
    world.bill("2025-02-01")
    world.contract()  # the end is taken back after the last bill
    report = world.bill("2025-03-15")
    assert [held.reason_code for held in report.held] == ["billing_dates_changed", "earlier_date_held"]


def test_a_negative_total_is_held_where_it_should_be(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", "-100"))
    report = world.bill("2025-02-15", negative_total="hold")
    assert [held.reason_code for held in report.held] == ["negative_total"]
