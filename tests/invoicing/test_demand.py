"""Goal: the queue of everything unbilled is complete, running billing empties it, and nothing is billed
twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import select

from ingest.clock import FixedClock
from ingest.errors import Issue
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.billable_item import item_id_of
from invoicing.billable_store import settle_items
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.billing_entity import save_entity
from invoicing.customer_store import save_customer, save_customers
from invoicing.customer_sync import save_sources, sync_records
from invoicing.demand import Demand, demand_of
from invoicing.item_invoice import ItemInvoiceRequest, plan_item_invoices
from invoicing.report import BillingReport
from invoicing.settings import BillingSettings
from invoicing.store import InvoiceFilter, get_invoice, list_invoices
from invoicing.tables import INVOICE_LINES
from invoicing.tax_decision import TaxQuestion
from invoicing.tick import tick
from rating.catalogue import save_contracts
from tests.invoicing.items_case import CONSULTING, expense, hours, outcomes, take
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_tax_billing import ENTITY
from tests.invoicing.world import LONG_AGO, World, at, readable, unseen

ITEMS = 10_000
SETTINGS = BillingSettings()
FROM_APRIL: dict[str, Any] = {"start_date": "2025-04-01"}
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
    assert human == {"total": 0, "held_by_reason": {}, "item_conflicts": 0, "in_review": 0}


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
    assert human == {"total": 2, "held_by_reason": {"item_unpriced": 1}, "item_conflicts": 1, "in_review": 0}


@pytest.mark.requirement("GEN-15", "GEN-02")
def test_a_month_of_a_thousand_clients_needs_nobody(world: World) -> None:
    clients = [f"client-{number}" for number in range(1_000)]
    world.plan(CONSULTING, MONTHLY_FEE, CALLS)
    save_customers(
        world.ledger,
        [{"customer_id": one, "name": one, "external_ids": {"crm": one}} for one in clients],
        now=LONG_AGO,
    )
    contracts = [
        {"contract_id": one, "customer_id": one, "plan_id": "gold", "subjects": [one], "time_zone": "UTC"}
        for one in clients
    ]
    save_contracts(
        world.ledger, [{**one, "start_date": date(2025, 1, 15)} for one in contracts], now=LONG_AGO
    )
    world.events(*(("call", one, "2025-01-20", "100") for one in clients))
    take(world, *(hours(one, "1.5", contract_id=one) for one in clients))
    save_sources(world.ledger, {"default": ["crm", "direct"]}, now=LONG_AGO)
    tick_at(world, at("2025-01-15"))
    record = {"external_id": "client-7", "name": "Client Seven Ltd"}  # the day before, in the CRM
    sync_records(world.ledger, "crm", [record], now=at("2025-02-14"))
    report = tick_at(world, at("2025-02-15"))
    assert (report.invoiced, report.human_touches()["total"]) == (1_000, 0)
    (stored,) = list_invoices(
        world.ledger, chosen=InvoiceFilter(contract_id="client-7", billing_from=date(2025, 2, 15)), limit=9
    ).invoices
    invoice = get_invoice(world.ledger, stored.invoice_id).invoice
    assert invoice.customer["name"] == "Client Seven Ltd"
    assert (invoice.total_minor, invoice.terms["payment_days"]) == (3000 + 100 + 12600, 30)
    entries = list_entries(world.ledger, chosen=AuditFilter(object_id=stored.invoice_id), limit=9)
    assert {entry.actor for entry in entries} == {"system"}


@pytest.mark.requirement("CON-04")
def test_fee_seats_usage_and_a_one_off_are_one_invoice(world: World) -> None:
    seats = {
        "charge_id": "seats",
        "name": "Seats",
        "kind": "licence",
        "meter_id": "seats",
        "price": {"model": "per_unit", "unit_price": "10"},
    }
    world.plan(MONTHLY_FEE, seats, CALLS)
    world.contract()
    licences = {"operation": "set"}
    world.events(
        ("seat", "c1-subject", "2025-01-15", "3", licences), ("call", "c1-subject", "2025-01-20", "100")
    )
    one_off = {"source": "one_off", "description": "Setup", "date": "2025-01-31"}
    take(world, expense("setup", "250", **one_off))
    world.bill("2025-02-15")
    (stored,) = world.invoices(billing_from=date(2025, 2, 1))
    assert readable(stored) == [
        "2025-02-15 seats 2025-01-15..2025-02-15 3 seat 30.00",
        "2025-02-15 calls 2025-01-15..2025-02-15 100 call 1.00",
        "2025-02-15 fee 2025-02-15..2025-03-15 1 unit 30.00",
        "2025-02-15 stated-price Setup 250 2025-01-31..2025-02-01 1 unit 250.00",
    ]


@pytest.mark.requirement("GEN-04")
def test_what_tax_holds_is_held_in_the_queue_for_the_same_reason(world: World) -> None:
    save_entity(world.ledger, ENTITY, now=LONG_AGO)  # and no rates
    world.plan(MONTHLY_FEE)
    world.contract()
    entries = queue(world).entries
    held = world.bill("2025-02-15").held
    assert held
    assert {(one.state, one.reason_code) for one in entries} == {("held", one.reason_code) for one in held}
    assert world.invoices() == []


@pytest.mark.requirement("GEN-04")
def test_what_comes_to_less_than_nothing_is_held_in_the_queue_where_a_run_would(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contract(**FROM_APRIL)
    world.bill("2025-04-01", now=at("2025-04-01"))
    world.contract(**FROM_APRIL, end_date="2025-04-16")
    (ready_one,) = queue(world, "2025-04-16").entries
    (held_one,) = queue(world, "2025-04-16", BillingSettings(negative_total="hold")).entries
    assert (ready_one.state, ready_one.amount_minor) == ("ready", -1500)
    assert (held_one.state, held_one.reason_code) == ("held", "negative_total")


@dataclass(frozen=True)
class NeverKnown:
    """A provider that cannot say."""

    def decide(self, question: TaxQuestion) -> Issue:
        return Issue("tax_service_silent", question.tax_class, "The service does not answer.", "its answer.")


@pytest.mark.requirement("GEN-04", "TAX-01")
def test_a_tax_provider_of_ones_own_is_asked_for_the_queue_too(world: World) -> None:
    save_entity(world.ledger, ENTITY, now=LONG_AGO)
    world.plan(MONTHLY_FEE)
    world.contract()
    entries = queue(world, settings=BillingSettings(tax_provider=NeverKnown())).entries
    reasons = [(one.state, one.reason_code) for one in entries]
    assert reasons[0] == ("held", "tax_service_silent")
    assert {state for state, _ in reasons} == {"held"}


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


def tick_at(world: World, now: datetime) -> BillingReport:
    report = tick(
        clock=FixedClock(now),
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        progress=unseen,
    )
    assert report
    return report


def queue(world: World, as_of: str = "2025-02-15", settings: BillingSettings = SETTINGS) -> Demand:
    return demand_of(
        event_store=world.event_store,
        stored_usage=None,
        ledger=world.ledger,
        as_of=date.fromisoformat(as_of),
        now=at("2026-01-01"),
        settings=settings,
    )


def ready(demand: Demand) -> dict[str, tuple[int, int]]:
    """Count and minor units by source of what a run would bill."""
    sums: dict[str, tuple[int, int]] = {}
    for one in demand.entries:
        if one.state == "ready":
            count, amount = sums.get(one.source, (0, 0))
            sums[one.source] = (count + one.count, amount + (one.amount_minor or 0))
    return sums
