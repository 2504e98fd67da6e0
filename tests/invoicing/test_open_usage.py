"""Goal: what is kept ahead of billing is what the billing run asks for, and the bills are the same."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.due import calendar_of, due_service_periods
from invoicing.open_usage import keep_open_usage, open_calendar
from rollup.stored_usage import StoredUsage
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at, readable
from tests.rollup.support import stored_answer


def due_calendar(world: World, as_of: str) -> pa.Table:
    catalogue = load_billing_catalogue(world.ledger)
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=date.fromisoformat(as_of),
        now=at(as_of),
    )
    return calendar_of(periods=periods, contract_subjects=catalogue.subjects)


def test_a_month_kept_in_its_middle_is_billed_whole_without_reading_events(world: World) -> None:
    world.stored_usage = stored = StoredUsage(world.event_store)
    world.plan()
    world.contract()
    world.events(("call", "c1-subject", "2025-01-15", "100"))
    assert keep_open_usage(stored, ledger=world.ledger, now=at("2025-01-20")) == 1
    world.events(("call", "c1-subject", "2025-02-14T23:59", "20"), ("call", "c1-subject", "2025-02-15", "3"))
    catalogue = load_billing_catalogue(world.ledger)
    asked = stored_answer(stored, due_calendar(world, "2025-02-15"), catalogue.meters)
    assert (asked.missing.num_rows, asked.others) == (0, ())
    world.bill("2025-02-15")
    assert readable(world.invoices()[1])[0] == "2025-02-15 calls 2025-01-15..2025-02-15 120 call 1.20"


def test_every_cadence_time_zone_and_start_is_kept_as_it_will_be_due(world: World) -> None:
    """The open periods asked for today are, row for row, those the run asks for when they are over."""
    world.plan()
    zones = ("UTC", "Asia/Kolkata", "America/New_York")
    for number, cadence in enumerate(("weekly", "monthly", "quarterly", "semiannual", "annual")):
        world.contract(
            f"c{number}",
            time_zone=zones[number % 3],
            billing={"cadence": cadence, "anchor_date": "2024-01-31"},
        )
    catalogue = load_billing_catalogue(world.ledger)
    kept = open_calendar(catalogue, now=at("2025-01-20"))
    fields = ["subject", "period_start", "period_end"]
    due = due_calendar(world, "2025-12-31").select(fields).to_pylist()
    assert len(kept) == 5
    assert all(row in due for row in kept.select(fields).to_pylist())
    assert max(kept["period_start"].to_pylist()) <= at("2025-01-20")


def test_a_new_plan_version_in_the_period_is_kept_too(world: World) -> None:
    world.stored_usage = stored = StoredUsage(world.event_store)
    world.plan()
    world.contract()
    world.events(("call", "c1-subject", "2025-01-15", "100"))
    keep_open_usage(stored, ledger=world.ledger, now=at("2025-01-20"))
    dearer = {**CALLS, "price": {"model": "per_unit", "unit_price": "1"}}
    world.plan(MONTHLY_FEE, dearer, start="2025-02-01")
    world.events(("call", "c1-subject", "2025-01-31T23:59", "20"), ("call", "c1-subject", "2025-02-01", "3"))
    assert keep_open_usage(stored, ledger=world.ledger, now=at("2025-02-02")) == 2
    world.bill("2025-02-15")
    assert readable(world.invoices()[1])[:2] == [
        "2025-02-15 calls 2025-01-15..2025-02-01 120 call 1.20",
        "2025-02-15 calls 2025-02-01..2025-02-15 3 call 3.00",
    ]


def test_a_period_that_an_agreement_splits_is_kept_in_its_parts(world: World) -> None:
    """A trial and an override cut periods as a plan version does."""
    world.stored_usage = stored = StoredUsage(world.event_store)
    world.plan()
    dearer = {"charge_id": "calls", "price": {"model": "per_unit", "unit_price": "1"}}
    world.contract(trial_days=7, overrides=[{**dearer, "effective_from": "2025-02-01"}])
    world.events(("call", "c1-subject", "2025-01-15", "100"), ("call", "c1-subject", "2025-02-01", "3"))
    assert keep_open_usage(stored, ledger=world.ledger, now=at("2025-02-02")) == 3
    catalogue = load_billing_catalogue(world.ledger)
    asked = stored_answer(stored, due_calendar(world, "2025-02-15"), catalogue.meters)
    assert (asked.missing.num_rows, asked.others) == (0, ())
    world.bill("2025-02-15")
    assert [line for line in readable(world.invoices()[1]) if "calls" in line] == [
        "2025-02-15 calls 2025-01-15..2025-01-22 100 call 0.00",
        "2025-02-15 calls 2025-02-01..2025-02-15 3 call 3.00",
    ]


def test_without_contracts_there_is_nothing_to_keep(world: World) -> None:
    assert keep_open_usage(StoredUsage(world.event_store), ledger=world.ledger, now=at("2025-01-20")) == 0
