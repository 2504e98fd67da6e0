"""Goal: the right parties, words, numbers and logo stand on an invoice."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import select

from ingest.clock import FixedClock
from ingest.document import validate_document
from ingest.errors import InvalidDocument, InvalidInput
from invoicing.billing_entity import (
    SELLER_FIELDS,
    BillingEntity,
    get_entity,
    get_logo,
    save_entity,
    save_logo,
    seller_document,
)
from invoicing.country_profile import CountryProfile, profile_rules, shipped_profiles
from invoicing.customer import Customer
from invoicing.customer_store import get_customer, save_customer
from invoicing.delivery.files import document_shelf
from invoicing.delivery.preferences import Recipient
from invoicing.delivery.queue import mail_recipients
from invoicing.saved_document import StoredDocument
from invoicing.tables import INVOICES
from tests.invoicing.delivery_case import deliver, email_channel, mail_server
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY, PRINTER, pdf_text, setting
from tests.invoicing.world import LONG_AGO, World, at


@pytest.mark.requirement("GEN-06")
def test_sold_to_and_bill_to_are_different_places(world: World) -> None:
    parties = {
        "bill_to": {"name": "Acme Shared Services", "address_lines": ["Postfach 1"], "country": "AT"},
        "sold_to": {"name": "Acme Research", "address_lines": ["Labor 2"]},
        "notify": {"name": "Erika", "email": "erika@acme.example"},
    }
    setting(world, customer=parties | {"legal_name": "Acme AG"})
    world.plan()
    world.contract()
    world.bill("2025-01-15")
    [stored] = world.invoices()
    text = pdf_text(stored)
    assert text.index("Billed to".upper()) < text.index("Acme Shared Services") < text.index("Austria")
    assert text.index("SOLD TO") < text.index("Acme Research") < text.index("Labor 2")
    assert "Acme AG" not in text
    assert stored.invoice.customer["notify"]["email"] == "erika@acme.example"
    assert stored.invoice.tax[0].rate_percent == 19  # by the customer's country, not by where its post goes


@pytest.mark.requirement("GEN-06")
def test_the_invoice_is_mailed_to_who_is_billed_and_copied_to_who_is_told(world: World) -> None:
    """Who ordered, and the address of the customer itself, get no mail."""
    parties = {
        "email": "signer@acme.example",
        "bill_to": {"name": "Acme Shared Services", "email": "payer@acme.example"},
        "sold_to": {"name": "Acme Research", "email": "lab@acme.example"},
        "notify": {"name": "Erika", "email": "erika@acme.example"},
    }
    setting(world, customer=parties)
    world.plan()
    world.contract()
    world.bill("2025-01-15", now=at("2025-01-15T08:00"))
    shelf = document_shelf(world.ledger, PRINTER, profile="peppol")
    with mail_server() as box:
        channel = email_channel(world.ledger, shelf, box.port)
        deliver(world.ledger, channel, FixedClock(at("2025-01-15T12:00")), shelf)
        messages = box.messages()
    assert sorted(to for _, (to,), _ in box.taken) == ["erika@acme.example", "payer@acme.example"]
    for message in messages:
        assert (message["To"], message["Cc"]) == ("payer@acme.example", "erika@acme.example")
        (attached,) = message.iter_attachments()
        page = PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()
        assert page.index("Acme Shared Services") < page.index("SOLD TO") < page.index("Acme Research")
    alone = {"customer_id": "k", "name": "K", "notify": parties["notify"]}
    assert mail_recipients(Customer.model_validate(alone)) == (Recipient(email="erika@acme.example"),)


@pytest.mark.requirement("CON-14")
@pytest.mark.requirement("DEL-07")
def test_terms_are_in_the_customers_language_and_of_the_day_they_were_drafted(world: World) -> None:
    setting(world, customer={"language": "de"})
    world.plan()
    world.contract()
    world.bill("2025-01-15")
    save_entity(world.ledger, ENTITY | {"terms_text": {"de": "Neue Worte."}}, now=LONG_AGO)
    world.bill("2025-02-15")
    first, second = (pdf_text(stored) for stored in world.invoices())
    assert "Bitte die Nummer angeben." in first
    assert "Neue Worte." not in first
    assert "Neue Worte." in second


def test_several_entities_and_who_of_them_sends(world: World) -> None:
    setting(world)
    second = {"entity_id": "de2", "legal_name": "Northwind Süd GmbH"}
    save_entity(world.ledger, ENTITY | second, now=LONG_AGO)
    world.plan()
    world.contract("c1")
    world.contract("c2", billing_entity="de2")
    [held] = world.bill("2025-01-15").held
    assert (held.contract_id, held.reason_code) == ("c1", "billing_entity_unclear")
    save_customer(world.ledger, CUSTOMER | {"billing_entity": "de"}, now=LONG_AGO)
    assert not world.bill("2025-01-15").held
    sellers = {stored.summary.contract_id: stored.summary.entity_id for stored in world.invoices()}
    assert sellers == {"c1": "de", "c2": "de2"}


def test_without_an_entity_nothing_is_stated_and_the_text_is_as_ever(world: World) -> None:
    world.plan()
    world.contract()
    world.bill("2025-01-15")
    [stored] = world.invoices()
    assert '"tax":"excluded"' in stored.text
    assert (stored.summary.tax_minor, stored.summary.entity_id) == (0, None)
    assert "Amounts exclude tax." in pdf_text(stored)
    with world.ledger.connect() as connection:
        assert connection.execute(select(INVOICES.c.tax_minor)).scalars().all() == [0]


BAD_NUMBERS = """
DE136695977        | DE | bad_check_digit
136695976          | DE | tax_id_prefix
FR83404833048      | DE | tax_id_prefix
GB980780684        | GB |
GB980780685        | GB | bad_check_digit
CHE107787577MWST   | CH |
CHE107787578MWST   | CH | bad_check_digit
NO995525828MVA     | NO |
995525829MVA       | NO | bad_check_digit
83914571673        | AU |
83914571674        | AU | bad_check_digit
27AAPFU0939F1ZV    | IN |
27AAPFU0939F1ZA    | IN | bad_check_digit
91-1144442         | US |
EL094259216        | GR |
ATU57194903        | AT |
anything           | BR |
"""


@pytest.mark.requirement("TAX-02")
def test_tax_ids_are_checked_when_they_are_saved(world: World) -> None:
    for line in BAD_NUMBERS.strip().splitlines():
        tax_id, country, code = (part.strip() for part in line.split("|"))
        document = {"customer_id": "k", "name": "K", "country": country, "tax_id": tax_id}
        if code:
            with pytest.raises(InvalidDocument) as refused:
                save_customer(world.ledger, document, now=LONG_AGO)
            assert [issue.reason_code for issue in refused.value.issues] == [code], tax_id
            assert refused.value.issues[0].expected
        else:
            saved = save_customer(world.ledger, document, now=LONG_AGO)
            told = [issue.reason_code for issue in saved.warnings]
            assert told == (["tax_id_unchecked"] if country == "BR" else []), tax_id
    assert get_customer(world.ledger, "k").customer.tax_id == "anything"


def test_an_entity_is_refused_with_all_that_is_wrong(world: World) -> None:
    account = {"iban": "DE89370400440532013001", "bic": "COBA"}
    with pytest.raises(InvalidDocument) as refused:
        save_entity(
            world.ledger,
            ENTITY | {"tax_id": "DE1", "bank_account": account, "terms_text": {"fr": "Merci"}},
            now=LONG_AGO,
        )
    assert [issue.pointer for issue in refused.value.issues] == [
        "tax_id",
        "bank_account.iban",
        "bank_account.bic",
        "terms_text.fr",
    ]


def test_a_logo_heads_the_invoices_drafted_after_it(world: World) -> None:
    setting(world)
    logo = PRINTER.png_pages(_any_invoice(world))[0]
    for content, code in (
        (b"GIF89a", "logo_type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(262_144), "logo_too_large"),
    ):
        with pytest.raises(InvalidInput) as refused:
            save_logo(world.ledger, "de", content, now=LONG_AGO)
        assert refused.value.reason_code == code
    saved = save_logo(world.ledger, "de", logo, now=LONG_AGO)
    assert (saved.version, save_logo(world.ledger, "de", logo, now=LONG_AGO).created) == (2, False)
    assert not save_entity(world.ledger, ENTITY, now=LONG_AGO).created  # it says nothing of the logo
    digest = get_entity(world.ledger, "de").document.logo
    assert get_logo(world.ledger, digest).media_type == "image/png"
    world.bill("2025-02-15")
    before, after = world.invoices()
    assert ((before.invoice.seller or {})["logo"], (after.invoice.seller or {})["logo"]) == ("", digest)
    images = PdfReader(io.BytesIO(PRINTER.pdf(after.invoice, logo=logo))).pages[0].images
    assert len(images) == 1


def _any_invoice(world: World) -> Any:
    world.plan()
    world.contract()
    world.bill("2025-01-15")
    return world.invoices()[0].invoice


@pytest.mark.parametrize(
    "field",
    [
        "customer.adress_lines",
        "seller.legal_name",
        "terms.order",
        "customer.delivery",
        "seller.tax_id|customer.vat",
        "invoice.number",
    ],
)
def test_a_profile_asks_for_nothing_that_no_invoice_has(field: str) -> None:
    document = {"country": "IT", "required": [{"field": field, "words": "it"}]}
    with pytest.raises(InvalidDocument) as refused:
        validate_document(CountryProfile, document, what="a profile", rules=profile_rules)
    assert [issue.reason_code for issue in refused.value.issues] == ["profile_path"]


def test_shipped_profiles_ask_for_what_invoices_have() -> None:
    entity = BillingEntity(entity_id="e", legal_name="E", country="DE", contact_name="A", endpoint_id="1")
    stored = StoredDocument(entity, 1)
    assert set(seller_document(stored)) <= SELLER_FIELDS
    for profile in shipped_profiles().values():
        assert list(profile_rules(profile)) == []
