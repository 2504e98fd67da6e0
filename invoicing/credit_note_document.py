"""A credit note as a PDF: the page of an invoice (``invoicing/document.py``) with other texts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from invoicing.credit_note_tax import group_key, groups_of_lines
from invoicing.document import PAGE_WORDS, InvoicePrinter, party_lines, party_name, tax_notes, tax_row
from invoicing.invoice_tax import InvoiceTax, parse_tax
from invoicing.printed_line import breakable, is_wide
from invoicing.tax_words import billed_party, sold_to_party
from invoicing.template import PLAIN, DocumentTemplate
from invoicing.words import Words, words_of


def credit_note_pdf(
    printer: InvoicePrinter,
    text: str,
    template: DocumentTemplate = PLAIN,
    *,
    logo: bytes = b"",
    cii: bytes = b"",
) -> bytes:
    """The PDF/A-3b of a credit note by its canonical text; the same arguments are the same bytes.

    logo: the seller's; one of the template comes before it. cii: its e-invoice of the profile en16931, for
    Factur-X.
    """
    note = orjson.loads(text)
    dated = date.fromisoformat(note["issue_date"])
    if template.logo is not None:
        logo = template.logo.content()
    return printer.pdf_of(printed_credit_note(note, template), dated=dated, logo=logo, cii=cii)


def printed_credit_note(note: Mapping[str, Any], template: DocumentTemplate = PLAIN) -> dict[str, Any]:
    """Every text on the page, by its place in ``templates/invoice.typ``, in the customer's language. note:
    the canonical document. Amounts are printed above zero: the title says which way they go. Standard texts
    of a template speak of payment, so they are for invoices only."""
    customer, seller, digits = note["customer"], note["seller"] or {}, note["minor_digits"]
    w = words_of(template.language or str(customer.get("language") or "en"))
    taxes = credited_taxes(note)
    billed_to, sold_to = billed_party(customer), sold_to_party(customer)
    net, tax = -note["total_minor"], sum(group.tax_minor for group in taxes)
    net_row = {"label": w("net_total"), "value": w.money(net, digits)}
    seller_name = str(seller.get("legal_name") or seller.get("name", ""))
    return {
        "language": w.language,
        "accent": template.accent,
        "paper": template.paper,
        "shown": {"quantity": template.shown.quantity, "price": False},
        "words": {name: w(name) for name in PAGE_WORDS},
        "title": w("credit_note"),
        "number": note["number"],
        "seller_name": seller_name,
        "seller_lines": party_lines(seller, w),
        "billed_to": w("credited_to"),
        "customer_name": party_name(billed_to),
        "customer_lines": party_lines(billed_to, w),
        "sold_to": w("sold_to"),
        "sold_to_lines": [] if sold_to is None else [party_name(sold_to), *party_lines(sold_to, w)],
        "facts": [{"label": label, "value": breakable(value)} for label, value in _facts(note, w) if value],
        "head": "",
        "amount_head": f"{w('amount')} {note['currency']}",
        "lines": [_credited_line(line, digits, w) for line in note["lines"]],
        "sums": [net_row, *(tax_row(group, digits, w) for group in taxes)] if taxes else [],
        "total_label": w("total_credited"),
        "total": f"{w.money(net + tax, digits)} {note['currency']}",
        "tax_notes": tax_notes(taxes, w),
        "notes_label": w("about_credit_note"),
        "notes": _notes(note, w),
        "payment": {"rows": [], "code": "", "caption": ""},
        "foot": [],
        "footer": " · ".join(
            str(part) for part in (seller_name, seller.get("tax_id"), seller.get("registration_id")) if part
        ),
    }


def credited_taxes(note: Mapping[str, Any]) -> tuple[InvoiceTax, ...]:
    """The tax groups of a canonical credit note with amounts above zero; none where it states no tax. Groups
    of nothing that no line is of, as older credit notes have them, are left out."""
    groups = note["tax"] if isinstance(note["tax"], list) else []
    of_lines = groups_of_lines(note["lines"])
    return tuple(
        parse_tax({**group, "taxable_minor": -group["taxable_minor"], "tax_minor": -group["tax_minor"]})
        for group in groups
        if group["taxable_minor"] or group["tax_minor"] or len(groups) == 1 or group_key(group) in of_lines
    )


def _facts(note: Mapping[str, Any], w: Words) -> list[tuple[str, str]]:
    invoice, customer = note["invoice"], note["customer"]
    corrected = w(
        "credited_invoice", number=invoice["number"], date=w.day(date.fromisoformat(invoice["issue_date"]))
    )
    return [
        (w("credited_on"), w.day(date.fromisoformat(note["issue_date"]))),
        (w("credits_invoice"), corrected),
        (w("contract"), str(note["contract"]["contract_id"])),
        (w("customer"), str(customer["customer_id"])),
        (w("purchase_order"), note["purchase_order"]),
        (w("buyer_reference"), str(customer.get("buyer_reference") or "")),
    ]


def _notes(note: Mapping[str, Any], w: Words) -> list[str]:
    back = [
        w(
            "goes_back",
            amount=w.money(grant["amount_minor"], note["minor_digits"]),
            currency=note["currency"],
            name=breakable(grant["name"]),
        )
        for grant in note["returned_credit"]["grants"]
    ]
    return [w("reason", reason=note["reason"]), *back]


def _credited_line(line: Mapping[str, Any], digits: int, w: Words) -> dict[str, Any]:
    start, end = (date.fromisoformat(line[name]) for name in ("period_start", "period_end"))
    names = [f"{name} {value or w('none_named')}" for name, value in sorted(line["dimensions"].items())]
    credited = line["credited_quantity"]
    quantity = "" if credited is None else w.number(Decimal(credited))
    unit = line["unit"] if quantity else ""
    return {
        "description": breakable(line["description"]),
        "detail": breakable(" · ".join([w.period(start, end), *names])),
        "quantity": breakable(quantity),
        "unit": breakable(unit),
        "wide": is_wide(quantity, unit),
        "price": "",
        "amount": w.money(-line["amount_minor"], digits),
        "tiers": [],
    }
