"""Goal: bills state the right tax, from the right entity, to the right parties, or are held and say why."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pypdf import PdfReader
from sqlalchemy import select

from ingest.errors import BrokenState, Conflict
from ingest.ledger import ledger_transaction
from invoicing.billing_entity import save_entity
from invoicing.country_profile import COUNTRY_PROFILES
from invoicing.credit import CreditGrant
from invoicing.credit_store import grant_credit
from invoicing.customer_store import save_customer
from invoicing.document import InvoicePrinter
from invoicing.issue import issue_invoice
from invoicing.preview import preview_contract
from invoicing.settings import BillingSettings
from invoicing.store import InvoiceFilter, StoredInvoice, get_invoice, invoice_totals
from invoicing.tables import INVOICES, ISSUED_DOCUMENTS
from invoicing.tax_rates import TAX_RATES, example_tax_rates
from invoicing.top_up import save_top_up, top_up_credit
from tests.invoicing.items_case import CONSULTING, hours, outcomes, take
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at

ENTITY: dict[str, Any] = {
    "entity_id": "de",
    "legal_name": "Northwind Metering GmbH",
    "address_lines": ["Speicherstraße 1"],
    "postal_code": "20457",
    "city": "Hamburg",
    "country": "DE",
    "tax_id": "DE136695976",
    "registration_id": "HRB 4711",
    "bank_account": {"holder": "Northwind", "iban": "DE89 3704 0044 0532 0130 00", "bic": "COBADEFFXXX"},
    "languages": ["en", "de"],
    "terms_text": {"en": "Quote the number when you pay.", "de": "Bitte die Nummer angeben."},
    "late_payment": "9 points above the base rate",
}
CUSTOMER: dict[str, Any] = {
    "customer_id": "acme",
    "name": "Acme",
    "address_lines": ["Hauptstraße 1", "10115 Berlin"],
    "country": "DE",
}
FRENCH = {"country": "FR", "tax_id": "FR83404833048"}
PRINTER = InvoicePrinter()


def setting(world: World, *, customer: dict[str, Any] | None = None, **entity: Any) -> None:
    """An entity, German rates, the customer, and a contract with usage in its first month."""
    save_entity(world.ledger, ENTITY | entity, now=LONG_AGO)
    for rates in example_tax_rates(["DE"]):
        TAX_RATES.save(world.ledger, rates, now=LONG_AGO)
    save_customer(world.ledger, CUSTOMER | (customer or {}), now=LONG_AGO)
    world.events(("call", "c1-subject", "2025-01-20", "120"))


def tax_lines(stored: StoredInvoice) -> list[str]:
    """``S 19 % on 3120: 593``, and the sums."""
    invoice = stored.invoice
    rows = [
        f"{group.category} {group.rate_percent} % on {group.taxable_minor}: {group.tax_minor}"
        for group in invoice.tax
    ]
    return [*rows, f"net {invoice.total_minor} gross {invoice.gross_minor} due {invoice.due_minor}"]


def pdf_text(stored: StoredInvoice, logo: bytes = b"") -> str:
    pages = PdfReader(io.BytesIO(PRINTER.pdf(stored.invoice, logo=logo))).pages
    return "\n".join(page.extract_text() for page in pages)


@pytest.mark.requirement("TAX-01")
@pytest.mark.requirement("GEN-07")
def test_an_invoice_at_home_on_any_ledger(any_world: World) -> None:
    world = any_world
    setting(world)
    world.plan()
    world.contract()
    assert not world.bill("2025-02-15").held
    first, second = world.invoices()
    assert tax_lines(first) == ["S 19 % on 3000: 570", "net 3000 gross 3570 due 3570"]
    assert tax_lines(second) == ["S 19 % on 3120: 593", "net 3120 gross 3713 due 3713"]
    assert (second.summary.tax_minor, second.summary.gross_minor, second.summary.entity_id) == (
        593,
        3713,
        "de",
    )
    with world.ledger.connect() as connection:
        rows = connection.execute(select(ISSUED_DOCUMENTS).order_by(ISSUED_DOCUMENTS.c.number)).all()
    assert [(row.entity_id, row.net_minor, row.tax_minor) for row in rows] == [
        ("de", 3000, 570),
        ("de", 3120, 593),
    ]
    [total] = invoice_totals(world.ledger, chosen=InvoiceFilter())
    assert (total.total_minor, total.tax_minor) == (6120, 1163)
    text = pdf_text(second)
    for words in (
        "Northwind Metering GmbH",
        "20457 Hamburg",
        "Tax ID DE136695976",
        "HRB 4711",
        "Net 31.20",
        "Tax 19 % on 31.20",
        "5.93",
        "37.13 EUR",
        "DE89 3704 0044 0532 0130 00",
        "Late payment: 9 points above the base rate",
        "Quote the number when you pay.",
    ):
        assert words in text
    assert "exclude tax" not in text


@pytest.mark.requirement("TAX-01")
@pytest.mark.requirement("TAX-02")
def test_reverse_charge_names_the_law_and_both_numbers(world: World) -> None:
    setting(world, customer=FRENCH)
    world.plan()
    world.contract()
    assert not world.bill("2025-01-15").held
    [stored] = world.invoices()
    assert tax_lines(stored) == ["AE 0 % on 3000: 0", "net 3000 gross 3000 due 3000"]
    text = pdf_text(stored)
    for words in ("DE136695976", "FR83404833048", "Reverse charge", "Art. 196", "No tax (AE) on 30.00"):
        assert words in text


@pytest.mark.requirement("CON-09")
def test_goods_and_hours_in_one_agreement_each_of_its_own_class(world: World) -> None:
    setting(world)
    goods = {**CALLS, "charge_id": "books", "name": "Books", "tax_class": "reduced"}
    world.plan(MONTHLY_FEE, goods)
    world.contract()
    world.bill("2025-02-15")
    stored = world.invoices()[1]
    assert tax_lines(stored) == [
        "S 7 % on 120: 8",
        "S 19 % on 3000: 570",
        "net 3120 gross 3698 due 3698",
    ]
    text = pdf_text(stored)
    assert "tax 7 %" in text
    assert "tax 19 %" in text


@pytest.mark.requirement("CON-09")
def test_what_was_shipped_and_the_hours_of_one_agreement_bear_their_own_tax(world: World) -> None:
    """Three manuals at 7.50 and 0.5 h of a junior at 84.00, on one invoice."""
    setting(world)
    world.plan(CONSULTING)
    world.contract()
    shipped = {
        "source_system": "shop",
        "external_id": "4711",
        "source": "order",
        "contract_id": "c1",
        "date": "2025-01-20",
        "quantity": "3",
        "unit": "book",
        "unit_price": "7.50",
        "currency": "EUR",
        "tax_class": "reduced",
        "description": "Manual",
    }
    assert outcomes(take(world, shipped, hours("1", "0.5"))) == ["accepted"] * 2
    world.bill("2025-02-15")
    (stored,) = world.invoices()
    lines = [
        (line.description, str(line.quantity), line.unit, line.amount_minor, str(line.tax.rate_percent))
        for line in stored.invoice.lines
        if line.tax is not None
    ]
    assert lines == [
        ("Consulting: Relaunch, junior", "0.5", "hour", 4200, "19"),
        ("Manual", "3", "book", 2250, "7"),
    ]
    assert tax_lines(stored) == [
        "S 7 % on 2250: 158",
        "S 19 % on 4200: 798",
        "net 6450 gross 7406 due 7406",
    ]


@pytest.mark.requirement("GEN-05")
def test_a_line_without_its_period_of_service_is_not_issued(world: World) -> None:
    setting(world)
    world.plan()
    world.contract()
    world.bill("2025-01-15", issue=False)
    [draft] = world.invoices()
    document = orjson.loads(draft.text)
    document["lines"][0]["period_end"] = None
    broken = orjson.dumps(document).decode()
    with ledger_transaction(world.ledger) as connection:
        connection.execute(INVOICES.update().values(document=broken))
    with pytest.raises(BrokenState, match="no period of service"):
        issue_invoice(
            world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-01-20"), series_prefix="INV"
        )
    with world.ledger.connect() as connection:
        assert connection.execute(select(INVOICES.c.state, INVOICES.c.number)).all() == [("draft", None)]
        assert connection.execute(select(ISSUED_DOCUMENTS)).all() == []


def test_prices_with_tax_and_usage_that_comes_late(world: World) -> None:
    setting(world)
    world.plan({**CALLS, "price": {"model": "per_unit", "unit_price": "1.19"}}, prices_include_tax=True)
    world.contract()
    world.bill("2025-02-15")
    [stored] = world.invoices()
    assert tax_lines(stored) == ["S 19 % on 12000: 2280", "net 12000 gross 14280 due 14280"]
    assert "142.80 with tax" in pdf_text(stored)
    world.events(("call", "c1-subject", "2025-01-21", "10"))
    world.bill("2025-03-15")
    late = world.invoices()[1]
    assert [line.amount_minor for line in late.invoice.lines] == [1000]
    assert tax_lines(late) == ["S 19 % on 1000: 190", "net 1000 gross 1190 due 1190"]
    # Nothing came since, so nothing is adjusted again: amounts with tax were compared with amounts with tax.
    world.bill("2025-04-15")
    assert len(world.invoices()) == 2


def test_the_preview_is_the_invoice_and_credit_pays_after_tax(world: World) -> None:
    setting(world)
    world.plan()
    world.contract()
    grant = CreditGrant(
        grant_id="g",
        customer_id="acme",
        name="Prepaid",
        kind="paid",
        currency="EUR",
        amount=Decimal(36),
        cost_basis=Decimal(36),
        effective_from=date(2025, 1, 1),
    )
    grant_credit(world.ledger, grant.model_dump(), now=LONG_AGO)
    world.bill("2025-01-15")
    [first] = world.invoices()
    assert tax_lines(first) == ["S 19 % on 3000: 570", "net 3000 gross 3570 due 0"]
    assert first.invoice.drawn_credit[0].amount_minor == 3570
    seen = preview_contract(
        contract_id="c1", at=at("2025-02-14"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-02-15")
    second = world.invoices()[1]
    assert (seen.tax, seen.due_minor) == (second.invoice.tax, second.invoice.due_minor)
    assert second.summary.due_minor == 3713 - 30
    assert seen.seller == second.invoice.seller


def test_what_sells_credit_is_taxed_when_the_credit_is_used(world: World) -> None:
    setting(world)
    world.plan(CALLS)
    world.contract()
    top_up = {"contract_id": "c1", "threshold": "10", "amount": "50", "price": "40"}
    save_top_up(world.ledger, top_up, now=at("2025-01-16"))
    [made] = top_up_credit(
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        now=at("2025-01-16"),
        issue_date=date(2025, 1, 16),
    )
    assert made.invoice_id is not None
    sold = get_invoice(world.ledger, made.invoice_id)
    assert tax_lines(sold) == ["E 0 % on 4000: 0", "net 4000 gross 4000 due 4000"]
    assert "Multi-purpose voucher" in sold.invoice.tax[0].reason
    assert sold.summary.entity_id == "de"
    world.bill("2025-02-15")
    used = next(one for one in world.invoices() if one.summary.billing_date == date(2025, 2, 15))
    assert tax_lines(used) == ["S 19 % on 120: 23", "net 120 gross 143 due 0"]


HELD = """
customer abroad without number | tax_id_missing          | {"country": "FR"}
customer without country       | tax_country_missing     | {"country": ""}
customer without address       | statutory_field_missing | {"address_lines": []}
entity nobody knows            | billing_entity_unknown  | {"billing_entity": "nobody"}
"""


@pytest.mark.requirement("TAX-03")
@pytest.mark.requirement("GEN-07")
def test_what_is_missing_holds_the_date_and_says_what_to_enter(world: World) -> None:
    import json

    setting(world)
    cases = [[part.strip() for part in line.split("|")] for line in HELD.strip().splitlines()]
    world.plan()
    for number, (_, _, changes) in enumerate(cases):
        document = CUSTOMER | {"customer_id": f"k{number}"} | json.loads(changes)
        save_customer(world.ledger, document, now=LONG_AGO)
        world.contracts([f"k{number}-contract"], customer_id=f"k{number}")
    held = world.bill("2025-01-15").held
    assert [entry.reason_code for entry in held] == [code for _, code, _ in cases]
    assert all("Expected" in entry.message or "Enter it" in entry.message for entry in held)
    assert "vollständige Anschrift des Leistungsempfängers" in held[2].message
    assert "customer.address_lines" in held[2].message
    assert world.invoices() == []
    for number in range(len(cases)):
        save_customer(world.ledger, CUSTOMER | {"customer_id": f"k{number}"}, now=LONG_AGO)
    assert not world.bill("2025-01-15").held
    assert len(world.invoices()) == len(cases)


@pytest.mark.requirement("TAX-03")
def test_a_draft_without_a_field_the_country_asks_for_is_not_issued(world: World) -> None:
    setting(world)
    world.plan()
    world.contract()
    world.bill("2025-01-15", issue=False)
    [draft] = world.invoices()
    wanted = {"field": "terms.purchase_order", "words": "number of the order"}
    COUNTRY_PROFILES.save(world.ledger, {"country": "DE", "required": [wanted]}, now=LONG_AGO)
    with pytest.raises(Conflict, match="number of the order") as refused:
        issue_invoice(
            world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-01-20"), series_prefix="INV"
        )
    assert refused.value.reason_code == "statutory_field_missing"
    [held] = world.bill("2025-02-15").held
    assert "terms.purchase_order" in held.message
    COUNTRY_PROFILES.save(world.ledger, {"country": "DE"}, now=LONG_AGO)
    issued = issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-01-20"), series_prefix="INV"
    )
    assert (issued.summary.tax_minor, issued.summary.entity_id) == (570, "de")
