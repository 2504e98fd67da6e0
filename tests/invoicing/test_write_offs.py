"""Goal: what is given up is bad debt, owed again when it is paid after all; the books tie at every step."""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ingest.clickhouse import EventStore
from ingest.errors import Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.journal_check import verify_journal
from invoicing.journal_mirror import JournalMirror
from invoicing.open_documents import find_document
from invoicing.outstanding import outstanding
from invoicing.payment_store import allocate_payment, record_payment, return_payment, unapply_payment
from invoicing.posting_store import post_missing
from invoicing.revenue import RevenueQuestion
from invoicing.revenue_answer import answer_revenue
from invoicing.write_off import TakeBack, WriteOff, WriteOffs, get_write_offs, take_back_write_off, write_off
from tests.invoicing.books import Books
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_journal import without_journal
from tests.invoicing.test_revenue import _both_stores_agree, table
from tests.invoicing.world import World, at

NOW = at("2026-06-01")


def give_up(books: Books, number: str, **wanted: Any) -> WriteOffs:
    request = WriteOff.model_validate({"reason": "insolvent", "dated_on": "2026-05-01", **wanted})
    return write_off(books.ledger, number, request, actor="anna", now=NOW)


@pytest.mark.requirement("AUD-03")
def test_a_late_payment_takes_the_write_off_back_first(any_ledger: Engine) -> None:
    """119.00 given up, tax too; then 59.50 comes after all."""
    books = Books(any_ledger, NOW)
    number = books.issue(10000, 1900)
    found = give_up(books, number)
    assert (found.written_off_minor, found.open_minor) == (11900, 0)
    assert books.balances() == {"revenue": -10000, "tax": -1900, "bad_debt": 11900}
    report = outstanding(any_ledger, as_of=date(2026, 5, 31))
    assert report.documents == ()
    assert [(one.open_minor, one.written_off_minor) for one in report.totals] == [(0, 11900)]
    books.pay("59.50", number, on="2026-05-20")
    assert books.balances() == {"cash": 5950, "revenue": -10000, "tax": -1900, "bad_debt": 5950}
    again = get_write_offs(any_ledger, number)
    assert (again.written_off_minor, again.open_minor) == (5950, 0)
    assert [(one["amount_minor"], one["net_minor"], one["rule"]) for one in again.steps] == [
        (11900, 10000, "written_off"),
        (-5950, -5000, "payment"),
    ]
    # On the days before it came it stays written off.
    assert books.balances(on=date(2026, 5, 10))["bad_debt"] == 11900
    books.pay("100.00", number, on="2026-05-25")
    assert get_write_offs(any_ledger, number).written_off_minor == 0
    assert books.balances()["customer_credit"] == -4050
    assert "bad_debt" not in books.balances()
    assert verify_journal(any_ledger) == []
    (entry,) = list_entries(any_ledger, chosen=AuditFilter(action="written_off"), limit=9)
    assert (entry.actor, entry.reason) == ("anna", "insolvent")
    with pytest.raises(DBAPIError, match="never changes"), ledger_transaction(any_ledger) as writing:
        writing.execute(text("UPDATE write_offs SET amount_minor = 1"))


