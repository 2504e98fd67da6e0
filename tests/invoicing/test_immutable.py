"""Goal: the database itself refuses to change what left the house, also past all of our code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ingest.ledger import MIGRATIONS, ledger_transaction, migrate_ledger
from invoicing.audit_trail import record_change
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at

REFUSED = [
    "UPDATE invoices SET total_minor = total_minor + 1 WHERE state = 'issued'",
    "UPDATE invoices SET state = 'draft' WHERE state = 'issued'",
    "DELETE FROM invoices WHERE state = 'issued'",
    "UPDATE invoice_lines SET amount_minor = 0",
    "DELETE FROM invoice_lines",
    "UPDATE line_allowances SET amount_minor = 0",
    "DELETE FROM line_allowances",
    "UPDATE issued_documents SET net_minor = 0",
    "DELETE FROM issued_documents",
    "UPDATE audit_entries SET actor = 'nobody'",
    "DELETE FROM audit_entries",
]


@pytest.mark.requirement("TAX-06")
def test_what_is_issued_cannot_be_edited_by_any_statement(any_world: World) -> None:
    ledger = any_world.ledger
    any_world.plan(MONTHLY_FEE, CALLS)
    any_world.contract()
    any_world.bill("2025-01-15")
    with ledger_transaction(ledger) as connection:
        record_change(
            connection,
            actor="finance",
            action="looked",
            object_kind="invoice",
            object_id="i1",
            before=None,
            after=None,
            reason="",
            now=at("2025-01-15"),
        )
        connection.execute(
            text("INSERT INTO line_allowances SELECT line_id, invoice_id, 1 FROM invoice_lines LIMIT 1")
        )
    tables = ("invoices", "invoice_lines", "line_allowances", "issued_documents", "audit_entries")
    before = _contents(ledger, tables)
    assert all(before)
    truncates = [f"TRUNCATE {table} CASCADE" for table in tables] if ledger.name == "postgresql" else []
    for statement in REFUSED + truncates:
        with (
            pytest.raises(DBAPIError, match=r"never changes|cannot truncate"),
            ledger_transaction(ledger) as connection,
        ):
            connection.execute(text(statement))
    assert _contents(ledger, tables) == before


def test_drafts_can_still_be_changed(any_world: World) -> None:
    any_world.plan(MONTHLY_FEE)
    any_world.contract()
    any_world.bill("2025-01-15", issue=False)
    with ledger_transaction(any_world.ledger) as connection:
        assert connection.execute(text("UPDATE invoice_lines SET charge_id = 'x'")).rowcount == 1
        assert connection.execute(text("UPDATE invoices SET currency = 'EUR'")).rowcount == 1
        assert connection.execute(text("DELETE FROM invoice_lines")).rowcount == 1
        assert connection.execute(text("DELETE FROM invoices")).rowcount == 1


def _contents(ledger: Engine, tables: tuple[str, ...]) -> list[list[tuple[object, ...]]]:
    with ledger.connect() as connection:
        return [
            sorted(tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}")))
            for table in tables
        ]


@pytest.fixture(params=["sqlite", "postgresql"])
def old_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A ledger as it was before there was a register (migration 0110)."""
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'old.sqlite'}")
    else:
        admin = sa.create_engine(request.getfixturevalue("_postgres_url"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE before_the_register TEMPLATE template0"))
        engine = sa.create_engine(admin.url.set(database="before_the_register"))
        admin.dispose()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0110")
    yield engine
    engine.dispose()


# invoice, contract, series, number, issue date, total, credit: as 0110 kept them
KEPT = [
    ("b", "c2", "INV-2025", 2, "2025-02-15", 500, 0),
    ("a", "c1", "INV-2025", 1, "2025-01-15", 3000, 100),
    ("c", "c1/top-up", "INV-2026", 1, "2026-01-15", 900, 0),
    ("d", "c9", None, None, None, 700, 0),
]


def keep(connection: sa.Connection) -> None:
    """The invoices of KEPT, the first two of a run that is on record."""
    connection.execute(
        text(
            "INSERT INTO billing_runs "
            "VALUES ('r1', '2025-02-15', 'finished', '2025-02-15T01', '2025-02-15T02', NULL)"
        )
    )
    for series in ("INV-2025", "INV-2026"):
        connection.execute(text(f"INSERT INTO number_series VALUES ('{series}', 9)"))
    for invoice_id, contract_id, of_series, number, day, total, credit in KEPT:
        values = {
            "invoice_id": invoice_id,
            "contract_id": contract_id,
            "customer_id": "acme",
            "billing_date": "2025-01-15",
            "state": "issued" if number else "draft",
            "series": of_series,
            "number": number,
            "issue_date": day,
            "due_date": day,
            "currency": "EUR",
            "total_minor": total,
            "document": f"document {invoice_id}",
            "document_hash": f"hash {invoice_id}",
            "run_id": "top-up" if invoice_id == "c" else "r1",
            "credit_minor": credit,
        }
        marks = ", ".join(f":{name}" for name in values)
        connection.execute(text(f"INSERT INTO invoices ({', '.join(values)}) VALUES ({marks})"), values)


def test_invoices_of_before_the_register_are_entered_in_it(old_ledger: Engine) -> None:
    with old_ledger.begin() as connection:
        keep(connection)
    migrate_ledger(old_ledger)
    migrate_ledger(old_ledger)
    with old_ledger.connect() as connection:
        register = connection.execute(
            text(
                "SELECT document_id, kind, contract_id, series, number, net_minor, tax_minor, credit_minor, "
                "document_hash, chain_hash, issued_at FROM issued_documents ORDER BY series, number"
            )
        ).all()
        series = connection.execute(text("SELECT series, chain_hash FROM number_series")).all()
    heads = {row.series: row.chain_hash for row in series}
    hashes = {"a": _sha("document a"), "c": _sha("document c")}
    hashes["b"] = _sha(hashes["a"] + "document b")
    assert [tuple(row) for row in register] == [
        ("a", "invoice", "c1", "INV-2025", 1, 3000, 0, 100, "hash a", hashes["a"], "2025-02-15T02"),
        ("b", "invoice", "c2", "INV-2025", 2, 500, 0, 0, "hash b", hashes["b"], "2025-02-15T02"),
        ("c", "invoice", "c1", "INV-2026", 1, 900, 0, 0, "hash c", hashes["c"], "2026-01-15T00:00:00Z"),
    ]
    assert heads == {"INV-2025": hashes["b"], "INV-2026": hashes["c"]}


def _sha(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()
