"""Goal: whatever is issued, credited, paid, applied, taken back or returned, in any order, the books tie."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from ingest.errors import Conflict
from invoicing.journal_check import verify_journal
from invoicing.open_documents import find_document
from invoicing.payment_allocation import held_payment
from invoicing.payment_store import return_payment, unapply_payment
from tests.invoicing.books import Books
from tests.invoicing.test_payments import allocate

AFTER_ALL = datetime(2026, 4, 10, 12, tzinfo=UTC)
"""Behind every day of the sequences: what is to come is refused."""


class Auditor:
    """What there should be, kept in dictionaries beside the product: by document and by payment."""

    def __init__(self) -> None:
        self.due: dict[str, int] = {}
        self.tax: dict[str, int] = {}
        self.applied: dict[tuple[str, str], int] = defaultdict(int)
        self.received: dict[str, int] = {}
        self.returned: set[str] = set()

    def paid(self, number: str) -> int:
        return sum(amount for (_, paid), amount in self.applied.items() if paid == number)

    def used(self, payment: str) -> int:
        return sum(amount for (paying, _), amount in self.applied.items() if paying == payment)

    def balances(self) -> dict[str, int]:
        held = {key: amount for key, amount in self.received.items() if key not in self.returned}
        applied = sum(self.applied.values())
        found = {
            "receivable": sum(self.due.values()) - applied,
            "cash": sum(held.values()),
            "customer_credit": applied - sum(held.values()),
            "tax": -sum(self.tax.values()),
            "revenue": sum(self.tax.values()) - sum(self.due.values()),
        }
        return {account: amount for account, amount in found.items() if amount}


class Business:
    """Does one random thing after the other, and tells the auditor of it."""

    def __init__(self, books: Books, auditor: Auditor, dice: random.Random) -> None:
        self.books, self.auditor, self.dice = books, auditor, dice

    def step(self) -> None:
        possible = [self.issue, self.pay, self.pay]
        if self.auditor.due:
            possible += [self.issue, self.credit]
        if self.auditor.due and self.auditor.received:
            possible += [self.allocate, self.allocate, self.unapply, self.unapply, self.bounce]
        self.dice.choice(possible)()

    def number(self) -> str:
        return self.dice.choice(list(self.auditor.due))

    def payment(self) -> str:
        return self.dice.choice(list(self.auditor.received))

    def day(self) -> str:
        return (date(2026, 1, 1) + timedelta(days=self.dice.randrange(90))).isoformat()

    def issue(self) -> None:
        books, auditor, dice = self.books, self.auditor, self.dice
        net, tax = dice.randrange(1, 9999), dice.randrange(0, 1999)
        number = books.issue(net, tax, issued=self.day())
        auditor.due[number], auditor.tax[number] = net + tax, tax

    def credit(self) -> None:
        books, auditor, dice = self.books, self.auditor, self.dice
        number = self.number()
        left = auditor.due[number] - auditor.tax[number]
        if left <= 0:
            return
        net, tax = dice.randrange(1, left + 1), dice.randrange(0, auditor.tax[number] + 1)
        with books.ledger.connect() as connection:
            document_id = find_document(connection, number)
        books.issue(-net, -tax, issued="2026-04-01", refers_to=document_id)
        auditor.due[number] -= net + tax
        auditor.tax[number] -= tax
        with books.ledger.connect() as connection:
            for payment in auditor.received:
                auditor.applied[payment, number] = held_payment(connection, payment).applied_to(document_id)
        assert auditor.paid(number) <= auditor.due[number]

    def pay(self) -> None:
        books, auditor, dice = self.books, self.auditor, self.dice
        amount = dice.randrange(1, 15_000)
        named = dice.choice([*auditor.due, ""])
        payment = books.pay(f"{amount // 100}.{amount % 100:02d}", named, on=self.day())
        auditor.received[payment] = amount
        left = auditor.due[named] - auditor.paid(named) if named else 0
        if left > 0:
            auditor.applied[payment, named] += min(amount, left)

    def allocate(self) -> None:
        books, auditor, dice = self.books, self.auditor, self.dice
        payment, number = self.payment(), self.number()
        spare = 0 if payment in auditor.returned else auditor.received[payment] - auditor.used(payment)
        most = min(spare, auditor.due[number] - auditor.paid(number))
        amount = dice.randrange(1, 6000)
        if amount > most:
            with pytest.raises(Conflict):
                allocate(books, payment, number, amount)
        else:
            allocate(books, payment, number, amount)
            auditor.applied[payment, number] += amount

    def unapply(self) -> None:
        books, auditor, dice = self.books, self.auditor, self.dice
        applied = [key for key, amount in auditor.applied.items() if amount]
        if applied:
            payment, number = dice.choice(applied)
            unapply_payment(books.ledger, payment, document=number, reason="", actor="a", now=books.now)
            auditor.applied[payment, number] = 0

    def bounce(self) -> None:
        books, auditor = self.books, self.auditor
        payment = self.payment()
        if payment not in auditor.returned:
            return_payment(books.ledger, payment, on=date(2026, 4, 10), reason="x", actor="a", now=books.now)
            auditor.returned.add(payment)
            for key in auditor.applied:
                if key[0] == payment:
                    auditor.applied[key] = 0


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_ties_on_every_day_as_known_at_any_time(ledger: Engine, seed: int) -> None:
    """Against an auditor made of dictionaries, who knows the whole of every step; on earlier days, that no
    document is overpaid and no payment over-applied, and the identities of accounts receivable hold."""
    dice = random.Random(seed)
    books, auditor = Books(ledger, AFTER_ALL), Auditor()
    business = Business(books, auditor, dice)
    known: list[tuple[datetime, dict[str, int]]] = []
    for _ in range(45):
        books.now += timedelta(hours=1)
        business.step()
        known.append((books.now, auditor.balances()))
    assert verify_journal(ledger) == []
    far = date(2027, 1, 1)
    for now, wanted in known:
        assert books.balances(known_at=now, on=far) == wanted, now
    for now, _ in known[::5]:
        for number in range(0, 110, 6):
            _identities(books, on=date(2026, 1, 1) + timedelta(days=number), known_at=now)


def _identities(books: Books, **when: Any) -> None:
    found = books.balances(**when)
    assert sum(found.values()) == 0
    net, tax = _receivable(books, **when)
    assert -found.get("revenue", 0) - net == found.get("unbilled", 0) + found.get("deferred", 0)
    assert -found.get("tax", 0) == tax
    assert found.get("customer_credit", 0) <= 0
    assert found.get("cash", 0) >= 0
    for table, sign in (("document_id", 1), ("payment_id", -1)):
        account = "receivable" if sign == 1 else "customer_credit"
        with books.ledger.connect() as connection:
            rows = connection.execute(
                text(
                    f"SELECT COALESCE(d.refers_to, e.{table}), SUM(l.amount_minor) FROM journal_lines l "
                    "JOIN journal_entries e ON e.entry_number = l.entry_number "
                    "LEFT JOIN issued_documents d ON d.document_id = e.document_id AND :by_document = 1 "
                    "WHERE l.account = :account AND e.entry_date <= :on AND e.posted_at <= :known_at "
                    "GROUP BY 1"
                ),
                {
                    "account": account,
                    "on": when["on"].isoformat(),
                    "known_at": when["known_at"].isoformat(timespec="microseconds"),
                    "by_document": 1 if sign == 1 else 0,
                },
            ).all()
        for key, amount in rows:
            assert key is None or amount * sign >= 0, (key, amount, when)


def _receivable(books: Books, *, on: date, known_at: datetime) -> tuple[int, int]:
    """What was billed by then, net and tax, from the register alone."""
    statement = text(
        "SELECT COALESCE(SUM(net_minor - credit_minor), 0), COALESCE(SUM(tax_minor), 0) "
        "FROM issued_documents WHERE issue_date <= :on AND issued_at <= :known_at"
    )
    values = {"on": on.isoformat(), "known_at": known_at.isoformat()}
    with books.ledger.connect() as connection:
        row = connection.execute(statement, values).one()
    return int(row[0]), int(row[1])
