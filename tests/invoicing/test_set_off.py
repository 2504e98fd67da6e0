"""Goal: what a bill below zero left owed pays an invoice of its customer, once, and no money moves."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.errors import Conflict, NotFound
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.journal_check import verify_journal
from invoicing.outstanding import outstanding
from invoicing.pay_out import get_pay_out, list_pay_outs
from invoicing.payment_store import return_payment, unapply_payment
from invoicing.payment_view import PaymentFilter, get_payment, list_payments
from invoicing.revenue import Group, RevenueQuestion, revenue_report, sums_from_ledger
from invoicing.set_off import SetOff, record_set_off
from tests.invoicing.books import Books
from tests.invoicing.world import at

NOW = at("2026-06-01")


def set_off(ledger: Engine, document: str, against: str, **wanted: Any) -> tuple[str, bool]:
    request = {"document": document, "against": against, "value_date": "2026-03-01", **wanted}
    return record_set_off(ledger, SetOff.model_validate(request), actor="anna", now=NOW)


def owed(ledger: Engine) -> dict[str, int]:
    """What is open, by number."""
    return {one.number: one.open_minor for one in outstanding(ledger, as_of=date(2026, 6, 1)).documents}


@pytest.mark.requirement("PAY-08")
def test_a_bill_below_zero_pays_invoices_in_parts(any_ledger: Engine) -> None:
    """-119.00 with 19.00 of tax pays 30.00 of one invoice and all of another of 59.50; 29.50 stay owed."""
    books = Books(any_ledger, NOW)
    below, first, second = books.issue(-10000, -1900), books.issue(5000, 950), books.issue(5000, 950)
    assert set_off(any_ledger, below, first, amount="30.00", set_off_id="march") == ("march", True)
    assert set_off(any_ledger, below, first, amount="30.00", set_off_id="march") == ("march", False)
    with pytest.raises(Conflict, match="another pay-out has the id"):
        set_off(any_ledger, below, first, amount="31.00", set_off_id="march")
    made, _ = set_off(any_ledger, below, second, reason="agreed by mail")
    assert owed(any_ledger) == {below: -2950, first: 2950}
    assert "cash" not in books.balances(on=date(2026, 3, 1))
    out, paid = get_pay_out(any_ledger, made), get_payment(any_ledger, made)
    assert (out["amount_minor"], out["reason"], out["reference"]) == (
        5950, "agreed by mail", f"set off against {second}",
    )  # fmt: skip
    (pays,) = paid["allocations"]
    assert (paid["source"], paid["state"], pays["number"], pays["rule"]) == (
        "set_off", "applied", second, "set_off",
    )  # fmt: skip
    assert pays["net_minor"] == 5000
    groups: tuple[Group, ...] = ("customer", "contract")
    for group in groups:
        question = RevenueQuestion(by="month", group=group, as_of=date(2026, 6, 1))
        with any_ledger.connect() as connection:
            revenue_report(question, sums_from_ledger(connection, question))
    assert verify_journal(any_ledger) == []
    (*_, entry) = list_entries(any_ledger, chosen=AuditFilter(object_kind="pay_out"), limit=9)
    assert (entry.actor, entry.action) == ("anna", "recorded")


def test_it_is_taken_back_as_money_on_account_and_never_bounces(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    below, invoice = books.issue(-1000), books.issue(2500)
    made, _ = set_off(ledger, below, invoice)
    with pytest.raises(Conflict, match="no money came in") as caught:
        return_payment(ledger, made, on=date(2026, 3, 2), reason="bounced", actor="anna", now=NOW)
    assert caught.value.reason_code == "set_off_returned"
    unapply_payment(ledger, made, document=invoice, reason="the other one", actor="anna", now=NOW)
    assert owed(ledger) == {invoice: 2500}
    assert books.balances()["customer_credit"] == -1000
    assert verify_journal(ledger) == []


def test_what_cannot_be_set_off_is_refused_and_leaves_nothing(ledger: Engine) -> None:
    books = Books(ledger, NOW)
    below, invoice = books.issue(-1000), books.issue(2500)
    other, dollars = books.issue(2500, customer="other"), books.issue(2500, currency="USD")
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        (below, other, {}, "set_off_apart"),
        (below, dollars, {}, "set_off_apart"),
        (below, invoice, {"amount": "10.01"}, "set_off_too_large"),
        (below, invoice, {"amount": "0.001"}, "set_off_too_large"),
        (below, invoice, {"amount": "-1.00"}, "set_off_too_large"),
        (below, invoice, {"value_date": "2026-01-31"}, "set_off_too_large"),
        (invoice, below, {}, "set_off_too_large"),
        (below, "INV-2026-000099", {}, "not_found"),
    ]
    for document, against, wanted, code in cases:
        with pytest.raises((Conflict, NotFound)) as caught:
            set_off(ledger, document, against, **wanted)
        assert caught.value.reason_code == code, wanted
    books.pay("1.00", payment_id="taken")
    with pytest.raises(Conflict, match="'taken' is on record"):
        set_off(ledger, below, invoice, set_off_id="taken")
    assert list_pay_outs(ledger, customer_id=None, limit=9) == []
    assert len(list_payments(ledger, chosen=PaymentFilter(), limit=9)) == 1
    assert verify_journal(ledger) == []
