"""Invoices beside the billing dates: deposit, progress, final, miscellaneous. What people ask for, the kinds
and their numbers; ``special_invoice_draft.py`` makes the invoice of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal
from ingest.errors import Issue
from ingest.meter import Key
from rating.price_plan import STANDARD_TAX_CLASS

SpecialKind = Literal["deposit", "progress", "final", "miscellaneous"]
SERIES_PREFIX: Final[Mapping[SpecialKind, str]] = {
    "deposit": "DEP",
    "progress": "PRO",
    "final": "FIN",
    "miscellaneous": "MISC",
}
"""The series of each kind where its billing entity names no other."""
TYPE_CODE: Final[Mapping[SpecialKind, str]] = {
    "deposit": "386",
    "progress": "326",
    "final": "380",
    "miscellaneous": "380",
}
"""UNTDID 1001: prepayment invoice, partial invoice, commercial invoice."""
TITLE: Final[Mapping[SpecialKind, str]] = {
    "deposit": "Deposit invoice",
    "progress": "Progress invoice",
    "final": "Final invoice",
    "miscellaneous": "Invoice",
}
DEDUCTED_KINDS: Final = ("deposit", "progress")
HUNDRED: Final = Decimal(100)


class SpecialLine(Document):
    """amount: net of tax, in major units; below zero only beside others. tax_class: as in price plans.
    product: what reports count it under; left out, the kind of the invoice. period_start, period_end: the
    days of service, half-open; left out, the issue date."""

    description: str = Field(min_length=1, max_length=1024)
    amount: ExactDecimal
    tax_class: Key = STANDARD_TAX_CLASS
    product: Key | None = None
    period_start: date | None = None
    period_end: date | None = None


class SpecialInvoiceRequest(Document):
    """lines: of a deposit the whole order, of which ``percent`` is asked for; of a final invoice the whole
    that was delivered. project: deposits and progress invoices of the same one are deducted by its final
    invoice. deducts: only these, by id or number; left out, all that no final invoice deducted. reason: why;
    printed, and must be given on a miscellaneous invoice. dated_on: the issue date; left out, today.
    payment_days: left out, those of the contract."""

    kind: SpecialKind
    contract_id: Key
    project: str = Field(default="", max_length=256)
    title: str = Field(default="", max_length=256)
    reason: str = Field(default="", max_length=1024)
    lines: tuple[SpecialLine, ...] = Field(min_length=1)
    percent: ExactDecimal | None = None
    deducts: tuple[str, ...] | None = None
    dated_on: date | None = None
    payment_days: int | None = Field(default=None, ge=0, le=365)


def request_issues(request: SpecialInvoiceRequest) -> Iterator[Issue]:
    """What a request must keep beyond its field types."""
    if (request.kind == "deposit") != (request.percent is not None):
        yield Issue(
            "deposit_percent",
            "percent",
            f"The kind is {request.kind} and percent {request.percent}.",
            "percent on a deposit (100: the lines are the deposit), and on no other kind.",
        )
    if request.percent is not None and not 0 < request.percent <= HUNDRED:
        yield Issue("deposit_percent", "percent", f"It is {request.percent}.", "above 0 and at most 100.")
    if request.deducts is not None and request.kind != "final":
        yield Issue(
            "deducts_on_final", "deducts", f"The kind is {request.kind}.", "kind final, or no deducts."
        )
    if request.kind == "miscellaneous" and not request.reason.strip():
        yield Issue("reason_missing", "reason", "Nothing says why it is billed.", "a reason; it is printed.")
    for place, line in enumerate(request.lines):
        start, end = line.period_start, line.period_end
        if (start is None) != (end is None) or (start is not None and end is not None and start >= end):
            yield Issue(
                "service_period",
                f"lines[{place}].period_end",
                f"The service is from {start} to {end}.",
                "both days, the second one after the first, which it does not cover; or neither.",
            )
