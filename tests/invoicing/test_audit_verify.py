"""Goal: books that are whole are proved, and whatever is altered past the database's guards is named."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import date

import pytest
from sqlalchemy import Connection, Engine, text

from ingest.ledger import ledger_transaction
from invoicing.audit_verify import BooksProof, verify_books
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World

SECOND = "series = 'INV-2025' AND number = 2"
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
    (["UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 2"], "entry_changed", "audit entry 2"),
    (["DELETE FROM audit_entries WHERE sequence = 3"], "entry_missing", "audit entry 3"),
    (["DELETE FROM audit_entries WHERE sequence = 4"], "entry_missing", "audit entry 4"),
]  # fmt: skip


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
    tables = ("issued_documents", "number_series", "audit_entries", "invoices", "invoice_lines")
    kept = {}
    with billed.ledger.connect() as connection:
        for table in tables:
            kept[table] = [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]

    def restore() -> None:
        for connection in unguarded(billed.ledger):
            for table in reversed(tables):
                connection.execute(text(f"DELETE FROM {table}"))
            for table in tables:
                marks = ", ".join(f":{name}" for name in kept[table][0])
                connection.execute(text(f"INSERT INTO {table} VALUES ({marks})"), kept[table])

    return restore
