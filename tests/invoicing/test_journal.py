"""Goal: the journal ties to invoices and credit on any day, as known at any time, and is only added to."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ingest.ledger import ledger_transaction
from invoicing.credit_balance import balance_on
from invoicing.credit_store import entries_of, grant_credit, grants_of_customer, void_grant
from invoicing.journal_check import verify_journal
from invoicing.journal_store import JournalFilter, list_entries, trial_balance
from invoicing.posting_store import PostedMissing, post_missing
from tests.invoicing.credit_case import grant
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at

D = date.fromisoformat
KEPT = ("journal_entries", "journal_lines")


def balances(ledger: Engine, **chosen: object) -> dict[str, int]:
    """By account, those that are not zero."""
    rows = trial_balance(ledger, chosen=JournalFilter(**chosen))  # type: ignore[arg-type]
    return {row.account: row.balance_minor for row in rows if row.balance_minor}


def year_of_business(world: World) -> None:
    """Fees in advance from 15 January, calls in arrears, a retainer, bought credit; billed until 15 April."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contract(
        retainers=[
            {"retainer_id": "r", "name": "Retainer", "amount": "20", "credit": "25", "charge_ids": ["calls"]}
        ]
    )
    bought = grant("bought", "10", cost_basis="8", effective_from="2025-01-15", expires_on="2025-03-20")
    grant_credit(world.ledger, bought, now=at("2025-01-10"))
    extra = grant("extra", "400", cost_basis="300", effective_from="2025-02-01")
    grant_credit(world.ledger, extra, now=at("2025-02-01"))
    for month, calls in (("01-20", "1500"), ("02-20", "3900"), ("03-20", "100")):
        world.events(("call", "c1-subject", f"2025-{month}", calls))
    for as_of in ("2025-01-15", "2025-02-15", "2025-03-15"):
        world.bill(as_of, now=at(as_of))
    void_grant(world.ledger, "extra", reason="cancelled", on=D("2025-04-01"), now=at("2025-04-01"))
    world.bill("2025-04-15", now=at("2025-04-15"))


def test_the_journal_of_a_business(any_world: World) -> None:
    """One business, looked at from all sides: to make it takes most of the time."""
    year_of_business(any_world)
    _ties_on_every_day(any_world)
    _earlier_knowledge(any_world.ledger)
    _lists_entries(any_world)
    _is_only_added_to(any_world.ledger)
    _posted_afterwards(any_world)


def _ties_on_every_day(business: World) -> None:
    ledger = business.ledger
    assert verify_journal(ledger) == []
    entries = entries_of(ledger, [each.grant.grant_id for each in grants_of_customer(ledger, "acme")])
    invoices = [stored.summary for stored in business.invoices()]
    day = D("2025-01-01")
    while day < D("2025-06-01"):
        found = balances(ledger, on=day)
        assert sum(found.values()) == 0
        assert -found.get("prepaid_credit", 0) == balance_on(entries, day).remaining_cost, day
        due = sum(each.due_minor for each in invoices if each.issue_date and each.issue_date <= day)
        assert found.get("receivable", 0) == due, day
        waiting = {"unbilled", "deferred", "prepaid_credit", "suspense"}
        recognised = -found.get("revenue", 0)
        assert recognised - due == sum(found.get(name, 0) for name in waiting), day
        day += timedelta(days=3)
    # All is recognised in the end: the lines that are no credit, less discounts, and what lapsed.
    final = balances(ledger)
    assert "unbilled" not in final
    assert "deferred" not in final


def _earlier_knowledge(ledger: Engine) -> None:
    """January's calls are recognised in January, which nobody knew before the invoice of 15 February."""
    january = D("2025-01-31")
    before = balances(ledger, on=january, known_at=at("2025-02-01"))
    after = balances(ledger, on=january)
    assert before != after
    assert sum(before.values()) == sum(after.values()) == 0
    assert after["unbilled"] > 0
    assert "unbilled" not in before


def _is_only_added_to(ledger: Engine) -> None:
    for table in KEPT:
        for change in (f"DELETE FROM {table}", f"UPDATE {table} SET entry_number = entry_number + 1000"):
            with pytest.raises(DBAPIError, match="never changed"), ledger_transaction(ledger) as one:
                one.execute(text(change))
    assert verify_journal(ledger) == []


def without_journal(ledger: Engine) -> None:
    """As a ledger from before there was a journal."""
    with ledger_transaction(ledger) as connection:
        for table in ("journal_lines", "journal_entries"):
            name = f"{table}_delete_refused"
            on = f" ON {table}" if ledger.dialect.name == "postgresql" else ""
            connection.execute(text(f"DROP TRIGGER {name}{on}"))
            connection.execute(text(f"DELETE FROM {table}"))
        connection.execute(text("UPDATE journal_counter SET next_number = 1"))


def _posted_afterwards(business: World) -> None:
    ledger = business.ledger
    days = [D("2025-01-01") + timedelta(days=number) for number in range(0, 150, 7)]
    wanted = [balances(ledger, on=day) for day in days]
    early = balances(ledger, known_at=at("2025-02-16"))
    without_journal(ledger)
    problems = " ".join(verify_journal(ledger))
    assert "journal backfill" in problems
    invoices = len(business.invoices())
    assert post_missing(ledger).documents == invoices
    assert verify_journal(ledger) == []
    assert [balances(ledger, on=day) for day in days] == wanted
    assert balances(ledger, known_at=at("2025-02-16")) == early
    assert post_missing(ledger) == PostedMissing(0, 0)


def _lists_entries(business: World) -> None:
    first, *rest = list_entries(business.ledger, chosen=JournalFilter(customer_id="acme"), limit=3)
    assert first["entry_number"] == 1
    assert first["kind"] == "credit"
    assert [line["account"] for line in first["lines"]] == ["prepaid_credit", "suspense"]
    assert [entry["entry_number"] for entry in rest] == [2, 3]
    (invoice, *_) = business.invoices()
    chosen = JournalFilter(document_id=invoice.summary.invoice_id)
    found = list_entries(business.ledger, chosen=chosen, limit=100)
    assert {entry["document_id"] for entry in found} == {invoice.summary.invoice_id}
    assert found[0]["posted_at"].startswith("2025-01-15")
