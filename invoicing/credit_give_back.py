"""Which credit a bill below zero gives back before anything of it is owed in money. Pure.

A bill falls below zero because it gives back of earlier ones: of a fee at an early end, of usage that was
lowered. What it gives back of an earlier bill goes first to the credit that was drawn for that bill, as a
credit note on it would give it back: the grant drawn last gets its own first, never more than was drawn and
did not come back yet, and never more than the bill is below zero. What a bill charged beside a reduction was
paid for by the reduction: when that is given back in turn, it goes to the credit of the bill reduced first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_back import given_back
from invoicing.invoice import Invoice
from invoicing.lines_given_back import BilledLines, standing_lines


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
    history = _History(list(entries))
    for bill in past.bills:
        history.add(bill, past.credited)
    taken = history.billed.taken_by(invoice, {})
    for bill_id, amount in history.by_bill(taken):
        budget -= history.give_back(bill_id, min(budget, amount), first=taken.keys())
    return [GivenBack(grant_id, tuple(lines)) for grant_id, lines in history.found.items()]


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


def put_back_by_bills(
    entries: Iterable[CreditEntry], *, credit_note_ids: Collection[str]
) -> dict[tuple[str, str], int]:
    """By (grant_id, line_id), minor units above zero: what later bills put back of credit that was taken off
    lines before tax. credit_note_ids: those of the invoice with the lines."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for entry in entries:
        if entry.kind == "put_back" and entry.invoice_id not in credit_note_ids:
            for line_id, amount in entry.lines:
                found[entry.grant_id, line_id] -= amount
    return found


@dataclass(slots=True)
class _History:
    """Earlier bills one after the other. set_off: by bill, what of the lines it charged was paid for by what
    it gave back of earlier bills, by those, minor units; that is where it goes back to. left: what each bill
    drew and did not get back yet. found: what goes back, by grant."""

    entries: Sequence[CreditEntry]
    billed: BilledLines = field(default_factory=BilledLines)
    bills: dict[str, Invoice] = field(default_factory=dict)
    bill_of: dict[str, str] = field(default_factory=dict)
    set_off: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    left: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    found: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))

    def by_bill(self, of_lines: Mapping[str, int]) -> list[tuple[str, int]]:
        """(invoice_id, sum) of amounts of lines, the newest bill first."""
        sums: dict[str, int] = defaultdict(int)
        for line_id, amount in of_lines.items():
            sums[self.bill_of[line_id]] += amount
        return [(bill_id, sums[bill_id]) for bill_id in reversed(self.bills) if bill_id in sums]

    def add(self, bill: Invoice, credited: Mapping[str, int]) -> None:
        """credited: of ``Past``."""
        returned: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            if entry.kind == "returned" and entry.invoice_id == bill.invoice_id:
                for line_id, amount in entry.lines:
                    if line_id in self.bill_of:
                        returned[self.bill_of[line_id]] -= amount
        charged = sum(gross for _, net, gross in standing_lines(bill, credited) if net > 0)
        for bill_id, amount in self.by_bill(self.billed.taken_by(bill, credited)):
            directly = min(amount, returned[bill_id])
            returned[bill_id] -= directly
            kept = min(charged, amount - directly)
            charged -= kept
            if kept:
                self.set_off[bill.invoice_id][bill_id] = kept
        for bill_id, amount in returned.items():
            self._use_up(bill_id, amount)
        self.bills[bill.invoice_id] = bill
        for line, net, _ in standing_lines(bill, credited):
            self.bill_of[line.line_id] = bill.invoice_id
            self.billed.add(line, net)

    def _use_up(self, source: str, amount: int) -> None:
        """What went back to a bill by way of others that it had paid for."""
        for sources in self.set_off.values():
            part = min(amount, sources.get(source, 0))
            if part:
                sources[source] -= part
                amount -= part

    def give_back(self, bill_id: str, amount: int, *, first: Collection[str]) -> int:
        """Of ``amount`` that is given back of a bill, what goes to the credit it drew, then to that of bills
        whose reductions paid for it. first: lines whose credit goes back before that of others."""
        bill, rest = self.bills[bill_id], amount
        left_of = self.left.setdefault(bill_id, drawn_left(self.entries, bill_id))
        for credit in reversed(bill.drawn_credit):
            left = left_of.get(credit.grant_id, {})
            lines = given_back(left, rest, first=first)
            for line_id, part in lines:
                left[line_id] += part
                rest += part
            if lines:
                self.found[credit.grant_id] += lines
        sources = self.set_off.get(bill_id, {})
        for source in sources:  # newest first, as they were noted
            part = self.give_back(source, min(rest, sources[source]), first=())
            sources[source] -= part
            rest -= part
        return amount - rest
