"""Goal: what is billed after its day, or not at all, does not go unnoticed."""

from __future__ import annotations

from datetime import date

import pytest

from invoicing.late_billing import late_dates
from tests.invoicing.items_case import CONSULTING, hours, take
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.world import World, at


def late(world: World, now: str) -> list[str]:
    return [
        f"{one.contract_id} {one.billing_date} {one.invoice_day} {one.days_late} {one.reason_code}"
        for one in late_dates(world.ledger, now=at(now))
    ]


@pytest.mark.requirement("GEN-08")
def test_due_is_issued_and_held_and_each_is_on_its_day(world: World) -> None:
    """c1 has everything; of c2 an item has no price, so that its February bill is held."""
    world.plan(CONSULTING, MONTHLY_FEE)
    world.contracts(["c1", "c2"])
    on_time = world.bill("2025-01-15", now=at("2025-01-15"))
    assert (on_time.due, on_time.issued, on_time.held, on_time.late) == (2, 2, (), 0)
    take(world, hours("1", "1", role="wizard", contract_id="c2"))
    report = world.bill("2025-02-15", now=at("2025-02-15"))
    assert report.due == report.issued + len(report.held) + report.nothing_due == 2
    assert [(held.contract_id, held.reason_code) for held in report.held] == [("c2", "item_unpriced")]
    assert (report.late, report.days_late_max) == (0, 0)
    days = {(s.summary.billing_date, s.invoice.issue_date) for s in world.invoices()}
    assert all(billing_date == issued for billing_date, issued in days)  # late by 0 days
    # Nobody bills in March.
    assert late(world, "2025-02-15T23:00") == []
    assert late(world, "2025-02-16T00:00") == ["c2 2025-02-15 2025-02-15 1 item_unpriced"]
    assert late(world, "2025-03-17T12:00") == [
        "c2 2025-02-15 2025-02-15 30 item_unpriced",
        "c1 2025-03-15 2025-03-15 2 not_looked_at",
        "c2 2025-03-15 2025-03-15 2 not_looked_at",
    ]
    caught_up = world.bill("2025-03-17", now=at("2025-03-17"))
    assert (caught_up.due, caught_up.issued, caught_up.late, caught_up.days_late_max) == (3, 1, 3, 30)
    assert "; 3 of them late, by up to 30 days; " in caught_up.summary()
    assert [one.split()[0] for one in late(world, "2025-03-18T12:00")] == ["c2", "c2"]


@pytest.mark.requirement("GEN-08")
def test_a_day_is_one_of_the_contracts_own_zone_and_business_days(world: World) -> None:
    """15 March 2025 is a Saturday, so `next` is invoiced on Monday the 17th, which is not late."""
    world.plan(MONTHLY_FEE)
    begin = date(2025, 2, 15)
    monthly = {"anchor_date": begin, "business_day": "next"}
    world.contract("next", start_date=begin, billing=monthly)
    world.contract("denver", start_date=begin, time_zone="America/Denver")
    world.bill("2025-02-17", now=at("2025-02-17T12:00"))
    assert late(world, "2025-03-16T05:59") == []
    assert late(world, "2025-03-16T06:00") == ["denver 2025-03-15 2025-03-15 1 not_looked_at"]
    on_monday = world.bill("2025-03-17", now=at("2025-03-17T12:00"))
    assert (on_monday.due, on_monday.late, on_monday.days_late_max) == (2, 1, 2)
    assert late(world, "2025-03-18T12:00") == []
