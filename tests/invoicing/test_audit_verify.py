"""Goal: books that are whole are proved, and whatever is altered past the database's guards is named."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from ingest.ledger import ledger_transaction
from invoicing.audit_verify import BooksProof, verify_books
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_special_credit_notes import credit
from tests.invoicing.test_special_invoices import LATER, issue, site
from tests.invoicing.world import World

SECOND = "series = 'INV-2025' AND number = 2"
OF_2026 = "invoice_id IN (SELECT invoice_id FROM invoices WHERE series = 'INV-2026')"
THIRD_HASH = "entry_hash = (SELECT entry_hash FROM audit_entries WHERE sequence = 3)"
OF_SECOND = f"(SELECT invoice_id FROM invoices WHERE {SECOND})"


@pytest.fixture
def billed(any_world: World) -> World:
    """INV-2025-000001 to 6 of three contracts, and INV-2026-000001 to 3."""
    world = any_world
    world.plan(MONTHLY_FEE, CALLS)
    world.contracts(["c1", "c2", "c3"], start_date=date(2025, 12, 1), end_date=date(2026, 1, 1))
    world.events(("call", "c1-subject", "2025-12-10", "500"))
    world.bill("2025-12-01")
    world.bill("2026-01-01")
    return world


def unguarded(ledger: Engine) -> Generator[Connection, None, None]:
    """A transaction in which the triggers are gone: somebody with all rights on the database."""
    with ledger_transaction(ledger) as connection:
        if ledger.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        else:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
            for name in names.scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        yield connection
        if ledger.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = DEFAULT"))


def tampered(world: World, *statements: str) -> BooksProof:
    for connection in unguarded(world.ledger):
        for statement in statements:
            assert connection.execute(text(statement)).rowcount > 0, statement
    return verify_books(world.ledger)


@pytest.mark.requirement("AUD-01", "TAX-06")
def test_whole_books_are_proved(billed: World) -> None:
    proof = verify_books(billed.ledger)
    assert proof.broken == ()
    assert [(one.series, one.count, one.first, one.last, one.last_date) for one in proof.series] == [
        ("INV-2025", 3, "INV-2025-000001", "INV-2025-000003", "2025-12-01"),
        ("INV-2026", 1, "INV-2026-000001", "INV-2026-000001", "2026-01-01"),
    ]
    assert (proof.audit_trail.count, proof.audit_trail.last) == (4, "4")
    assert proof.to_dict()["proved"] is True


def test_books_without_a_document_are_proved(ledger: Engine) -> None:
    assert verify_books(ledger).to_dict() == {
        "proved": True,
        "documents": 0,
        "series": [],
        "audit_trail": {
            "series": "audit",
            "count": 0,
            "first": None,
            "last": None,
            "first_date": None,
            "last_date": None,
            "chain_hash": "",
            "broken": None,
        },
        "broken": [],
    }


# what somebody does, what is said of it, and the place that is named
TAMPERING = [
    (["UPDATE invoices SET document = replace(document, 'Acme', 'Acne') WHERE {second}"],
     "document_changed", "INV-2025-000002"),
    (["UPDATE issued_documents SET document_hash = '0' WHERE {second}"],
     "document_changed", "INV-2025-000002"),
    (["UPDATE issued_documents SET chain_hash = '0' WHERE {second}"], "chain_broken", "INV-2025-000002"),
    (["UPDATE issued_documents SET net_minor = 1 WHERE {second}"], "register_differs", "INV-2025-000002"),
    (["UPDATE issued_documents SET issue_date = '2025-11-30' WHERE {second}"],
     "dates_fall", "INV-2025-000002"),
    ([f"UPDATE invoice_lines SET amount_minor = 1 WHERE invoice_id = {OF_SECOND}"],
     "sums_differ", "INV-2025-000002"),
    (["DELETE FROM issued_documents WHERE {second}"], "number_missing", "INV-2025-000002"),
    (["DELETE FROM issued_documents WHERE series = 'INV-2026'"], "number_missing", "INV-2026-000001"),
    (["DELETE FROM issued_documents WHERE series = 'INV-2026'",
      "DELETE FROM number_series WHERE series = 'INV-2026'"], "not_registered", "INV-2026-000001"),
    (["DELETE FROM number_series WHERE series = 'INV-2026'"], "series_missing", "INV-2026"),
    (["UPDATE number_series SET chain_hash = '0' WHERE series = 'INV-2026'"], "chain_broken", "INV-2026"),
    (["UPDATE issued_documents SET number = 9 WHERE {second}",
      "UPDATE issued_documents SET number = 2 WHERE number = 3",
      "UPDATE issued_documents SET number = 3 WHERE number = 9"], "chain_broken", "INV-2025-000002"),
    ([f"DELETE FROM invoice_lines WHERE invoice_id = {OF_SECOND}",
      "DELETE FROM invoices WHERE {second}"], "document_missing", "INV-2025-000002"),
    (["DELETE FROM issued_documents WHERE series = 'INV-2026'", f"DELETE FROM invoice_lines WHERE {OF_2026}",
      f"DELETE FROM invoices WHERE {OF_2026}", "DELETE FROM number_series WHERE series = 'INV-2026'"],
     "document_missing", "INV-2026-000001"),
    (["DELETE FROM audit_entries WHERE sequence = 4",
      f"UPDATE audit_chain SET last_sequence = 3, {THIRD_HASH}"],
     "entry_missing", "INV-2026-000001"),
    (["UPDATE issued_documents SET issued_at = '2020-01-01T00:00:00+00:00' WHERE {second}"],
     "document_missing", "INV-2025-000002"),
    (["UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 2"], "entry_changed", "audit entry 2"),
    (["DELETE FROM audit_entries WHERE sequence = 3"], "entry_missing", "audit entry 3"),
    (["DELETE FROM audit_entries WHERE sequence = 4"], "entry_missing", "audit entry 4"),
]  # fmt: skip

# what is said when a column beside the text is changed, of which row, and the changes
COLUMNS = [
    ("register_differs", f"issued_documents WHERE {SECOND}", [
        "customer_id = 'c9'", "contract_id = 'c9'", "entity_id = 'other'", "due_date = '2030-01-01'",
        "credit_minor = 1", "kind = 'credit_note'", "refers_to = 'x'"]),
    ("record_differs", f"invoices WHERE {SECOND}", [
        "customer_id = 'c9'", "contract_id = 'c9'", "entity_id = 'other'", "due_date = '2030-01-01'",
        "credit_minor = 1", "total_minor = 1", "tax_minor = 1", "currency = 'USD'", "state = 'draft'",
        "issue_date = '2025-12-02'", "billing_date = '2025-11-01'", "number = 900",
        "number = NULL, series = NULL"]),
    ("lines_differ", f"invoice_lines WHERE invoice_id = {OF_SECOND}", [
        "charge_id = 'other'", "line_id = 'x'", "priced_minor = 1"]),
]  # fmt: skip
for said, row, changes in COLUMNS:
    table, _, which = row.partition(" ")
    TAMPERING += [([f"UPDATE {table} SET {change} {which}"], said, "INV-2025-000002") for change in changes]


@pytest.mark.requirement("AUD-01")
def test_whatever_is_altered_is_named(billed: World, restored: Callable[[], None]) -> None:
    for statements, reason_code, place in TAMPERING:
        proof = tampered(billed, *(statement.format(second=SECOND) for statement in statements))
        found = [(broken.reason_code, broken.place) for broken in proof.broken]
        assert (reason_code, place) in found, (statements, found)
        assert proof.to_dict()["proved"] is False
        restored()


@pytest.fixture
def restored(billed: World) -> Callable[[], None]:
    """Puts the tables of the books back as they were."""
    books = ("issued_documents", "number_series", "audit_entries", "audit_chain")
    kept = rows_of(billed.ledger, (*books, "invoices", "invoice_lines"))
    return lambda: put_back(billed.ledger, kept)


def rows_of(ledger: Engine, tables: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    with ledger.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
            for table in tables
        }


def put_back(ledger: Engine, kept: dict[str, list[dict[str, Any]]]) -> None:
    for connection in unguarded(ledger):
        for table in reversed(kept):
            connection.execute(text(f"DELETE FROM {table}"))
        for table, rows in kept.items():
            marks = ", ".join(f":{name}" for name in rows[0])
            connection.execute(text(f"INSERT INTO {table} VALUES ({marks})"), rows)


# a column beside the text of a credit note, a deposit or its final invoice, and the document that is named
BESIDE = [
    *((f"UPDATE credit_notes SET {change}", "CN-2025-000001") for change in (
        "net_minor = -1", "tax_minor = -1", "credit_minor = -1", "voids = NOT voids", "reason = 'other'",
        "customer_id = 'c9'", "invoice_id = 'other'", "issue_date = '2025-03-02'", "currency = 'USD'")),
    *((f"UPDATE special_invoices SET {change} WHERE kind = 'deposit'", "DEP-2025-000001") for change in (
        "net_minor = 1", "tax_minor = 1", "project = 'other'", "customer_id = 'c9'", "contract_id = 'c9'",
        "kind = 'progress'", "due_date = '2030-01-01'")),
    ("DELETE FROM deducted_documents", "FIN-2025-000001"),
    ("UPDATE deducted_documents SET document_id = 'other'", "FIN-2025-000001"),
]  # fmt: skip


@pytest.mark.requirement("AUD-01")
def test_columns_of_credit_notes_and_special_invoices_are_held_to_their_texts(any_world: World) -> None:
    world = site(any_world)
    issue(world, "miscellaneous", "100.00", reason="agreed")
    credit(world, "MISC-2025-000001", amount="10.00")
    issue(world, "deposit", "1000.00", percent="30", project="plant")
    issue(world, "final", "1000.00", project="plant", on=LATER)
    assert verify_books(world.ledger).broken == ()
    tables = ("credit_notes", "special_invoices", "deducted_documents")
    kept = rows_of(world.ledger, tables)
    for statement, place in BESIDE:
        found = [(broken.reason_code, broken.place) for broken in tampered(world, statement).broken]
        assert ("record_differs", place) in found, (statement, found)
        put_back(world.ledger, kept)
    assert verify_books(world.ledger).broken == ()
