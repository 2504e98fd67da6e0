"""A quote on paper: what is sold once, what the contract charges, until when, and what is accepted."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from pypdf import PdfReader

from invoicing.customer_store import save_customer
from invoicing.document import InvoicePrinter, printed_pro_forma
from invoicing.quote import Acceptance
from invoicing.quote_accept import accept_quote
from invoicing.quote_document import printed_quote, quote_parties, quote_pdf
from invoicing.quote_store import StoredQuote, get_quote, save_quote
from invoicing.sales.catalogue import PRODUCTS, PROMOTIONS
from invoicing.sample_invoice import sample_invoice
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_tax_billing import CUSTOMER, setting
from tests.invoicing.world import LONG_AGO, World, at

TIERED = {
    "charge_id": "storage",
    "name": "Storage",
    "kind": "usage",
    "meter_id": "calls",
    "unit": "GB",
    "price": {
        "model": "graduated",
        "tiers": [{"up_to": "100", "unit_price": "0.10"}, {"unit_price": "0.02", "flat_amount": "5"}],
    },
}


def offered(world: World, **changes: Any) -> StoredQuote:
    setting(world)
    save_customer(world.ledger, CUSTOMER | {"customer_id": "acme", **changes}, now=LONG_AGO)
    world.plan(MONTHLY_FEE, CALLS, TIERED)
    contract = {
        "contract_id": "plant",
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": "2026-05-01",
        "time_zone": "Europe/Berlin",
        "discounts": [{"discount_id": "new", "name": "Newcomer", "percent": "20"}],
    }
    document = {
        "quote_id": "q1",
        "customer_id": "acme",
        "title": "Plant in Hamburg",
        "valid_until": "2026-05-31",
        "terms_version": "2026-01",
        "terms_text": "Delivered as agreed.\nDisputes go to Hamburg.",
        "deposit_percent": "30",
        "lines": [
            {"description": "Plant", "amount": "1000.00"},
            {"description": "Advice", "amount": "250.50"},
        ],
        "contract": contract,
    }
    save_quote(world.ledger, document, actor="sales", now=at("2026-04-02"))
    return get_quote(world.ledger, "q1", now=at("2026-04-02"))


@pytest.mark.requirement("CON-11")
def test_a_quote_says_all_that_is_accepted(world: World) -> None:
    stored = offered(world)
    parties = quote_parties(world.ledger, stored, seller=None)
    printer = InvoicePrinter()
    pdf = quote_pdf(printer, stored, parties)
    assert pdf == quote_pdf(InvoicePrinter(), stored, parties)
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    for words in (
        "Quote",
        "q1",
        "Plant in Hamburg",
        "Northwind Metering GmbH",
        "31 May 2026",
        "1 May 2026",
        "1,000.00",
        "1,250.50 EUR",
        "flat 30.00",
        "Tier 1: up to 100",
        "at 0.02 + flat 5.00",
        "20 %",
        "A deposit of 30 %",
        "Made under the terms 2026-01.",
        "Disputes go to Hamburg.",
        "Amounts exclude tax.",
        stored.document_hash[:32],
        stored.document_hash[32:],
    ):
        assert words in text, words
    assert "Accepted" not in text


CATALOGUE: tuple[dict[str, Any], ...] = (
    {"product_id": "disk", "name": "Disk", "kind": "product", "billed": "recurring", "unit": "TB"}
    | {"prices": {"EUR": "10.00"}},
    {"product_id": "setup", "name": "Setup", "kind": "service", "billed": "once", "prices": {"EUR": "99.00"}},
    {"product_id": "backup", "name": "Backup", "kind": "bundle"}
    | {"components": [{"product_id": "disk", "quantity": "3"}, {"product_id": "setup"}]},
)
SPRING = {"promotion_id": "spring", "name": "Spring", "percent": "10", "first_periods": 3}
SAFE = {"outcome_id": "safe", "description": "No data is ever lost", "product_id": "backup"}


@pytest.mark.requirement("CON-11")
def test_what_is_sold_of_the_catalogue_stands_on_the_page_that_is_accepted(world: World) -> None:
    document = offered(world).quote.model_dump(mode="json")
    for product in CATALOGUE:
        PRODUCTS.save(world.ledger, product, now=LONG_AGO)
    PROMOTIONS.save(world.ledger, SPRING, now=LONG_AGO)
    sold = {**document, "outcomes": [SAFE], "promotion_ids": ["spring"]}
    save_quote(world.ledger, sold, actor="sales", now=at("2026-04-02"))
    stored = get_quote(world.ledger, "q1", now=at("2026-04-02"))
    texts = printed_quote(stored, quote_parties(world.ledger, stored, seller=None))
    shown = [
        f"{line['description']} | {line['detail']} | {line['amount']}".replace("\u200b", "")
        for line in texts["lines"]
    ]
    assert shown == [
        "Plant |  | 1,000.00",
        "Advice |  | 250.50",
        "No data is ever lost: Setup | 1 unit | 89.10",
        "Monthly fee | flat 30.00 | ",
        "API calls | 0.01 per call | ",
        "Storage | each unit at the price of its tier | ",
        "No data is ever lost: Disk | 3 TB · 10.00 per TB | ",
        "Newcomer | 20 % | ",
        "Spring | 10 % · in the first 3 billing periods · No data is ever lost: Disk | ",
    ]
    assert texts["total"] == "1,339.60 EUR"
    assert "A deposit of 30 % of Plant, Advice is asked for on acceptance." in texts["notes"]


def test_a_quote_says_whether_tax_is_in_its_prices(world: World) -> None:
    stored = offered(world)
    parties = quote_parties(world.ledger, stored, seller=None)
    [phase] = parties.phases
    gross = replace(phase, plan=phase.plan.model_copy(update={"prices_include_tax": True}))
    parties = replace(parties, phases=(gross,))
    texts = printed_quote(stored, parties)
    assert texts["tax_notes"] == ["Prices include tax, but not those of Plant, Advice."]
    without = replace(stored, quote=stored.quote.model_copy(update={"lines": (), "deposit_percent": None}))
    assert printed_quote(without, parties)["tax_notes"] == ["Prices include tax."]


def test_it_speaks_the_customers_language_and_says_who_accepted(world: World) -> None:
    stored = offered(world, language="de")
    seen = {"name": "Ada Miller", "document_hash": stored.document_hash, "terms_version": "2026-01"}
    acceptance = Acceptance.model_validate(seen)
    accepted = accept_quote(world.ledger, "q1", acceptance, seller=None, actor="sales", now=at("2026-04-03"))
    texts = printed_quote(accepted, quote_parties(world.ledger, accepted, seller=None))
    assert (texts["title"], texts["billed_to"]) == ("Angebot", "Angeboten an")
    assert "Angenommen von Ada Miller am 3. April 2026." in texts["notes"]
    assert {"label": "Gültig bis", "value": "31. Mai 2026"} in texts["facts"]


def test_a_preview_on_paper_says_that_it_is_no_invoice() -> None:
    texts = printed_pro_forma(sample_invoice())
    assert texts["title"] == "Pro-forma invoice"
    assert texts["notes"][0].startswith("This is not an invoice")
