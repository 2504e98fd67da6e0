"""How tax, parties and the seller's terms read on an invoice, in whatever form it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingest.document import decimal_text
from invoicing.invoice import Invoice, InvoiceLine
from invoicing.invoice_tax import InvoiceTax
from rating.money import exact_money, minor_digits, minor_to_decimal


def group_words(group: InvoiceTax, *, currency: str) -> str:
    """``Tax 19 % on 1,000.00``, or that there is none: ``No tax (AE) on 1,000.00``."""
    taxable = _grouped(group.taxable_minor, currency)
    if group.rate_percent:
        return f"Tax {decimal_text(group.rate_percent)} % on {taxable}"
    return f"No tax ({group.category}) on {taxable}"


def tax_reasons(invoice: Invoice) -> list[str]:
    """Why groups bear no tax, in the words of the law, each once."""
    return list(dict.fromkeys(group.reason for group in invoice.tax if group.reason))


def line_tax_words(line: InvoiceLine, invoice: Invoice) -> list[str]:
    """What a line says of its tax: its rate where the invoice has several, its price where that holds tax."""
    if line.tax is None:
        return []
    words = []
    if len(invoice.tax) > 1:
        rate = line.tax.rate_percent
        words.append(f"tax {decimal_text(rate)} %" if rate else f"no tax ({line.tax.category})")
    if line.tax.inclusive_minor is not None:
        words.append(f"{_grouped(line.tax.inclusive_minor, invoice.currency)} with tax")
    return words


def billed_party(customer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whom the invoice is addressed to: ``bill_to`` of the customer with its tax id, or the customer. name:
    the legal one."""
    own = {**customer, "name": customer.get("legal_name") or customer["name"]}
    party = customer.get("bill_to")
    if not party:
        return own
    filled = {name: value for name, value in party.items() if value}
    return {**own, "email": "", **filled}


def sold_to_words(customer: Mapping[str, Any]) -> str:
    """Who ordered, where that is not who is billed: name and address on one line."""
    party = customer.get("sold_to") or (customer if customer.get("bill_to") else None)
    if party is None:
        return ""
    name = party.get("legal_name") or party["name"]
    words = ", ".join([name, *party.get("address_lines", ())])
    billed = billed_party(customer)
    return "" if words == ", ".join([billed["name"], *billed.get("address_lines", ())]) else words


def terms_words(invoice: Invoice) -> str:
    """The seller's standard words in the customer's language, or in the first one it has."""
    texts: Mapping[str, str] = (invoice.seller or {}).get("terms_text") or {}
    language = str(invoice.customer.get("language") or "en")
    for name in (language, language.partition("-")[0], *(invoice.seller or {}).get("languages", ())):
        if texts.get(name):
            return texts[name]
    return ""


def _grouped(amount_minor: int, currency: str) -> str:
    return exact_money(minor_to_decimal(amount_minor, currency), digits=minor_digits(currency), grouped=True)
