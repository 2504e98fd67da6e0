"""Goal: invoices for items and top-ups are documents as any other: credited, sent, right as e-invoices."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest

from ingest.errors import Conflict
from invoicing.audit_verify import verify_books
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, StoredCreditNote, issue_credit_note
from invoicing.credit_store import void_grant
from invoicing.customer_store import save_customer
from invoicing.delivery.documents import PDF, XML
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.einvoice_check import EInvoiceChecker
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.einvoice_model import SYNTAXES
from invoicing.journal_check import verify_journal
from invoicing.store import StoredInvoice
from tests.invoicing import test_item_invoices, test_top_up
from tests.invoicing.einvoice_case import BUYER, SELLER
from tests.invoicing.items_case import CONSULTING, expense, hours, take
from tests.invoicing.test_delivery_credit_note import shelf_of
from tests.invoicing.test_einvoice import errors
from tests.invoicing.test_tax_billing import CUSTOMER, setting
from tests.invoicing.world import LONG_AGO, World, at

REACHED = {name: BUYER[name] for name in ("endpoint_id", "endpoint_scheme", "buyer_reference")}
SENDER = {name: SELLER[name] for name in ("contact_name", "phone", "email", "endpoint_id", "endpoint_scheme")}


def credit(world: World, stored: StoredInvoice, **wanted: Any) -> StoredCreditNote:
    request = CreditNoteRequest.model_validate({"reason": "not ordered", **wanted})
    issuing = Issuing("CN", "ada", None, at("2026-02-01"))
    return issue_credit_note(world.ledger, str(stored.summary.number), request, issuing)[0]


def is_right(checker: EInvoiceChecker, stored: StoredInvoice, *notes: StoredCreditNote) -> None:
    terms = [electronic_invoice(stored.invoice, profile="en16931")]
    terms += [electronic_credit_note(orjson.loads(note.text), profile="en16931") for note in notes]
    for document in terms:
        for syntax in SYNTAXES:
            assert errors(checker, einvoice_xml(document, syntax)) == []


@pytest.mark.requirement("TAX-04")
@pytest.mark.requirement("TAX-07")
def test_an_invoice_for_items_and_one_for_a_top_up(world: World) -> None:
    setting(world, **SENDER)
    save_customer(world.ledger, CUSTOMER | REACHED, now=LONG_AGO)
    test_top_up.prepaid(world, 501)
    test_top_up.look(world, "2025-01-11T00:01")
    (top_up,) = world.invoices()
    assert top_up.invoice.lines[0].description == "Credit top-up"
    with pytest.raises(Conflict, match="Void it first"):
        credit(world, top_up)
    void_grant(
        world.ledger, "c1:top-up:2025-01-11", reason="r", on=at("2025-03-01").date(), now=at("2026-01-01")
    )
    sold = credit(world, top_up)
    assert sold.summary.voids
    world.plan(CONSULTING)
    world.contract()
    take(world, hours("1", "2"), expense("1", "49.90"))
    test_item_invoices.plan(world, invoice_on="2025-02-03")
    test_item_invoices.look(world, at("2025-02-03T05:00"))
    items = next(one for one in world.invoices() if one.summary.issue_date == date(2025, 2, 3))
    half, rest = credit(world, items, amount="100.00"), credit(world, items)
    assert (half.summary.net_minor, rest.summary.voids) == (-10000, True)
    checker = EInvoiceChecker()
    is_right(checker, items, half, rest)
    is_right(checker, top_up, sold)
    shelf = shelf_of(world.ledger)
    for stored in (items, top_up):
        document = shelf.get(stored.summary.invoice_id)
        assert checker.check(shelf.file(document, XML, now=LONG_AGO).content).valid
        assert shelf.file(document, PDF, now=LONG_AGO).content.startswith(b"%PDF")
    assert verify_books(world.ledger).broken == ()
    assert verify_journal(world.ledger) == []
    checker.close()
