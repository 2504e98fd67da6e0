"""Goal: history rated again equals what was billed, or differs by exactly what changed since."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from invoicing.history import BillingDates
from invoicing.rerate import rerate
from invoicing.rerate_answer import Rerated
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at, unseen


def again(world: World, first: str = "2025-01-01", end: str = "2025-04-01", **more: Any) -> Rerated:
    return rerate(
        dates=BillingDates(date.fromisoformat(first), date.fromisoformat(end)),
        contract_ids=more.get("contract_ids"),
        event_store=world.event_store,
        stored_usage=world.stored_usage,
        ledger=world.ledger,
        now=at("2026-01-01"),
        progress=unseen,
    )


def rows(answer: Rerated) -> list[str]:
    return [
        f"{row['contract_id']} {row['billing_date']} {row['charge_id']} {row['change']} "
        f"{row['billed_minor']} -> {row['now_minor']}: {row['difference_minor']:+} {row['implies']}".rstrip()
        for table in answer.tables()
        for row in table.to_pylist()
    ]


def sums(answer: Rerated) -> list[tuple[int, ...]]:
    """(lines, unchanged, billed, now, credit, debit) by currency."""
    for total in answer.totals:
        assert total.difference_minor == total.now_minor - total.billed_minor
        assert total.difference_minor == total.credit_minor + total.debit_minor
    return [
        (
            total.lines,
            total.unchanged,
            total.billed_minor,
            total.now_minor,
            total.credit_minor,
            total.debit_minor,
        )
        for total in answer.totals
    ]


@pytest.mark.requirement("RAT-07")
def test_nothing_changed_is_no_difference(any_world: World) -> None:
    any_world.plan(MONTHLY_FEE, CALLS, minimum_spend="5")
    any_world.plan(MONTHLY_FEE, CALLS | {"free_units": "20"}, start="2025-02-01")
    any_world.contract("c1", discounts=[{"discount_id": "d", "name": "D", "amount": "3"}])
    any_world.contract("idle", start_date=date(2025, 1, 31), billing={"cadence": "weekly"})
    any_world.events(
        ("call", "c1-subject", "2025-01-20", "123.4"), ("call", "c1-subject", "2025-02-20", "900")
    )
    any_world.bill("2025-03-20")
    answer = again(any_world)
    assert rows(answer) == []
    assert answer.held == ()
    ((lines, unchanged, billed, now, credit, debit),) = sums(answer)
    assert (lines, billed, credit, debit) == (unchanged, now, 0, 0)
    assert billed == sum(stored.invoice.total_minor for stored in any_world.invoices())
    assert lines == sum(len(stored.invoice.lines) for stored in any_world.invoices())
    assert answer.not_billed == 2, "the weekly dates of 21 and 28 March have come and are not billed"


@pytest.mark.requirement("RAT-07")
def test_late_usage_that_costs_nothing_is_no_difference(world: World) -> None:
    """15 calls within 20 free units come late; another contract was billed 3 of them at 0.00."""
    world.plan(MONTHLY_FEE, CALLS | {"free_units": "20"})
    world.contracts(["a", "b"])
    world.events(("call", "b-subject", "2025-01-20", "3"))
    world.bill("2025-02-15")
    world.events(("call", "a-subject", "2025-01-21", "15"))
    answer = again(world)
    assert rows(answer) == []
    ((lines, unchanged, *_),) = sums(answer)
    assert lines == unchanged


@pytest.mark.requirement("RAT-07")
def test_late_usage_is_exactly_the_difference(world: World) -> None:
    """100 calls at 0.01 billed; 50 come late: 0.50 more. The other contract had no line and has one now."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contracts(["a", "b", "c"])
    world.events(("call", "a-subject", "2025-01-20", "100"), ("call", "c-subject", "2025-01-20", "7"))
    world.bill("2025-02-15")
    world.events(
        ("call", "a-subject", "2025-01-21", "50"),
        ("call", "b-subject", "2025-02-14T23:59", "30"),
        ("call", "b-subject", "2025-02-15", "1000"),
    )
    answer = again(world)
    assert rows(answer) == [
        "a 2025-02-15 calls changed 100 -> 150: +50 debit",
        "b 2025-02-15 calls new 0 -> 30: +30 debit",
    ]
    assert sums(answer) == [(9, 7, 18107, 18187, 0, 80)]
    assert answer.to_dict()["contracts"] == [
        {"contract_id": "a", "currency": "EUR", "difference_minor": 50},
        {"contract_id": "b", "currency": "EUR", "difference_minor": 30},
    ]
    assert rows(again(world, contract_ids=["c"])) == []
    assert rows(again(world, end="2025-02-15")) == []