def test_with_tax_relief_the_loss_is_net(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    number = books.issue(10000, 1900)
    give_up(books, number, amount="50.00", tax_relief="section 17 UStG, insolvency of 20 April")
    assert books.balances() == {"receivable": 6900, "revenue": -10000, "tax": -1102, "bad_debt": 4202}
    give_up(books, number)
    assert books.balances() == {"revenue": -10000, "tax": -1102, "bad_debt": 11102}
    back = TakeBack(reason="it pays after all")
    assert take_back_write_off(ledger, number, back, actor="anna", now=NOW).open_minor == 11900
    assert books.balances() == {"receivable": 11900, "revenue": -10000, "tax": -1900}
    assert verify_journal(ledger) == []


def test_a_credit_note_takes_back_what_is_given_up_of_it(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    number = books.issue(10000, 1900)
    books.pay("19.00", number)
    give_up(books, number, amount="80.00")
    with ledger.connect() as connection:
        document_id = find_document(connection, number)
    books.issue(-5000, -950, issued="2026-05-10", refers_to=document_id)
    found = get_write_offs(ledger, number)
    assert (found.written_off_minor, found.open_minor) == (4050, 0)  # 59.50 are owed, 19.00 are paid
    assert books.balances()["bad_debt"] == 4050
    books.issue(-5000, -950, issued="2026-05-11", refers_to=document_id)
    assert get_write_offs(ledger, number).written_off_minor == 0
    assert books.balances() == {"cash": 1900, "customer_credit": -1900}
    assert verify_journal(ledger) == []


def test_relieved_tax_goes_back_with_what_is_credited(any_ledger: Engine) -> None:
    """Whatever is paid beside: tax of a credited document is given back once, by the credit note."""
    books = Books(any_ledger, NOW)

    def document_id(number: str) -> str:
        with any_ledger.connect() as connection:
            return find_document(connection, number)

    # 50.00 of 119.00 are paid and 69.00 given up, 11.02 of it tax; then all of it is credited.
    number = books.issue(10000, 1900)
    books.pay("50.00", number)
    give_up(books, number, tax_relief="insolvency")
    books.issue(-10000, -1900, issued="2026-05-10", refers_to=document_id(number))
    assert books.balances() == {"cash": 5000, "customer_credit": -5000}
    assert get_write_offs(any_ledger, number).steps[-1]["net_minor"] == -5798
    # Of 100.00 taxed and 100.00 without tax, 50.00 are paid; the taxed line is credited before or after the
    # rest is given up: no tax is left, so none is relieved.
    for credited_first in (True, False):
        before = books.balances()
        number = books.issue(20000, 1900)
        books.pay("50.00", number)
        if not credited_first:
            give_up(books, number, tax_relief="insolvency")
        books.issue(-10000, -1900, issued="2026-03-10", refers_to=document_id(number))
        if credited_first:
            give_up(books, number, tax_relief="insolvency")
        after = books.balances()
        changed = {key: after.get(key, 0) - before.get(key, 0) for key in {*before, *after}}
        assert {key: amount for key, amount in changed.items() if amount} == {
            "cash": 5000,
            "revenue": -10000,
            "bad_debt": 5000,
        }
    assert verify_journal(any_ledger) == []


def test_a_document_from_before_the_journal_is_posted_although_it_was_paid_and_given_up(
    world: World,
) -> None:
    """Whoever upgrades may write off, and take in payments, before the books are filled."""
    world.plan(MONTHLY_FEE)
    world.contract()
    world.bill("2025-02-15")
    without_journal(world.ledger)
    first, second = (str(stored.summary.number) for stored in world.invoices())
    payment = {"currency": "EUR", "amount": "1.00", "value_date": "2025-03-01", "reference": first}
    record_payment(world.ledger, payment, actor="anna", now=NOW)
    write_off(world.ledger, second, WriteOff(reason="insolvent"), actor="anna", now=NOW)
    assert post_missing(world.ledger).documents == 2
    assert post_missing(world.ledger).documents == 0
    assert verify_journal(world.ledger) == []


def test_what_cannot_be_is_refused(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    number = books.issue(1000, 190)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"amount": "11.91"}, "write_off_too_large"),
        ({"amount": "0"}, "write_off_amount"),
        ({"amount": "0.001"}, "write_off_amount"),
        ({"dated_on": "2026-01-31"}, "write_off_date"),
        ({"dated_on": "2026-06-02"}, "write_off_date"),
    ]
    for wanted, code in cases:
        with pytest.raises((Conflict, InvalidInput)) as caught:
            give_up(books, number, **wanted)
        assert caught.value.reason_code == code
    with pytest.raises(Conflict, match="nothing of INV-2026-000001 is written off"):
        take_back_write_off(ledger, number, TakeBack(reason="r"), actor="anna", now=NOW)
    books.pay("11.90", number)
    with pytest.raises(Conflict, match="nothing is open"):
        give_up(books, number)
    with pytest.raises(ValueError, match="reason"):
        WriteOff(reason=" ")


