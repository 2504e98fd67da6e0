"""Goal: the printed page says all of the invoice: taxes, parties, terms in the customer's language, account,
reference; and it carries the e-invoice for programs."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import einvoice
import pytest
from facturx import get_facturx_xml_from_pdf
from lxml import etree
from pypdf import PdfReader

from ingest.errors import BrokenState
from invoicing.document import InvoicePrinter, printed
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.factur_x import with_factur_x_metadata
from invoicing.invoice import Invoice, InvoiceCredit
from invoicing.invoice_tax import InvoiceTax
from invoicing.payee import Payee
from invoicing.payment_code import payment_code_text
from invoicing.template import DocumentTemplate, TemplateTexts
from tests.invoicing.einvoice_case import BUYER, priced, taxed
from tests.invoicing.test_document import line

PRINTER = InvoicePrinter()
REVERSE_CHARGE = "Reverse charge (Article 196, Directive 2006/112/EC)"


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def in_language(language: str, **changes: Any) -> Invoice:
    return taxed(priced("0.25", "4800"), customer={**BUYER, "language": language}, **changes)


def test_each_group_of_tax_has_its_line_and_its_reason() -> None:
    made = taxed(priced("1", "100"), priced("1", "50", 2))
    groups = (
        InvoiceTax("S", Decimal(23), 10000, 2300),
        InvoiceTax("AE", Decimal(0), 5000, 0, REVERSE_CHARGE),
    )
    credit = (InvoiceCredit("g", "Prepaid", "paid", 2300, 500),)
    page = printed(replace(made, tax=groups, drawn_credit=credit))
    assert [(row["label"], row["value"]) for row in page["sums"]] == [
        ("Net", "150.00"),
        ("Tax 23 % on 100.00", "23.00"),
        ("No tax (AE) on 50.00", "0.00"),
        ("Total", "173.00"),
        ("Credit: Prepaid (5.00 left)", "-23.00"),
    ]
    assert (page["total_label"], page["total"], page["tax_notes"]) == (
        "Amount due",
        "150.00 EUR",
        [REVERSE_CHARGE],
    )


@pytest.mark.requirement("DEL-07")
@pytest.mark.parametrize(
    ("language", "due", "how"),
    [
        ("en", "within 30 days of the issue date, that is by 17 March 2025.", "Payment by bank transfer."),
        ("de", "innerhalb von 30 Tagen ab Rechnungsdatum, also bis zum 17. März 2025.", "per Überweisung."),
        ("fr", "Payable sous 30 jours à compter de la date de facture", "Paiement par virement."),
        ("nl", "dagen na de factuurdatum, dus uiterlijk 17 maart 2025.", "Betaling per overschrijving."),
        ("es", "Pagadero en 30 días desde la fecha de emisión", "Pago por transferencia."),
    ],
)
def test_the_three_terms_stand_on_every_page_in_the_customers_language(
    language: str, due: str, how: str
) -> None:
    made = in_language(language)
    late = {**made.terms, "late_payment": ""}
    for terms, last in ((made.terms, "8 % a year"), (late, printed(replace(made, terms=late))["notes"][2])):
        page = " ".join(text_of(PRINTER.pdf(replace(made, terms=terms))).split())
        for expected in (due, how, last):
            assert " ".join(expected.split()) in page, expected


@pytest.mark.requirement("DEL-07")
def test_a_templates_terms_are_printed_word_for_word() -> None:
    texts = TemplateTexts(
        payment_terms="Bitte bis {due_date} unter Angabe von {number} zahlen.",
        payment_methods="Nur {methods}. #panic() {unknown}",
        late_payment="Bei Verzug: 9 Prozentpunkte über dem Basiszinssatz.",
        foot="Es gelten unsere AGB.",
    )
    template = DocumentTemplate(template_id="t", texts={"de": texts})
    made = in_language("de-AT")
    made = replace(made, terms={**made.terms, "late_payment": ""})
    page = printed(made, template)
    assert page["notes"] == [
        "Bitte bis 17. März 2025 unter Angabe von INV-2025-000001 zahlen.",
        "Nur Überweisung. #panic() {unknown}",
        "Bei Verzug: 9 Prozentpunkte über dem Basiszinssatz.",
    ]
    joined = " ".join(text_of(PRINTER.pdf(made, template)).split())
    assert all(note in joined for note in (*page["notes"], "Es gelten unsere AGB."))
    # What is agreed with this customer comes before any standard text.
    agreed = printed(in_language("de"), template)["notes"][2]
    assert agreed == "Bei Zahlungsverzug: 8 % a year"


def test_the_sellers_terms_text_is_taken_in_the_customers_language() -> None:
    made = in_language("nl")
    seller = {**(made.seller or {}), "terms_text": {"de": "AGB", "nl": "Voorwaarden"}, "late_payment": "9 %"}
    terms = {**made.terms, "late_payment": ""}
    page = printed(replace(made, seller=seller, terms=terms))
    assert page["foot"] == ["Voorwaarden"]
    assert page["notes"][2] == "Bij te late betaling: 9 %"


@pytest.mark.requirement("GEN-06")
def test_the_page_names_who_is_billed_and_who_was_sold_to() -> None:
    parties = {
        "bill_to": {"name": "Acme Shared Services GmbH", "city": "Bonn"},
        "sold_to": {"name": "Acme Werk Nord", "city": "Kiel", "country": "DE"},
    }
    page = text_of(PRINTER.pdf(taxed(line(1), customer={**BUYER, **parties})))
    for words in ("Acme Shared Services GmbH", "Bonn", "SOLD TO", "Acme Werk Nord", "Kiel"):
        assert words in page


def test_account_reference_and_payment_code_belong_together() -> None:
    page = printed(taxed(priced("1", "100")))
    assert page["payment"]["rows"] == [
        "Account of Northwind: IE29 AIBK 9311 5212 3456 78 (BIC AIBKIE2D)",
        "Reference: RF47 INV2 0250 0000 1",
    ]
    assert page["payment"]["code"].startswith("<svg")
    for other in (
        taxed(priced("1", "100"), currency="USD"),
        taxed(priced("1", "100"), number=None, issue_date=None, due_date=None),
        taxed(priced("0", "100")),
    ):
        assert printed(other)["payment"]["code"] == ""


def test_a_payment_code_is_what_the_guideline_says() -> None:
    payee = Payee("Northwind", "IE29 AIBK ...", "IE29AIBK93115212345678", "AIBKIE2D")
    text = payment_code_text(payee, amount_minor=12345, currency="EUR", reference="RF47INV2025000001")
    assert text.split("\n") == [
        *("BCD", "002", "1", "SCT", "AIBKIE2D", "Northwind", "IE29AIBK93115212345678", "EUR123.45"),
        *("", "RF47INV2025000001"),
    ]
    for amount, currency in ((0, "EUR"), (-1, "EUR"), (100_000_000_000, "EUR"), (1, "CHF")):
        assert payment_code_text(payee, amount_minor=amount, currency=currency, reference="") == ""


@pytest.mark.requirement("TAX-04")
def test_a_factur_x_document_is_read_back_by_others() -> None:
    made = taxed(priced("0.0000012", "7000000"), line(2))
    cii = einvoice_xml(electronic_invoice(made, profile="en16931"), "cii")
    document = PRINTER.factur_x(made, cii)
    assert PRINTER.factur_x(made, cii) == document
    assert get_facturx_xml_from_pdf(document, check_xsd=True) == ("factur-x.xml", cii)
    assert einvoice.validate_bytes(document, filename="a.pdf", profile="en16931")["violations"] == []
    reader = PdfReader(io.BytesIO(document), strict=True)
    root: Any = reader.trailer["/Root"]
    metadata = etree.fromstring(root["/Metadata"].get_data())
    space = "{urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#}"
    found = {etree.QName(node).localname: node.text for node in metadata.iter(f"{space}*")}
    assert found == {
        "DocumentType": "INVOICE",
        "DocumentFileName": "factur-x.xml",
        "Version": "1.0",
        "ConformanceLevel": "EN 16931",
    }
    part = metadata.find(".//{http://www.aiim.org/pdfa/ns/id/}part")
    assert part is not None
    assert part.text == "3"
    assert root["/AF"][0].get_object()["/AFRelationship"] == "/Alternative"
    assert "INV-2025-000001" in reader.pages[0].extract_text()
    with pytest.raises(BrokenState, match="no metadata"):
        with_factur_x_metadata(b"%PDF-1.7 nothing")


@pytest.mark.requirement("GEN-10")
def test_two_runs_differ_in_data_only() -> None:
    """The same labels and the same structure, line by line; figures, dates and numbers differ."""
    first = taxed(line(1), priced("0.25", "120", 2))
    second = taxed(
        line(1, quantity=Decimal("130.5"), rated_quantity=Decimal("130.5")),
        priced("0.25", "140", 2),
        number="INV-2025-000002",
        period_start=first.period_end,
        period_end=first.period_end.replace(month=5),
    )

    def structure(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: structure(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [structure(entry) for entry in value]
        return "" if not value else type(value).__name__

    one, two = printed(first), printed(second)
    assert structure(one) == structure(two)
    for same in (
        "words",
        "accent",
        "paper",
        "shown",
        "seller_lines",
        "billed_to",
        "total_label",
        "tax_notes",
    ):
        assert one[same] == two[same]
    assert [fact["label"] for fact in one["facts"]] == [fact["label"] for fact in two["facts"]]
    changed = {name for name in one if one[name] != two[name]}
    assert changed == {"number", "facts", "lines", "sums", "total", "payment"}
    rows = [text_of(PRINTER.pdf(made)).splitlines() for made in (first, second)]
    words_only = [[re.sub(r"[\d.,]+|Jan|Feb|Mar|Apr|May", "#", row) for row in side] for side in rows]
    assert words_only[0] == words_only[1]
