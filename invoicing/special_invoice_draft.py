"""Invoices beside the billing dates: deposit, progress, final, miscellaneous. What is on them is said by
people, line by line; tax, numbers and books are as of every invoice. Pure.

A deposit asks for a part of an order before it is delivered. It is taxed when it is asked for and is no
revenue: it is held as a liability until the final invoice deducts it. The final invoice states the whole, and
deducts each deposit and progress invoice of its project once, at the net amount and the tax that were billed:

    whole 1,000.00 + 190.00 tax      deposit 300.00 + 57.00      final 700.00 + 133.00

so the tax of both is the tax on the whole, also where a rate changed in between: each rate has its own group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson

from ingest.document import decimal_text
from ingest.errors import Conflict, InvalidInput, Issue
from invoicing.credit import AMOUNT_MINOR_MAX
from invoicing.invoice import Invoice, InvoiceLine, invoice_text
from invoicing.invoice_tax import TAX_NOTE, InvoiceLineTax, InvoiceTax, parse_tax
from invoicing.posting import (
    DEDUCTED_DEPOSIT_KIND,
    DEDUCTED_PROGRESS_KIND,
    DEPOSIT_CHARGE_ID,
    DEPOSIT_KIND,
)
from invoicing.special_invoice import HUNDRED, TITLE, TYPE_CODE, SpecialInvoiceRequest, SpecialKind
from invoicing.tax_amounts import shares_of, tax_group, tax_on_net
from invoicing.tax_columns import joined_reasons
from invoicing.tax_decision import TaxDecision, TaxQuestion
from invoicing.tax_desk import ContractTax, TaxDesk
from rating.money import format_minor
from rating.price_plan import STANDARD_TAX_CLASS

_A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Deducted:
    """An earlier document that a final invoice deducts. invoice: as it was issued; its total and tax groups
    less what credit notes took back (``less_credited``)."""

    document_id: str
    kind: str
    invoice: Invoice


@dataclass(frozen=True, slots=True)
class SpecialHead:
    """Everything but the lines. base: an invoice without lines, number and dates. tax: who sends to whom;
    desk: who answers; both None: no tax is stated."""

    base: Invoice
    plan_id: str
    desk: TaxDesk | None
    tax: ContractTax | None


@dataclass(frozen=True, slots=True)
class SpecialDraft:
    """A special invoice but for its number and dates. extra: what its text says beside an invoice's."""

    kind: SpecialKind
    invoice: Invoice
    extra: Mapping[str, Any]

    def text(self, invoice: Invoice) -> str:
        """The canonical text of the draft or the issued invoice: an invoice's, with ``extra``."""
        document = orjson.loads(invoice_text(invoice)) | dict(self.extra)
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


_Billed = tuple[InvoiceLine, TaxDecision | None]


def draft_special_invoice(
    request: SpecialInvoiceRequest, head: SpecialHead, deducted: Sequence[Deducted], *, on: date
) -> SpecialDraft:
    """Lines, tax and sums. on: the issue date. Raises InvalidInput for amounts that cannot be billed,
    Conflict where the tax is not known, or what is deducted states tax and this does not."""
    billed = _deposit_lines(request, head, on) if request.kind == "deposit" else _lines(request, head, on)
    lines, groups = [line for line, _ in billed], _groups(billed)
    whole_net, whole_tax = sum(line.amount_minor for line in lines), sum(group.tax_minor for group in groups)
    for earlier in deducted:
        if bool(earlier.invoice.tax) != bool(groups):
            raise Conflict(
                f"{earlier.invoice.number} and its final invoice do not both state tax, so what of it is "
                "deducted is not clear. Deduct documents of the same billing entity.",
                reason_code="deducted_tax_differs",
            )
        lines += _deducting(earlier, head, on=on, first=len(lines))
        groups = _less(groups, earlier.invoice.tax)
    total = sum(line.amount_minor for line in lines)
    tax = sum(group.tax_minor for group in groups)
    currency = head.base.currency
    if whole_net <= 0 or total < 0 or total + tax < 0:
        raise InvalidInput(
            f"it would come to {format_minor(total, currency)} {currency} of a whole of "
            f"{format_minor(whole_net, currency)}. An invoice is of more than nothing before it deducts "
            "anything, and not below zero after it.",
            reason_code="special_invoice_below_zero",
        )
    days = request.payment_days
    invoice = replace(
        head.base,
        billing_date=on,
        terms=head.base.terms if days is None else {**head.base.terms, "payment_days": days},
        lines=tuple(lines),
        total_minor=total,
        tax=tuple(groups),
        period_start=min(line.period_start for line in lines),
        period_end=max(line.period_end for line in lines),
    )
    return SpecialDraft(request.kind, invoice, _extra(request, deducted, whole_net, whole_tax))


