"""The PDF: everything a payer needs is on it, over as many pages as it takes, the same bytes each time."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from ingest.errors import InvalidInput
from invoicing.document import InvoicePrinter, printed
from invoicing.invoice import Invoice, InvoiceLine, InvoiceTier

PRINTER = InvoicePrinter()
FONTS = Path(__file__).parent / "fonts"
"""One font that has one character."""


def line(number: int = 1, **changes: Any) -> InvoiceLine:
    tiers = (
        InvoiceTier(1, Decimal(0), Decimal(100), Decimal("0.1"), None, Decimal(100), Decimal(10)),
        InvoiceTier(2, Decimal(100), None, Decimal("0.02"), Decimal(5), Decimal("20.5"), Decimal("5.41")),
    )
    plain = InvoiceLine(
        line_id=f"{number:032x}",
        charge_id="calls",
        charge_kind="usage",
        description=f"API calls {number}",
        price_model="graduated",
        price_text="each unit at the price of its tier",
        plan_id="gold",
        plan_version=1,
        meter_id="calls",
        unit="call",
        period_start=date(2025, 1, 15),
        period_end=date(2025, 2, 15),
        days=31,
        full_days=31,
        dimensions={"region": "eu"},
        quantity=Decimal("120.5"),
        rated_quantity=Decimal("120.5"),
        event_count=7,
        amount=Decimal("15.41"),
        amount_minor=1541,
        tiers=tiers,
    )
    return replace(plain, **changes)


def invoice(*lines: InvoiceLine, **changes: Any) -> Invoice:
    plain = Invoice(
        invoice_id="a" * 32,
        billing_date=date(2025, 2, 15),
        contract={"contract_id": "acme-2025", "time_zone": "UTC"},
        customer={
            "customer_id": "acme",
            "name": "Acme",
            "legal_name": "Acme Größe GmbH",
            "address_lines": ["Hauptstraße 1", "10115 Berlin"],
            "country": "DE",
            "tax_id": "DE123456789",
        },
        customer_version=1,
        seller={"name": "Northwind Metering Ltd", "bank_account": "IE29 AIBK 9311 5212 3456 78"},
        terms={
            "payment_days": 30,
            "payment_methods": ["bank transfer"],
            "late_payment": "8 % a year",
            "purchase_order": "PO-4711",
        },
        currency="EUR",
        minor_digits=2,
        period_start=date(2025, 1, 15),
        period_end=date(2025, 3, 15),
        lines=lines,
        total_minor=sum(entry.amount_minor for entry in lines),
        number="INV-2025-000001",
        issue_date=date(2025, 2, 15),
        due_date=date(2025, 3, 17),
    )
    return replace(plain, **changes)


def pages_of(document: Invoice) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(PRINTER.pdf(document))).pages]


@pytest.mark.requirement("GEN-05")
def test_one_line_on_one_page_with_parties_period_due_date_and_terms() -> None:
    (text,) = pages_of(invoice(line()))
    for words in (
        "Invoice",
        "INV-2025-000001",
        "Northwind Metering Ltd",
        "Acme Größe GmbH",
        "Hauptstraße 1",
        "Germany",
        "Tax ID DE123456789",
        "15 February 2025",
        "17 March 2025",
        "15 Jan \N{EN DASH} 14 Mar 2025",
        "PO-4711",
        "Payable within 30 days",
        "Late payment: 8 % a year",
        "IE29 AIBK",
        "API calls 1",
        "region eu",
        "Tier 1: up to 100",
        "Tier 2: over 100",
        "at 0.02 + flat 5.00",
        "15.41 EUR",
        "Amounts exclude tax.",
        "Page 1 of 1",
    ):
        assert words in text, words


def test_many_lines_repeat_the_head_and_number_the_pages() -> None:
    pages = pages_of(invoice(*[line(number) for number in range(1, 61)]))
    assert len(pages) > 2
    for number, text in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in text
        assert "QUANTITY" in text.upper()
    joined = "\n".join(pages)
    assert all(f"API calls {number}" in joined for number in range(1, 61))
    assert "924.60 EUR" in pages[-1]


def test_a_draft_says_so_and_has_no_dates() -> None:
    draft = invoice(line(), number=None, issue_date=None, due_date=None, seller=None)
    (text,) = pages_of(draft)
    assert "Draft invoice" in text
    assert "not issued" in text
    assert "Due date" not in text


def test_the_same_invoice_is_the_same_bytes_from_any_thread() -> None:
    document = invoice(line(), line(2))
    first = PRINTER.pdf(document)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda _: PRINTER.pdf(document), range(6))) == {first}
    assert InvoicePrinter().pdf(document) == first


def test_amounts_are_grouped_and_keep_every_digit() -> None:
    huge = line(
        quantity=Decimal("123456789012345678901234.123456789012"),
        rated_quantity=Decimal("123456789012345678901234.123456789012"),
        amount_minor=-123456789,
        tiers=(),
        price_model="per_unit",
    )
    (row,) = printed(invoice(huge, currency="KWD", minor_digits=3))["lines"]
    assert row["wide"]
    assert row["quantity"].replace("\u200b", "") == "123,456,789,012,345,678,901,234.123456789012"
    assert row["amount"] == "-123,456.789"
    (row,) = printed(invoice(huge, currency="JPY", minor_digits=0))["lines"]
    assert row["amount"] == "-123,456,789"


def test_a_line_says_why_its_amount_is_not_quantity_times_price() -> None:
    bounded = line(amount=Decimal(20), amount_minor=2000)
    assert printed(invoice(bounded))["lines"][0]["detail"].endswith("region eu · raised to the minimum")
    free = line(quantity=Decimal(1120), rated_quantity=Decimal("120.5"))
    row = printed(invoice(free))["lines"][0]
    assert (row["quantity"], row["detail"].split(" · ")[-1]) == ("120.5", "metered 1,120")
    fee = line(
        charge_kind="recurring",
        price_model="flat",
        price_text="flat 1500.00",
        meter_id="",
        quantity=Decimal(1),
        rated_quantity=Decimal(1),
        dimensions={},
        tiers=(),
        period_start=date(2025, 1, 29),
        days=17,
        full_days=31,
    )
    row = printed(invoice(fee))["lines"][0]
    assert (row["detail"], row["price"]) == (
        "29 Jan \N{EN DASH} 14 Feb 2025 · 17 of 31 days",
        "flat 1,500.00",
    )
    minimum = replace(
        fee, charge_kind="minimum_spend", quantity=Decimal("745.18"), rated_quantity=Decimal(25000)
    )
    row = printed(invoice(minimum))["lines"][0]
    assert row["detail"].endswith("usage and licences came to 745.18 of 25,000.00")
    assert row["quantity"] == ""


def test_text_of_a_customer_is_never_read_as_markup() -> None:
    evil = "#panic() $x$ *b* @ref <tag> \\ [`"
    (text,) = pages_of(invoice(line(description=evil)))
    assert "#panic()" in text
    assert "*b*" in text


def test_a_page_can_be_looked_at_as_a_picture() -> None:
    (picture,) = PRINTER.png_pages(invoice(line()))
    assert picture.startswith(b"\x89PNG")


def test_texts_are_printed_as_written_whatever_they_mean_to_the_typesetter() -> None:
    hostile = 'a "b" \\ #let c = 1 $d$ \\u{41} *e* \\"'
    (text,) = pages_of(invoice(line(description=hostile)))
    assert hostile in text


def test_what_no_font_can_show_is_left_out_and_what_no_font_here_has_is_named() -> None:
    (text,) = pages_of(invoice(line(description="a\x01b\uffffc")))
    assert "abc" in text
    abroad = invoice(line(description="\N{CJK UNIFIED IDEOGRAPH-682A} 1"), number="INV-2025-000007")
    with pytest.raises(InvalidInput, match="INV-2025-000007 has '\N{CJK UNIFIED IDEOGRAPH-682A}'") as caught:
        PRINTER.pdf(abroad)
    assert caught.value.reason_code == "font_missing"
    assert "RATEMILL_FONTS" in str(caught.value)


def test_fonts_of_a_folder_show_what_the_shipped_ones_lack() -> None:
    with_fonts = InvoicePrinter(fonts=FONTS)
    abroad = invoice(line(description="\N{CJK UNIFIED IDEOGRAPH-682A} 1"))
    made = with_fonts.pdf(abroad)
    assert "\N{CJK UNIFIED IDEOGRAPH-682A} 1" in PdfReader(io.BytesIO(made)).pages[0].extract_text()
    assert with_fonts.pdf(abroad) == made
    assert with_fonts.pdf(invoice(line())) == PRINTER.pdf(invoice(line()))
