"""Goal: new prices never reach into billed time, and the refusal names the first day they may."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ingest.errors import InvalidDocument
from invoicing.plan_change import plan_change_issues
from rating.catalogue import save_price_plan
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, readable

FEE = MONTHLY_FEE | {"price": {"model": "flat", "amount": "31"}}
DEARER = MONTHLY_FEE | {"price": {"model": "flat", "amount": "62"}}
FEE_IN_ARREARS = FEE | {"timing": "arrears"}
DEARER_CALLS = CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}}
EU = {"match": {"region": "eu"}, "price": {"model": "per_unit", "unit_price": "0.07"}}
US = {"match": {"region": "us"}, "price": {"model": "per_unit", "unit_price": "0.05"}}
TRANSFER: dict[str, Any] = {
    "charge_id": "transfer",
    "name": "Transfer",
    "kind": "usage",
    "meter_id": "transfer",
    "unit": "GB",
    "price": {"model": "matrix", "dimensions": ["region"], "cells": [EU]},
}


def save(world: World, start: str, *charges: dict[str, Any], **more: Any) -> bool:
    document = {
        "plan_id": "gold",
        "name": "Gold",
        "currency": "EUR",
        "effective_from": date.fromisoformat(start),
        "charges": list(charges),
        **more,
    }
    saved = save_price_plan(world.ledger, document, now=LONG_AGO, further_rules=plan_change_issues)
    return saved.created


def refused(world: World, start: str, *charges: dict[str, Any]) -> str:
    with pytest.raises(InvalidDocument) as caught:
        save(world, start, *charges)
    (issue,) = caught.value.issues
    assert (issue.reason_code, issue.pointer) == ("effective_in_billed_time", "effective_from")
    return f"{issue.message} {issue.expected}"


@pytest.mark.parametrize(
    ("before", "after", "first_possible"),
    [
        # c1 is billed on 1 March: usage up to it, a fee in advance up to 1 April
        ([FEE, CALLS], [DEARER, CALLS], "2025-04-01"),
        ([FEE, CALLS], [FEE_IN_ARREARS, CALLS], "2025-04-01"),
        ([FEE_IN_ARREARS, CALLS], [FEE, CALLS], "2025-04-01"),
        ([FEE, CALLS], [CALLS], "2025-04-01"),
        ([FEE, CALLS], [FEE, DEARER_CALLS], "2025-03-01"),
        ([FEE_IN_ARREARS], [DEARER | {"timing": "arrears"}], "2025-03-01"),
    ],
)
def test_the_first_day_that_is_free(
    world: World, before: list[dict[str, Any]], after: list[dict[str, Any]], first_possible: str
) -> None:
    world.plan(*before)
    world.contract(start_date=date(2025, 1, 1))
    world.bill("2025-03-01")
    day_before = date.fromordinal(date.fromisoformat(first_possible).toordinal() - 1).isoformat()
    words = refused(world, day_before, *after)
    assert f"contract 'c1' up to {first_possible}. {first_possible} or a later day" in words
    assert save(world, first_possible, *after)


@pytest.mark.parametrize(("before", "after"), [(FEE, FEE_IN_ARREARS), (FEE_IN_ARREARS, FEE)])
def test_a_fee_that_changes_its_timing_is_billed_once_for_every_day(
    world: World, before: dict[str, Any], after: dict[str, Any]
) -> None:
    world.plan(before)
    world.contract(start_date=date(2025, 1, 1))
    world.bill("2025-03-01")
    save(world, "2025-04-01", after)
    world.bill("2025-06-01")
    lines = [line for stored in world.invoices() for line in readable(stored)]
    for month in range(1, 6):
        assert sum(f"fee 2025-0{month}-01..2025-0{month + 1}-01" in line for line in lines) == 1


def test_the_last_of_many_contracts_decides_and_an_ended_one_counts_to_its_end(world: World) -> None:
    world.plan(FEE)
    world.contract("monthly", start_date=date(2025, 1, 1))
    world.contract("yearly", start_date=date(2025, 2, 1), billing={"cadence": "annual"})
    world.contract(
        "short", start_date=date(2025, 2, 1), end_date=date(2025, 5, 1), billing={"cadence": "annual"}
    )
    world.bill("2025-03-01")
    words = refused(world, "2025-03-15", DEARER)
    assert "3 contracts on the plan" in words
    assert "2026-02-01 or a later day" in words
    assert "1 contracts on the plan are billed for later days: contract 'yearly'" in refused(
        world, "2025-05-01", DEARER
    )


def test_the_same_document_again_changes_nothing(world: World) -> None:
    assert save(world, "2020-01-01", FEE, CALLS)
    world.contract(start_date=date(2025, 1, 1))
    world.bill("2025-03-01")
    assert not save(world, "2020-01-01", FEE, CALLS)
    assert save(
        world, "2019-01-01", FEE, CALLS
    )  # prices days before any version, which nobody was billed for


def test_a_price_for_what_had_none_is_welcome_at_any_time(world: World) -> None:
    world.plan(TRANSFER)
    world.contracts(["fine", "held"], start_date=date(2025, 1, 1))
    world.events(
        ("transfer", "fine-subject", "2025-01-20", "5", {"region": "eu"}),
        ("transfer", "held-subject", "2025-01-20", "5", {"region": "us"}),
    )
    assert [held.reason_code for held in world.bill("2025-02-01").held] == ["unrated_usage"]
    cheaper = EU | {"price": {"model": "per_unit", "unit_price": "0.01"}}
    refused(world, "2020-01-01", TRANSFER | {"price": TRANSFER["price"] | {"cells": [cheaper, US]}})
    refused(world, "2020-01-01", TRANSFER | {"price": TRANSFER["price"] | {"cells": [US, EU]}})
    assert save(world, "2020-01-01", TRANSFER | {"price": TRANSFER["price"] | {"cells": [EU, US]}})
    assert world.bill("2025-02-01").invoiced == 1


def test_a_contract_on_the_plan_in_several_stretches_is_one(world: World) -> None:
    """A price of its own for February cuts its time in three."""
    world.plan(CALLS)
    override = {"charge_id": "calls", "price": {"model": "per_unit", "unit_price": "0.5"}}
    dated = {**override, "effective_from": date(2025, 2, 1), "effective_until": date(2025, 3, 1)}
    world.contract(start_date=date(2025, 1, 1), overrides=[dated])
    world.bill("2025-04-01")
    assert "1 contracts on the plan are billed for later days: contract 'c1'" in refused(
        world, "2025-01-01", DEARER_CALLS
    )
