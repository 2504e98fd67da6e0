"""Goal: the report follows the books: what runs billed, held or have not come to is what it says."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from invoicing.period_classes import classed_time
from rollup.completeness import account_for_events
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at

NOW = at("2025-04-10")


def shown(world: World, *, now: datetime = NOW) -> list[str]:
    """``call unbilled late 1 20`` a line."""
    time = classed_time(world.ledger, now=now)
    report = account_for_events(
        world.event_store,
        periods=time.periods,
        classes=time.classes,
        meters=time.meters,
        time_from=None,
        time_to=None,
    )
    return [
        " ".join(
            [part.type, part.outcome, part.reason_code, str(part.event_count), f"{part.value_total:.0f}"]
        )
        for part in report.parts
    ]


@pytest.mark.requirement("MET-08")
def test_each_month_of_a_contract_is_billed_due_open_or_to_come(world: World) -> None:
    world.plan()
    world.contract()
    world.events(
        ("call", "c1-subject", "2025-01-14T23:59", "1"),
        ("call", "c1-subject", "2025-01-15", "10"),
        ("call", "c1-subject", "2025-02-14T23:59", "20"),
        ("call", "c1-subject", "2025-02-15", "300"),
        ("call", "c1-subject", "2025-04-09", "4000"),
        ("call", "c1-subject", "2025-04-15", "50000"),
        ("transfer", "c1-subject", "2025-02-15", "7"),
        ("call", "who", "2025-02-15", "8"),
        ("fax", "c1-subject", "2025-02-15", "9"),
    )
    world.bill("2025-02-15", now=at("2025-02-16"))
    assert shown(world) == [
        "call billed  2 30",
        "call not_billable outside_contract 1 1",
        "call not_billable subject_unmatched 1 8",
        "call unbilled due 1 300",
        "call unbilled open_period 1 4000",
        "call unbilled period_not_begun 1 50000",
        "fax not_billable type_unmatched 1 9",
        "transfer not_billable no_charge 1 7",
    ]


@pytest.mark.requirement("MET-08")
def test_what_comes_after_its_bill_is_not_billed(world: World) -> None:
    world.plan()
    world.contract()
    world.events(("call", "c1-subject", "2025-02-01", "10"))
    world.bill("2025-02-15", now=at("2025-02-16"))
    world.events(("call", "c1-subject", "2025-02-01", "20"))
    world.event_store.command(
        "ALTER TABLE events UPDATE ingested_at = toDateTime64('2025-03-01', 6, 'UTC') WHERE id = 'e2' "
        "SETTINGS mutations_sync = 1"
    )
    assert shown(world) == ["call billed  1 10", "call unbilled late 1 20"]


def test_a_held_contract_says_why(world: World) -> None:
    world.plan()
    world.contract(customer_id="nobody")
    world.events(("call", "c1-subject", "2025-02-01", "10"), ("call", "c1-subject", "2025-03-01", "20"))
    assert shown(world) == ["call unbilled due 2 30"]
    world.bill("2025-03-15", now=at("2025-03-16"))
    assert shown(world) == ["call unbilled customer_unknown 2 30"]


def test_a_subject_added_after_the_bill_was_not_on_it(world: World) -> None:
    world.plan()
    world.contract()
    world.events(("call", "c1-subject", "2025-02-01", "10"), ("call", "new", "2025-02-01", "20"))
    world.bill("2025-02-15", now=at("2025-02-16"))
    world.contract(subjects=["c1-subject", "new"])
    assert shown(world) == ["call billed  1 10", "call unbilled subject_added_later 1 20"]


def test_contracts_that_share_a_subject_bill_what_each_counts(world: World) -> None:
    world.plan()
    transfer = {**CALLS, "charge_id": "transfer", "meter_id": "transfer", "unit": "GB"}
    world.plan(MONTHLY_FEE, transfer, plan_id="data")
    world.contract("c1", subjects=["shared"])
    world.contract("c2", plan_id="data", subjects=["shared"], end_date=date(2025, 2, 15))
    world.events(
        ("call", "shared", "2025-02-01", "10"),
        ("transfer", "shared", "2025-02-01", "20", {"region": "eu"}),
        ("transfer", "shared", "2025-02-20", "30", {"region": "eu"}),
    )
    world.bill("2025-02-15", now=at("2025-02-16"))
    assert shown(world) == [
        "call billed  1 10",
        "transfer billed  1 20",
        "transfer not_billable no_charge 1 30",
    ]


def test_without_contracts_every_event_is_unmatched(world: World) -> None:
    world.events(("call", "c1-subject", "2025-02-01", "10"))
    assert shown(world) == ["call not_billable subject_unmatched 1 10"]


def test_a_phase_decides_what_counts(world: World) -> None:
    """From 15 May on the contract is on a plan that does not count calls; no period of May has begun."""
    world.plan(CALLS)
    world.plan(MONTHLY_FEE, plan_id="fees")
    world.contract(phases=[{"plan_id": "fees", "effective_from": date(2025, 5, 15)}])
    world.events(
        ("call", "c1-subject", "2025-04-09", "1"),
        ("call", "c1-subject", "2025-05-14", "20"),
        ("call", "c1-subject", "2025-05-15", "300"),
    )
    assert shown(world) == [
        "call not_billable no_charge 1 300",
        "call unbilled open_period 1 1",
        "call unbilled period_not_begun 1 20",
    ]
