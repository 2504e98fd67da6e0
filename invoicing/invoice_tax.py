"""Tax on an invoice: its groups, how a line is taxed, and both in the canonical text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from ingest.document import decimal_text

TAX_NOTE: Final = "excluded"


@dataclass(frozen=True, slots=True)
class InvoiceLineTax:
    """How a line is taxed: the category and rate of its group on the invoice, and its product class.

    inclusive_minor: what was priced, tax included, where prices include tax; else null.
    """

    category: str
    rate_percent: Decimal
    tax_class: str
    inclusive_minor: int | None


@dataclass(frozen=True, slots=True)
class InvoiceTax:
    """One group of lines that are taxed alike (EN 16931 BG-23): a category, a rate, what it is counted on.

    category: UNCL 5305 code (S, Z, E, AE, K, G, O, L, M). rate_percent: exact, 0 for all but S, L and M.
    taxable_minor: the group's lines summed, net. tax_minor: rounded once for the group (BR-CO-17), never for
    a line. reason: why there is no tax, as the law words it; empty where there is some. reason_code: VATEX
    code or empty.
    """

    category: str
    rate_percent: Decimal
    taxable_minor: int
    tax_minor: int
    reason: str = ""
    reason_code: str = ""


def tax_document(groups: Sequence[InvoiceTax]) -> Any:
    """The tax groups as the canonical text has them; ``excluded`` where no tax is stated."""
    if not groups:
        return TAX_NOTE
    return [
        {
            "category": group.category,
            "rate_percent": decimal_text(group.rate_percent),
            "reason": group.reason,
            "reason_code": group.reason_code,
            "tax_minor": group.tax_minor,
            "taxable_minor": group.taxable_minor,
        }
        for group in groups
    ]


def line_tax_document(tax: InvoiceLineTax) -> dict[str, Any]:
    """How a line is taxed, as the canonical text has it."""
    return {name: _text(getattr(tax, name)) for name in InvoiceLineTax.__slots__}


def parse_tax(data: Mapping[str, Any]) -> InvoiceTax:
    """A group of a canonical text."""
    return InvoiceTax(**{**data, "rate_percent": Decimal(data["rate_percent"])})


def parse_line_tax(data: Mapping[str, Any]) -> InvoiceLineTax:
    """A line's tax of a canonical text."""
    return InvoiceLineTax(**{**data, "rate_percent": Decimal(data["rate_percent"])})


def _text(value: Any) -> Any:
    return decimal_text(value) if isinstance(value, Decimal) else value
