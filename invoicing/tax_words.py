"""Parties, tax and the seller's terms of an invoice, as every form of it shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from invoicing.invoice import Invoice, InvoiceLine
from invoicing.words import Words


def line_tax_words(line: InvoiceLine, *, several: bool, digits: int, w: Words) -> list[str]:
    """What a line says of its tax: its rate where the invoice has several, its price where that holds tax."""
    if line.tax is None:
        return []
    words = []
    if several and line.tax.rate_percent:
        words.append(w("line_tax", rate=w.number(line.tax.rate_percent)))
    elif several:
        words.append(w("line_no_tax", category=line.tax.category))
    if line.tax.inclusive_minor is not None:
        words.append(w("with_tax", amount=w.money(line.tax.inclusive_minor, digits)))
    return words


def billed_party(customer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whom the invoice is addressed to: ``bill_to`` of the customer with its tax id, or the customer. name:
    the legal one."""
    own = {name: value for name, value in customer.items() if name != "legal_name"}
    own["name"] = customer.get("legal_name") or customer["name"]
    party = customer.get("bill_to")
    if not party:
        return own
    filled = {name: value for name, value in party.items() if value}
    if "address_lines" in filled:  # another place, so nothing of the customer's own stays
        own |= {"city": "", "postal_code": ""}
    return {**own, "email": "", **filled}


def sold_to_party(customer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Who ordered, where that is not who is billed; its country is the customer's unless it names one."""
    stated = customer.get("sold_to") or (customer if customer.get("bill_to") else None)
    if stated is None:
        return None
    party = {name: value for name, value in stated.items() if value}
    name = party.get("legal_name") or party["name"]
    billed = billed_party(customer)
    if (name, list(party.get("address_lines", ()))) == (
        billed["name"],
        list(billed.get("address_lines", ())),
    ):
        return None
    shown = ("address_lines", "postal_code", "city", "country")
    return {"country": customer.get("country", ""), "name": name} | {
        key: party[key] for key in shown if key in party
    }


def terms_words(invoice: Invoice, language: str) -> str:
    """The seller's standard words in a language, or in the first one it has."""
    texts: Mapping[str, str] = (invoice.seller or {}).get("terms_text") or {}
    for name in (language, language.partition("-")[0], *(invoice.seller or {}).get("languages", ())):
        if texts.get(name):
            return texts[name]
    return ""
