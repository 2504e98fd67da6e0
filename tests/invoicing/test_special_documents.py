"""Goal: special invoices leave the house as invoices do: mailed, printed, as e-invoices without an error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import einvoice
import orjson
import pytest
from lxml import etree
from pypdf import PdfReader

from invoicing.customer_store import save_customer
from invoicing.delivery.channel_folder import FolderNetwork, NetworkChannel, PrintChannel
from invoicing.delivery.documents import PDF
from invoicing.delivery.find import list_deliveries
from invoicing.delivery.mail_text import preview
from invoicing.delivery.wording import LANGUAGES, Letter
from invoicing.document import InvoicePrinter
from invoicing.einvoice import einvoice_xml
from invoicing.einvoice_check import EInvoiceChecker
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.einvoice_line import line_difference
from invoicing.einvoice_model import PROFILES, SYNTAXES
from invoicing.einvoice_special import electronic_special_invoice
from invoicing.special_invoice_document import printed_special_invoice, special_invoice_pdf
from invoicing.special_invoice_store import get_special_invoice
from invoicing.words import LANGUAGES as PRINTED_LANGUAGES
from tests.invoicing.delivery_case import email_channel, mail_server
from tests.invoicing.einvoice_case import BUYER, SELLER
from tests.invoicing.test_amendments import fee, save
from tests.invoicing.test_delivery_credit_note import send, shelf_of
from tests.invoicing.test_einvoice import errors
from tests.invoicing.test_special_credit_notes import credit
from tests.invoicing.test_special_invoices import LATER, issue, site
from tests.invoicing.test_tax_billing import CUSTOMER
from tests.invoicing.world import LONG_AGO, World, at

REACHED = {name: BUYER[name] for name in ("endpoint_id", "endpoint_scheme", "buyer_reference")}
SENDER = {name: SELLER[name] for name in ("contact_name", "phone", "email", "endpoint_id", "endpoint_scheme")}


@pytest.fixture(scope="module")
def checker() -> Iterator[EInvoiceChecker]:
    made = EInvoiceChecker()
    yield made
    made.close()


def reachable(world: World, **customer: Any) -> World:
    site(world, **SENDER)
    save_customer(world.ledger, CUSTOMER | REACHED | customer, now=LONG_AGO)
    return world


def everything(world: World) -> list[str]:
    """A deposit, a progress invoice, the final invoice that deducts both, one more; their numbers."""
    now = "2026-02-01"
    made = [
        issue(world, "deposit", "600.00", "400.00", percent="30", on="2025-02-01", now=now),
        issue(world, "progress", "100.00", on="2025-03-01", now=now),
        issue(world, "final", "600.00", "400.00", on=LATER, now=now),
        issue(world, "miscellaneous", "25.00", "-5.00", reason="a lost badge", on=LATER, now=now),
    ]
    return [one.summary.number for one in made]


@pytest.mark.requirement("TAX-04")
def test_every_kind_is_an_e_invoice_without_an_error(world: World, checker: EInvoiceChecker) -> None:
    reachable(world)
    kinds = ("deposit", "progress", "final", "miscellaneous")
    issued = dict(zip(kinds, everything(world), strict=True))
    texts = {kind: _text(world, number) for kind, number in issued.items()}
    for kind, text in texts.items():
        for profile in PROFILES:
            document = electronic_special_invoice(text, profile=profile)
            assert all(line_difference(line) == 0 for line in document.lines)
            for syntax in SYNTAXES:
                if (profile, syntax) != ("peppol", "cii"):
                    xml = einvoice_xml(document, syntax)
                    assert errors(checker, xml) == [], (kind, profile, syntax)
                    if profile == "xrechnung":
                        assert einvoice.validate_bytes(xml, profile="xrechnung")["fatal_count"] == 0
    deposit, progress, final, other = (
        electronic_special_invoice(text, profile="en16931") for text in texts.values()
    )
    assert [one.type_code for one in (deposit, progress, final, other)] == ["386", "326", "380", "380"]
    assert (deposit.net, deposit.tax, deposit.prepaid, deposit.due) == tuple(
        map(Decimal, ("300.00", "57.00", "0.00", "357.00"))
    )
    assert [line.net for line in final.lines] == [Decimal(600), Decimal(400)]
    assert (final.net, final.tax, final.prepaid, final.due) == tuple(
        map(Decimal, ("1000.00", "190.00", "476.00", "714.00"))
    )
    assert [(one.number, str(one.issue_date)) for one in final.preceding] == [
        (issued["deposit"], "2025-02-01"),
        (issued["progress"], "2025-03-01"),
    ]
    assert f"Deducted: {issued['deposit']} of 1 February 2025, 300.00 EUR net, 57.00 EUR tax." in final.note
    assert other.note == "a lost badge"
    root = etree.fromstring(einvoice_xml(final, "ubl"))
    found = [root.findtext(f".//{{*}}{name}") for name in ("PrepaidAmount", "PayableAmount")]
    assert found == ["476.00", "714.00"]
    for number in (issued["final"], issued["miscellaneous"]):
        note = electronic_credit_note(orjson.loads(credit(world, number).text), profile="en16931")
        for syntax in SYNTAXES:
            assert errors(checker, einvoice_xml(note, syntax)) == []


@pytest.mark.requirement("TAX-04")
@pytest.mark.requirement("TAX-08")
def test_a_rate_that_changed_in_between_is_no_error(world: World, checker: EInvoiceChecker) -> None:
    """16 % on the deposit of 2020 and 19 % on the whole: due is what the final invoice comes to."""
    reachable(world)
    issue(world, "deposit", "1000.00", percent="30", on="2020-12-01")
    final = issue(world, "final", "1000.00", on="2021-02-01")
    document = electronic_special_invoice(final.text, profile="en16931")
    assert [(str(tax.rate_percent), tax.taxable, tax.tax) for tax in document.taxes] == [
        ("19", Decimal(1000), Decimal(190))
    ]
    assert (document.prepaid, document.due) == (Decimal(348), Decimal(842))
    assert document.due == Decimal(final.summary.gross_minor).scaleb(-2)
    for syntax in SYNTAXES:
        assert errors(checker, einvoice_xml(document, syntax)) == []


def _text(world: World, number: str) -> str:
    return get_special_invoice(world.ledger, number).text


@pytest.mark.requirement("DEL-01")
def test_they_are_mailed_once_with_their_pdf(world: World) -> None:
    reachable(world, email="ap@acme.example")
    numbers = everything(world)
    shelf = shelf_of(world.ledger)
    with mail_server() as box:
        sent = send(world.ledger, email=email_channel(world.ledger, shelf, box.port))
    assert sent == [("email", "sent", "")] * 4
    by_name = {
        str(part.get_filename()): part.get_content()
        for one in box.messages()
        for part in one.iter_attachments()
    }
    assert sorted(by_name) == sorted(f"{number}.pdf" for number in numbers)
    final = by_name[f"{numbers[2]}.pdf"]
    document_id = next(
        one.document_id
        for one in list_deliveries(world.ledger, limit=9)
        if one.document_id and shelf.get(one.document_id).number == numbers[2]
    )
    assert final == shelf.file(shelf.get(document_id), PDF, now=at("2026-02-02")).content
    assert "Final invoice" in PdfReader(io.BytesIO(final)).pages[0].extract_text()


@pytest.mark.requirement("DEL-11")
def test_they_reach_the_network_and_the_print_folder(
    world: World, checker: EInvoiceChecker, tmp_path: Path
) -> None:
    reachable(world, delivery={"channel": "network", "address": "9930:DE136695976"})
    numbers = everything(world)
    sent = send(world.ledger, network=NetworkChannel(FolderNetwork(tmp_path), shelf_of(world.ledger)))
    assert sent == [("network", "sent", "")] * 4
    files = sorted(tmp_path.glob("*.xml"))
    assert [path.name[:-13] for path in files] == sorted(numbers)
    for path in files:
        assert checker.check(path.read_bytes()).valid, path


def test_a_printed_deposit_says_what_it_is(world: World, tmp_path: Path) -> None:
    reachable(world, delivery={"channel": "print"}, language="de")
    issue(world, "deposit", "1000.00", percent="30", now="2026-02-01")
    assert send(world.ledger, print=PrintChannel(tmp_path, shelf_of(world.ledger))) == [("print", "sent", "")]
    (path,) = tmp_path.glob("DEP-*.pdf")
    assert "Anzahlungsrechnung" in PdfReader(path).pages[0].extract_text()


@pytest.mark.requirement("DEL-01")
def test_a_bill_below_zero_is_mailed_in_words_of_its_own(world: World) -> None:
    """A fee given back at an early end is a credit note of no invoice: there is no number to name."""
    save_customer(world.ledger, CUSTOMER | {"email": "ap@acme.example"}, now=LONG_AGO)
    world.plan(fee("30"))
    save(world)
    world.bill("2025-04-01", now=at("2026-01-31"))
    save(world, end_date=date(2025, 4, 16))
    world.bill("2025-04-16", now=at("2026-01-31"))
    shelf = shelf_of(world.ledger)
    with mail_server() as box:
        sent = send(world.ledger, email=email_channel(world.ledger, shelf, box.port))
    assert sent == [("email", "sent", "")] * 2
    (message,) = (one for one in box.messages() if "Credit note" in str(one["Subject"]))
    plain = message.get_body(("plain",))
    assert plain is not None
    assert "€15.00 are owed to you: nothing is to be paid." in plain.get_content()
    assert "of invoice" not in plain.get_content()
    document_id = next(
        one.document_id
        for one in list_deliveries(world.ledger, limit=9)
        if one.document_id and shelf.get(one.document_id).kind == "credit_note"
    )
    for language in LANGUAGES:
        letter = Letter(
            "document", language, "Acme", "S", "a@b.example", "https://x.example/i/1", shelf.get(document_id)
        )
        assert "CN-2025-000001" in preview(letter, own=None).plain


def test_every_language_has_words_for_the_page(world: World) -> None:
    reachable(world)
    everything(world)
    for number in ("DEP-2025-000001", "FIN-2025-000001"):
        document = orjson.loads(_text(world, number))
        titles = set()
        for language in PRINTED_LANGUAGES:
            customer = {**document["customer"], "language": language}
            page = printed_special_invoice(orjson.dumps({**document, "customer": customer}).decode())
            titles.add(page["title"])
            assert len(page["notes"]) >= 2
        assert len(titles) == len(PRINTED_LANGUAGES)


def test_factur_x_holds_the_e_invoice(world: World) -> None:
    reachable(world)
    text = _text(world, everything(world)[2])
    cii = einvoice_xml(electronic_special_invoice(text, profile="en16931"), "cii")
    reader = PdfReader(io.BytesIO(special_invoice_pdf(InvoicePrinter(), text, cii=cii)))
    assert reader.attachments["factur-x.xml"] == [cii]
