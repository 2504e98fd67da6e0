"""Goal: taxed bills paid with credit, items, credit notes of every size, voided credit: the books tie."""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Engine, select, text

from ingest.errors import Conflict, InvalidInput
from invoicing.audit_verify import verify_books
from invoicing.billing_entity import save_entity
from invoicing.credit_back import given_back
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note, list_credit_notes
from invoicing.credit_store import grant_credit, grants_of_customer, void_grant
from invoicing.customer_store import save_customer
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from invoicing.posting import document_entries
from invoicing.posting_store import post_missing
from invoicing.tables import ISSUED_DOCUMENTS
from invoicing.tax_rates import TAX_RATES, example_tax_rates
from tests.invoicing.items_case import CONSULTING, expense, hours, take
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_journal import balances, without_journal
from tests.invoicing.test_posting import document, line, shown
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY
from tests.invoicing.world import LONG_AGO, World, at

BOOKS = {**CALLS, "charge_id": "books", "name": "Books", "tax_class": "reduced"}
GROSS = {**CALLS, "price": {"model": "per_unit", "unit_price": "1.19"}}
RETAINER = {"retainer_id": "r", "name": "Retainer", "amount": "20", "credit": "25", "charge_ids": ["calls"]}
MONTHS = ("2025-01-15", "2025-02-15", "2025-03-15", "2025-04-15")


def set_up(world: World) -> None:
    """Contract c1: fee, calls, books (7 %), items, a retainer; c2: prices with tax. Grants: half paid for and
    for all, given for nothing and soon to expire, bought and for one contract."""
    save_entity(world.ledger, ENTITY, now=LONG_AGO)
    for rates in example_tax_rates(["DE"]):
        TAX_RATES.save(world.ledger, rates, now=LONG_AGO)
    save_customer(world.ledger, CUSTOMER, now=LONG_AGO)
    world.plan(MONTHLY_FEE, CALLS, BOOKS, CONSULTING)
    world.plan(GROSS, plan_id="gross", prices_include_tax=True)
    world.contract("c1", retainers=[RETAINER])
    world.contract("c2", plan_id="gross")
    grants: dict[str, dict[str, Any]] = {
        "half": {"amount": "61.37", "cost_basis": "30.11", "priority": 2},
        "free": {"amount": "20.01", "cost_basis": "0", "priority": 1, "expires_on": "2025-03-01"},
        "one": {"amount": "900", "cost_basis": "700", "priority": 3, "contract_ids": ["c2"]},
    }
    for grant_id, more in grants.items():
        document = {
            "grant_id": grant_id,
            "customer_id": "acme",
            "name": grant_id,
            "kind": "paid",
            "currency": "EUR",
            "effective_from": "2025-01-01",
            **more,
        }
        grant_credit(world.ledger, document, now=at("2025-01-01"))


def credit_something(world: World, dice: random.Random, day: date) -> None:
    """A credit note of a random size on a random invoice; sold credit is voided first."""
    issued = [one for one in world.invoices() if one.invoice.number]
    chosen = dice.choice(issued)
    lines = [line for line in chosen.invoice.lines if line.amount_minor > 0]
    wanted: dict[str, Any] = {"reason": "wrong", "dated_on": day}
    way = dice.randrange(3)
    if way == 1:
        wanted["amount"] = f"{dice.randrange(1, 900) / 100:.2f}"
    elif way == 2 and lines:
        wanted["lines"] = [{"line_id": dice.choice(lines).line_id}]
    request = CreditNoteRequest.model_validate(wanted)
    issuing = Issuing("CN", "finance", None, at(day.isoformat()))
    with suppress(InvalidInput):  # more than is left of it
        try:
            issue_credit_note(world.ledger, chosen.summary.invoice_id, request, issuing)
        except Conflict:  # it sold credit of which something is left
            on = day
            for stored in grants_of_customer(world.ledger, "acme"):
                if stored.origin == "retainer" and stored.remaining_minor:
                    on = max(on, stored.grant.effective_from)
                    grant_id = stored.grant.grant_id
                    void_grant(world.ledger, grant_id, reason="wrong", on=on, now=at(on.isoformat()))
            issuing = replace(issuing, now=at(on.isoformat()))
            issue_credit_note(world.ledger, chosen.summary.invoice_id, request, issuing)


