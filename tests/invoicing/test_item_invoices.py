"""Goal: an invoice for items outside the billing dates issues on its day, not before, once, or not at all."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from ingest.clock import FixedClock
from ingest.errors import Conflict, InvalidInput
from invoicing.billable_item import item_id_of
from invoicing.billable_read import get_item
from invoicing.invoice import invoice_text
from invoicing.issue import issue_invoice
from invoicing.item_invoice import (
    ItemInvoice,
    ItemInvoiceRequest,
    cancel_item_invoice,
    get_item_invoice,
    plan_item_invoices,
)
from invoicing.settings import BillingSettings
from invoicing.tick import tick
from tests.invoicing.items_case import CONSULTING, expense, hours, take
from tests.invoicing.test_billable_items import is_explained
from tests.invoicing.world import LONG_AGO, World, at, readable, unseen


@pytest.mark.requirement("GEN-12", "GEN-02")
def test_it_issues_on_its_day_and_not_before(any_world: World) -> None:
    world = any_world
    world.plan(CONSULTING)
    world.contract(time_zone="America/New_York")
    take(world, hours("1", "2"), expense("1", "49.90"))
    planned = plan(world, invoice_on="2025-02-03")
    look(world, at("2025-02-02T12:00"))
    look(world, at("2025-02-03T04:59"))  # a minute before midnight in New York
    assert not world.invoices()
    look(world, at("2025-02-03T05:00"))
    look(world, at("2025-02-03T05:01"))
    (stored,) = world.invoices(contract_id="c1")
    assert (stored.summary.contract_id, stored.summary.issue_date) == ("c1", date(2025, 2, 3))
    assert [line.rsplit(" ", 1)[1] for line in readable(stored)] == ["168.00", "49.90"]
    assert invoice_text(stored.invoice) == stored.text
    assert all(is_explained(world, line.line_id) for line in stored.invoice.lines)
    done = get_item_invoice(world.ledger, planned.item_invoice_id)
    assert (done.state, done.invoice_id) == ("invoiced", stored.summary.invoice_id)
    world.bill("2025-02-15")
    assert len(world.invoices()) == 1  # the billing date finds nothing left


@pytest.mark.requirement("GEN-12")
def test_cancelled_before_its_day_its_items_ride_with_the_next_invoice(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "2"))
    planned = plan(world, invoice_on="2025-02-20")
    assert not world.bill("2025-02-15").invoiced  # they wait
    cancel(world, planned)
    look(world, at("2025-02-21"))
    assert not world.invoices()
    world.bill("2025-03-15")
    (stored,) = world.invoices()
    assert stored.summary.billing_date == date(2025, 3, 15)
    with pytest.raises(Conflict, match="not scheduled any more"):
        cancel(world, planned)


def test_a_billing_run_writes_what_is_due_beside_its_dates(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "2"), hours("2", "1", role="wizard", project="Other"))
    plan(world, invoice_on="2025-02-10", project="Relaunch")
    plan(world, invoice_on="2025-02-10", project="Other")
    report = world.bill("2025-02-15")
    assert (report.item_invoices, [one.reason_code for one in report.item_invoices_held]) == (
        1,
        ["item_unpriced"],
    )
    assert [stored.summary.number for stored in world.invoices()] == ["INV-2025-000001"]
    assert world.bill("2025-02-15").item_invoices == 0


def test_a_draft_locks_its_items_and_is_issued_by_hand(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "2"))
    plan(world, as_draft=True)
    look(world, at("2025-02-01"))
    (draft,) = world.invoices()
    assert (draft.summary.state, get_item(world.ledger, item_id_of("clock", "1")).state) == (
        "draft",
        "invoiced",
    )
    issued = issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-02-02"), series_prefix="INV"
    )
    assert issued.summary.number == "INV-2025-000001"


def test_a_killed_look_leaves_nothing_behind_that_is_not_invoiced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "2"))
    plan(world)
    with monkeypatch.context() as patched:
        patched.setattr("invoicing.item_invoice_issue.write_invoices", _dies)
        with pytest.raises(KeyboardInterrupt):
            look(world, at("2025-02-01"))
    assert not world.invoices()
    take(world, hours("1", "3"), amend=True)
    look(world, at("2025-02-01"))
    (stored,) = world.invoices()
    assert [line.rsplit(" ", 1)[1] for line in readable(stored)] == ["252.00"]
    found = world.event_store.query(
        "SELECT count() AS n FROM rated_lines FINAL WHERE contract_id LIKE 'c1/%'"
    )
    assert found["n"].to_pylist() == [1]


def test_nothing_to_invoice_and_nobody_named_are_refused(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    with pytest.raises(InvalidInput, match="No open item fits"):
        plan(world)
    with pytest.raises(InvalidInput, match="Name one"):
        plan(world, contract_id=None)


def plan(world: World, **changes: Any) -> ItemInvoice:
    request = ItemInvoiceRequest.model_validate({"contract_id": "c1", **changes})
    (planned,) = plan_item_invoices(world.ledger, request, actor="ann", now=at("2025-02-01"))
    return planned


def cancel(world: World, planned: ItemInvoice) -> None:
    cancel_item_invoice(world.ledger, planned.item_invoice_id, reason="no", actor="ann", now=LONG_AGO)


def look(world: World, now: datetime) -> None:
    tick(
        clock=FixedClock(now),
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        progress=unseen,
    )


def _dies(*_: Any, **__: Any) -> list[str]:
    raise KeyboardInterrupt