@pytest.mark.requirement("RAT-07")
def test_usage_taken_back_is_credited(world: World) -> None:
    """A correction of -40 on 100 calls; and everything of the other contract: its line vanishes in amount,
    not in fact, because events are behind it still."""
    world.plan(CALLS)
    world.contracts(["a", "b"])
    world.events(("call", "a-subject", "2025-01-20", "100"), ("call", "b-subject", "2025-01-20", "30"))
    world.bill("2025-02-15")
    world.event_store.command(
        "ALTER TABLE events DELETE WHERE subject = 'b-subject' SETTINGS mutations_sync = 2"
    )
    world.events(("call", "a-subject", "2025-01-21", "-40"))
    answer = again(world)
    assert rows(answer) == [
        "a 2025-02-15 calls changed 100 -> 60: -40 credit",
        "b 2025-02-15 calls vanished 30 -> 0: -30 credit",
    ]
    (change,) = answer.changes
    quantities = [
        [None if q is None else f"{q.normalize():f}" for q in pair]
        for pair in zip(change["billed_quantity"].to_pylist(), change["quantity"].to_pylist(), strict=True)
    ]
    assert quantities == [["100", "60"], ["30", None]]
    assert sums(answer) == [(2, 0, 130, 60, -70, 0)]


def test_a_version_that_only_adds_prices_changes_no_line(world: World) -> None:
    matrix: dict[str, Any] = {
        "charge_id": "transfer",
        "name": "Transfer",
        "kind": "usage",
        "meter_id": "transfer",
        "price": {
            "model": "matrix",
            "dimensions": ["region"],
            "cells": [{"match": {"region": "eu"}, "price": {"model": "per_unit", "unit_price": "1"}}],
        },
    }
    more = [
        *matrix["price"]["cells"],
        {"match": {"region": "us"}, "price": {"model": "per_unit", "unit_price": "2"}},
    ]
    world.plan(matrix)
    world.contract()
    world.events(("transfer", "c1-subject", "2025-01-20", "10", {"region": "eu"}))
    world.bill("2025-02-15")
    world.plan(matrix | {"price": matrix["price"] | {"cells": more}})
    world.events(("transfer", "c1-subject", "2025-01-20", "3", {"region": "us"}))
    assert rows(again(world)) == ["c1 2025-02-15 transfer new 0 -> 600: +600 debit"]
    assert sums(again(world)) == [(2, 1, 1000, 1600, 0, 600)]


def test_what_cannot_be_priced_now_is_held_and_not_compared(world: World) -> None:
    world.plan(CALLS)
    world.contracts(["a", "b"])
    world.events(("call", "a-subject", "2025-01-20", "100"), ("call", "b-subject", "2025-01-20", "30"))
    world.bill("2025-02-15")
    world.events(("call", "a-subject", "2025-01-21", ""))
    world.contract("b", overrides=[{"charge_id": "calls", "price": {"model": "per_unit", "unit_price": "9"}}])
    answer = again(world)
    assert [(entry.contract_id, entry.reason_code) for entry in answer.held][-1:] == [
        ("a", "unusable_events")
    ]
    assert {entry.contract_id: entry.reason_code for entry in answer.held} == {
        "a": "unusable_events",
        "b": "billing_dates_changed",
    }
    assert (rows(answer), sums(answer)) == ([], [])


@pytest.mark.requirement("RAT-07")
def test_amendments_are_rated_again_as_they_were_billed(world: World) -> None:
    """Each date by its own version of the contract: a new plan in the middle of January and a seat less in
    February are no difference; calls that came late are."""
    seats = MONTHLY_FEE | {
        "charge_id": "seats",
        "price": {"model": "per_unit", "unit_price": "10"},
        "quantity": "5",
    }
    world.plan(MONTHLY_FEE, seats, CALLS)
    world.plan(MONTHLY_FEE | {"price": {"model": "flat", "amount": "50"}}, seats, CALLS, plan_id="plus")
    begin: dict[str, Any] = {"start_date": date(2025, 1, 1)}
    phase: dict[str, Any] = {"phases": [{"plan_id": "plus", "effective_from": date(2025, 1, 11)}]}
    fewer: dict[str, Any] = {
        "quantities": [{"charge_id": "seats", "quantity": "4", "effective_from": date(2025, 2, 8)}]
    }
    world.contract(**begin)
    world.contract("other", **begin)
    world.bill("2025-01-01")
    world.contract(**begin, **phase)
    world.bill("2025-02-01")
    world.contract(**begin, **phase, **fewer)
    world.bill("2025-03-01")
    answer = again(world)
    assert (rows(answer), answer.held) == ([], ())
    ((lines, unchanged, billed, now, _, _),) = sums(answer)
    assert (lines, billed) == (unchanged, now)
    assert billed == sum(stored.invoice.total_minor for stored in world.invoices())
    world.events(("call", "c1-subject", "2025-01-20", "100"))
    assert rows(again(world)) == ["c1 2025-02-01 calls new 0 -> 100: +100 debit"]