def test_the_books_of_a_taxed_business_tie(any_world: World) -> None:
    world, dice = any_world, random.Random(7)
    set_up(world)
    take(world, hours("h1", "1.5"), expense("x1", "48.20"), hours("h2", "0.75", date="2025-02-20"))
    for place, month in enumerate(MONTHS):
        for contract, calls in (("c1-subject", dice.randrange(5000)), ("c2-subject", dice.randrange(90))):
            day = date.fromisoformat(month) + timedelta(days=5)
            world.events(("call", contract, day.isoformat(), str(calls)))
        assert not world.bill(month, now=at(month)).held
        for _ in range(2 + place):
            credit_something(world, dice, date.fromisoformat(month) + timedelta(days=7))
    notes = list_credit_notes(world.ledger, customer_id=None, invoice_id=None, limit=100)
    assert sum(1 for note in notes if note.credit_minor) >= 3, "credit went back"
    assert any(note.voids for note in notes)
    assert verify_journal(world.ledger) == []
    assert verify_postings(world.ledger) == []
    assert verify_books(world.ledger).broken == ()
    _identities(world)
    _posted_again(world.ledger)


def _identities(world: World) -> None:
    """By contract and day: recognised - billed = what waits; tax is the register's."""
    day = date(2025, 1, 1)
    while day < date(2025, 7, 1):
        for chosen in ({}, {"contract_id": "c1"}, {"contract_id": "c2"}):
            found: dict[str, int] = defaultdict(int, balances(world.ledger, on=day, **chosen))
            waiting = sum(found[name] for name in ("unbilled", "deferred", "prepaid_credit", "suspense"))
            net, tax = _billed(world.ledger, day, **chosen)
            assert -found["revenue"] - net == waiting, (day, chosen)
            assert -found["tax"] == tax
        day += timedelta(days=9)
    final = balances(world.ledger)
    assert not {"unbilled", "deferred"} & final.keys()
    # Given for money outside the books, and nothing else: what is given or taken back leaves none of it.
    assert final["suspense"] == 3011 + 70000


def _billed(ledger: Engine, day: date, contract_id: str | None = None) -> tuple[int, int]:
    table = ISSUED_DOCUMENTS.c
    statement = select(table.net_minor - table.credit_minor, table.tax_minor, table.contract_id).where(
        table.issue_date <= day.isoformat()
    )
    with ledger.connect() as connection:
        rows = [row for row in connection.execute(statement) if contract_id in (None, row[2])]
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def _posted_again(ledger: Engine) -> None:
    """Backfill from what is on record gives the same books, credit notes included."""
    days = [date(2025, 1, 1) + timedelta(days=step) for step in range(0, 200, 13)]
    wanted = [balances(ledger, on=day) for day in days]
    without_journal(ledger)
    with ledger.connect() as connection:
        documents = connection.execute(
            text("SELECT COUNT(*) FROM issued_documents WHERE net_minor <> 0 OR tax_minor <> 0")
        ).scalar_one()
    assert post_missing(ledger).documents == documents
    assert verify_journal(ledger) == []
    assert [balances(ledger, on=day) for day in days] == wanted


def test_every_line_gets_its_own_credit_back_once() -> None:
    """Of 30 drawn for a and 20 for b: 35 back for a, then 15 for what is left."""
    left = {"a": 30, "b": 20}
    for amount, first, wanted in ((35, {"a"}, [("a", -30), ("b", -5)]), (15, {"a"}, [("b", -15)])):
        back = given_back(left, amount, first=first)
        assert list(back) == wanted
        left = {line_id: drawn + dict(back).get(line_id, 0) for line_id, drawn in left.items()}
    assert left == {"a": 0, "b": 0}


def test_credit_a_line_sold_waits_in_suspense_for_the_credit_note_of_it(world: World) -> None:
    """A retainer of 20.00, voided whole; its line is credited 5.00 first, then the rest."""
    world.plan(CALLS)
    world.contract(retainers=[RETAINER])
    world.bill("2025-01-15", now=at("2025-01-15"))
    (sold,) = grants_of_customer(world.ledger, "acme")
    void_grant(world.ledger, sold.grant.grant_id, reason="x", on=date(2025, 1, 20), now=at("2025-01-20"))
    found = []
    for amount in ("5.00", None):
        request = CreditNoteRequest.model_validate({"reason": "wrong", "amount": amount})
        issue_credit_note(
            world.ledger, "INV-2025-000001", request, Issuing("CN", "finance", None, at("2025-01-20"))
        )
        assert verify_journal(world.ledger) == []
        assert verify_postings(world.ledger) == []
        found.append(balances(world.ledger))
    assert found == [{"receivable": 1500, "suspense": -1500}, {}]


def test_what_was_used_of_voided_credit_is_taken_off_revenue() -> None:
    """A line sold credit of 80.00, of which 30.00 was voided; it is credited whole."""
    entries = document_entries(
        document(
            line("top-up", "credit_top_up", "2025-01-01", "2025-01-02", -8000),
            issued="2025-02-01",
            kind="credit_note",
            taken_back={"top-up-line": 3000},
        )
    )
    assert shown(entries) == [
        "2025-02-01 credit_note receivable -8000",
        "2025-02-01 credit_note suspense 3000",
        "2025-02-01 credit_note revenue 5000",
    ]
