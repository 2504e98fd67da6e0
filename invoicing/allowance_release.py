"""Credit taken off lines before tax that goes back to its grants when a bill gives back of those lines. Pure.

Lines and what adjusts them are compared as they are rated, before credit; so is a credit of a fee. Credit
follows: a line keeps as much of it as it still comes to, and the rest goes back to the grants it was taken
from, those that gave last first. The line that gives back of it is raised by that, in the terms it is priced
in, so that money goes back only as far as money was paid:

    goes back to credit = credit taken off a line - what the line comes to now, where that is above zero

What went back is there at once for the other lines of the same bill, which are settled after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from invoicing.credit import CreditEntry
from invoicing.credit_give_back import Past
from invoicing.invoice import Invoice, InvoiceAllowance, InvoiceLine
from invoicing.lines_given_back import BY_HAND, charge_of, is_credit_of, root_of
from invoicing.tax_again import priced_again, priced_minor, with_tax_again
from rating.steps import FEE_CREDIT_KIND


@dataclass(frozen=True, slots=True)
class Released:
    """Of ``amount_minor`` > 0 that ``line_id`` gives back, what goes back to a grant that was taken off
    ``of_line_id``."""

    line_id: str
    grant_id: str
    of_line_id: str
    amount_minor: int


def released_by(invoice: Invoice, past: Past, *, entries: Sequence[CreditEntry]) -> list[Released]:
    """What an invoice without credit gives back to credit before tax. entries: those of ``past`` and what was
    entered since."""
    history = _History(taken_off(entries), bill_ids={bill.invoice_id for bill in past.bills})
    if not history.off:
        return []
    for entry in entries:
        history.credited_by_notes(entry)
    for bill in past.bills:
        history.given_back(bill.lines, past.credited)
    back = history.given_back(invoice.lines, {})
    left_of = {line.line_id: max(0, -priced_minor(line)) for line in invoice.lines}
    found: list[Released] = []
    for root, amount in back.items():
        most = min(amount, history.more_than_it_comes_to(root))
        for line_id in history.giving[root]:
            part = min(most, left_of[line_id])
            left_of[line_id] -= part
            most -= part
            found += history.release(root, line_id, part)
    return found


def taken_off(entries: Iterable[CreditEntry]) -> dict[tuple[str, str], int]:
    """By (line_id, grant_id), what was taken off lines before tax and did not go back, in the order taken."""
    left: dict[tuple[str, str], int] = {}
    for kind in ("taken_off", "put_back"):
        for entry in entries:
            for line_id, amount in entry.lines if entry.kind == kind else ():
                key = (line_id, entry.grant_id)
                left[key] = left.get(key, 0) + amount
    return left


def with_released(invoice: Invoice, released: Sequence[Released], names: Mapping[str, str]) -> Invoice:
    """The invoice with its lines raised by what they give back to credit: allowances below zero. names: of
    the grants, by id."""
    if not released:
        return invoice
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in released:
        sums[each.line_id][each.grant_id] -= each.amount_minor
    lines = tuple(
        _raised(line, [InvoiceAllowance(key, names[key], amount) for key, amount in by_grant.items()])
        if (by_grant := sums.get(line.line_id))
        else line
        for line in invoice.lines
    )
    return with_tax_again(replace(invoice, lines=lines))


def put_back_entries(
    released: Sequence[Released], *, invoice_id: str, entry_date: date
) -> dict[str, CreditEntry]:
    """What goes back, by grant; given for nothing, so no cost goes with it."""
    lines: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in released:
        lines[each.grant_id][each.of_line_id] -= each.amount_minor
    return {
        grant_id: CreditEntry(
            grant_id,
            "put_back",
            entry_date,
            -sum(parts.values()),
            0,
            invoice_id=invoice_id,
            lines=tuple(parts.items()),
        )
        for grant_id, parts in lines.items()
    }


def _raised(line: InvoiceLine, allowances: Sequence[InvoiceAllowance]) -> InvoiceLine:
    off = sum(entry.amount_minor for entry in allowances)
    return replace(priced_again(line, priced_minor(line) - off), allowances=tuple(allowances))


@dataclass(slots=True)
class _History:
    """Bills one after the other. off: of ``taken_off``. comes_to: what each line comes to with all that
    adjusted it, as priced, before credit. by_charge: such lines, oldest first. of_root: those lines and what
    adjusted them. instead: by line for the days that are left of a cut period of licences, the cut line.
    giving: by line, what gives back of it on the bill that was added last."""

    off: dict[tuple[str, str], int]
    bill_ids: set[str]
    by_note: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    comes_to: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    by_charge: dict[tuple[str, str], list[InvoiceLine]] = field(default_factory=lambda: defaultdict(list))
    of_root: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    instead: dict[str, str] = field(default_factory=dict)
    giving: dict[str, list[str]] = field(default_factory=dict)

    def credited_by_notes(self, entry: CreditEntry) -> None:
        """Note what of credit before tax went back by credit notes, by the line it had been taken off."""
        if entry.kind == "put_back" and entry.invoice_id not in self.bill_ids:
            for line_id, amount in entry.lines:
                self.by_note[line_id] -= amount

    def given_back(self, lines: Sequence[InvoiceLine], credited: Mapping[str, int]) -> dict[str, int]:
        """Add a bill's lines; by earlier line, by how much they lowered it in all, above zero. credited: what
        credit notes say of lines, net, of the other sign."""
        self.giving = defaultdict(list)
        changed: dict[str, int] = defaultdict(int)
        for line in lines:
            amount = self._standing(line, credited)
            for root, part in self._parts(line, amount):
                changed[root] += part
                self.comes_to[root] += part
                self.of_root[root].add(line.line_id)
                if part < 0:
                    self.giving[root].append(line.line_id)
        for line in lines:
            if line.adjusts is None and priced_minor(line) >= 0:
                self.by_charge[charge_of(line)].append(line)
        return {root: -amount for root, amount in changed.items() if amount < 0}

    def more_than_it_comes_to(self, root: str) -> int:
        """How much credit was taken off a line and what adjusted it beyond what that comes to."""
        off = sum(amount for (line_id, _), amount in self.off.items() if line_id in self.of_root[root])
        return max(0, off - max(0, self.comes_to[root]))

    def release(self, root: str, giving_id: str, amount: int) -> list[Released]:
        """Take credit off a line and what adjusted it, what was taken last first."""
        found = []
        for line_id, grant_id in [*self.off][::-1] if amount else ():
            part = min(amount, self.off[line_id, grant_id]) if line_id in self.of_root[root] else 0
            if part > 0:
                self.off[line_id, grant_id] -= part
                amount -= part
                found.append(Released(giving_id, grant_id, line_id, part))
        return found

    def _standing(self, line: InvoiceLine, credited: Mapping[str, int]) -> int:
        """What a line comes to after credit notes, as priced, before credit."""
        net, priced = line.amount_minor, priced_minor(line)
        allowed = sum(entry.amount_minor for entry in line.allowances)
        back = -credited.get(line.line_id, 0)
        if net and back:
            priced = priced * (net - back) // net
            allowed = allowed if allowed > 0 else allowed * (net - back) // net
        return priced + allowed - self.by_note.get(line.line_id, 0)

    def _whole(self, line: InvoiceLine) -> str:
        """The line it is a part of: what it adjusts, or of licences the period of which it is what is left
        after a cut, or itself."""
        root = root_of(line)
        if line.adjusts is not None and root not in self.comes_to and root not in self.instead:
            cut = [each for each in self.by_charge[charge_of(line)] if _is_cut_to(each, line)]
            if cut:
                self.instead[root] = cut[0].line_id
        return self.instead.get(root, root)

    def _parts(self, line: InvoiceLine, amount: int) -> list[tuple[str, int]]:
        """Which lines it changes by how much: what it adjusts, what it gives back of, or itself."""
        if line.adjusts is not None or amount >= 0:
            return [(self._whole(line), amount)]
        if line.charge_kind in BY_HAND:
            return []
        alike = self.by_charge[charge_of(line)][::-1]
        if line.charge_kind == FEE_CREDIT_KIND:
            alike = [each for each in alike if is_credit_of(line, each)]
        found = []
        for each in alike:
            part = min(-amount, max(0, self.comes_to[each.line_id]))
            if part:
                found.append((each.line_id, -part))
                amount += part
        return found


def _is_cut_to(line: InvoiceLine, left: InvoiceLine) -> bool:
    """Whether what is left of a period of licences lies within that of the line."""
    within = line.period_start <= left.period_start and left.period_end <= line.period_end
    shorter = (left.period_start, left.period_end) != (line.period_start, line.period_end)
    return line.charge_kind == "licence" and within and shorter and line.plan_id == left.plan_id
