"""A special invoice as a PDF: the page of an invoice with its own title and what it deducts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson

from invoicing.document import InvoicePrinter, printed
from invoicing.invoice import parse_invoice
from invoicing.special_invoice import TITLE
from rating.money import format_minor, grouped_words


def special_invoice_pdf(printer: InvoicePrinter, text: str, logo: bytes = b"") -> bytes:
    """The PDF of a special invoice by its canonical text; the same text is the same bytes."""
    document = orjson.loads(text)
    dated = date.fromisoformat(document["issue_date"] or document["billing_date"])
    return printer.pdf_of(printed_special_invoice(text), dated=dated, logo=logo)


def printed_special_invoice(text: str) -> dict[str, Any]:
    """Every text on the page, by its place in the template."""
    document, invoice = orjson.loads(text), parse_invoice(text)
    page = printed(invoice)
    title = TITLE[document["kind"]] if invoice.number else f"Draft: {TITLE[document['kind']].lower()}"
    wanted = (
        ("Project", document["project"]),
        ("Reason", document["reason"]),
        ("Subject", document["title"]),
    )
    facts = [*page["facts"], *({"label": label, "value": value} for label, value in wanted if value)]
    return {**page, "title": title, "facts": facts, "notes": [*_deducted(document), *page["notes"]]}


def _deducted(document: Mapping[str, Any]) -> list[str]:
    """The whole, and of each document that is deducted its net amount and tax, as the law asks for."""
    if not document["deducts"]:
        return []

    def amounts(part: Mapping[str, Any]) -> str:
        net, tax = (grouped_words(format_minor(part[name], currency)) for name in ("net_minor", "tax_minor"))
        return f"{net} {currency} net, {tax} {currency} tax"

    currency = document["currency"]
    parts = [
        f"Deducted: {part['number']} of {part['issue_date']}, {amounts(part)}."
        for part in document["deducts"]
    ]
    return [f"The whole: {amounts(document['whole'])}.", *parts]
