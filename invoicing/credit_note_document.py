"""A credit note as a PDF: the page of an invoice (``invoicing/document.py``) with other texts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from invoicing.document import (
    _QUANTITY_WIDTH,
    InvoicePrinter,
    _breakable,
    _day,
    _money,
    _number,
    _party_lines,
    _period,
)


def credit_note_pdf(printer: InvoicePrinter, text: str) -> bytes:
    """The PDF of a credit note by its canonical text; the same text is the same bytes."""
    note = orjson.loads(text)
    return printer.pdf_of(printed_credit_note(note), dated=date.fromisoformat(note["issue_date"]))


def printed_credit_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """Every text on the page, by its place in the template. note: the canonical document. Amounts are printed
    above zero: the title says which way they go."""
    customer, seller, digits = note["customer"], note["seller"] or {}, note["minor_digits"]
    back = note["returned_credit"]
    groups = note["tax"] if isinstance(note["tax"], list) else []
    net, tax = -note["total_minor"], -sum(group["tax_minor"] for group in groups)
    sums = [("Net", net)] if groups else []
    sums += [
        (f"Tax {group['category']} {group['rate_percent']} % of {_money(-group['taxable_minor'], digits)}",
         -group["tax_minor"])
        for group in groups
    ]  # fmt: skip
    invoice = note["invoice"]
    corrected = f"{invoice['number']} of {_day(date.fromisoformat(invoice['issue_date']))}"
    facts = (
        ("Issue date", _day(date.fromisoformat(note["issue_date"]))),
        ("Credits invoice", corrected),
        ("Contract", str(note["contract"]["contract_id"])),
        ("Customer", str(customer["customer_id"])),
        ("Purchase order", note["purchase_order"]),
    )
    notes = [f"Reason: {note['reason']}"]
    notes += [
        f"{_money(grant['amount_minor'], digits)} {note['currency']} of it goes back to prepaid credit: "
        f"{_breakable(grant['name'])}."
        for grant in back["grants"]
    ]
    return {
        "title": "Credit note",
        "number": note["number"],
        "seller_name": seller.get("name", ""),
        "seller_lines": _party_lines(seller),
        "customer_name": _breakable(customer.get("legal_name") or customer["name"]),
        "customer_lines": _party_lines(customer),
        "facts": [{"label": label, "value": _breakable(value)} for label, value in facts if value],
        "amount_head": f"Amount {note['currency']}",
        "lines": [_credited_line(line, digits) for line in note["lines"]],
        "sums": [{"label": label, "value": _money(minor, digits)} for label, minor in sums],
        "total_label": "Total credited",
        "total": f"{_money(net + tax, digits)} {note['currency']}",
        "tax_note": "" if groups else "Amounts exclude tax.",
        "notes_label": "About this credit note",
        "notes": notes,
        "footer": " · ".join(part for part in (seller.get("name", ""), seller.get("tax_id", "")) if part),
    }


def _credited_line(line: Mapping[str, Any], digits: int) -> dict[str, Any]:
    start, end = (date.fromisoformat(line[name]) for name in ("period_start", "period_end"))
    names = [f"{name} {value or '(none)'}" for name, value in sorted(line["dimensions"].items())]
    credited = line["credited_quantity"]
    quantity = "" if credited is None else _number(Decimal(credited))
    return {
        "description": _breakable(line["description"]),
        "detail": _breakable(" · ".join([_period(start, end), *names])),
        "quantity": _breakable(quantity),
        "unit": _breakable(line["unit"] if quantity else ""),
        "wide": len(quantity) + len(line["unit"]) > _QUANTITY_WIDTH,
        "price": "",
        "amount": _money(-line["amount_minor"], digits),
        "tiers": [],
    }
