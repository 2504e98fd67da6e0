"""Promotional credit taken before tax: an allowance that lowers what lines come to, and so their tax. Pure.

Where the plans of an invoice say ``credits: before_tax``, what was given for nothing is a reduction of the
price, as a coupon is (EN 16931 BG-27), not a means of payment. Money that was paid in advance, for a retainer
or as credit, pays what is due with tax, whatever the plan says: it was paid for, so it lowers no price.

An allowance is in the terms its line is priced in: net, or with tax where prices include it. Of no tax group
more is taken than it comes to, and of no invoice so much that it would come to less than nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction

from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_draw import Draw, draw_from, drawing_order
from invoicing.invoice import Invoice, InvoiceAllowance, InvoiceLine
from invoicing.tax_again import (
    inclusive_minor,
    is_of_group,
    priced_again,
    priced_minor,
    with_tax_again,
)


def is_allowance(invoice: Invoice, stored: StoredGrant) -> bool:
    """Whether the invoice takes credit of this grant before tax. Without tax before and after are one."""
    return invoice.credits == "before_tax" and bool(invoice.tax) and stored.grant.kind == "promotional"


def without_credit(invoice: Invoice) -> Invoice:
    """The invoice as it was before any credit, paid or allowed."""
    if any(line.allowances for line in invoice.lines):
        lines = tuple(_restored(line) for line in invoice.lines)
        invoice = with_tax_again(replace(invoice, lines=lines))
    return replace(invoice, drawn_credit=())


def draw_allowances(
    invoice: Invoice, grants: Sequence[StoredGrant], *, remaining: Mapping[str, int]
) -> list[Draw]:
    """What an invoice without credit takes before tax, in drawing order. remaining: minor units by grant."""
    chosen = [stored for stored in drawing_order(grants) if is_allowance(invoice, stored)]
    if not chosen:
        return []
    group_of = [
        next((number for number, group in enumerate(invoice.tax) if is_of_group(line, group)), -1)
        for line in invoice.lines
    ]
    amounts = [priced_minor(line) for line in invoice.lines]
    room = [0] * len(invoice.tax)
    for number, amount in zip(group_of, amounts, strict=True):
        if number >= 0:
            room[number] += amount
    return draw_from(
        invoice,
        chosen,
        remaining=remaining,
        unpaid=[
            max(0, amount) if number >= 0 else 0
            for number, amount in zip(group_of, _may_fall_by(invoice), strict=True)
        ],
        most=_most(invoice, group_of, room),
        room=[max(0, amount) for amount in room],
        room_of=group_of,
        order=_order(invoice),
    )


def _order(invoice: Invoice) -> Sequence[int]:
    """Where the invoice gives credit back, what it adjusts comes first: credit of a minimum, say, goes on to
    the usage that takes its place."""
    places = range(len(invoice.lines))
    gives_back = any(line.allowances for line in invoice.lines)
    return sorted(places, key=lambda place: invoice.lines[place].adjusts is None) if gives_back else places


def _may_fall_by(invoice: Invoice) -> list[int]:
    """By how much credit may lower each line. An adjustment takes none for what the same invoice gives back
    of the line it adjusts, nor for more than that comes to now."""
    net: dict[str, int] = {}
    for line in invoice.lines:
        if line.adjusts is not None:
            net[line.adjusts.line_id] = net.get(line.adjusts.line_id, 0) + priced_minor(line)
    found = []
    for line in invoice.lines:
        amount, was = priced_minor(line), line.adjusts
        if was is not None:
            rated = int(was.rated_amount.scaleb(invoice.minor_digits))
            amount = min(amount, net[was.line_id], rated)
        found.append(amount)
    return found


def _most(invoice: Invoice, group_of: Sequence[int], priced: Sequence[int]) -> int:
    """What may be taken in all, so that the invoice does not come to less than nothing. group_of: of each
    line. priced: what each tax group comes to.

    A group that is priced one way, with tax or without, cannot fall below zero by what its lines give. Where
    one is below zero already, or mixes both ways with lines below zero, the invoice must keep as much as
    makes up for it: of each unit taken at most the highest rate goes with it, and a group is rounded twice at
    most.
    """
    whole = sum(max(0, amount) for amount in priced)
    ways: dict[int, set[bool]] = {}
    below = set()
    for number, line in zip(group_of, invoice.lines, strict=True):
        ways.setdefault(number, set()).add(inclusive_minor(line) is None)
        if priced_minor(line) < 0:
            below.add(number)
    if min(priced) >= 0 and not any(len(ways[number]) > 1 for number in below):
        return whole
    highest = max(Fraction(group.rate_percent) for group in invoice.tax)
    kept = Fraction(invoice.gross_minor - 2 * len(invoice.tax))
    return max(0, min(whole, int(kept * 100 / (100 + highest))))


def with_allowances(invoice: Invoice, draws: Sequence[Draw]) -> Invoice:
    """The invoice with its lines lowered by what is taken before tax, and its tax counted again."""
    if not draws:
        return invoice
    taken: dict[str, list[InvoiceAllowance]] = {}
    for draw in draws:
        grant = draw.grant.grant
        for line_id, amount in draw.lines:
            taken.setdefault(line_id, []).append(InvoiceAllowance(grant.grant_id, grant.name, amount))
    lines = tuple(
        _lowered(line, taken[line.line_id]) if line.line_id in taken else line for line in invoice.lines
    )
    return with_tax_again(replace(invoice, lines=lines))


def allowance_entries(draws: Sequence[Draw], *, invoice_id: str, entry_date: date) -> list[CreditEntry]:
    """What was taken before tax as entries; given for nothing, so no cost goes with it."""
    return [
        CreditEntry(
            grant_id=draw.grant.grant.grant_id,
            kind="taken_off",
            entry_date=entry_date,
            amount_minor=-draw.amount_minor,
            cost_minor=0,
            invoice_id=invoice_id,
            lines=draw.lines,
        )
        for draw in draws
    ]


def allowed_minor(line: InvoiceLine) -> int:
    """What was taken off the line before tax, in the terms it is priced in."""
    return sum(entry.amount_minor for entry in line.allowances)


def _lowered(line: InvoiceLine, allowances: Sequence[InvoiceAllowance]) -> InvoiceLine:
    off = sum(entry.amount_minor for entry in allowances)
    return replace(priced_again(line, priced_minor(line) - off), allowances=tuple(allowances))


def _restored(line: InvoiceLine) -> InvoiceLine:
    return replace(priced_again(line, priced_minor(line) + allowed_minor(line)), allowances=())
