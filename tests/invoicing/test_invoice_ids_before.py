"""Goal: a ledger whose invoices have ids of hashes, as they had before, is billed on as any other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import pytest

from invoicing import accrue, draft, preview, top_up
from invoicing.accrual_store import open_accruals
from invoicing.audit_verify import verify_books
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_accrual import IN_ARREARS, balances, recognise
from tests.invoicing.test_adjustments import JANUARY, Sender, adjustments
from tests.invoicing.test_top_up import look, prepaid
from tests.invoicing.world import World, at


def id_before(*, contract_id: str, billing_date: date) -> str:
    question = f"ratemill invoice\n{contract_id}\n{billing_date.isoformat()}"
    return hashlib.sha256(question.encode()).hexdigest()[:32]


@contextmanager
def ids_of_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (accrue, draft, preview, top_up):
            patch.setattr(module, "invoice_id_of", id_before)
        yield


def test_late_usage_names_the_invoice_it_adjusts(world: World) -> None:
    sender = Sender(world)
    world.plan(CALLS, MONTHLY_FEE)
    world.contract(**JANUARY)
    sender.calls(("a", "c1", "2025-01-10", "100"))
    with ids_of_hashes():
        world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-05")
    sender.calls(("b", "c1", "2025-01-31", "50"))
    world.bill("2025-03-01", now=at("2025-03-01T06:00"))
    assert adjustments(world) == ["2025-03-01 c1 calls of 2025-02-01: 100 -> 150, 1.00 -> 1.50: 0.50"]
    *_, january, february = world.invoices()
    assert january.summary.invoice_id == id_before(contract_id="c1", billing_date=date(2025, 2, 1))
    assert february.summary.invoice_id.startswith("c1.20250301.")
    (adjusts,) = (line.adjusts for line in february.invoice.lines if line.adjusts is not None)
    named = (january.summary.invoice_id, january.summary.number)
    assert (adjusts.invoice_id, adjusts.invoice_number) == named
    assert verify_postings(world.ledger) == []
    assert verify_books(world.ledger).broken == ()


def test_what_was_accrued_is_taken_back_by_its_invoice(world: World) -> None:
    world.plan(CALLS, IN_ARREARS)
    world.contract(start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"))
    with ids_of_hashes():
        recognise(world, "2025-01-31", "2025-02-01T12:00")
    world.bill("2025-02-15", now=at("2025-02-15T06:00"))
    billed = 500 + 3000
    assert balances(world, "2025-02-28") == {"receivable": billed, "revenue": -billed}
    assert open_accruals(world.ledger) == set()
    assert verify_journal(world.ledger) == []


def test_credit_is_topped_up_once_a_day(world: World) -> None:
    prepaid(world, 3000)
    with ids_of_hashes():
        look(world, "2025-01-11")
    look(world, "2025-01-11T18:00")
    assert [str(entry.summary.billing_date) for entry in world.invoices()] == ["2025-01-11"]
