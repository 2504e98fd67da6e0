"""Goal: prices that need more than the quantity of a period go the whole way: billed from events and from
stored usage alike, previewed, tried out, rated again, explained and verified."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from api.json import to_json
from invoicing.history import BillingDates
from invoicing.open_usage import keep_open_usage
from invoicing.preview import preview_contract
from invoicing.rerate import rerate
from invoicing.rerate_answer import Rerated
from invoicing.what_if import what_if
from invoicing.what_if_variant import VariantDocument, read_variants
from rating import verify
from rating.catalogue import get_plan_version
from rating.explain import Explanation, explain_line
from rating.store import get_rated_line
from rollup.stored_usage import StoredUsage
from tests.invoicing.world import World, at, readable, unseen


def charge(charge_id: str, price: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "charge_id": charge_id,
        "name": charge_id.title(),
        "kind": "usage",
        "meter_id": "calls",
        "unit": "call",
        "price": price,
        **more,
    }


CARDS = charge(
    "cards",
    {"model": "percentage", "percent": "2.9", "fixed_per_event": "0.30", "minimum_per_event": "0.88",
     "maximum_per_event": "10"},
)  # fmt: skip


def previewed(world: World, when: str, contract_id: str = "c1") -> Any:
    return preview_contract(
        contract_id=contract_id, at=at(when), event_store=world.event_store, ledger=world.ledger
    )


def again(world: World, end: str = "2027-01-01") -> Rerated:
    return rerate(
        dates=BillingDates(date(2025, 1, 1), date.fromisoformat(end)),
        contract_ids=None,
        event_store=world.event_store,
        stored_usage=world.stored_usage,
        ledger=world.ledger,
        now=at("2027-01-01"),
        progress=unseen,
    )


def explained(world: World, line_id: str) -> Explanation:
    line = get_rated_line(world.event_store, line_id)
    plan = get_plan_version(world.ledger, line["plan_id"], line["plan_version"]).plan
    return explain_line(line, plan)


def check_lines(world: World) -> list[Explanation]:
    """Every billed line explains itself, verifies, and is the same when it is rated again."""
    found = [explained(world, line.line_id) for stored in world.invoices() for line in stored.invoice.lines]
    for one in found:
        assert verify.differences(json.loads(to_json(one.to_dict()))) == []
    assert [table.to_pylist() for table in again(world).tables()] == []
    return found


def lines(world: World) -> list[str]:
    return [row for stored in world.invoices() for row in readable(stored)]


def tried(world: World, *charges: dict[str, Any], end: str = "2026-01-01") -> list[int]:
    """What the contracts would have paid under these charges of plan gold, minor units."""
    plan = {"plan_id": "gold", "name": "G", "currency": "EUR", "effective_from": "2025-01-01"}
    document = VariantDocument(name="v", plans=({**plan, "charges": list(charges)},))
    found = what_if(
        variants=read_variants(world.ledger, [document]),
        dates=BillingDates(date(2025, 1, 1), date.fromisoformat(end)),
        contract_ids=None,
        event_store=world.event_store,
        stored_usage=world.stored_usage,
        ledger=world.ledger,
        now=at("2026-01-01"),
        progress=unseen,
    )
    return [int(amount) for amount in found.minor[0]]


@pytest.mark.parametrize("stored", [False, True])
def test_events_with_a_least_and_a_most(world: World, stored: bool) -> None:
    """0.88 + 3.20 + 10, and after two free events 10 only: with those the events are read."""
    free = {**CARDS, "charge_id": "spared", "price": {**CARDS["price"], "free_events": 2}}
    world.plan(CARDS, free)
    world.contract()
    if stored:
        world.stored_usage = StoredUsage(world.event_store)
        keep_open_usage(world.stored_usage, ledger=world.ledger, now=at("2025-01-16"))
    world.events(
        ("call", "c1-subject", "2025-01-20", "5"),
        ("call", "c1-subject", "2025-01-20", "100"),
        ("call", "c1-subject", "2025-01-21", "9000"),
    )
    seen = previewed(world, "2025-02-14")
    world.bill("2025-02-15")
    assert lines(world) == [
        "2025-02-15 cards 2025-01-15..2025-02-15 9105 call 14.08",
        "2025-02-15 spared 2025-01-15..2025-02-15 9105 call 10.00",
    ]
    assert seen.lines == world.invoices()[0].invoice.lines
    cards, spared = check_lines(world)
    assert [tier.to_text(2) for tier in cards.tiers] == [
        "tier 1 (above 0): 5 units, least 0.88 for each event = 0.88",
        "tier 2 (above 0): 100 units, 2.9 % and 0.30 for each event = 3.20",
        "tier 3 (above 0): 9,000 units, most 10.00 for each event = 10.00",
    ]
    assert "each of 1 events priced by itself, 2 free" in spared.to_text()
    dearer = {**CARDS, "price": {**CARDS["price"], "minimum_per_event": "4"}}
    assert tried(world, dearer, end="2025-03-01") == [1800]


@pytest.mark.parametrize("stored", [False, True])
def test_tiers_that_begin_again_with_each_event(world: World, stored: bool) -> None:
    """A connect fee and the first minute whole, then by the started second: 0.60, 0.60 and 0.85."""
    tiers = [
        {"up_to": "60", "package_size": "60", "package_price": "0.20", "flat_amount": "0.40"},
        {"package_size": "1", "package_price": "0.01"},
    ]
    talk = charge("talk", {"model": "graduated", "tiers": tiers}, tiers_count="event")
    world.plan(talk)
    world.contract()
    if stored:
        world.stored_usage = StoredUsage(world.event_store)
        keep_open_usage(world.stored_usage, ledger=world.ledger, now=at("2025-01-16"))
    calls = (("2025-01-20", "60"), ("2025-01-20", "0.5"), ("2025-01-21", "84.25"), ("2025-01-22", "0"))
    world.events(*(("call", "c1-subject", day, value) for day, value in calls))
    seen = previewed(world, "2025-02-14")
    world.bill("2025-02-15")
    assert lines(world) == ["2025-02-15 talk 2025-01-15..2025-02-15 144.75 call 2.05"]
    assert seen.lines == world.invoices()[0].invoice.lines
    (line,) = check_lines(world)
    whole = "0.20 for each package of 60 units, a started one whole"
    assert [tier.to_text(2) for tier in line.tiers] == [
        f"tier 1 (0 to 60): 180 units, {whole} and flat 0.40 = 1.80",
        "tier 2 (above 60): 25 units, 0.01 for each package of 1 units, a started one whole = 0.25",
    ]
    assert "each of 4 events priced by itself" in line.to_text()
    together = {**talk, "tiers_count": "period"}
    assert tried(world, talk, end="2025-03-01") == [205]
    assert tried(world, together, end="2025-03-01") == [145]


def test_tiers_that_hold_at_each_moment(world: World) -> None:
    """From 1 January 2 seats, 6 from 17 January: 2 and for 15 of 31 days 2 more at 31.00, 2 at 15.50."""
    tiers = [{"up_to": "4", "unit_price": "31"}, {"unit_price": "15.50", "flat_amount": "1"}]
    seats = charge(
        "seats",
        {"model": "graduated", "tiers": tiers},
        kind="licence",
        meter_id="seats",
        tiers_count="moment",
    )
    world.plan(seats)
    world.contract(start_date=date(2025, 1, 1))
    world.events(("seat", "c1-subject", "2025-01-01", "2"), ("seat", "c1-subject", "2025-01-17", "6"))
    seen = previewed(world, "2025-01-31")
    world.bill("2025-02-01")
    assert lines(world) == ["2025-02-01 seats 2025-01-01..2025-02-01 3.935483870968 call 108.00"]
    assert seen.lines == world.invoices()[0].invoice.lines
    (line,) = check_lines(world)
    assert [tier.units for tier in line.tiers] == ["2.967741935484", "0.967741935484"]
    assert "tiers hold at each moment" in line.to_text()
    by_average = {**seats, "tiers_count": "period"}
    assert tried(world, seats, end="2025-03-01") == [10800]
    assert tried(world, by_average, end="2025-03-01") == [12200]


def test_a_formula_of_meters(world: World) -> None:
    """Calls beyond 10 a seat of the average: 120 - 10 x 3."""
    formula = charge("over", {"model": "per_unit", "unit_price": "0.5"}, formula="max(0, calls - 10 * seats)")
    del formula["meter_id"]
    world.plan(formula)
    world.contract()
    world.events(
        ("seat", "c1-subject", "2025-01-15", "3"),
        ("call", "c1-subject", "2025-01-20", "100"),
        ("call", "c1-subject", "2025-02-01", "20"),
    )
    seen = previewed(world, "2025-02-14")
    world.bill("2025-02-15")
    assert lines(world) == ["2025-02-15 over 2025-01-15..2025-02-15 90 call 45.00"]
    assert seen.lines == world.invoices()[0].invoice.lines
    (over,) = check_lines(world)
    assert "max(0, calls - 10 * seats), with calls 120, seats 3" in over.to_text()
    assert tried(world, {**formula, "formula": "calls"}, end="2025-03-01") == [6000]
