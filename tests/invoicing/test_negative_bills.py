"""Goal: a bill below zero leaves the house as a credit note, and every entity numbers its own documents."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from ingest.errors import Conflict
from invoicing.audit_verify import verify_books
from invoicing.billing_entity import save_entity
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.customer_store import save_customer
from invoicing.document import printed
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.open_documents import find_document
from invoicing.review.correct import correct
from invoicing.review.correction import CorrectionRequest
from invoicing.review.moves import approve, delegate
from invoicing.review.release import release_approved
from invoicing.store import StoredInvoice
from invoicing.tables import ISSUED_DOCUMENTS
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_journal import balances
from tests.invoicing.test_review import NOW, person, rules
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY, setting, tax_lines
from tests.invoicing.world import LONG_AGO, World, at

ENDS: dict[str, Any] = {"start_date": date(2025, 4, 1), "end_date": date(2025, 4, 16)}


def ended_early(world: World, **settings: Any) -> StoredInvoice:
    """A fee of 30.00 paid for April; the contract ends on the 16th, half of it is given back."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contract(start_date=ENDS["start_date"])
    world.bill("2025-04-01", now=at("2025-04-01"))
    world.contract(**ENDS)
    world.bill("2025-04-16", now=at("2025-04-16"), **settings)
    return world.invoices()[-1]


@pytest.mark.requirement("RAT-07")
def test_a_bill_below_zero_is_issued_as_a_credit_note(any_world: World) -> None:
    world = any_world
    setting(world)
    stored = ended_early(world)
    assert stored.summary.number == "CN-2025-000001"
    assert tax_lines(stored) == ["S 19 % on -1500: -285", "net -1500 gross -1785 due -1785"]
    assert (stored.summary.due_date, stored.invoice.due_date) == (None, None)
    with world.ledger.connect() as connection:
        row = connection.execute(
            select(ISSUED_DOCUMENTS).where(ISSUED_DOCUMENTS.c.kind == "credit_note")
        ).one()
        assert find_document(connection, "CN-2025-000001") == stored.summary.invoice_id
    assert (row.net_minor, row.tax_minor, row.refers_to, row.due_date) == (-1500, -285, None, None)
    assert balances(world.ledger) == {"receivable": 1785, "tax": -285, "revenue": -1500}
    assert verify_journal(world.ledger) == []
    assert verify_books(world.ledger).broken == ()
    assert world.bill("2025-04-16").due == 0
    texts = printed(stored.invoice)
    assert (texts["title"], texts["number"]) == ("Credit note", "CN-2025-000001")
    assert texts["notes"][0] == "The amount is owed to you: nothing is to be paid."
    request = CreditNoteRequest.model_validate({"reason": "wrong"})
    with pytest.raises(Conflict, match="is a credit note"):
        issue_credit_note(world.ledger, "CN-2025-000001", request, Issuing("CN", "a", None, at("2025-05-01")))


def test_a_draft_below_zero_is_issued_as_one_too(world: World) -> None:
    draft = ended_early(world, issue=False)
    assert printed(draft.invoice)["title"] == "Draft credit note"
    issued = issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-04-20"), series_prefix="INV"
    )
    assert (issued.summary.number, issued.summary.due_date) == ("CN-2025-000001", None)
    assert verify_books(world.ledger).broken == ()


def test_it_is_held_where_a_later_credit_note_is_out(world: World) -> None:
    world.plan(MONTHLY_FEE, CALLS)
    world.contracts(["c1", "c2"], start_date=ENDS["start_date"])
    world.bill("2025-04-01", now=at("2025-04-01"))
    world.contract(**ENDS)
    request = CreditNoteRequest.model_validate({"reason": "wrong"})
    issue_credit_note(world.ledger, "INV-2025-000002", request, Issuing("CN", "a", None, at("2025-04-30")))
    (held,) = world.bill("2025-04-16").held
    assert held.reason_code == "negative_total"
    assert "as of the day of the last credit note or later" in held.message
    assert not world.bill("2025-04-30").held
    assert world.invoices(contract_id="c1")[-1].summary.number == "CN-2025-000002"


