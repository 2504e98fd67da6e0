"""Goal: money is applied where it is certain, never twice, never for more than there is."""

from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound, RatemillError
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.customer_credit import applies_credit, set_applies_credit
from invoicing.journal_check import verify_journal
from invoicing.open_documents import allocated_minor, find_document, open_documents
from invoicing.payment import named_numbers, rf_reference
from invoicing.payment_allocation import held_payment
from invoicing.payment_payer import assign_payment
from invoicing.payment_store import allocate_payment, record_payment, return_payment, unapply_payment
from tests.invoicing.books import SERIES, Books
from tests.invoicing.world import at

NOW = at("2026-03-01")


@pytest.fixture
def books(ledger: Engine) -> Books:
    return Books(ledger, NOW)


def open_of(books: Books, number: str) -> int:
    with books.ledger.connect() as connection:
        document_id = find_document(connection, number)
        return open_documents(connection, [document_id])[document_id].open_minor


def unapplied(books: Books, payment_id: str) -> int:
    with books.ledger.connect() as connection:
        return held_payment(connection, payment_id).unapplied_minor


def allocate(books: Books, payment_id: str, number: str, amount: int | None = None) -> None:
    allocate_payment(
        books.ledger, payment_id, document=number, amount_minor=amount, actor="anna", now=books.now
    )


@pytest.mark.requirement("PAY-08")
def test_partial_combined_and_excess_payments(books: Books) -> None:
    """One payment for three invoices; 60 % leaves 40 % open; the excess pays the next invoice."""
    first, second, third = (books.issue(net, tax) for net, tax in ((10000, 1900), (5000, 950), (2000, 0)))
    payment = books.pay("198.50", f"{first}, {second}; {third}")
    assert [open_of(books, number) for number in (first, second, third)] == [0, 0, 0]
    assert unapplied(books, payment) == 0
    fourth = books.issue(10000)
    books.pay("60.00", f"part of {fourth}")
    assert open_of(books, fourth) == 4000
    fifth = books.issue(3000)
    over = books.pay("45.00", f"Rechnung {fifth}.")
    assert (open_of(books, fifth), unapplied(books, over)) == (0, 1500)
    assert books.balances()["customer_credit"] == -1500
    sixth = books.issue(4000)
    allocate(books, over, sixth)
    assert (open_of(books, sixth), unapplied(books, over)) == (2500, 0)
    assert verify_journal(books.ledger) == []


@pytest.mark.requirement("PAY-09")
def test_a_deposit_is_a_liability_until_it_is_applied_once(books: Books) -> None:
    """Paid before there is anything to pay; with the setting the next invoice takes it by itself."""
    deposit = books.pay("100.00", "deposit for the project", on="2026-01-05")
    assert books.balances() == {"cash": 10000, "customer_credit": -10000}
    set_applies_credit(books.ledger, "acme", applies_credit=True, actor="anna", now=NOW)
    assert applies_credit(books.ledger, "acme")
    first, second, third = books.issue(6000), books.issue(6000), books.issue(6000)
    assert [open_of(books, number) for number in (first, second, third)] == [0, 2000, 6000]
    assert unapplied(books, deposit) == 0
    assert "customer_credit" not in books.balances()
    with pytest.raises(Conflict, match=r"0\.00 of the payment is unapplied"):
        allocate(books, deposit, third)
    assert verify_journal(books.ledger) == []


def test_numbers_are_whole_words(books: Books) -> None:
    numbers = [books.issue(1000) for _ in range(10)]
    words = f"x{numbers[0]} {numbers[9]} {numbers[0]}-1 9{numbers[0]}"
    assert named_numbers(words, [SERIES]) == {(SERIES, 10): "number"}
    books.pay("10.00", f"for {numbers[9]}")
    assert [open_of(books, number) for number in (numbers[0], numbers[9])] == [1000, 0]


@pytest.mark.parametrize(
    ("words", "amount"),
    [
        ("nothing at all", "10.00"),
        ("INV-2026-000099", "10.00"),  # never issued
        ("INV-2026-000001 INV-2026-000002", "25.00"),  # the sum is 30.00
        ("INV-2026-000001 INV-2026-000003", "10.00"),  # the third is another customer's
        ("INV-2026-000001 INV-2026-000099", "10.00"),
        ("INV-2026-000004", "10.00"),  # in dollars
    ],
)
def test_what_is_not_certain_stays_unapplied(books: Books, words: str, amount: str) -> None:
    books.issue(1000)
    books.issue(2000)
    books.issue(1000, customer="other")
    books.issue(1000, currency="USD")
    payment = books.pay(amount, words)
    assert unapplied(books, payment) == int(amount.replace(".", ""))
    assert books.balances(account="customer_credit") == {"customer_credit": -unapplied(books, payment)}