def _extra(
    request: SpecialInvoiceRequest, deducted: Sequence[Deducted], whole_net: int, whole_tax: int
) -> dict[str, Any]:
    return {
        "kind": request.kind,
        "type_code": TYPE_CODE[request.kind],
        "title": request.title,
        "project": request.project,
        "reason": request.reason,
        "percent": None if request.percent is None else decimal_text(request.percent),
        "whole": {"net_minor": whole_net, "tax_minor": whole_tax},
        "deducts": [
            {
                "document_id": earlier.document_id,
                "kind": earlier.kind,
                "number": earlier.invoice.number,
                "issue_date": str(earlier.invoice.issue_date),
                "net_minor": earlier.invoice.total_minor,
                "tax_minor": earlier.invoice.tax_minor,
            }
            for earlier in deducted
        ],
    }


def _lines(request: SpecialInvoiceRequest, head: SpecialHead, on: date) -> list[_Billed]:
    found = []
    for place, line in enumerate(request.lines):
        start, end = line.period_start or on, line.period_end or on + _A_DAY
        found.append(
            _line(
                head,
                place,
                charge_id=line.product or request.kind,
                charge_kind=request.kind,
                description=line.description,
                days=(start, end),
                amount_minor=_minor(line.amount, head, f"lines[{place}].amount"),
                tax_class=line.tax_class,
                tax_date=end - _A_DAY if _at_service_end(head) else on,
            )
        )
    return found


def _deposit_lines(request: SpecialInvoiceRequest, head: SpecialHead, on: date) -> list[_Billed]:
    """One line a tax class, so that each part is taxed as what it is for."""
    percent = request.percent or HUNDRED
    order: dict[str, int] = {}
    for place, line in enumerate(request.lines):
        amount = _minor(line.amount, head, f"lines[{place}].amount")
        order[line.tax_class] = order.get(line.tax_class, 0) + amount
    if min(order.values()) <= 0:
        raise InvalidInput(
            "the lines of a tax class come to nothing or less, so no part of them can be asked for.",
            reason_code="special_invoice_below_zero",
        )
    asked = tax_on_net(sum(order.values()), percent)  # the same arithmetic: a percentage, rounded once
    parts = shares_of(asked, list(order.values()))
    found = []
    for place, ((tax_class, whole), part) in enumerate(zip(order.items(), parts, strict=True)):
        what = request.title or "Deposit"
        shown = format_minor(whole, head.base.currency)
        found.append(
            _line(
                head,
                place,
                charge_id=DEPOSIT_CHARGE_ID,
                charge_kind=DEPOSIT_KIND,
                description=f"{what}: {decimal_text(percent)} % of {shown} {head.base.currency}",
                days=(on, on + _A_DAY),
                amount_minor=part,
                tax_class=tax_class,
                tax_date=on,
            )
        )
    return found


def _deducting(earlier: Deducted, head: SpecialHead, *, on: date, first: int) -> list[InvoiceLine]:
    """Lines that take off what was billed, one for each of its tax groups."""
    billed, deposit = earlier.invoice, earlier.kind == "deposit"
    base, _ = _line(
        replace(head, desk=None, tax=None),
        first,
        charge_id=DEPOSIT_CHARGE_ID if deposit else "progress",
        charge_kind=DEDUCTED_DEPOSIT_KIND if deposit else DEDUCTED_PROGRESS_KIND,
        description=f"{TITLE['deposit' if deposit else 'progress']} {billed.number} of {billed.issue_date}",
        days=(on, on + _A_DAY),
        amount_minor=-billed.total_minor,
        tax_class="",
        tax_date=on,
    )
    if not billed.tax:
        return [base]
    return [
        replace(
            base,
            line_id=_line_id(head.base.invoice_id, first + place),
            amount=Decimal(-group.taxable_minor).scaleb(-billed.minor_digits),
            amount_minor=-group.taxable_minor,
            tax=InvoiceLineTax(group.category, group.rate_percent, STANDARD_TAX_CLASS, None),
        )
        for place, group in enumerate(billed.tax)
    ]


