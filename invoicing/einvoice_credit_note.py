"""A credit note in the terms of EN 16931 (type 381): what ``invoicing/einvoice.py`` is for an invoice.

Amounts are above zero, as the type wants: it says which way they go. The invoice it credits is the preceding
document (BT-25). What goes back to prepaid credit counts as paid already (BT-113), so what is due is by how
much less is owed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ingest.document import plain
from invoicing.credit_note_document import credited_taxes
from invoicing.einvoice import NOT_DEFINED
from invoicing.einvoice_model import (
    CREDIT_NOTE_TYPE,
    NOT_SUBJECT,
    EInvoice,
    ELine,
    EPayment,
    EReference,
    ETax,
    Profile,
)
from invoicing.einvoice_party import deliver_to_terms, party_terms
from invoicing.einvoice_tax import group_of, tax_terms
from invoicing.einvoice_wanted import complete
from invoicing.invoice_tax import parse_line_tax
from invoicing.tax_words import billed_party
from invoicing.unit_codes import ONE, unit_code

_PRICE_DIGITS_MAX: Final = 4


def electronic_credit_note(note: Mapping[str, Any], *, profile: Profile) -> EInvoice:
    """The terms of an issued credit note, by its canonical document. Raises InvalidInput with all that is
    missing."""
    return complete(_terms(note, profile), what=f"credit note {note['number']}")


def _terms(note: Mapping[str, Any], profile: Profile) -> EInvoice:
    customer, seller, digits = note["customer"], note["seller"] or {}, note["minor_digits"]
    groups = credited_taxes(note)
    taxes = tuple(tax_terms(group, digits) for group in groups)
    of_vat = not any(tax.category == NOT_SUBJECT for tax in taxes)
    buyer = party_terms(billed_party(customer), of_vat=of_vat)
    net = Decimal(-note["total_minor"]).scaleb(-digits)
    tax = Decimal(sum(group.tax_minor for group in groups)).scaleb(-digits)
    prepaid = Decimal(note["returned_credit"]["total_minor"]).scaleb(-digits)
    credited, issue_date = note["invoice"], date.fromisoformat(note["issue_date"])
    reasons = dict.fromkeys(group.reason for group in groups if group.reason)
    return EInvoice(
        profile=profile,
        type_code=CREDIT_NOTE_TYPE,
        number=note["number"],
        issue_date=issue_date,
        due_date=None,
        currency=note["currency"],
        digits=digits,
        note=" ".join([note["reason"], *reasons]),
        buyer_reference=str(customer.get("buyer_reference") or ""),
        purchase_order=note["purchase_order"],
        contract=str(note["contract"]["contract_id"]),
        preceding=(EReference(credited["number"], date.fromisoformat(credited["issue_date"])),),
        seller=party_terms(seller, of_vat=of_vat),
        buyer=buyer,
        deliver_to=deliver_to_terms(customer, buyer, taxes),
        period=_days(note),
        payment=EPayment(NOT_DEFINED, terms=f"Credits invoice {credited['number']}."),
        taxes=taxes,
        lines=tuple(_line(line, place, digits, taxes) for place, line in enumerate(note["lines"], start=1))
        if taxes
        else (),
        net=net,
        tax=tax,
        gross=net + tax,
        prepaid=prepaid,
        due=net + tax - prepaid,
    )


def _days(stated: Mapping[str, Any]) -> tuple[date, date]:
    """First and last day of a half-open period, both covered."""
    start, end = (date.fromisoformat(stated[name]) for name in ("period_start", "period_end"))
    return start, max(start, end - timedelta(days=1))


def _line(line: Mapping[str, Any], position: int, digits: int, taxes: Sequence[ETax]) -> ELine:
    """The credited quantity at its price where that is a short decimal, else one unit at the amount."""
    net = Decimal(-line["amount_minor"]).scaleb(-digits)
    credited = None if line["credited_quantity"] is None else Decimal(line["credited_quantity"])
    price = None if credited is None else _price(net, credited)
    group = group_of(parse_line_tax(line["tax"]) if "tax" in line else None, taxes)
    of_quantity = credited is not None and price is not None
    attributes = [] if credited is None else [("credited quantity", f"{credited:f} {line['unit']}".strip())]
    attributes += [(name, value or "(none)") for name, value in sorted(line["dimensions"].items())]
    return ELine(
        line_id=str(position),
        quantity=credited if of_quantity and credited is not None else Decimal(-1 if net < 0 else 1),
        unit=unit_code(line["unit"]) if of_quantity else ONE,
        net=net,
        period=_days(line),
        price=abs(net) if price is None else price,
        base_quantity=None,
        category=group.category,
        rate_percent=group.rate_percent,
        name=line["description"],
        seller_item=line["charge_id"],
        attributes=tuple(attributes),
    )


def _price(net: Decimal, quantity: Decimal) -> Decimal | None:
    """The price at which the quantity is the amount exactly; None where it has too many digits."""
    scaled: Fraction = Fraction(net) / Fraction(quantity) * 10**_PRICE_DIGITS_MAX
    if net < 0 or scaled.denominator != 1:
        return None
    return plain(Decimal(scaled.numerator).scaleb(-_PRICE_DIGITS_MAX))