def test_a_reference_and_an_unknown_payer(books: Books) -> None:
    number = books.issue(1000, customer="other")
    reference = rf_reference(number)
    assert reference == "RF94INV2026000001"
    spaced = " ".join(reference[place : place + 4] for place in range(0, len(reference), 4)).lower()
    payment = books.pay("10.00", f"{spaced} thanks", customer_id=None)
    assert open_of(books, number) == 0
    with books.ledger.connect() as connection:
        assert held_payment(connection, payment).customer_id == "other"
    unknown = books.pay("7.00", "who am I", customer_id=None)
    assert books.balances()["suspense"] == -700
    second = books.issue(700)
    assert open_of(books, second) == 700
    allocate(books, unknown, second)
    assert "suspense" not in books.balances()
    assert verify_journal(books.ledger) == []


def test_taken_back_and_returned(books: Books) -> None:
    number = books.issue(1000, 190)
    payment = books.pay("11.90", number)
    books.now += timedelta(days=5)
    unapply_payment(books.ledger, payment, document=number, reason="wrong one", actor="anna", now=books.now)
    assert (open_of(books, number), unapplied(books, payment)) == (1190, 1190)
    known = NOW + timedelta(hours=1)
    assert "customer_credit" not in books.balances(known_at=known)
    with pytest.raises(Conflict, match="pays nothing of document"):
        unapply_payment(books.ledger, payment, document=number, reason="", actor="anna", now=books.now)
    allocate(books, payment, number)
    return_payment(books.ledger, payment, on=date(2026, 3, 5), reason="no funds", actor="anna", now=books.now)
    assert (open_of(books, number), unapplied(books, payment)) == (1190, 0)
    assert books.balances(on=date(2026, 3, 4))["cash"] == 1190
    assert "cash" not in books.balances()
    with pytest.raises(Conflict, match="returned before"):
        return_payment(books.ledger, payment, on=date(2026, 3, 5), reason="x", actor="a", now=books.now)
    with pytest.raises(InvalidInput, match="with a reason only"):
        return_payment(books.ledger, payment, on=date(2026, 3, 5), reason=" ", actor="a", now=books.now)
    changes = list_entries(books.ledger, chosen=AuditFilter(object_id=payment), limit=10)
    assert [entry.action for entry in changes] == ["returned", "allocated", "unapplied", "recorded"]
    assert verify_journal(books.ledger) == []


def test_a_credit_note_frees_what_was_paid_too_much(books: Books) -> None:
    number = books.issue(10000, 1900)
    older, newer = books.pay("100.00", number), books.pay("19.00", number, on="2026-02-20")
    books.now += timedelta(days=1)
    with books.ledger.connect() as connection:
        document_id = find_document(connection, number)
    books.issue(-5000, -950, issued="2026-03-01", refers_to=document_id)
    assert open_of(books, number) == 0
    assert (unapplied(books, newer), unapplied(books, older)) in ((1900, 4050), (0, 5950))
    with books.ledger.connect() as connection:
        assert allocated_minor(connection, [document_id]) == {document_id: 5950}
    assert books.balances()["customer_credit"] == -5950
    assert verify_journal(books.ledger) == []


def test_refusals(books: Books) -> None:
    number = books.issue(1000)
    payment = books.pay("50.00", "")
    with pytest.raises(Conflict, match=r"10\.00 of the document is open"):
        allocate(books, payment, number, 1001)
    with pytest.raises(NotFound, match="no document 'INV-2026-000009' was issued"):
        allocate(books, payment, "INV-2026-000009")
    with pytest.raises(NotFound, match="there is no payment"):
        allocate(books, "nope", number)
    with pytest.raises(InvalidDocument, match="in whole minor units"):
        books.pay("1.001")
    with pytest.raises(InvalidDocument, match="an amount above 0"):
        books.pay("-5")
    with pytest.raises(
        InvalidDocument, match=r"'01\.02\.2026' is no date. Expected: a date, like 2026-11-01"
    ):
        books.pay("5", on="01.02.2026")
    with pytest.raises(NotFound, match="no customer 'nobody'"):
        books.pay("5", customer_id="nobody")
    dollars = books.pay("5", currency="USD")
    with pytest.raises(Conflict, match="in USD"):
        allocate(books, dollars, number)