@pytest.mark.requirement("REP-04")
def test_written_off_is_a_series_of_its_own_between_billed_and_collected(
    ledger: Engine, event_store: EventStore
) -> None:
    books = Books(ledger, at("2026-02-01"))
    number = books.issue(10000, 1900)
    books.now = at("2026-06-01")
    books.pay("19.00", number, on="2026-03-01")
    give_up(books, number)
    books.pay("50.00", number, on="2026-05-20")
    mirror = JournalMirror(ledger, event_store)
    [rows] = answer_revenue(mirror, RevenueQuestion("month", "customer", date(2027, 1, 1)))
    assert table(rows, "period", "collected_minor", "written_off_minor", "receivable_minor") == [
        ("2026-01", 0, 0, 0),
        ("2026-02", 0, 0, 11900),
        ("2026-03", 1900, 0, 10000),
        ("2026-05", 5000, 5000, 0),
    ]
    _both_stores_agree(mirror, books)


def test_whatever_happens_to_documents_the_books_tie(ledger: Engine) -> None:
    """Random payments, write-offs and what takes them back, on documents with odd amounts of tax."""
    chance = Random(7)
    books = Books(ledger, NOW)
    payments: list[tuple[str, str]] = []
    for _ in range(6):
        net, tax = chance.randint(1, 9999), chance.randint(0, 1999)
        number = books.issue(net, tax)
        for _ in range(8):
            _one_step(books, chance, number, payments)
            found = get_write_offs(ledger, number)
            assert found.written_off_minor >= 0
            assert found.written_off_minor == sum(step["amount_minor"] for step in found.steps)
        assert verify_journal(ledger) == []
        _parts_follow_the_whole(books, number)
    assert sum(books.balances().values()) == 0


def _one_step(books: Books, chance: Random, number: str, payments: list[tuple[str, str]]) -> None:
    amount = f"{chance.randint(1, 3000) / 100:.2f}"
    try:
        match chance.randrange(5):
            case 0:
                give_up(books, number, amount=amount, tax_relief=chance.choice(["", "by law"]))
            case 1:
                request = TakeBack.model_validate({"reason": "r", "amount": amount})
                take_back_write_off(books.ledger, number, request, actor="anna", now=NOW)
            case 2:
                payments.append((books.pay(amount), number))
                where = {"document": number, "amount_minor": None, "actor": "anna", "now": NOW}
                allocate_payment(books.ledger, payments[-1][0], **where)  # type: ignore[arg-type]
            case 3 if payments:
                payment_id, document = chance.choice(payments)
                unapply_payment(
                    books.ledger, payment_id, document=document, reason="r", actor="anna", now=NOW
                )
            case 4 if payments:
                payment_id, _ = chance.choice(payments)
                on = date(2026, 5, 2)
                return_payment(books.ledger, payment_id, on=on, reason="r", actor="anna", now=NOW)
    except Conflict:
        pass  # more than there is: refused, and nothing done


def _parts_follow_the_whole(books: Books, number: str) -> None:
    """Where a document is settled, its receivable is, in both parts."""
    with books.ledger.connect() as connection:
        document_id = find_document(connection, number)
        parts = connection.execute(
            text(
                "SELECT part, SUM(amount_minor) FROM journal_lines JOIN journal_entries USING (entry_number) "
                "WHERE account = 'receivable' AND document_id = :document_id GROUP BY part"
            ),
            {"document_id": document_id},
        ).all()
    found = get_write_offs(books.ledger, number)
    assert sum(row[1] for row in parts) == found.open_minor
    if found.open_minor == 0:
        assert [row[1] for row in parts] == [0] * len(parts)
