"""A retainer statement as a PDF: how one period of a retainer was used, by project or another group key, what
it paid, what went beyond it and what is left. On the page of an invoice, which it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import orjson
from sqlalchemy import Engine

from ingest.document import canonical_json
from ingest.errors import NotFound
from invoicing.customer_store import get_customer
from invoicing.document import PAGE_WORDS, InvoicePrinter, party_lines, party_name
from invoicing.printed_line import breakable
from invoicing.quote_document import contract_seller
from invoicing.retainer_statement import RetainerPeriod, RetainerUse, retainer_statement
from invoicing.settings import Seller
from invoicing.tax_words import billed_party, sold_to_party
from invoicing.template import PLAIN
from invoicing.words import Words, words_of
from rating.contract import Contract
from rating.contract_store import get_contract
from rating.money import minor_digits


def retainer_pdf(
    printer: InvoicePrinter,
    ledger: Engine,
    contract_id: str,
    *,
    period_start: date | None,
    retainer_id: str | None,
    seller: Seller | None,
) -> bytes:
    """The PDF/A-3b of the statement of one period; the same books give the same bytes.

    period_start: the first day of the period; None: the newest whose usage is billed, else the newest.
    retainer_id: of a contract with several. Raises NotFound for a contract or period that is not there.
    """
    contract = get_contract(ledger, contract_id)
    period = _chosen(retainer_statement(ledger, contract_id), contract_id, period_start, retainer_id)
    customer = orjson.loads(canonical_json(get_customer(ledger, contract.customer_id).customer))
    known, logo = contract_seller(ledger, contract, customer, seller=seller)
    texts = printed_statement(period, contract, customer, known)
    return printer.pdf_of(texts, dated=period.period_end, logo=logo)


def printed_statement(
    period: RetainerPeriod, contract: Contract, customer: dict[str, Any], seller: dict[str, Any]
) -> dict[str, Any]:
    """Every text on the page, by its place in ``templates/invoice.typ``, in the customer's language."""
    w = words_of(str(customer.get("language") or "en"))
    digits = minor_digits(period.currency)
    billed_to, sold_to = billed_party(customer), sold_to_party(customer)
    name = str(seller.get("legal_name") or seller.get("name", ""))
    named = next((one.name for one in contract.retainers if one.retainer_id == period.retainer_id), "")
    facts = (
        (w("period_of_service"), w.period(period.period_start, period.period_end)),
        (w("customer"), str(customer.get("customer_id", ""))),
        (w("contract"), contract.contract_id),
        (w("purchase_order"), contract.terms.purchase_order),
        (w("your_contact"), contract.terms.owner),
    )
    beyond = period.overage_minor > 0
    total = period.overage_minor if beyond else period.remaining_minor
    return {
        "language": w.language,
        "accent": PLAIN.accent,
        "paper": PLAIN.paper,
        "shown": {"quantity": True, "price": False},
        "words": {word: w(word) for word in PAGE_WORDS},
        "title": w("retainer_statement"),
        "number": "",
        "seller_name": name,
        "seller_lines": party_lines(seller, w),
        "billed_to": w("statement_for"),
        "customer_name": party_name(billed_to),
        "customer_lines": party_lines(billed_to, w),
        "sold_to": w("sold_to"),
        "sold_to_lines": [] if sold_to is None else [party_name(sold_to), *party_lines(sold_to, w)],
        "facts": [{"label": label, "value": breakable(text)} for label, text in facts if text],
        "head": f"{w('retainer')}: {named or period.retainer_id}",
        "amount_head": f"{w('amount')} {period.currency}",
        "lines": [_line(use, digits, w) for use in period.used],
        "sums": _sums(period, digits, w),
        "total_label": w("retainer_overage" if beyond else "retainer_remaining"),
        "total": f"{w.money(total, digits)} {period.currency}",
        "tax_notes": [] if period.tax_minor else [w("amounts_exclude_tax")],
        "notes_label": w("retainer"),
        "notes": list(_notes(period, digits, w)),
        "payment": {"rows": [], "code": "", "caption": ""},
        "foot": [],
        "footer": " · ".join(
            str(part) for part in (name, seller.get("tax_id"), seller.get("registration_id")) if part
        ),
    }


def _sums(period: RetainerPeriod, digits: int, w: Words) -> list[dict[str, str]]:
    """Used, the tax on it where there is any, and what of both the retainer paid."""
    amounts = [
        ("retainer_used", period.used_minor),
        ("retainer_tax", period.tax_minor),
        ("retainer_drawn", -period.drawn_minor),
    ]
    return [
        {"label": w(word), "value": w.money(amount, digits)}
        for word, amount in amounts
        if amount or word != "retainer_tax"
    ]


def _chosen(
    periods: list[RetainerPeriod], contract_id: str, period_start: date | None, retainer_id: str | None
) -> RetainerPeriod:
    found = [
        period
        for period in periods
        if period_start in (None, period.period_start) and retainer_id in (None, period.retainer_id)
    ]
    if not found:
        which = "" if period_start is None else f" that begins on {period_start}"
        raise NotFound(
            f"contract {contract_id!r} was billed no retainer for a period{which}. "
            f"`ratemill credits statement {contract_id}` shows those there are."
        )
    billed = [period for period in found if period.billed]
    return (billed or found)[-1]


def _line(use: RetainerUse, digits: int, w: Words) -> dict[str, Any]:
    return {
        "description": breakable(use.key),
        "detail": "",
        "quantity": w.number(use.quantity),
        "unit": breakable(use.unit),
        "wide": False,
        "price": "",
        "amount": w.money(use.amount_minor, digits),
        "tiers": [],
    }


def _notes(period: RetainerPeriod, digits: int, w: Words) -> Iterator[str]:
    amounts = {
        "retainer_granted": period.granted_minor,
        "retainer_carried_in": period.carried_in_minor,
        "retainer_carried_over": period.carried_over_minor,
        "retainer_lapsed": period.lapsed_minor,
    }
    for name, amount_minor in amounts.items():
        if amount_minor or name == "retainer_granted":
            yield w(name, amount=w.money(amount_minor, digits), currency=period.currency)
    if not period.billed:
        yield w("retainer_not_billed")