@pytest.mark.requirement("TAX-06")
def test_every_entity_numbers_in_series_of_its_own(any_world: World) -> None:
    """One run over three entities: each prefix is drawn once and has no gap; one without uses the usual."""
    world = any_world
    setting(world)
    north = {"invoice": "NORTH", "credit_note": "NCN"}
    save_entity(world.ledger, ENTITY | {"entity_id": "north", "series": north}, now=LONG_AGO)
    save_entity(world.ledger, ENTITY | {"entity_id": "old", "series": {"invoice": "INV"}}, now=LONG_AGO)
    world.plan(MONTHLY_FEE)
    for number, entity in enumerate(("de", "north", "old", "north", "de")):
        customer = CUSTOMER | {"customer_id": f"k{number}", "billing_entity": entity}
        save_customer(world.ledger, customer, now=LONG_AGO)
        world.contract(f"c{number}", customer_id=f"k{number}")
    assert not world.bill("2025-01-15", now=at("2025-01-15")).held
    assert [stored.summary.number for stored in world.invoices()] == [
        "INV-2025-000001",
        "NORTH-2025-000001",
        "INV-2025-000002",
        "NORTH-2025-000002",
        "INV-2025-000003",
    ]
    request = CreditNoteRequest.model_validate({"reason": "wrong"})
    note, _ = issue_credit_note(
        world.ledger, "NORTH-2025-000001", request, Issuing("CN", "a", None, at("2025-01-16"))
    )
    assert note.summary.number == "NCN-2025-000001"
    proof = verify_books(world.ledger)
    assert proof.broken == ()
    assert [(one.series, one.count) for one in proof.series] == [
        ("INV-2025", 3),
        ("NCN-2025", 1),
        ("NORTH-2025", 2),
    ]
    assert verify_journal(world.ledger) == []


def test_a_bill_below_zero_that_was_corrected_and_approved_is_numbered_like_the_others(world: World) -> None:
    setting(world)
    rules(world, policy="exception", anomalies=["negative_line"], reviewers=["anna", "ben"])
    draft = ended_early(world)
    invoice_id, line = draft.summary.invoice_id, draft.invoice.lines[0]
    assert (draft.summary.state, line.amount_minor) == ("draft", -1500)
    corrected = CorrectionRequest(line_id=line.line_id, amount=Decimal("-12.00"), reason="two days later")
    correct(world.ledger, invoice_id, person("anna"), corrected, now=NOW)
    delegate(world.ledger, invoice_id, person("anna"), to="carl", reason="", now=NOW)
    for name in ("carl", "ben"):
        approve(world.ledger, invoice_id, person(name), reason="", now=NOW)
    done = release_approved(
        world.ledger,
        by_itself=False,
        series_prefix="INV",
        credit_note_prefix="GUT",
        actor="sender",
        now=at("2025-04-16T12:00"),
    )
    assert [stored.summary.number for stored in done.issued] == ["GUT-2025-000001"]
    assert tax_lines(done.issued[0])[-1] == "net -1200 gross -1428 due -1428"
    assert verify_journal(world.ledger) == []
    assert verify_books(world.ledger).broken == ()


@pytest.mark.parametrize(
    ("credited", "lines"),
    [(None, []), ("20.00", [-1000]), ("10.00", [-1500])],
)
def test_a_fee_that_a_credit_note_took_back_is_not_given_back_again(
    world: World, credited: str | None, lines: list[int]
) -> None:
    """30.00 for April, of which all, 20.00 or 10.00 are credited; half of April is not had."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contract(start_date=ENDS["start_date"])
    world.bill("2025-04-01", now=at("2025-04-01"))
    amount = None if credited is None else Decimal(credited)
    asked = CreditNoteRequest(reason="the line was down", amount=amount)
    issue_credit_note(
        world.ledger,
        world.invoices()[0].summary.invoice_id,
        asked,
        Issuing("CN", "test", None, at("2025-04-05")),
    )
    world.contract(**ENDS)
    world.bill("2025-04-16", now=at("2025-04-16"))
    bills = [bill for bill in world.invoices() if bill.summary.billing_date == date(2025, 4, 16)]
    assert [line.amount_minor for bill in bills for line in bill.invoice.lines] == lines
    assert verify_journal(world.ledger) == []


def test_history_rated_again_gives_back_what_was_left_when_it_was_billed(world: World) -> None:
    """20.00 of a fee of 30.00 are credited before its bill gives 10.00 back; that bill is voided, which
    leaves 10.00 of the fee again, and 4.00 of them are credited."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contract(start_date=ENDS["start_date"])
    world.bill("2025-04-01", now=at("2025-04-01"))
    first = world.invoices()[0].summary.invoice_id
    asked = CreditNoteRequest(reason="the line was down", amount=Decimal("20.00"))
    issue_credit_note(world.ledger, first, asked, Issuing("CN", "test", None, at("2025-04-05")))
    world.contract(**ENDS)
    world.events(("call", "c1-subject", "2025-04-05", "2000"))
    world.bill("2025-04-16", now=at("2025-04-16"))
    last = world.invoices()[-1].summary
    assert last.total_minor == 2000 - 1000
    asked = CreditNoteRequest(reason="the wrong company")
    issue_credit_note(
        world.ledger, last.invoice_id, asked, Issuing("CN", "test", None, at("2025-04-16T19:00"))
    )
    asked = CreditNoteRequest(reason="that evening", amount=Decimal("4.00"))
    issue_credit_note(world.ledger, first, asked, Issuing("CN", "test", None, at("2025-04-16T20:00")))
    world.events(("call", "c1-subject", "2025-04-03", "7"))
    assert world.bill("2025-04-17", now=at("2025-04-17")).held == ()
