"""Goal: what was sold, billed, provisioned and used stands side by side per customer and product, each column
by its own source, with exact differences and nothing invented where a column has no source."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from ingest.meter import Meter
from ingest.meter_store import save_meter
from invoicing.customer_store import save_customer
from invoicing.four_quantities import COLUMNS, Product, four_quantities
from tests.invoicing.world import LONG_AGO, World, at

FEE = {
    "charge_id": "support", "name": "Support", "kind": "recurring", "timing": "advance",
    "quantity": "5", "price": {"model": "per_unit", "unit_price": "9"},
}  # fmt: skip
SEATS = {
    "charge_id": "seats", "name": "Seats", "kind": "licence", "meter_id": "seats",
    "price": {"model": "per_unit", "unit_price": "12"},
}  # fmt: skip
CALLS = {
    "charge_id": "calls", "name": "Calls", "kind": "usage", "meter_id": "calls",
    "price": {"model": "per_unit", "unit_price": "0.1"},
}  # fmt: skip
USERS = Meter(
    meter_id="users", event_type="login", aggregation="unique_count", unique_property="user", unit="user"
)
LIMITS = [
    {"meter_id": "calls", "period": "month", "mode": "hard", "limit": "100"},
    {"meter_id": "users", "period": "month", "mode": "hard", "provisioned_meter_id": "seats"},
]


def shown(world: World, start: str, end: str, product: Product | None = None, **chosen: Any) -> list[str]:
    """``acme seats - 8 10 3 | - -2 7`` a row: the four columns and the three differences."""
    found = four_quantities(
        world.event_store,
        ledger=world.ledger,
        time_from=at(start),
        time_to=at(end),
        customer_ids=chosen.get("customer_ids"),
        product=product,
    ).to_pylist()
    differences = [f"{a}_less_{b}" for a, b in pairwise(COLUMNS)]

    def text(value: Any) -> str:
        return "-" if value is None else f"{value.normalize():f}"

    return [
        f"{row['customer_id']} {row['product']} {' '.join(text(row[name]) for name in COLUMNS)} | "
        f"{' '.join(text(row[name]) for name in differences)}"
        + (f" {row['unusable_events']} unusable" if row["unusable_events"] else "")
        for row in found
    ]


@pytest.fixture
def sold(world: World) -> World:
    """Two customers on one plan in January 2025; acme has limits and two contracts, bolt neither."""
    save_meter(world.ledger, USERS, now=LONG_AGO)
    save_customer(world.ledger, {"customer_id": "bolt", "name": "Bolt"}, now=LONG_AGO)
    world.plan(FEE, SEATS, CALLS)
    first = {"start_date": date(2025, 1, 1)}
    world.contract("c1", subjects=["s1", "s2"], entitlements=LIMITS, **first)
    world.contract("c2", subjects=["s3"], entitlements=LIMITS[:1], **first)
    world.contract("c3", subjects=["s4"], customer_id="bolt", **first)
    world.events(
        ("seat", "s1", "2025-01-01", "10", {"operation": "set"}),
        ("seat", "s1", "2025-01-16T12:00", "2", {"operation": "remove"}),
        ("seat", "s3", "2025-01-01", "1", {"operation": "set"}),
        ("login", "s1", "2025-01-03", "", {"user": "ann"}),
        ("login", "s2", "2025-01-04", "", {"user": "ann"}),
        ("login", "s3", "2025-01-05", "", {"user": "bob"}),
        ("call", "s1", "2025-01-31T23:59", "150.5"),
        ("call", "s3", "2025-01-01", "7"),
        ("call", "s4", "2025-01-02", "4"),
        ("call", "s1", "2025-02-01", "1000"),
    )
    return world


@pytest.mark.requirement("REP-14")
def test_four_columns_a_customer_and_product_with_differences(sold: World) -> None:
    sold.bill("2025-02-01", now=at("2025-02-02"))
    assert shown(sold, "2025-01-01", "2025-02-01") == [
        # limits of both contracts; all subjects of the customer
        "acme calls 200 157.5 - 157.5 | 42.5 - -",
        # bought is the average over the month, provisioned the level at its end
        "acme seats - 10 9 2 | - 1 7",
        "acme support 10 10 - - | 0 - -",
        "bolt calls - 4 - 4 | - - -",
        "bolt seats - - 0 - | - - -",
        "bolt support 5 5 - - | 0 - -",
    ]
    assert shown(sold, "2025-01-01", "2025-02-01", customer_ids=["bolt"])[0] == "bolt calls - 4 - 4 | - - -"


def test_a_product_of_several_charges_and_a_time_with_nothing_billed(sold: World) -> None:
    suite = Product("suite", frozenset(["seats", "support"]), "seats", "users")
    assert shown(sold, "2025-01-01", "2025-01-10", suite) == [
        "acme suite 10 - 11 2 | - - 9",
        "bolt suite 5 - 0 0 | - - 0",
    ]
    assert shown(sold, "2024-01-01", "2025-01-01", suite) == []


def test_contracts_that_ended_sold_nothing_and_one_time_charges_once(world: World) -> None:
    setup = {
        "charge_id": "setup",
        "name": "Setup",
        "kind": "one_time",
        "timing": "advance",
        "price": {"model": "flat", "amount": "99"},
    }
    world.plan(FEE, setup)
    world.contract("old", end_date=date(2025, 1, 20), subjects=["s"])
    world.contract("new", start_date=date(2025, 1, 20), subjects=["s"])
    world.bill("2025-02-20", now=at("2025-02-21"))
    assert shown(world, "2025-01-01", "2025-02-01") == [
        "acme setup 1 2 - - | -1 - -",
        "acme support 5 10 - - | -5 - -",
    ]
    assert shown(world, "2025-02-01", "2025-03-01") == [
        "acme setup - - - - | - - -",
        "acme support 5 5 - - | 0 - -",
    ]


def test_events_that_cannot_be_counted_are_said(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", "5"), ("call", "c1-subject", "2025-01-21", ""))
    assert shown(world, "2025-01-15", "2025-02-15") == ["acme calls - - - 5 | - - - 1 unusable"]


def test_quantities_and_phases_of_the_contract_are_sold_and_what_is_given_back_is_not_bought(
    world: World,
) -> None:
    """Five seats are billed; from 11 January 7 are had: 2 more. From 11 February another plan."""
    world.plan(FEE)
    world.plan({**FEE, "charge_id": "premium", "quantity": "3"}, plan_id="plus")
    first = {"start_date": date(2025, 1, 1)}
    seven = [{"charge_id": "support", "quantity": "7", "effective_from": "2025-01-11"}]
    plus = [{"plan_id": "plus", "effective_from": "2025-02-11"}]
    world.contract("c1", **first)
    world.bill("2025-01-01")
    world.contract("c1", **first, quantities=seven)
    world.bill("2025-02-01")
    assert shown(world, "2025-01-01", "2025-02-01") == ["acme support 7 7 - - | 0 - -"]
    world.contract("c1", **first, quantities=seven, phases=plus)
    world.bill("2025-03-01")
    assert shown(world, "2025-02-01", "2025-03-01") == ["acme premium 3 3 - - | 0 - -"]
    support = Product("support", frozenset(["support"]), None, None)
    assert shown(world, "2025-02-01", "2025-03-01", support) == ["acme support - 0 - - | - - -"]