def test_the_same_payment_again_is_recorded_once(books: Books) -> None:
    document = {
        "payment_id": "bank-17",
        "customer_id": "acme",
        "currency": "EUR",
        "amount": "5.00",
        "value_date": "2026-02-01",
    }
    assert record_payment(books.ledger, document, actor="a", now=NOW) == ("bank-17", True)
    assert record_payment(books.ledger, document, actor="a", now=NOW) == ("bank-17", False)
    with pytest.raises(Conflict, match="on record with another amount"):
        record_payment(books.ledger, {**document, "amount": "6.00"}, actor="a", now=NOW)
    assert books.balances()["cash"] == 500


def test_an_id_chosen_by_the_payer_side_keeps_no_other_payment_out(books: Books) -> None:
    """Ids like ``pay-000007`` come from another installation as well."""
    first = books.pay("5.00", "")
    ahead = [f"pay-{int(first[4:]) + turn:06d}" for turn in (1, 2, 3)]
    for payment_id in ahead:
        document = {"payment_id": payment_id, "currency": "EUR", "amount": "1.00", "value_date": "2026-02-01"}
        record_payment(books.ledger, document, actor="a", now=NOW)
    later = [books.pay("5.00", "") for _ in range(5)]
    assert len({first, *ahead, *later}) == 9
    assert verify_journal(books.ledger) == []


def test_days_far_ahead_are_refused(books: Books) -> None:
    with pytest.raises(InvalidDocument, match="more than 31 days to come"):
        books.pay("5.00", "", on="2026-04-02")
    payment = books.pay("5.00", "", on="2026-04-01")
    with pytest.raises(InvalidDocument, match="more than 31 days to come"):
        return_payment(books.ledger, payment, on=date(2062, 3, 1), reason="x", actor="a", now=NOW)


def by_acme(books: Books, payment_id: str) -> str:
    return assign_payment(
        books.ledger, payment_id, customer_id="acme", reason="by phone", actor="anna", now=books.now
    )


def test_money_of_an_unknown_payer_becomes_the_customer_s(books: Books) -> None:
    """300.00, of which 100.00 pay an invoice by hand, half of it credited since; then it is known whose."""
    number = books.issue(10000)
    payment = books.pay("300.00", "hello", customer_id=None, on="2026-02-20")
    allocate(books, payment, number, 10000)
    books.now += timedelta(days=1)
    with books.ledger.connect() as connection:
        document_id = find_document(connection, number)
    books.issue(-5000, refers_to=document_id, issued="2026-02-28")
    days = [date.fromisoformat(day) for day in ("2026-02-19", "2026-02-20", "2026-03-02")]
    before = [books.balances(on=day) for day in days]
    books.now += timedelta(days=1)
    assigned = by_acme(books, payment)
    after = [books.balances(on=day) for day in days]
    assert [each.get("cash") for each in after] == [each.get("cash") for each in before]
    left = before[-1].pop("suspense")
    assert (left, after[-1]) == (-25000, {**before[-1], "customer_credit": left})
    assert (unapplied(books, payment), unapplied(books, assigned)) == (0, 25000)
    assert open_of(books, number) == 0
    assert verify_journal(books.ledger) == []
    with pytest.raises(Conflict, match="returned before"):
        by_acme(books, payment)
    with pytest.raises(Conflict, match="is of customer 'acme'"):
        by_acme(books, assigned)


def test_two_at_once_never_pay_a_document_twice(any_ledger: Engine) -> None:
    books = Books(any_ledger, NOW)
    number = books.issue(1000)
    payments = [books.pay("10.00") for _ in range(4)]
    refused: list[RatemillError] = []

    def work(payment: str) -> None:
        try:
            allocate(books, payment, number)
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=work, args=(payment,)) for payment in payments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert open_of(books, number) == 0
    for table in ("payments", "payment_allocations"):
        with pytest.raises(DBAPIError, match="never changed"), ledger_transaction(any_ledger) as connection:
            connection.execute(text(f"UPDATE {table} SET amount_minor = 0"))
    assert verify_journal(any_ledger) == []
