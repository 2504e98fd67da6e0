"""Goal: whoever changes what a document posted, past the database's guards, is found by the document."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from ingest.errors import BrokenState
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from tests.invoicing.test_audit_verify import unguarded
from tests.invoicing.test_journal import year_of_business
from tests.invoicing.world import LONG_AGO, World

FIRST = (
    "(SELECT min(entry_number) FROM journal_entries WHERE kind = 'recognition' AND entry_date = '2025-01-31')"
)
INVOICE = "(SELECT min(entry_number) FROM journal_entries WHERE kind = 'invoice')"
OF_REVENUE = f"WHERE entry_number = {FIRST} AND account = 'revenue'"
TAMPERED = (
    (
        f"UPDATE journal_entries SET entry_date = '2025-03-31' WHERE entry_number = {FIRST}",
        "belongs on 2025-01-31",
    ),
    (f"UPDATE journal_lines SET customer_id = 'other' {OF_REVENUE}", "is not what its document posts"),
    (f"UPDATE journal_lines SET charge_id = 'other' {OF_REVENUE}", "is not what its document posts"),
    (f"UPDATE journal_lines SET account = 'suspense' {OF_REVENUE}", "revenue"),
    (f"UPDATE journal_lines SET amount_minor = amount_minor * 2 WHERE entry_number = {FIRST}", "and not"),
    (
        f"UPDATE journal_entries SET posted_at = '{LONG_AGO.isoformat()}' WHERE entry_number = {FIRST}",
        "issued at 2025",
    ),
    (f"UPDATE journal_entries SET entry_id = 'x' WHERE entry_number = {FIRST}", "is not in the journal"),
    (f"UPDATE journal_entries SET entry_date = '2025-01-02' WHERE entry_number = {INVOICE}", "belongs on"),
)


@pytest.mark.requirement("AUD-03")
def test_each_kind_of_tampering_is_named_by_what_the_document_posts(any_world: World) -> None:
    year_of_business(any_world)
    ledger = any_world.ledger
    assert verify_postings(ledger) == []
    for statement, words in TAMPERED:
        column = "journal_entries" if "journal_entries SET" in statement else "journal_lines"
        for connection in unguarded(ledger):
            connection.execute(text(f"CREATE TABLE kept AS SELECT * FROM {column}"))
            assert connection.execute(text(statement)).rowcount > 0
        found = " ".join(verify_postings(ledger))
        assert words in found, statement
        if column == "journal_entries" and INVOICE in statement:
            assert "and its document is of" in " ".join(verify_journal(ledger))
        for connection in unguarded(ledger):
            names = (
                ("entry_date", "posted_at", "entry_id")
                if column == "journal_entries"
                else (
                    "customer_id",
                    "charge_id",
                    "account",
                    "amount_minor",
                )
            )
            same = "kept.entry_number = t.entry_number" + (
                "" if column == "journal_entries" else " AND kept.position = t.position"
            )
            for name in names:
                back = f"(SELECT {name} FROM kept WHERE {same})"
                connection.execute(text(f"UPDATE {column} AS t SET {name} = {back}"))
            connection.execute(text("DROP TABLE kept"))
    assert verify_postings(ledger) == []


def test_a_document_without_its_text_is_named(world: World) -> None:
    year_of_business(world)
    for connection in unguarded(world.ledger):
        last = "(SELECT max(invoice_id) FROM invoices)"
        connection.execute(text(f"DELETE FROM invoice_lines WHERE invoice_id = {last}"))
        assert connection.execute(text(f"DELETE FROM invoices WHERE invoice_id = {last}")).rowcount == 1
    with pytest.raises(BrokenState, match="is in the register and its text is gone"):
        verify_postings(world.ledger)
