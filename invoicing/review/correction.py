"""A correction of a draft: another line beside the one that was wrong, so that what was rated stays
readable. Pure.

The line and its corrections come to what the reviewer says. Tax is counted again for the whole group, as it
was for the draft.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from decimal import Decimal
from typing import Final

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import InvalidInput, NotFound
from invoicing.credit_allowance import without_credit
from invoicing.invoice import Invoice, InvoiceLine
from invoicing.posting import TOP_UP_CHARGE_ID
from invoicing.recognition import CORRECTION_KIND
from invoicing.tax_again import priced_minor, with_tax_again
from rating.money import format_minor
from rating.retainer import sells_credit

PRICE_SOURCE: Final = "review"


class CorrectionRequest(Document):
    """line_id: of a rated line of the draft. amount: what it is to come to with this correction and earlier
    ones, in major units; net of tax, or with it where its price includes tax. reason: printed on the
    invoice."""

    line_id: str = Field(min_length=1, max_length=64)
    amount: ExactDecimal
    reason: str = Field(min_length=1, max_length=512)


def corrected(draft: Invoice, request: CorrectionRequest) -> Invoice:
    """The draft with one more line, and its total and tax anew; without drawn credit.

    Raises NotFound for an unknown line; InvalidInput without a reason, for an amount with part of a minor
    unit, one that changes nothing, a line that is a correction or sells credit, or one that makes an invoice
    come to less than nothing, tax included; what does so already is a credit note and may.
    """
    draft = without_credit(draft)
    line = next((line for line in draft.lines if line.line_id == request.line_id), None)
    if line is None:
        raise NotFound(
            f"the draft has no line {request.line_id!r}. `ratemill invoice show {draft.invoice_id}` "
            f"shows their ids."
        )
    change = _change(draft, line, request)
    correction = _correction(draft, line, request, change)
    taxed = with_tax_again(replace(draft, lines=(*draft.lines, correction)))
    if taxed.gross_minor < 0 <= draft.gross_minor:
        total = format_minor(taxed.gross_minor, draft.currency)
        raise _refused(
            f"the draft would come to {total} {draft.currency}. An invoice is not below zero; correct "
            f"it to 0 "
            "at the least.",
            "correction_below_zero",
        )
    return taxed


def _change(draft: Invoice, line: InvoiceLine, request: CorrectionRequest) -> int:
    """By how much the line changes, minor units as it is priced."""
    if not request.reason.strip():
        raise _refused(
            "Nothing says why the line is corrected. Give a reason; it is printed.", "reason_missing"
        )
    if line.charge_kind == CORRECTION_KIND:
        raise _refused(
            "the line is a correction itself; name the line that it corrects.", "correction_of_correction"
        )
    if sells_credit(line.charge_id) or line.charge_id == TOP_UP_CHARGE_ID:
        raise _refused(
            "the line sells credit, and its price and the credit go together: change the contract and "
            "bill again.",
            "correction_of_credit",
        )
    wanted = request.amount.scaleb(draft.minor_digits)
    if wanted != wanted.to_integral_value():
        raise _refused(
            f"{decimal_text(request.amount)} {draft.currency} has part of a minor unit; write at most "
            f"{draft.minor_digits} digits.",
            "correction_amount",
        )
    ids = {line.line_id, *_correction_ids(draft, line)}
    now = sum(priced_minor(each) for each in draft.lines if each.line_id in ids)
    if wanted == now:
        amount = f"{format_minor(now, draft.currency)} {draft.currency}"
        raise _refused(f"the line comes to {amount} already; nothing was changed.", "correction_amount")
    return int(wanted) - now


def _correction_ids(draft: Invoice, line: InvoiceLine) -> list[str]:
    """Ids of the corrections the line can have: they are derived, so the document need not say whose they
    are."""
    return [_id_of(draft, line, number) for number in range(1, len(draft.lines) + 1)]


def _id_of(draft: Invoice, line: InvoiceLine, number: int) -> str:
    named = f"ratemill correction\n{draft.invoice_id}\n{line.line_id}\n{number}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _correction(draft: Invoice, line: InvoiceLine, request: CorrectionRequest, change: int) -> InvoiceLine:
    taken = {each.line_id for each in draft.lines}
    line_id = next(found for found in _correction_ids(draft, line) if found not in taken)
    tax = line.tax
    if tax is not None and tax.inclusive_minor is not None:
        tax = replace(tax, inclusive_minor=change)
    return replace(
        line,
        line_id=line_id,
        charge_kind=CORRECTION_KIND,
        description=f"{line.description}, correction: {request.reason.strip()}",
        price_model="flat",
        price_text="",
        quantity=Decimal(1),
        rated_quantity=Decimal(1),
        event_count=0,
        amount=Decimal(change).scaleb(-draft.minor_digits),
        amount_minor=change,
        tiers=(),
        price_source=PRICE_SOURCE,
        discounts=(),
        adjusts=None,
        tax=tax,
    )


def _refused(message: str, reason_code: str) -> InvalidInput:
    return InvalidInput(message, reason_code=reason_code)
