"""Goal: what a billing run issues, and what is credited of it, is an e-invoice without an error."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import einvoice
import orjson
import pytest

from ingest.errors import InvalidDocument
from invoicing.billing_entity import save_entity
from invoicing.credit_store import grant_credit
from invoicing.customer_store import get_customer, save_customer
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.einvoice_check import EInvoiceChecker
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.einvoice_model import SYNTAXES, EInvoice, Profile
from invoicing.invoice import parse_invoice
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_credit_note_store import credit
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY, setting
from tests.invoicing.world import LONG_AGO, World

SELLER = {
    "endpoint_id": "DE136695976",
    "endpoint_scheme": "9930",
    "contact_name": "Accounts",
    "phone": "+49 40 5550100",
    "email": "billing@northwind.example",
}
BUYER = {"endpoint_id": "4012345000009", "endpoint_scheme": "0088", "buyer_reference": "04011000-12345-34"}
BOOKS = {
    **CALLS,
    "charge_id": "books",
    "name": "Books",
    "tax_class": "reduced",
    "price": {"model": "per_unit", "unit_price": "0.333"},
}


@pytest.fixture(scope="module")
def checker() -> Iterator[EInvoiceChecker]:
    made = EInvoiceChecker()
    yield made
    made.close()


def errors(checker: EInvoiceChecker, document: EInvoice) -> list[str]:
    """Of every check in both syntaxes, and of the second opinion."""
    found = []
    for syntax in SYNTAXES:
        xml = einvoice_xml(document, syntax)
        checked = checker.check(xml)
        assert set(checked.checks.values()) == {"run"}
        found += [finding.rule for finding in checked.findings if finding.is_error]
        second = einvoice.validate_bytes(xml, profile=document.profile)
        found += [entry["rule"] for entry in second["violations"] if entry["severity"] == "fatal"]
    return found


@pytest.mark.requirement("TAX-04")
def test_a_run_with_several_taxes_and_prices_with_tax_gives_right_e_invoices(
    checker: EInvoiceChecker, world: World
) -> None:
    setting(world, customer=BUYER, **SELLER)
    tiers = [{"up_to": "100", "unit_price": "0.119"}, {"up_to": None, "unit_price": "0.0595"}]
    tiered = {**CALLS, "price": {"model": "graduated", "tiers": tiers}}
    discount = {"discount_id": "d", "name": "Promise", "percent": "7.5"}
    world.plan(MONTHLY_FEE, tiered, BOOKS)
    world.plan(
        {**MONTHLY_FEE, "price": {"model": "flat", "amount": "99.99"}},
        tiered,
        BOOKS,
        plan_id="gross",
        prices_include_tax=True,
    )
    world.contract(discounts=[discount])
    world.contract("c2", plan_id="gross")
    world.events(("call", "c2-subject", "2025-01-21", "1234.567"))
    grant = {"grant_id": "g", "customer_id": "acme", "name": "Prepaid", "kind": "paid", "currency": "EUR"}
    grant |= {"amount": "20.00", "cost_basis": "20.00", "effective_from": "2025-01-01"}
    grant_credit(world.ledger, grant, now=LONG_AGO)
    assert not world.bill("2025-02-15").held
    issued = [stored.invoice for stored in world.invoices()]
    assert max(len(invoice.tax) for invoice in issued) == 2
    assert any(line.tax and line.tax.inclusive_minor for invoice in issued for line in invoice.lines)
    for invoice in issued:
        document = electronic_invoice(invoice, profile="xrechnung")
        assert errors(checker, document) == []
        assert document.due == Decimal(invoice.due_minor).scaleb(-2)
        notes = [credit(world, str(invoice.number), amount="3.21"), credit(world, str(invoice.number))]
        credited = [electronic_credit_note(orjson.loads(note.text), profile="xrechnung") for note in notes]
        assert [errors(checker, entry) for entry in credited] == [[], []]
        assert sum(entry.gross for entry in credited) == document.gross
        assert sum(entry.prepaid for entry in credited) == document.prepaid


@pytest.mark.requirement("TAX-04")
@pytest.mark.parametrize(
    ("customer", "category"),
    [
        ({"country": "FR", "tax_id": "FR83404833048"}, "AE"),
        ({"country": "CH"}, "G"),
        ({"tax_status": "exempt", "tax_exempt_reason": "Exempt by § 4 Nr. 8 UStG"}, "E"),
    ],
)
def test_what_bears_no_tax_is_right_too(
    checker: EInvoiceChecker, world: World, customer: dict[str, Any], category: str
) -> None:
    setting(world, customer=BUYER | customer, **SELLER)
    world.plan({**MONTHLY_FEE, "tax_class": "goods"} if category == "G" else MONTHLY_FEE)
    world.contract()
    assert not world.bill("2025-01-15").held
    (stored,) = world.invoices()
    profile: Profile = "peppol"
    document = electronic_invoice(stored.invoice, profile=profile)
    assert document.taxes[0].category == category
    note = electronic_credit_note(orjson.loads(credit(world).text), profile=profile)
    for entry in (document, note):
        found = checker.check(einvoice_xml(entry, "ubl"))
        assert [finding.rule for finding in found.findings if finding.is_error] == []


def test_electronic_addresses_are_kept_and_no_text_changes_without_them(world: World) -> None:
    setting(world)
    world.plan()
    world.contract()
    world.bill("2025-01-15")
    (before,) = world.invoices()
    assert not {"endpoint_id", "buyer_reference", "contact_name"} & {
        *before.invoice.customer,
        *(before.invoice.seller or {}),
    }
    save_customer(world.ledger, CUSTOMER | BUYER, now=LONG_AGO)
    save_entity(world.ledger, ENTITY | SELLER, now=LONG_AGO)
    assert get_customer(world.ledger, "acme").customer.buyer_reference == BUYER["buyer_reference"]
    world.bill("2025-02-15")
    after = world.invoices()[1]
    assert {name: after.invoice.customer[name] for name in BUYER} == BUYER
    assert {name: (after.invoice.seller or {})[name] for name in SELLER} == SELLER
    assert parse_invoice(after.text) == after.invoice
    for document in ({"endpoint_id": "1"}, {"endpoint_scheme": "0088"}):
        with pytest.raises(InvalidDocument, match="both or neither"):
            save_customer(world.ledger, CUSTOMER | document, now=LONG_AGO)
        with pytest.raises(InvalidDocument, match="both or neither"):
            save_entity(world.ledger, ENTITY | document, now=LONG_AGO)
