"""Goal: the queue of everything unbilled is complete, running billing empties it, and nothing is billed
twice."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import pytest
from sqlalchemy import select

from invoicing.billable_item import item_id_of
from invoicing.billable_store import settle_items
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.customer_store import save_customer
from invoicing.demand import Demand, demand_of
from invoicing.item_invoice import ItemInvoiceRequest, plan_item_invoices
from invoicing.tables import INVOICE_LINES
from tests.invoicing.items_case import CONSULTING, expense, hours, outcomes, take
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at

ITEMS = 10_000
CONTRACTS = [f"c{number}" for number in range(50)]


@pytest.mark.requirement("GEN-04", "MET-08", "GEN-15")
def test_ten_thousand_mixed_items_are_each_on_exactly_one_invoice(world: World) -> None:
    world.plan(CONSULTING, MONTHLY_FEE, CALLS)
    world.contracts(CONTRACTS)
    world.events(*(("call", f"{contract}-subject", "2025-01-20", "100") for contract in CONTRACTS))
    batch = [mixed(number) for number in range(ITEMS)]
    assert Counter(outcomes(take(world, *batch))) == {"accepted": ITEMS}
    closed = [item_id_of("mixed", str(number)) for number in range(300, 400, 10)]
    settle_items(world.ledger, closed, state="closed", reason="a favour", actor="ann", now=LONG_AGO)
    before = ready(queue(world))
    sources = ("timesheet", "ticket", "project", "order", "expense")
    assert {source: before[source][0] for source in sources} == expected_counts(batch, closed)
    assert before["usage"] == (50, 50 * 100)
    report = world.bill("2025-02-15")
    assert (report.held, report.invoiced) == ((), 100)
    assert sum(amount for _, amount in before.values()) == sum(report.totals_minor.values())
    after = queue(world)
    assert after.entries == []
    assert after.items == {"open": 0, "not_billable": 2_000, "invoiced": 7_990, "closed": 10, "cancelled": 0}
    assert sum(after.items.values()) == ITEMS
    with world.ledger.connect() as connection:
        rows = connection.execute(select(BILLABLE_ITEMS).where(BILLABLE_ITEMS.c.state == "invoiced")).all()
        lines = dict(connection.execute(select(INVOICE_LINES.c.line_id, INVOICE_LINES.c.invoice_id)).all())
    assert all(lines[row.line_id] == row.invoice_id for row in rows)
    assert world.bill("2025-02-15").invoiced == 0
    assert set(outcomes(take(world, *batch[:100], amend=True))) == {"duplicate"}
    human = report.to_dict()["human_touches"]
    assert human == {"total": 0, "held_by_reason": {}, "item_conflicts": 0}


def test_what_waits_says_why(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    world.contract("over", end_date=date(2025, 2, 1), customer_id="other")
    save_customer(world.ledger, {"customer_id": "other", "name": "Other"}, now=LONG_AGO)
    world.bill("2025-02-01")
    take(
        world,
        hours("not due", "1", date="2025-02-20"),
        hours("late", "1", contract_id="over"),
        hours("nobody", "1", contract_id="nobody"),
        hours("outside", "1", date="2024-01-01"),
        hours("no contract", "1", contract_id=None, customer_id="ghost"),
        hours("no price", "1", date="2025-02-20", role="wizard"),
        expense("dollars", "5", currency="USD", date="2025-02-20"),
        hours("planned", "1", project="Planned"),
    )
    request = ItemInvoiceRequest(contract_id="c1", project="Planned", invoice_on=date(2025, 3, 1))
    plan_item_invoices(world.ledger, request, actor="ann", now=at("2025-02-01"))
    found = {one.reason_code: (one.state, one.amount_minor) for one in queue(world, "2025-02-14").entries}
    assert found == {
        "not_due": ("waiting", 8400),
        "contract_billed_to_its_end": ("held", 8400),
        "contract_unknown": ("held", None),
        "item_outside_contract": ("held", None),
        "contract_missing": ("held", None),
        "item_unpriced": ("held", None),
        "item_currency": ("held", None),
        "invoice_scheduled": ("waiting", 8400),
    }


@pytest.mark.requirement("GEN-15")
def test_a_run_counts_what_needs_a_person(world: World) -> None:
    world.plan(CONSULTING)
    world.contracts(["c1", "c2"])
    take(world, hours("1", "1", role="wizard"), hours("2", "1", contract_id="c2"))
    take(world, hours("2", "2", contract_id="c2"))
    human = world.bill("2025-02-15").to_dict()["human_touches"]
    assert human == {"total": 2, "held_by_reason": {"item_unpriced": 1}, "item_conflicts": 1}


def mixed(number: int) -> dict[str, Any]:
    """Every fifth item of another source; expenses state their amount, every fifth of all is not billable."""
    contract = CONTRACTS[number % len(CONTRACTS)]
    named = {"source_system": "mixed", "external_id": str(number), "contract_id": contract}
    source = ("timesheet", "ticket", "project", "order", "expense")[number // 50 % 5]
    billable = {"billable": False, "not_billable_reason": "internal"} if number // 250 % 5 == 0 else {}
    if source == "expense":
        return {**expense("", f"{number % 13 + 1}.5"), **named, **billable}
    role = "senior" if number % 3 else "junior"
    return {**hours("", f"{number % 8 + 1}.25", source=source, role=role), **named, **billable}


def expected_counts(batch: list[dict[str, Any]], closed: list[str]) -> dict[str, int]:
    gone = set(closed)
    return dict(
        Counter(
            item["source"]
            for item in batch
            if "billable" not in item and item_id_of("mixed", item["external_id"]) not in gone
        )
    )


def queue(world: World, as_of: str = "2025-02-15") -> Demand:
    return demand_of(
        event_store=world.event_store,
        stored_usage=None,
        ledger=world.ledger,
        as_of=date.fromisoformat(as_of),
        now=at("2026-01-01"),
    )


def ready(demand: Demand) -> dict[str, tuple[int, int]]:
    """Count and minor units by source of what a run would bill."""
    sums: dict[str, tuple[int, int]] = {}
    for one in demand.entries:
        if one.state == "ready":
            count, amount = sums.get(one.source, (0, 0))
            sums[one.source] = (count + one.count, amount + (one.amount_minor or 0))
    return sums
