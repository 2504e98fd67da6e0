"""A special invoice in the terms of EN 16931: what ``invoicing/einvoice.py`` is for an invoice of a contract.

A deposit is a prepayment invoice (386), a progress invoice a partial one (326). A final invoice (380) states
the whole with its tax, names each document it deducts as a preceding one (BT-25), and states what these came
to, tax included, as paid before (BT-113): so the rates of the whole and of what was billed earlier never meet
in one sum, and what is due (BT-115) is what the invoice comes to. What was billed and taxed before stands in
words in the note (BT-22).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from invoicing.credit_note import DEDUCTING_KINDS
from invoicing.einvoice import electronic_invoice
from invoicing.einvoice_model import EInvoice, EReference, Profile
from invoicing.invoice import Invoice, InvoiceLine, parse_invoice
from invoicing.invoice_tax import InvoiceTax
from invoicing.special_invoice_document import deduction_words
from invoicing.tax_amounts import tax_on_net
from invoicing.words import words_of


def electronic_special_invoice(text: str, *, profile: Profile) -> EInvoice:
    """The terms of an issued special invoice, by its canonical text. Raises InvalidInput with all that is
    missing."""
    document, invoice = orjson.loads(text), parse_invoice(text)
    terms = electronic_invoice(_whole(invoice), profile=profile)
    words = [document["reason"], terms.note, *deduction_words(document, words_of("en"))]
    prepaid = sum(part["net_minor"] + part["tax_minor"] for part in document["deducts"])
    paid = Decimal(prepaid).scaleb(-invoice.minor_digits)
    return replace(
        terms,
        type_code=document["type_code"],
        note=" ".join(word for word in words if word),
        preceding=tuple(_reference(part) for part in document["deducts"]),
        prepaid=paid,
        due=terms.gross - paid,
    )


def _whole(invoice: Invoice) -> Invoice:
    """The invoice before it deducts anything."""
    lines = tuple(line for line in invoice.lines if line.charge_kind not in DEDUCTING_KINDS)
    if len(lines) == len(invoice.lines):
        return invoice
    return replace(
        invoice,
        lines=lines,
        total_minor=sum(line.amount_minor for line in lines),
        tax=tuple(_groups(invoice, lines)),
    )


def _groups(invoice: Invoice, lines: Sequence[InvoiceLine]) -> Iterator[InvoiceTax]:
    """Its tax groups before deductions, each rounded once, as they were when it was drafted; those that only
    deductions are in are left out."""
    for group in invoice.tax:
        own = [
            line.amount_minor
            for line in lines
            if line.tax is not None
            and (line.tax.category, line.tax.rate_percent) == (group.category, group.rate_percent)
        ]
        if own:
            tax_minor = tax_on_net(sum(own), group.rate_percent)
            yield replace(group, taxable_minor=sum(own), tax_minor=tax_minor)


def _reference(part: Mapping[str, Any]) -> EReference:
    return EReference(part["number"], date.fromisoformat(part["issue_date"]))
