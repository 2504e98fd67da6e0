"""Goal: what is owed to a customer goes back once, for so much as is owed, and leaves cash."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.journal_check import verify_journal
from invoicing.open_documents import find_document
from invoicing.outstanding import outstanding
from invoicing.pay_out import PayOut, get_pay_out, list_pay_outs, record_pay_out
from invoicing.payment_store import allocate_payment, return_payment
from invoicing.payment_view import PaymentFilter, get_payment, list_payments
from tests.invoicing.books import Books
from tests.invoicing.test_journal import balances
from tests.invoicing.test_negative_bills import ended_early
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World, at

NOW = at("2026-06-01")


def pay_out(ledger: Engine, **wanted: Any) -> dict[str, Any]:
    request = PayOut.model_validate(
        {"customer_id": "acme", "currency": "EUR", "value_date": "2026-05-01", "reference": "wire", **wanted}
    )
    return get_pay_out(ledger, record_pay_out(ledger, request, actor="anna", now=NOW)[0])


def left(books: Books) -> list[str]:
    chosen = PaymentFilter(only_unapplied=True)
    return [one["payment_id"] for one in list_payments(books.ledger, chosen=chosen, limit=9)]


@pytest.mark.requirement("PAY-08")
def test_money_on_account_goes_back_the_oldest_first(any_ledger: Engine) -> None:
    books = Books(any_ledger, NOW)
    number = books.issue(1000)
    first, second = books.pay("30.00", number), books.pay("5.00", on="2026-03-01")
    found = pay_out(any_ledger, amount="22.00", pay_out_id="refund-1", reason="paid twice")
    assert [(part["payment_id"], part["amount_minor"]) for part in found["parts"]] == [
        (first, 2000),
        (second, 200),
    ]
    assert books.balances() == {"cash": 1300, "customer_credit": -300, "revenue": -1000}
    assert left(books) == [second]
    shown = get_payment(any_ledger, first)
    assert (shown["paid_out_minor"], shown["unapplied_minor"], shown["state"]) == (2000, 0, "applied")
    assert pay_out(any_ledger, amount="22.00", pay_out_id="refund-1", reason="paid twice") == found
    with pytest.raises(Conflict, match="another pay-out has the id"):
        pay_out(any_ledger, amount="1.00", pay_out_id="refund-1")
    later = books.issue(1000)
    with pytest.raises(Conflict, match=r"3\.00 of the payment is unapplied"):
        allocate_payment(any_ledger, second, document=later, amount_minor=400, actor="anna", now=NOW)
    assert pay_out(any_ledger)["amount_minor"] == 300
    assert get_payment(any_ledger, second)["state"] == "paid_out"
    assert "customer_credit" not in books.balances()
    listed = list_pay_outs(any_ledger, customer_id="acme", limit=9)
    assert sorted(one["amount_minor"] for one in listed) == [300, 2200]
    assert verify_journal(any_ledger) == []
    (*_, entry) = list_entries(any_ledger, chosen=AuditFilter(object_kind="pay_out"), limit=9)
    assert (entry.actor, entry.action) == ("anna", "recorded")


@pytest.mark.requirement("PAY-08")
def test_a_bill_below_zero_is_paid_out_with_its_tax(any_world: World) -> None:
    world = any_world
    setting(world)
    stored = ended_early(world)
    number = stored.summary.number
    found = pay_out(world.ledger, document=number, amount="7.85")
    assert [(part["number"], part["amount_minor"], part["net_minor"]) for part in found["parts"]] == [
        (number, 785, 660)
    ]
    rest = pay_out(world.ledger)
    assert [(part["amount_minor"], part["net_minor"]) for part in rest["parts"]] == [(1000, 840)]
    open_ones = outstanding(world.ledger, as_of=date(2026, 6, 1)).documents
    assert [one.number for one in open_ones] == ["INV-2025-000001"]
    assert balances(world.ledger)["cash"] == -1785
    with pytest.raises(Conflict, match=r"0\.00 EUR is owed"):
        pay_out(world.ledger, document=number)
    assert verify_journal(world.ledger) == []


def test_what_cannot_be_is_refused(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    number = books.issue(1000)
    books.pay("15.00", number, on="2026-05-02")
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "pay_out_too_large"),  # the money came a day later
        ({"value_date": "2026-05-02", "amount": "5.01"}, "pay_out_too_large"),
        ({"value_date": "2026-05-02", "currency": "USD"}, "pay_out_too_large"),
        ({"value_date": "2026-05-02", "document": number}, "pay_out_too_large"),
        ({"value_date": "2026-05-02", "amount": "0.001"}, "pay_out_amount"),
        ({"value_date": "2062-05-02"}, "invalid_document"),
        ({"customer_id": "nobody"}, "not_found"),
        ({"document": "INV-2026-000099"}, "not_found"),
    ]
    for wanted, code in cases:
        with pytest.raises((Conflict, InvalidDocument, InvalidInput, NotFound)) as caught:
            pay_out(ledger, **wanted)
        assert caught.value.reason_code == code, wanted
    assert list_pay_outs(ledger, customer_id=None, limit=9) == []


def test_a_payment_that_bounces_after_it_went_back_is_owed(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    payment_id = books.pay("20.00")
    pay_out(ledger)
    return_payment(ledger, payment_id, on=date(2026, 5, 9), reason="no funds", actor="anna", now=NOW)
    assert books.balances() == {"cash": -2000, "customer_credit": 2000}
    (total,) = outstanding(ledger, as_of=date(2026, 6, 1)).totals
    assert total.unapplied_minor == -2000
    assert verify_journal(ledger) == []


def test_a_credit_note_of_an_invoice_is_not_paid_out_by_itself(ledger: Engine) -> None:
    """119.00 are paid and 59.50 of it credited: 59.50 are owed, once, as money on account."""
    books = Books(ledger, NOW)
    number = books.issue(10000, 1900)
    books.pay("119.00", number)
    with ledger.connect() as connection:
        document_id = find_document(connection, number)
    note = books.issue(-5000, -950, issued="2026-03-01", refers_to=document_id)
    with pytest.raises(Conflict, match=f"{note} takes back of {number}") as caught:
        pay_out(ledger, document=note)
    assert caught.value.reason_code == "pay_out_of_credit_note"
    assert pay_out(ledger)["amount_minor"] == 5950
    assert books.balances() == {"cash": 5950, "revenue": -5000, "tax": -950}
    with pytest.raises(Conflict, match=r"0\.00 EUR is owed"):
        pay_out(ledger)
    assert verify_journal(ledger) == []
