"""Goal: one business around the earth issues at every hour; numbers and dates rise together, and a day that
has begun in Auckland keeps nobody waiting in Los Angeles."""

from __future__ import annotations

from datetime import date

import pytest

from ingest.clock import FixedClock
from ingest.errors import Conflict
from invoicing.audit_verify import verify_books
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.issue import issue_invoice
from invoicing.settings import BillingSettings
from invoicing.special_invoice import SpecialInvoiceRequest
from invoicing.special_invoice_head import SpecialIssuing
from invoicing.special_invoice_store import issue_special_invoice, preview_special_invoice
from invoicing.tick import tick
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World, at, unseen

EVENING = at("2025-02-20T20:00")
"""The 21st in Auckland, the 20th in Berlin and Los Angeles."""
ZONES = {"auckland": "Pacific/Auckland", "berlin": "Europe/Berlin", "la": "America/Los_Angeles"}


def around_the_earth(world: World) -> None:
    """A contract in each zone, billed on 15 January; that of 15 February is a draft."""
    world.plan()
    for contract_id, zone in ZONES.items():
        world.contract(contract_id, time_zone=zone)
    world.bill("2025-01-16", now=at("2025-01-16T12:00"))
    world.bill("2025-02-16", now=at("2025-02-16T12:00"), issue=False)


def credited_on(world: World, contract_id: str, dated_on: date | None = None) -> str:
    first = world.invoices(contract_id=contract_id)[0].summary.invoice_id
    request = CreditNoteRequest.model_validate({"reason": "x", "amount": "1.00", "dated_on": dated_on})
    issuing = Issuing("CN", "finance", None, EVENING)
    return issue_credit_note(world.ledger, first, request, issuing)[0].summary.issue_date.isoformat()


def deposited_on(world: World, contract_id: str) -> str:
    request = SpecialInvoiceRequest.model_validate(
        {"kind": "deposit", "contract_id": contract_id, "lines": [{"description": "x", "amount": "1"}]}
        | {"percent": "100"}
    )
    issuing = SpecialIssuing(None, "finance", contract_id, EVENING)
    shown = preview_special_invoice(world.ledger, request, issuing).invoice.billing_date
    issued = issue_special_invoice(world.ledger, request, issuing)[0].summary.issue_date
    assert shown == issued
    return issued.isoformat()


def issued_on(world: World, contract_id: str) -> str:
    draft = world.invoices(contract_id=contract_id)[1].summary.invoice_id
    issued = issue_invoice(world.ledger, invoice_id=draft, now=EVENING, series_prefix="INV")
    return str(issued.summary.issue_date)


@pytest.mark.requirement("TAX-06")
def test_what_has_no_day_of_its_own_is_dated_as_the_last_of_its_series(any_world: World) -> None:
    world = any_world
    around_the_earth(world)
    for issue in (credited_on, deposited_on, issued_on):
        assert [issue(world, contract_id) for contract_id in ("la", "auckland", "berlin")] == [
            "2025-02-20",
            "2025-02-21",
            "2025-02-21",
        ]
    with pytest.raises(Conflict, match=r"issued up to 2025-02-21.*Leave the date out") as refused:
        credited_on(world, "berlin", date(2025, 2, 20))
    assert refused.value.reason_code == "issue_date_not_rising"
    assert not verify_books(world.ledger).broken


def test_the_scheduler_bills_on_whatever_series_is_a_day_ahead(world: World) -> None:
    setting(world, series={"invoice": "NW"})
    world.plan()
    world.contract("auckland", time_zone="Pacific/Auckland")
    world.contract("berlin", time_zone="Europe/Berlin", start_date=date(2025, 1, 20))
    world.bill("2025-01-15", now=at("2025-01-15T12:00"), issue=False)
    [draft] = world.invoices()
    now = at("2025-01-20T20:00")
    issued = issue_invoice(world.ledger, invoice_id=draft.summary.invoice_id, now=now, series_prefix="INV")
    assert (issued.summary.number, str(issued.summary.issue_date)) == ("NW-2025-000001", "2025-01-21")
    tick(
        clock=FixedClock(now),
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        progress=unseen,
    )
    [berlin] = world.invoices(contract_id="berlin")
    assert (berlin.summary.number, str(berlin.summary.issue_date)) == ("NW-2025-000002", "2025-01-21")
