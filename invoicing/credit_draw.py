"""Which credit an invoice draws, and what part of a grant's cost goes with it. Pure.

Order of grants: lowest priority number; soonest expiry, never last; smallest cost basis per unit, so given
credit goes before bought; earliest begin; then the id. Each in turn pays for the lines it may pay for,
in the order of the invoice, until it or they are used up.

A line counts as used on its last day, what is billed in advance on its first. A grant pays for it when it
begins by that day and expires after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from invoicing.credit import CreditEntry, StoredGrant
from invoicing.invoice import Invoice, InvoiceLine
from invoicing.tax_amounts import gross_of_lines
from rating.retainer import sells_credit

_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Draw:
    """What one grant pays on one invoice, minor units. lines: (line_id, amount), summing to it."""

    grant: StoredGrant
    amount_minor: int
    lines: tuple[tuple[str, int], ...]


def drawing_order(grants: Sequence[StoredGrant]) -> list[StoredGrant]:
    """The grants in the order in which they are drawn."""

    def key(stored: StoredGrant) -> tuple[int, date, Fraction, date, str]:
        grant = stored.grant
        cost = Fraction(stored.cost_minor, stored.amount_minor)
        return grant.priority, grant.expires_on or date.max, cost, grant.effective_from, grant.grant_id

    return sorted(grants, key=key)


def draw_credit(
    invoice: Invoice, grants: Sequence[StoredGrant], *, remaining: Mapping[str, int]
) -> list[Draw]:
    """What the invoice draws, in drawing order. grants: of its customer. remaining: minor units by grant_id.

    Credit pays after tax: a line comes to its net amount and its share of its group's tax. Never more is
    drawn than a grant has left, than its lines come to, or than the invoice does.
    """
    return draw_from(
        invoice,
        drawing_order(grants),
        remaining=remaining,
        unpaid=[max(0, amount) for amount in gross_of_lines(invoice)],
        most=max(0, invoice.gross_minor),
    )


def draw_from(
    invoice: Invoice,
    grants: Sequence[StoredGrant],
    *,
    remaining: Mapping[str, int],
    unpaid: Sequence[int],
    most: int,
    room: Sequence[int] | None = None,
    room_of: Sequence[int] = (),
    order: Sequence[int] | None = None,
) -> list[Draw]:
    """What grants pay, one after the other. unpaid: of each line. most: of all. room: what several lines
    together may be paid, and room_of: which of these each line is in; None: as much as there is. order: of
    the places of lines; None: as they stand."""
    contract_id = str(invoice.contract["contract_id"])
    unpaid = list(unpaid)
    room, room_of = ([most], [0] * len(unpaid)) if room is None else (list(room), room_of)
    draws = []
    for stored in grants:
        budget = min(remaining[stored.grant.grant_id], most)
        parts = []
        for place in range(len(unpaid)) if order is None else order:
            line = invoice.lines[place]
            part = min(unpaid[place], budget, room[room_of[place]])
            if part > 0 and pays_for(stored, line, invoice, contract_id=contract_id):
                parts.append((line.line_id, part))
                unpaid[place] -= part
                room[room_of[place]] -= part
                budget -= part
        if parts:
            draws.append(Draw(stored, sum(part for _, part in parts), tuple(parts)))
            most -= draws[-1].amount_minor
    return draws


def pays_for(stored: StoredGrant, line: InvoiceLine, invoice: Invoice, *, contract_id: str) -> bool:
    """Whether the grant may pay for the line. The price of credit is never paid with credit."""
    grant = stored.grant
    if grant.currency != invoice.currency or sells_credit(line.charge_id):
        return False
    if grant.contract_ids and contract_id not in grant.contract_ids:
        return False
    if grant.charge_ids and line.charge_id not in grant.charge_ids:
        return False
    day = service_day(line, invoice)
    return grant.effective_from <= day and (grant.expires_on is None or day < grant.expires_on)


def service_day(line: InvoiceLine, invoice: Invoice) -> date:
    """The day a line counts as used on: its last, or its first when it is billed in advance."""
    in_advance = line.period_start >= invoice.billing_date
    return line.period_start if in_advance else line.period_end - _A_DAY


def cost_used(stored: StoredGrant, used_minor: int) -> int:
    """The part of the cost basis that ``used_minor`` of the grant stand for, in minor units.

    Rounded half up from the running total, so parts of any sizes differ from their exact share by less than
    one minor unit and sum to the whole cost basis when all is used.
    """
    doubled = 2 * stored.amount_minor
    return (2 * stored.cost_minor * used_minor + stored.amount_minor) // doubled


def taking(stored: StoredGrant, amount_minor: int, *, remaining_minor: int) -> tuple[int, int]:
    """(amount, cost) of an entry that takes ``amount_minor`` from a grant of which ``remaining_minor`` are
    left; both at or below zero."""
    used = stored.amount_minor - remaining_minor
    cost = cost_used(stored, used + amount_minor) - cost_used(stored, used)
    return -amount_minor, -cost


def drawn_entries(
    draws: Sequence[Draw], *, remaining: Mapping[str, int], invoice_id: str, entry_date: date
) -> list[CreditEntry]:
    """The draws of one invoice as entries. remaining: before them."""
    entries = []
    for draw in draws:
        grant_id = draw.grant.grant.grant_id
        amount, cost = taking(draw.grant, draw.amount_minor, remaining_minor=remaining[grant_id])
        entries.append(
            CreditEntry(
                grant_id=grant_id,
                kind="drawn",
                entry_date=entry_date,
                amount_minor=amount,
                cost_minor=cost,
                invoice_id=invoice_id,
                lines=draw.lines,
            )
        )
    return entries
