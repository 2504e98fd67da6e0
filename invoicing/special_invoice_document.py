"""A special invoice as a PDF: the page of an invoice with its own title and what it deducts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import orjson

from invoicing.document import InvoicePrinter, printed
from invoicing.invoice import parse_invoice
from invoicing.printed_line import breakable
from invoicing.special_invoice import SpecialKind
from invoicing.template import PLAIN, DocumentTemplate
from invoicing.words import Words, words_of

TITLE_WORD: Final[Mapping[SpecialKind, str]] = {
    "deposit": "deposit_invoice",
    "progress": "progress_invoice",
    "final": "final_invoice",
    "miscellaneous": "invoice",
}
"""The name of each kind's title in the tables of words."""


def special_invoice_pdf(
    printer: InvoicePrinter,
    text: str,
    template: DocumentTemplate = PLAIN,
    *,
    logo: bytes = b"",
    cii: bytes = b"",
) -> bytes:
    """The PDF/A-3b of a special invoice by its canonical text; the same arguments are the same bytes.

    logo: the seller's; one of the template comes before it. cii: its e-invoice of the profile en16931, for
    Factur-X.
    """
    document = orjson.loads(text)
    dated = date.fromisoformat(document["issue_date"] or document["billing_date"])
    if template.logo is not None:
        logo = template.logo.content()
    return printer.pdf_of(printed_special_invoice(text, template), dated=dated, logo=logo, cii=cii)


def printed_special_invoice(text: str, template: DocumentTemplate = PLAIN) -> dict[str, Any]:
    """Every text on the page, by its place in the template, in the customer's language."""
    document, invoice = orjson.loads(text), parse_invoice(text)
    page = printed(invoice, template)
    w = words_of(page["language"])
    title = w(TITLE_WORD[document["kind"]])
    wanted = (
        (w("project"), document["project"]),
        (w("reason_label"), document["reason"]),
        (w("subject"), document["title"]),
    )
    facts = [
        *page["facts"],
        *({"label": label, "value": breakable(value)} for label, value in wanted if value),
    ]
    return {
        **page,
        "title": title if invoice.number else w("draft_titled", title=title),
        "facts": facts,
        "notes": [*deduction_words(document, w), *page["notes"]],
    }


def deduction_words(document: Mapping[str, Any], w: Words) -> list[str]:
    """The whole, and of each document that is deducted its net amount and tax, as the law asks for."""
    if not document["deducts"]:
        return []
    digits, currency = document["minor_digits"], document["currency"]

    def said(word: str, part: Mapping[str, Any], **more: str) -> str:
        net, tax = (w.money(part[name], digits) for name in ("net_minor", "tax_minor"))
        return w(word, net=net, tax=tax, currency=currency, **more)

    return [
        said("the_whole", document["whole"]),
        *(
            said("deducted", part, number=part["number"], date=w.day(date.fromisoformat(part["issue_date"])))
            for part in document["deducts"]
        ),
    ]