def _line(
    head: SpecialHead,
    place: int,
    *,
    charge_id: str,
    charge_kind: str,
    description: str,
    days: tuple[date, date],
    amount_minor: int,
    tax_class: str,
    tax_date: date,
) -> _Billed:
    decision = None if head.tax is None else _decided(head, tax_class, tax_date)
    taxed = None if decision is None else InvoiceLineTax(decision.category, decision.percent, tax_class, None)
    covered = (days[1] - days[0]).days
    line = InvoiceLine(
        line_id=_line_id(head.base.invoice_id, place),
        charge_id=charge_id,
        charge_kind=charge_kind,
        description=description,
        price_model="flat",
        price_text="",
        plan_id=head.plan_id,
        plan_version=0,
        meter_id="",
        unit="",
        period_start=days[0],
        period_end=days[1],
        days=covered,
        full_days=covered,
        dimensions={},
        quantity=Decimal(1),
        rated_quantity=Decimal(1),
        event_count=0,
        amount=Decimal(amount_minor).scaleb(-head.base.minor_digits),
        amount_minor=amount_minor,
        tiers=(),
        price_source="item",
        tax=taxed,
    )
    return line, decision


def _line_id(document_id: str, place: int) -> str:
    return hashlib.sha256(f"ratemill special line\n{document_id}\n{place}".encode()).hexdigest()[:32]


def _decided(head: SpecialHead, tax_class: str, tax_date: date) -> TaxDecision | None:
    if head.desk is None or head.tax is None:
        return None
    answer = head.desk.decide(TaxQuestion(head.tax.seller, head.tax.buyer, tax_class, tax_date))
    if isinstance(answer, Issue):
        raise Conflict(f"{answer.message} Expected: {answer.expected}", reason_code=answer.reason_code)
    return answer


def _at_service_end(head: SpecialHead) -> bool:
    return head.tax is not None and head.tax.entity.tax_point == "service_end"


def _groups(billed: Sequence[_Billed]) -> list[InvoiceTax]:
    """Tax by category and rate, rounded once each."""
    found: dict[tuple[str, Decimal], list[tuple[int, TaxDecision]]] = {}
    for line, decision in billed:
        if decision is not None:
            key = (decision.category, decision.percent)
            found.setdefault(key, []).append((line.amount_minor, decision))
    return [
        tax_group(
            joined_reasons([one for _, one in each]), net_minor=sum(net for net, _ in each), gross_minor=0
        )
        for _, each in sorted(found.items())
    ]


def less_credited(invoice: Invoice, credit_notes: Sequence[Mapping[str, Any]]) -> Invoice:
    """Total and tax groups without what credit notes, canonical documents, took back; the lines as they
    were. Groups of which nothing is left are left out."""
    left = list(invoice.tax)
    for note in credit_notes:
        groups = [] if note["tax"] == TAX_NOTE else [parse_tax(group) for group in note["tax"]]
        negated = [
            replace(group, taxable_minor=-group.taxable_minor, tax_minor=-group.tax_minor) for group in groups
        ]
        left = _less(left, negated)
    return replace(
        invoice,
        total_minor=invoice.total_minor + sum(note["total_minor"] for note in credit_notes),
        tax=tuple(group for group in left if group.taxable_minor or group.tax_minor),
    )


def _less(groups: Sequence[InvoiceTax], billed: Sequence[InvoiceTax]) -> list[InvoiceTax]:
    """The groups less what was billed and taxed before, each rate in a group of its own."""
    left = {(group.category, group.rate_percent): group for group in groups}
    for group in billed:
        key = (group.category, group.rate_percent)
        before = left.get(key, replace(group, taxable_minor=0, tax_minor=0))
        left[key] = replace(
            before,
            taxable_minor=before.taxable_minor - group.taxable_minor,
            tax_minor=before.tax_minor - group.tax_minor,
        )
    return [left[key] for key in sorted(left)]


def _minor(amount: Decimal, head: SpecialHead, pointer: str) -> int:
    digits, currency = head.base.minor_digits, head.base.currency
    minor = amount.scaleb(digits)
    if minor != minor.to_integral_value() or abs(minor) > AMOUNT_MINOR_MAX:
        raise InvalidInput(
            f"{pointer}: {decimal_text(amount)} {currency} cannot be billed. An amount has at most {digits} "
            "digits after the point.",
            reason_code="special_invoice_amount",
        )
    return int(minor)
