"""How an invoice and money look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.cli.session import Column, table


def money(amount_minor: int, digits: int) -> str:
    """Minor units as people write them: 123456 with two digits is ``1,234.56``."""
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**digits)
    return f"{sign}{whole:,}" + (f".{part:0{digits}d}" if digits else "")


def invoice_shown(invoice: Mapping[str, Any]) -> list[Any]:
    """Head, lines and total of an invoice, to print one after the other."""
    digits = int(invoice["minor_digits"])
    columns: tuple[Column, ...] = (
        ("line", "line_id"),
        ("what", _what),
        ("from", "period_start"),
        ("until before", "period_end"),
        ("quantity>", "quantity"),
        ("unit", "unit"),
        ("price", "price_text"),
        (f"{invoice['currency']}>", lambda line: money(line["amount_minor"], digits)),
    )
    head = f"Invoice {invoice['number'] or '(draft, no number)'} for {invoice['customer'].get('name', '')}"
    dates = f"billing date {invoice['billing_date']}, due {invoice['due_date'] or 'when issued'}"
    total = f"Total {money(invoice['total_minor'], digits)} {invoice['currency']}, taxes not included."
    return [head, dates, table(invoice["lines"], columns), total]


def _what(line: Mapping[str, Any]) -> str:
    dimensions = ", ".join(f"{name} {value}" for name, value in line["dimensions"].items())
    return f"{line['description']} ({dimensions})" if dimensions else str(line["description"])
