"""A draft with the credit its invoice takes: the pieces of its text, and what the tables have of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from invoicing.credit_allowance import allowed_minor
from invoicing.draft import Draft
from invoicing.invoice import Invoice, credit_document, invoice_document
from invoicing.tax_again import inclusive_minor

_MIDDLE: Final = ("lines", "minor_digits")
_TAIL: Final = ("period_end", "period_start", "schema", "seller", "tax", "terms", "total_minor")


def with_credit(draft: Draft, invoice: Invoice) -> Draft:
    """The draft of an invoice that was settled: with what is taken off its lines before tax, and what it
    draws after."""
    if any(line.allowances for line in invoice.lines):
        draft = _lowered(draft, invoice)
    if not invoice.drawn_credit:
        return draft
    return replace(draft, credit=_text(credit_document(invoice)), credit_minor=invoice.credit_minor)


def _lowered(draft: Draft, invoice: Invoice) -> Draft:
    document = invoice_document(invoice)
    amounts = tuple(line.amount_minor for line in invoice.lines)
    priced = tuple(inclusive_minor(line) for line in invoice.lines)
    return replace(
        draft,
        middle=f",{_members(document, _MIDDLE)},",
        tail=f",{_members(document, _TAIL)}}}",
        amounts_minor=amounts,
        posted_lines=tuple(
            line._replace(amount_minor=amount)
            for line, amount in zip(draft.posted_lines, amounts, strict=True)
        ),
        total_minor=invoice.total_minor,
        tax_minor=invoice.tax_minor,
        priced_minor=None if all(amount is None for amount in priced) else priced,
        allowed_minor={line.line_id: allowed_minor(line) for line in invoice.lines if line.allowances},
    )


def _members(document: dict[str, Any], names: Sequence[str]) -> str:
    return _text({name: document[name] for name in names})[1:-1]


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
