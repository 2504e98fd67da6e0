"""Goal: a credit note is issued once, with a number of its own, and the ledger nets out."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books
from invoicing.credit_balance import balance_on
from invoicing.credit_expiry import expire_credit
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_document import credit_note_pdf, printed_credit_note
from invoicing.credit_note_store import (
    Issuing,
    StoredCreditNote,
    get_credit_note,
    issue_credit_note,
    list_credit_notes,
    preview_credit_note,
)
from invoicing.credit_store import entries_of, get_grant, grant_credit, grants_of_customer, void_grant
from invoicing.credited import Credited, credited_of
from invoicing.document import InvoicePrinter
from invoicing.store import get_invoice
from invoicing.tables import ISSUED_DOCUMENTS
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at

NOW = at("2025-03-01T12:00")
FIRST = "INV-2025-000001"


def billed(world: World, *, calls: str = "500") -> World:
    """INV-2025-000001 of 15 February: 30.00 for the month to come and 0.01 a call."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contract(start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", calls))
    world.bill("2025-01-15", issue=False)
    world.bill("2025-02-15")
    return world


def credit(world: World, invoice: str = FIRST, **wanted: Any) -> StoredCreditNote:
    key, now, by = wanted.pop("key", None), wanted.pop("now", NOW), wanted.pop("series", "CN")
    request = CreditNoteRequest.model_validate({"reason": "counted twice", **wanted})
    return issue_credit_note(world.ledger, invoice, request, Issuing(by, "finance", key, now))[0]


@pytest.mark.requirement("TAX-07")
def test_the_register_nets_out_and_names_the_invoice(any_world: World) -> None:
    world = billed(any_world)
    invoice = get_invoice(world.ledger, FIRST)
    note = credit(world)
    with world.ledger.connect() as connection:
        rows = connection.execute(select(ISSUED_DOCUMENTS).order_by(ISSUED_DOCUMENTS.c.kind)).all()
        credited = credited_of(connection, [invoice.summary.invoice_id])
    (of_note, of_invoice) = rows
    assert (of_note.kind, of_note.series, of_note.number) == ("credit_note", "CN-2025", 1)
    assert of_note.refers_to == of_invoice.document_id == invoice.summary.invoice_id
    assert of_note.net_minor + of_invoice.net_minor == 0
    assert of_note.tax_minor + of_invoice.tax_minor == 0
    assert credited == {invoice.summary.invoice_id: Credited(3500, 0, voided=True)}
    assert (note.summary.number, note.summary.issue_date) == ("CN-2025-000001", date(2025, 3, 1))
    assert get_credit_note(world.ledger, "CN-2025-000001") == note
    assert get_credit_note(world.ledger, note.summary.credit_note_id) == note
    assert get_invoice(world.ledger, FIRST) == invoice  # which itself never changes
    (entry,) = list_entries(world.ledger, chosen=AuditFilter(object_kind="credit_note"), limit=10)
    assert (entry.actor, entry.action, entry.reason) == ("finance", "issued", "counted twice")
    proof = verify_books(world.ledger)
    assert proof.broken == ()
    assert [(one.series, one.count) for one in proof.series] == [("CN-2025", 1), ("INV-2025", 1)]
    assert world.bill("2025-02-15").due == 0  # the billing date stays settled
    for statement in ("UPDATE credit_notes SET net_minor = 0", "DELETE FROM credit_notes"):
        with pytest.raises(DBAPIError, match="never changes"), ledger_transaction(world.ledger) as writing:
            writing.execute(text(statement))


def test_a_preview_is_what_is_issued_and_stores_nothing(any_world: World) -> None:
    world = billed(any_world)
    request = CreditNoteRequest(reason="counted twice", amount=Decimal("7.00"))
    draft = preview_credit_note(world.ledger, FIRST, request)
    assert list_credit_notes(world.ledger, customer_id=None, invoice_id=None, limit=10) == []
    note = credit(world, amount="7.00")
    assert draft.text(number="CN-2025-000001", issue_date=date(2025, 3, 1)) == note.text
    second = credit(world, amount="1.00")
    listed = list_credit_notes(world.ledger, customer_id="acme", invoice_id=None, limit=10)
    assert {summary.number for summary in listed} == {"CN-2025-000001", "CN-2025-000002"}
    assert second.summary.voids is False


def test_the_same_key_credits_once(any_world: World) -> None:
    world = billed(any_world)
    first = credit(world, amount="1.00", key="k")
    assert credit(world, amount="1.00", key="k") == first
    with pytest.raises(Conflict) as caught:
        credit(world, amount="2.00", key="k")
    assert caught.value.reason_code == "idempotency_key_reused"
    assert credit(world, amount="1.00", key="other").summary.number == "CN-2025-000002"


