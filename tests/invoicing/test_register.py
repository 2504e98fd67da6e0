"""Goal: every number that leaves the house is in the register, chained to the one before it."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import Engine, select

from ingest.errors import BrokenState
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.issue import issue_invoice
from invoicing.number import draw_numbers
from invoicing.register import CHAIN_START, IssuedDocument, chained, register_documents
from invoicing.store import get_invoice
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at


@pytest.mark.requirement("AUD-01")
def test_invoices_of_runs_and_single_ones_share_one_chain(any_world: World) -> None:
    world = any_world
    world.plan(CALLS, MONTHLY_FEE)
    world.contract(start_date=date(2025, 1, 1))
    world.contract(contract_id="c2", start_date=date(2025, 1, 1))
    world.events(("call", "c1-subject", "2025-01-10", "500"))
    world.bill("2025-01-15")
    world.bill("2025-02-15", issue=False)
    for draft in [stored for stored in world.invoices() if stored.invoice.number is None]:
        issue_invoice(
            world.ledger,
            invoice_id=draft.summary.invoice_id,
            now=at("2025-02-16"),
            series_prefix="INV",
            actor="finance",
        )
    with world.ledger.connect() as connection:
        rows = connection.execute(select(ISSUED_DOCUMENTS).order_by(ISSUED_DOCUMENTS.c.number)).all()
        head = connection.execute(select(NUMBER_SERIES.c.chain_hash)).scalar_one()
    assert [row.number for row in rows] == [1, 2, 3, 4]
    chain = CHAIN_START
    for row in rows:
        stored = get_invoice(world.ledger, row.document_id)
        chain = chained(chain, stored.text)
        assert row.chain_hash == chain
        assert (row.net_minor, row.tax_minor, row.credit_minor) == (stored.invoice.total_minor, 0, 0)
        assert (row.kind, row.currency, row.contract_id) == (
            "invoice",
            stored.invoice.currency,
            stored.summary.contract_id,
        )
        assert row.due_date == str(stored.invoice.due_date)
    assert head == chain
    entries = list_entries(world.ledger, chosen=AuditFilter(action="issued"), limit=10)[::-1]
    assert [entry.object_id for entry in entries] == [row.document_id for row in rows]
    by_run, by_hand = entries[0].to_dict(), entries[-1].to_dict()
    assert (by_run["actor"], by_run["before"], by_run["reason"][:11]) == ("system", None, "billing run")
    assert (by_hand["actor"], by_hand["before"]) == ("finance", {"state": "draft"})
    assert by_hand["after"] == {
        "state": "issued",
        "number": "INV-2025-000004",
        "issue_date": "2025-02-16",
        "document_hash": rows[-1].document_hash,
    }


def test_numbers_out_of_order_are_refused(any_ledger: Engine) -> None:
    def document(number: int) -> IssuedDocument:
        return IssuedDocument(
            document_id=f"d{number}",
            kind="invoice",
            entity_id=None,
            number=number,
            customer_id="acme",
            contract_id="c1",
            currency="EUR",
            issue_date=date(2025, 1, 1),
            due_date=None,
            net_minor=1,
            tax_minor=0,
            credit_minor=0,
            refers_to=None,
            document_hash="0" * 64,
            text="{}",
        )

    with ledger_transaction(any_ledger) as connection:
        draw_numbers(connection, series="INV-2025", count=2)
        swapped = [document(2), document(1)]
        with pytest.raises(BrokenState, match="not in order"):
            register_documents(connection, swapped, series="INV-2025", issued_at="2025-01-01")
