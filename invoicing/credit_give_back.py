"""Which credit a bill below zero gives back before anything of it is owed in money. Pure.

A bill falls below zero because it gives back of earlier ones: of a fee at an early end, of usage that was
lowered. What it gives back of an earlier bill goes first to the credit that was drawn for that bill, as a
credit note on it would give it back: the grant drawn last gets its own first, never more than was drawn and
did not come back yet, and never more than the bill is below zero.

Of which earlier lines a line below zero gives back: an adjustment of the line it names and what adjusted
that, a credit of a fee of the fee whose days it lies in, any other (tiers counted over a year, a commitment)
of the lines of its charge, the newest first. A line somebody added by hand gives back of none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_back import given_back
from invoicing.given_back_at_most import FEES
from invoicing.invoice import Invoice, InvoiceLine
from invoicing.recognition import CORRECTION_KIND
from invoicing.tax_amounts import gross_of_lines, shares_of
from rating.item_line import ITEM_KIND
from rating.steps import FEE_CREDIT_KIND

_BY_HAND = frozenset({CORRECTION_KIND, ITEM_KIND})


@dataclass(frozen=True, slots=True)
class Past:
    """What a bill may give back of. bills: the earlier ones of its contract, oldest first. credited: what
    credit notes say of their lines, by line_id, minor units, of the other sign. entries: what the bills drew
    and what came back of it. grants: those drawn, used up or not; ended: ids of those that lapsed or were
    voided."""

    bills: Sequence[Invoice]
    credited: Mapping[str, int]
    entries: Sequence[CreditEntry]
    grants: Sequence[StoredGrant]
    ended: frozenset[str]


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What goes back to one grant. lines: (line_id of the bill that drew it, amount below zero)."""

    grant_id: str
    lines: tuple[tuple[str, int], ...]

    @property
    def amount_minor(self) -> int:
        """Above zero."""
        return -sum(amount for _, amount in self.lines)


def credit_to_give_back(invoice: Invoice, past: Past, *, entries: Sequence[CreditEntry]) -> list[GivenBack]:
    """One for each grant, newest bill first; none for a bill that is not below zero. entries: those of
    ``past`` and what was entered since."""
    budget = -invoice.gross_minor
    if budget <= 0:
        return []
    taken = _taken_of_lines(invoice, past)
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for bill in reversed(past.bills):
        wanted = {line.line_id: taken[line.line_id] for line in bill.lines if line.line_id in taken}
        most = min(budget, sum(wanted.values()))
        left_of = drawn_left(entries, bill.invoice_id) if most > 0 else {}
        for credit in reversed(bill.drawn_credit):
            left = left_of.get(credit.grant_id, {})
            amount = min(most, sum(left.values()))
            if amount > 0:
                found[credit.grant_id] += given_back(left, amount, first=wanted.keys())
                most -= amount
                budget -= amount
    return [GivenBack(grant_id, tuple(lines)) for grant_id, lines in found.items()]


def drawn_left(entries: Iterable[CreditEntry], invoice_id: str) -> dict[str, dict[str, int]]:
    """By grant and line, minor units: what the invoice drew and did not get back yet, in the order drawn.
    Whatever gave back names the lines that drew."""
    entries = list(entries)
    left: dict[str, dict[str, int]] = {}
    for entry in entries:
        if entry.kind == "drawn" and entry.invoice_id == invoice_id:
            lines = left.setdefault(entry.grant_id, {})
            for line_id, amount in entry.lines:
                lines[line_id] = lines.get(line_id, 0) + amount
    for entry in entries:
        if entry.kind == "returned" and entry.grant_id in left:
            lines = left[entry.grant_id]
            for line_id, amount in entry.lines:
                if line_id in lines:
                    lines[line_id] += amount
    return left


def returned_by_bills(
    entries: Iterable[CreditEntry], invoice_id: str, *, credit_note_ids: Collection[str]
) -> dict[str, int]:
    """By grant, minor units above zero: what later bills gave back of what the invoice drew.
    credit_note_ids: those of the invoice."""
    entries = list(entries)
    drew = {
        (entry.grant_id, line_id)
        for entry in entries
        if entry.kind == "drawn" and entry.invoice_id == invoice_id
        for line_id, _ in entry.lines
    }
    found: dict[str, int] = defaultdict(int)
    for entry in entries:
        if entry.kind == "returned" and entry.invoice_id not in credit_note_ids:
            for line_id, amount in entry.lines:
                if (entry.grant_id, line_id) in drew:
                    found[entry.grant_id] -= amount
    return found


def _taken_of_lines(invoice: Invoice, past: Past) -> dict[str, int]:
    """What the invoice takes back of each earlier line, with tax, by line_id, minor units above zero."""
    billed = _Billed()
    for bill in past.bills:
        for line in bill.lines:
            amount = line.amount_minor + past.credited.get(line.line_id, 0)
            billed.add(line, amount)
    taken: dict[str, int] = defaultdict(int)
    for line, gross in zip(invoice.lines, gross_of_lines(invoice), strict=True):
        if line.amount_minor >= 0 or gross >= 0:
            continue
        parts = billed.take(line, -line.amount_minor)
        rest = -line.amount_minor - sum(part for _, part in parts)
        shares = shares_of(-gross, [*(part for _, part in parts), rest])
        for (line_id, _), share in zip(parts, shares, strict=False):
            taken[line_id] += share
    return taken


@dataclass(slots=True)
class _Billed:
    """Billed lines one after the other, and what is left of each, net minor units."""

    left: dict[str, int] = field(default_factory=dict)
    by_root: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_charge: dict[tuple[str, str], list[InvoiceLine]] = field(default_factory=lambda: defaultdict(list))

    def add(self, line: InvoiceLine, amount: int) -> None:
        """amount: of the line, after credit notes."""
        if line.amount_minor < 0:
            self.take(line, -amount)
            return
        self.left[line.line_id] = amount
        self.by_root[_root(line)].append(line.line_id)
        self.by_charge[_charge(line)].append(line)

    def take(self, line: InvoiceLine, amount: int) -> list[tuple[str, int]]:
        """(line_id, net minor units above zero) of earlier lines that a line below zero gives back of."""
        found = []
        for line_id in self._of(line):
            part = min(amount, self.left[line_id])
            if part > 0:
                found.append((line_id, part))
                self.left[line_id] -= part
                amount -= part
        return found

    def _of(self, line: InvoiceLine) -> list[str]:
        if line.adjusts is not None:
            return self.by_root[_root(line)]
        if line.charge_kind in _BY_HAND:
            return []
        alike = self.by_charge[_charge(line)]
        if line.charge_kind != FEE_CREDIT_KIND:
            return [each.line_id for each in reversed(alike)]
        roots = [each.line_id for each in alike if _is_credit_of(line, each)]
        return [line_id for root in roots for line_id in self.by_root[root]]


def _root(line: InvoiceLine) -> str:
    return line.line_id if line.adjusts is None else line.adjusts.line_id


def _charge(line: InvoiceLine) -> tuple[str, str]:
    return line.charge_id, repr(sorted(line.dimensions.items()))


def _is_credit_of(credit: InvoiceLine, line: InvoiceLine) -> bool:
    within = line.period_start <= credit.period_start and credit.period_end <= line.period_end
    return line.charge_kind in FEES and line.plan_id == credit.plan_id and within
