"""Tax groups of an issued document in the terms of EN 16931 (BG-23), and which of them a line is taxed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from invoicing.einvoice_model import NOT_SUBJECT, ETax
from invoicing.invoice_tax import InvoiceLineTax, InvoiceTax

_WHY_NO_TAX: Final[Mapping[str, tuple[str, str]]] = {
    "AE": ("Reverse charge", "VATEX-EU-AE"),
    "K": ("Intra-community supply", "VATEX-EU-IC"),
    "G": ("Export outside the EU", "VATEX-EU-G"),
    "O": ("Not subject to VAT", "VATEX-EU-O"),
}
STATES_A_REASON: Final = frozenset({"E", *_WHY_NO_TAX})
_WITH_RATE: Final = frozenset({"S", "L", "M"})


def tax_terms(group: InvoiceTax, digits: int) -> ETax:
    """One group as issued. digits: of the currency."""
    reason, code = group.reason, group.reason_code
    if group.category in _WHY_NO_TAX and not reason:
        reason, usual = _WHY_NO_TAX[group.category]
        code = code or usual
    if group.category not in STATES_A_REASON:
        reason, code = "", ""
    rate = group.rate_percent if group.category in _WITH_RATE else Decimal(0)
    return ETax(
        category=group.category,
        rate_percent=None if group.category == NOT_SUBJECT else rate,
        taxable=Decimal(group.taxable_minor).scaleb(-digits),
        tax=Decimal(group.tax_minor).scaleb(-digits),
        reason=reason,
        reason_code=code,
    )


def group_of(tax: InvoiceLineTax | None, taxes: Sequence[ETax]) -> ETax:
    """The group a line is taxed in: the one it names, and where there is one group, that."""
    if tax is not None:
        for group in taxes:
            if group.category == tax.category and group.rate_percent in {None, tax.rate_percent}:
                return group
    return taxes[0]
