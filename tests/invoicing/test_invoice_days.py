"""Goal: each client is invoiced at its own interval and on its own days; service periods do not move."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from ingest.clock import FixedClock
from ingest.errors import InvalidDocument, NotFound
from invoicing.coming_dates import coming_dates
from invoicing.run_record import list_runs
from invoicing.settings import BillingSettings
from invoicing.tick import tick
from rating.catalogue import save_contract
from rating.holiday_calendar_store import save_calendar
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at, readable, unseen

BANKS = {
    "calendar_id": "banks",
    "holidays": [{"date": "2025-04-25", "name": "Liberation Day"}, {"date": "2025-05-30"}],
}


def bill_daily(world: World, first: str, last: str) -> dict[str, list[str]]:
    """Bill every day; the issue dates of each contract."""
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    while day <= end:
        assert world.bill(day.isoformat(), now=at(day.isoformat())).held == ()
        day += timedelta(days=1)
    found: dict[str, list[str]] = {}
    for stored in world.invoices():
        found.setdefault(stored.summary.contract_id, []).append(str(stored.invoice.issue_date))
    return found


@pytest.mark.requirement("CON-15")
def test_billing_day_25_and_the_last_business_day(world: World) -> None:
    """25 April 2025 is a holiday, 25 May a Sunday, 30 May a holiday, 31 May a Saturday. Every service period
    runs from the 25th to the 25th."""
    save_calendar(world.ledger, BANKS, now=LONG_AGO)
    world.plan(CALLS)
    monthly = {"anchor_date": date(2025, 1, 25), "calendar_id": "banks"}
    begin = date(2025, 3, 25)
    world.contract("next", start_date=begin, billing={**monthly, "business_day": "next"})
    world.contract("last", start_date=begin, billing={**monthly, "business_day": "last"})
    world.contract("plain", start_date=begin, billing={"anchor_date": date(2025, 1, 25)})
    for subject in ("next-subject", "last-subject", "plain-subject"):
        world.events(("call", subject, "2025-04-24", "100"), ("call", subject, "2025-05-24", "200"))
    assert bill_daily(world, "2025-04-24", "2025-04-30")["last"] == ["2025-04-30"]
    assert bill_daily(world, "2025-05-24", "2025-05-30") == {
        "last": ["2025-04-30", "2025-05-29"],
        "next": ["2025-04-28", "2025-05-26"],
        "plain": ["2025-04-25", "2025-05-25"],
    }
    for contract_id in ("next", "last", "plain"):
        lines = [line for stored in world.invoices(contract_id=contract_id) for line in readable(stored)]
        assert lines == [
            "2025-04-25 calls 2025-03-25..2025-04-25 100 call 1.00",
            "2025-05-25 calls 2025-04-25..2025-05-25 200 call 2.00",
        ]


def test_a_fee_in_advance_may_be_invoiced_before(world: World) -> None:
    """On the Friday before Sunday 25 May; with usage on the invoice, whose period must be over, on Monday. An
    amendment comes with its date."""
    world.plan(MONTHLY_FEE, plan_id="fees")
    world.plan(MONTHLY_FEE, CALLS)
    billing = {"anchor_date": date(2025, 1, 25), "business_day": "previous"}
    begin = date(2025, 4, 25)
    world.contract("early", plan_id="fees", start_date=begin, billing=billing)
    world.contract("usage", start_date=begin, billing=billing)
    world.events(("call", "usage-subject", "2025-05-24", "100"))
    world.bill("2025-04-25", now=at("2025-04-25"))
    support = {"charge": MONTHLY_FEE | {"charge_id": "support"}, "effective_from": date(2025, 5, 10)}
    world.contract("early", plan_id="fees", start_date=begin, billing=billing, additions=[support])
    assert bill_daily(world, "2025-05-22", "2025-05-27") == {
        "early": ["2025-04-25", "2025-05-23"],
        "usage": ["2025-04-25", "2025-05-26"],
    }
    assert readable(world.invoices(contract_id="early")[-1]) == [
        "2025-05-25 support 2025-05-10..2025-05-25 1 unit 15.00",
        "2025-05-25 fee 2025-05-25..2025-06-25 1 unit 30.00",
        "2025-05-25 support 2025-05-25..2025-06-25 1 unit 30.00",
    ]


@pytest.mark.requirement("CON-15")
@pytest.mark.requirement("GEN-01")
def test_the_scheduler_keeps_business_days_and_makes_no_run_of_nothing(world: World) -> None:
    """25 May 2025 is a Sunday: fees in advance go out on the Friday before, usage on Monday."""
    world.plan(MONTHLY_FEE, plan_id="fees")
    world.plan(CALLS)
    anchor, begin = {"anchor_date": date(2025, 1, 25)}, date(2025, 4, 25)
    early = {"billing": {**anchor, "business_day": "previous"}, "start_date": begin}
    world.contract("early", plan_id="fees", **early)
    world.contract("later", billing={**anchor, "business_day": "next"}, start_date=begin)
    world.events(("call", "later-subject", "2025-05-24", "100"))
    world.bill("2025-04-25", now=at("2025-04-25"))
    clock = FixedClock(at("2025-05-22"))
    while clock.now() < at("2025-05-27"):
        tick(
            clock=clock,
            event_store=world.event_store,
            ledger=world.ledger,
            settings=BillingSettings(),
            progress=unseen,
        )
        clock.advance(timedelta(hours=12))
    issued = [f"{s.summary.contract_id} {s.invoice.issue_date}" for s in world.invoices()]
    assert issued == ["early 2025-04-25", "early 2025-05-23", "later 2025-05-26"]
    runs = sorted(run.run_id for run in list_runs(world.ledger, limit=99))
    assert [run_id for run_id in runs if run_id.startswith("tick")] == ["tick-2025-05-23", "tick-2025-05-26"]


@pytest.mark.requirement("CON-16")
def test_each_client_at_its_own_interval(world: World) -> None:
    """Weekly, every three weeks, monthly, every two months and quarterly on one plan, in one quarter."""
    world.plan(CALLS)
    intervals: dict[str, dict[str, Any]] = {
        "weekly": {"cadence": "weekly"},
        "three-weeks": {"cadence": "weekly", "every": 3},
        "monthly": {"cadence": "monthly"},
        "two-months": {"cadence": "monthly", "every": 2},
        "quarterly": {"cadence": "quarterly"},
    }
    for contract_id, billing in intervals.items():
        world.contract(contract_id, start_date=date(2025, 1, 1), billing=billing)
        world.events(*(("call", f"{contract_id}-subject", f"2025-0{month}-15", "100") for month in (1, 2, 3)))
        world.events(*(("call", f"{contract_id}-subject", f"2025-04-{day}", "100") for day in (10, 20)))
    world.bill("2025-05-01")
    billed = {
        contract_id: [
            f"{stored.invoice.period_start}..{stored.invoice.period_end} {stored.invoice.total_minor}"
            for stored in world.invoices(contract_id=contract_id)
        ]
        for contract_id in intervals
    }
    assert billed["quarterly"] == ["2025-01-01..2025-04-01 300"]
    assert billed["two-months"] == ["2025-01-01..2025-03-01 200", "2025-03-01..2025-05-01 300"]
    assert billed["monthly"] == [
        "2025-01-01..2025-02-01 100",
        "2025-02-01..2025-03-01 100",
        "2025-03-01..2025-04-01 100",
        "2025-04-01..2025-05-01 200",
    ]
    assert billed["weekly"] == [
        "2025-01-15..2025-01-22 100",
        "2025-02-12..2025-02-19 100",
        "2025-03-12..2025-03-19 100",
        "2025-04-09..2025-04-16 100",
        "2025-04-16..2025-04-23 100",
    ]
    assert billed["three-weeks"] == [
        "2025-01-01..2025-01-22 100",
        "2025-02-12..2025-03-05 100",
        "2025-03-05..2025-03-26 100",
        "2025-03-26..2025-04-16 100",
    ]
    assert world.bill("2025-05-01").invoiced == 0


def test_the_dates_to_come(world: World) -> None:
    """With the day of each invoice, the days it bills, and the plan that a phase brings."""
    save_calendar(world.ledger, BANKS, now=LONG_AGO)
    world.plan(CALLS)
    world.plan(CALLS, MONTHLY_FEE, plan_id="plus")
    world.contract(
        "c1",
        start_date=date(2025, 3, 25),
        end_date=date(2025, 6, 10),
        billing={"business_day": "last", "calendar_id": "banks"},
        phases=[{"plan_id": "plus", "effective_from": date(2025, 5, 25)}],
    )
    found = coming_dates(world.ledger, "c1", count=36)
    assert [tuple(map(str, entry.to_dict().values())) for entry in found] == [
        ("2025-04-25", "2025-04-30", "2025-03-25", "2025-04-24", "('gold',)"),
        ("2025-05-25", "2025-05-29", "2025-04-25", "2025-06-09", "('gold', 'plus')"),
        ("2025-06-10", "2025-06-30", "2025-05-25", "2025-06-09", "('plus',)"),
    ]
    world.bill("2025-05-01", now=at("2025-05-01"))
    assert coming_dates(world.ledger, "c1", count=1) == found[1:2]
    with pytest.raises(NotFound):
        coming_dates(world.ledger, "unknown", count=1)


@pytest.mark.parametrize(
    ("billing", "code"),
    [
        ({"cadence": "quarterly", "every": 2}, "interval_unit"),
        ({"cadence": "monthly", "every": 25}, "interval_too_long"),
        ({"business_day": "next", "calendar_id": "nowhere"}, "unknown_calendar"),
        ({"calendar_id": "banks"}, "calendar_unused"),
    ],
)
def test_a_calendar_that_cannot_be_is_refused(world: World, billing: dict[str, Any], code: str) -> None:
    save_calendar(world.ledger, BANKS, now=LONG_AGO)
    world.plan(CALLS)
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": date(2025, 1, 1),
        "time_zone": "UTC",
        "billing": billing,
    }
    with pytest.raises(InvalidDocument) as caught:
        save_contract(world.ledger, document, now=LONG_AGO)
    assert [issue.reason_code for issue in caught.value.issues] == [code]