@pytest.mark.requirement("TAX-07")
def test_credits_at_once_never_take_more_than_there_is(any_world: World) -> None:
    world = billed(any_world)
    done, refused = [], []

    def take() -> None:
        try:
            done.append(credit(world, amount="10.00").summary.number)
        except InvalidInput as error:
            refused.append(error.reason_code)

    takers = [threading.Thread(target=take) for _ in range(6)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(done) == ["CN-2025-000001", "CN-2025-000002", "CN-2025-000003"]
    assert refused == ["credit_more_than_left"] * 3
    assert verify_books(world.ledger).broken == ()


def test_what_cannot_be_credited_is_refused(world: World) -> None:
    billed(world)
    draft = next(stored for stored in world.invoices() if stored.invoice.number is None)
    with pytest.raises(Conflict, match="is a draft"):
        credit(world, draft.summary.invoice_id)
    with pytest.raises(NotFound, match="INV-2025-000009"):
        credit(world, "INV-2025-000009")
    for day in ("2025-02-14", "2025-03-03"):
        with pytest.raises(InvalidInput, match="cannot be dated"):
            credit(world, dated_on=day)
    credit(world, amount="1.00", dated_on="2025-02-20")
    with pytest.raises(Conflict, match="up to 2025-02-20"):
        credit(world, amount="1.00", dated_on="2025-02-19")
    with pytest.raises(NotFound, match="there is no credit note"):
        get_credit_note(world.ledger, "CN-2025-000009")


def test_credit_notes_may_share_the_series_of_invoices(world: World) -> None:
    billed(world)
    assert credit(world, amount="1.00", series="INV").summary.number == "INV-2025-000002"
    (proof,) = verify_books(world.ledger).series
    assert (proof.count, proof.last, proof.broken) == (2, "INV-2025-000002", None)


def prepaid(world: World, grant_id: str, amount: str, **more: Any) -> None:
    document = {
        "grant_id": grant_id,
        "customer_id": "acme",
        "name": f"Credit {grant_id}",
        "kind": "paid",
        "currency": "EUR",
        "amount": amount,
        "cost_basis": str(Decimal(amount) / 2),
        "effective_from": "2025-01-01",
        **more,
    }
    grant_credit(world.ledger, document, now=NOW)


def test_drawn_credit_goes_back_to_its_grants(any_world: World) -> None:
    world = any_world
    prepaid(world, "g1", "20.00", priority=1)
    prepaid(world, "g2", "50.00", priority=2)
    billed(world)
    assert get_invoice(world.ledger, FIRST).summary.credit_minor == 3500
    note = credit(world, amount="25.00")
    assert (note.summary.credit_minor, note.summary.due_minor) == (-2500, 0)
    left = {grant_id: get_grant(world.ledger, grant_id).remaining_minor for grant_id in ("g1", "g2")}
    assert left == {"g1": 1000, "g2": 5000}
    entries = entries_of(world.ledger, ["g1", "g2"])
    balance = balance_on(entries, date(2025, 3, 1))
    assert (balance.drawn_minor, balance.drawn_cost, balance.remaining_cost) == (1000, 500, 3000)
    assert balance_on(entries, date(2025, 2, 28)).drawn_minor == 3500
    credit(world)
    assert get_grant(world.ledger, "g1").remaining_minor == 2000
    assert verify_books(world.ledger).broken == ()


def test_what_an_ended_grant_gets_back_moves_on(any_world: World) -> None:
    world = any_world
    prepaid(world, "short", "20.00", expires_on="2025-02-20", charge_ids=["calls", "fee"])
    billed(world)
    void_at = date(2025, 2, 25)
    prepaid(world, "gone", "3.00")
    void_grant(world.ledger, "gone", reason="test", on=void_at, now=NOW)
    expire_credit(world.ledger, as_of=void_at, now=NOW)
    note = credit(world)
    assert note.summary.credit_minor == get_invoice(world.ledger, FIRST).summary.credit_minor * -1
    grants = {stored.grant.grant_id: stored for stored in grants_of_customer(world.ledger, "acme")}
    successor = grants[f"short:{note.summary.credit_note_id}"]
    assert (successor.remaining_minor, successor.grant.expires_on) == (-note.summary.credit_minor, None)
    assert successor.grant.charge_ids == ("calls", "fee")
    assert grants["short"].remaining_minor == 0
    balance = balance_on(entries_of(world.ledger, list(grants)), date(2025, 3, 1))
    assert balance.drawn_minor == 0
    assert balance.committed_cost == balance.recognised_cost + balance.remaining_cost


def test_a_line_that_sold_credit_is_credited_once_the_credit_is_voided(world: World) -> None:
    world.plan()
    world.contract(start_date=date(2025, 1, 15), retainers=[{"retainer_id": "basic", "amount": "100"}])
    world.bill("2025-01-15")
    with pytest.raises(Conflict, match="Void it first") as caught:
        credit(world)
    assert caught.value.reason_code == "sold_credit_left"
    (sold,) = grants_of_customer(world.ledger, "acme")
    void_grant(world.ledger, sold.grant.grant_id, reason="billed by mistake", on=date(2025, 3, 1), now=NOW)
    assert credit(world).summary.voids


def test_it_prints_with_the_number_it_credits_and_the_reason(world: World) -> None:
    note = credit(billed(world), amount="7.00")
    texts = printed_credit_note(orjson.loads(note.text))
    facts = {fact["label"]: fact["value"] for fact in texts["facts"]}
    assert (texts["title"], texts["number"], texts["total"]) == ("Credit note", "CN-2025-000001", "7.00 EUR")
    assert facts["Credits invoice"] == "INV-2025-000001 of 15 February 2025"
    assert texts["notes"] == ["Reason: counted twice"]
    printer = InvoicePrinter()
    pdf = credit_note_pdf(printer, note.text)
    assert pdf.startswith(b"%PDF")
    assert credit_note_pdf(printer, note.text) == pdf
