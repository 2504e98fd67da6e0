"""Invoices for the tests of e-invoices: one that has all an e-invoice needs, and random ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from ingest.ledger import ledger_transaction
from invoicing.invoice import (
    Invoice,
    InvoiceAdjusts,
    InvoiceCredit,
    InvoiceDiscount,
    InvoiceLine,
    InvoiceTier,
    invoice_hash,
    invoice_text,
)
from invoicing.invoice_tax import InvoiceTax
from invoicing.issue import registered_invoice
from invoicing.number import draw_numbers, number_text
from invoicing.register import register_documents
from invoicing.special_invoice_tables import SPECIAL_INVOICES
from invoicing.tables import INVOICES, ISSUED_DOCUMENTS
from tests.invoicing.test_document import invoice, line

SELLER: dict[str, Any] = {
    "name": "Northwind Metering",
    "legal_name": "Northwind Metering Ltd",
    "address_lines": ["1 Harbour Quay"],
    "city": "Dublin",
    "postal_code": "D01 X2P3",
    "country": "IE",
    "tax_id": "IE6388047V",
    "registration_id": "512345",
    "email": "billing@northwind.example",
    "phone": "+353 1 555 0100",
    "contact_name": "Accounts",
    "endpoint_id": "IE6388047V",
    "endpoint_scheme": "9935",
    "bank_account": {"holder": "Northwind", "iban": "IE29 AIBK 9311 5212 3456 78", "bic": "AIBKIE2D"},
}
BUYER: dict[str, Any] = {
    "customer_id": "acme",
    "name": "Acme",
    "legal_name": "Acme Größe GmbH",
    "address_lines": ["Hauptstraße 1"],
    "city": "Berlin",
    "postal_code": "10115",
    "country": "DE",
    "tax_id": "DE136695976",
    "endpoint_id": "DE136695976",
    "endpoint_scheme": "9930",
    "buyer_reference": "04011000-12345-34",
}


def half_up(exact: Fraction) -> int:
    """A sum in minor units, rounded away from zero at the half."""
    size = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
    return size if exact >= 0 else -size


def priced(price: str, quantity: str, number: int = 1, **changes: Any) -> InvoiceLine:
    """A line of one unit price."""
    amount = Decimal(price) * Decimal(quantity)
    tier = InvoiceTier(1, Decimal(0), None, Decimal(price), None, Decimal(quantity), amount)
    facts: dict[str, Any] = {
        "price_model": "per_unit",
        "price_text": f"{price} per {changes.get('unit', 'call')}",
        "quantity": Decimal(quantity),
        "rated_quantity": Decimal(quantity),
        "amount": amount,
        "amount_minor": half_up(Fraction(amount) * 100),
        "tiers": (tier,),
    }
    return line(number, **{**facts, **changes})


def discounted(price: str, quantity: str, *discounts: str, **changes: Any) -> InvoiceLine:
    """The same with discounts of these amounts."""
    full = priced(price, quantity)
    taken = tuple(
        InvoiceDiscount(f"d{place}", f"Promise {place}", "as agreed", Decimal(amount))
        for place, amount in enumerate(discounts, start=1)
    )
    net = full.amount - sum((entry.amount for entry in taken), Decimal(0))
    return replace(full, discounts=taken, amount=net, amount_minor=half_up(Fraction(net) * 100), **changes)


def taxed(*lines: InvoiceLine, category: str = "S", rate: str = "23", **changes: Any) -> Invoice:
    """An issued invoice of these lines, all taxed alike."""
    plain = invoice(*lines, seller=SELLER, customer=BUYER)
    tax_minor = half_up(Fraction(plain.total_minor) * Fraction(rate) / 100)
    reason = {"E": "Exempt by section 4", "O": "Not subject to VAT"}.get(category, "")
    group = InvoiceTax(category, Decimal(rate), plain.total_minor, tax_minor, reason)
    return replace(plain, **{"tax": (group,), **changes})


def put_issued(ledger: Engine, made: Invoice, *, issued_at: str = "2025-02-15T12:00:00+00:00") -> Invoice:
    """Enter an invoice as issued, under the next number of its year; the invoice with that number."""
    day = made.issue_date
    assert day is not None
    series = f"INV-{day.year}"
    with ledger_transaction(ledger) as connection:
        number = draw_numbers(connection, series=series, count=1)
        issued = replace(made, number=number_text(series=series, number=number))
        text = invoice_text(issued)
        document = registered_invoice(issued, text, number=number, customer_id=issued.customer["customer_id"])
        register_documents(connection, [document], series=series, issued_at=issued_at)
        row = {
            "invoice_id": issued.invoice_id,
            "contract_id": issued.contract["contract_id"],
            "customer_id": issued.customer["customer_id"],
            "billing_date": issued.billing_date.isoformat(),
            "state": "issued",
            "series": series,
            "number": number,
            "issue_date": day.isoformat(),
            "due_date": None if issued.due_date is None else issued.due_date.isoformat(),
            "currency": issued.currency,
            "total_minor": issued.total_minor,
            "tax_minor": issued.tax_minor,
            "credit_minor": issued.credit_minor,
            "document": text,
            "document_hash": invoice_hash(text),
            "run_id": "test",
        }
        connection.execute(insert(INVOICES), row)
    return issued


_DIGITS = st.integers(0, 12)


@st.composite
def _lines(draw: st.DrawFn) -> InvoiceLine:
    number = draw(st.integers(1, 10**6))
    digits = draw(_DIGITS)
    price = Decimal(draw(st.integers(0, 10**7))).scaleb(-digits)
    quantity = Decimal(draw(st.integers(0, 10**8))).scaleb(-draw(st.integers(0, 6)))
    unit = draw(st.sampled_from(["call", "GB", "hour", "Schlüssel & <tag>"]))
    full = priced(f"{price:f}", f"{quantity:f}", number, unit=unit)
    name = draw(st.text(min_size=1, max_size=30).filter(lambda text: text.strip()))
    full = replace(full, description=f"API {name}", dimensions={"region": draw(st.sampled_from(["eu", ""]))})
    kind = draw(st.sampled_from(["plain", "discount", "tiers", "credit", "part", "adjustment"]))
    if kind == "discount":
        percents = draw(st.lists(st.integers(0, 50), min_size=1, max_size=2))
        parts = [(full.amount * percent / 100).quantize(Decimal("1e-12")) for percent in percents]
        return discounted(f"{price:f}", f"{quantity:f}", *(f"{part:f}" for part in parts), unit=unit)
    if kind == "plain":
        return full
    minor = draw(st.integers(0, 10**9))
    other = replace(full, amount=Decimal(minor).scaleb(-2), amount_minor=minor)
    if kind == "tiers":
        return replace(other, tiers=line(1).tiers, price_model="graduated")
    if kind == "part":
        return replace(other, charge_kind="recurring", days=17, full_days=31, tiers=())
    if kind == "credit":
        return replace(other, charge_kind="fee_credit", amount=-other.amount, amount_minor=-minor, tiers=())
    adjusts = InvoiceAdjusts(
        "f" * 32, date(2025, 1, 15), "b" * 32, "INV-2025-000000", Decimal(1), Decimal(2), Decimal(3)
    )
    return replace(other, charge_kind="adjustment", adjusts=adjusts, tiers=())


@st.composite
def issued_invoices(draw: st.DrawFn) -> Invoice:
    """Random invoices that are not below zero, of every kind of tax, with and without credit."""
    lines = draw(st.lists(_lines(), min_size=1, max_size=4))
    if sum(entry.amount_minor for entry in lines) < 0:
        lines = [
            replace(entry, amount=abs(entry.amount), amount_minor=abs(entry.amount_minor)) for entry in lines
        ]
        lines = [replace(entry, tiers=(), discounts=()) for entry in lines]
    category = draw(st.sampled_from(["S", "Z", "E", "AE", "K", "G", "O"]))
    rate = draw(st.sampled_from(["23", "5.5", "19"])) if category == "S" else "0"
    made = taxed(*lines, category=category, rate=rate)
    paid = draw(st.integers(0, made.gross_minor))
    credit = (InvoiceCredit("g1", "Prepaid", "paid", paid, 0),) if paid else ()
    start = draw(st.dates(date(2020, 1, 1), date(2030, 1, 1)))
    return replace(
        made,
        drawn_credit=credit,
        issue_date=start,
        due_date=start + timedelta(days=draw(st.integers(0, 60))),
    )


def put_special(ledger: Engine, issued: Invoice) -> str:
    """Enter an issued invoice as the first miscellaneous one of its year; its id."""
    document_id = f"special-{issued.invoice_id[:20]}"
    extra: dict[str, Any] = {
        "invoice_id": document_id,
        "kind": "miscellaneous",
        "type_code": "380",
        "title": "",
        "project": "",
        "reason": "a test",
        "percent": None,
        "whole": {"net_minor": issued.total_minor, "tax_minor": issued.tax_minor},
        "deducts": [],
        "number": f"MISC-{issued.billing_date.year}-000001",
    }
    text = orjson.dumps(orjson.loads(invoice_text(issued)) | extra, option=orjson.OPT_SORT_KEYS).decode()
    row = {
        "document_id": document_id,
        "kind": "miscellaneous",
        "contract_id": str(issued.contract["contract_id"]),
        "customer_id": str(issued.customer["customer_id"]),
        "series": f"MISC-{issued.billing_date.year}",
        "number": 1,
        "issue_date": str(issued.issue_date),
        "due_date": str(issued.due_date),
        "currency": issued.currency,
        "net_minor": issued.total_minor,
        "tax_minor": issued.tax_minor,
        "document_hash": invoice_hash(text),
    }
    register = {"entity_id": None, "credit_minor": 0, "refers_to": None, "chain_hash": "", "issued_at": ""}
    with ledger_transaction(ledger) as connection:
        connection.execute(insert(ISSUED_DOCUMENTS), row | register)
        special = {"project": "", "idempotency_key": None, "request_hash": "", "document": text}
        connection.execute(insert(SPECIAL_INVOICES), row | special)
    return document_id
