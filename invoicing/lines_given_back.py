"""Of which earlier lines a line below zero gives back. Pure.

An adjustment gives back of the line it names and of what adjusted that, a credit of a fee of the fee whose
days it lies in, any other (tiers counted over a year, a commitment) of the lines of its charge, the newest
first. A line somebody added by hand gives back of none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from invoicing.given_back_at_most import FEES
from invoicing.invoice import Invoice, InvoiceLine
from invoicing.recognition import CORRECTION_KIND
from invoicing.tax_amounts import gross_of_lines, shares_of
from rating.item_line import ITEM_KIND
from rating.steps import FEE_CREDIT_KIND

BY_HAND: Final = frozenset({CORRECTION_KIND, ITEM_KIND})
"""Lines that give back of no other."""


def standing_lines(bill: Invoice, credited: Mapping[str, int]) -> Iterator[tuple[InvoiceLine, int, int]]:
    """(line, net, gross) of a bill's lines after credit notes, minor units, signed. credited: what credit
    notes say of lines, of the other sign, by line_id."""
    for line, gross in zip(bill.lines, gross_of_lines(bill), strict=True):
        net, back = line.amount_minor, -credited.get(line.line_id, 0)
        if not back:
            yield line, net, gross
            continue
        left = shares_of(abs(gross), [abs(net - back), abs(back)])[0]
        yield line, net - back, left if gross > 0 else -left


@dataclass(slots=True)
class BilledLines:
    """Billed lines one after the other, and what is left of each, net minor units."""

    left: dict[str, int] = field(default_factory=dict)
    by_root: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_charge: dict[tuple[str, str], list[InvoiceLine]] = field(default_factory=lambda: defaultdict(list))

    def add(self, line: InvoiceLine, amount: int) -> None:
        """amount: net, after credit notes; a line below zero gives nothing to take."""
        if line.amount_minor < 0:
            return
        self.left[line.line_id] = amount
        self.by_root[root_of(line)].append(line.line_id)
        self.by_charge[charge_of(line)].append(line)

    def taken_by(self, bill: Invoice, credited: Mapping[str, int]) -> dict[str, int]:
        """What a bill takes back of each earlier line, with tax, by line_id, minor units above zero.
        credited: of ``standing_lines``."""
        taken: dict[str, int] = defaultdict(int)
        for _, parts in self.takes(bill, credited):
            for line_id, share in parts:
                taken[line_id] += share
        return taken

    def takes(
        self, bill: Invoice, credited: Mapping[str, int]
    ) -> Iterator[tuple[InvoiceLine, list[tuple[str, int]]]]:
        """The same by the bill's own lines below zero."""
        for line, net, gross in standing_lines(bill, credited):
            if net >= 0 or gross >= 0:
                continue
            parts = self._take(line, -net)
            rest = -net - sum(part for _, part in parts)
            shares = shares_of(-gross, [*(part for _, part in parts), rest])
            yield line, [(line_id, share) for (line_id, _), share in zip(parts, shares, strict=False)]

    def _take(self, line: InvoiceLine, amount: int) -> list[tuple[str, int]]:
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
            return self.by_root[root_of(line)]
        if line.charge_kind in BY_HAND:
            return []
        alike = self.by_charge[charge_of(line)]
        if line.charge_kind != FEE_CREDIT_KIND:
            return [each.line_id for each in reversed(alike)]
        roots = [each.line_id for each in alike if is_credit_of(line, each)]
        return [line_id for root in roots for line_id in self.by_root[root]]


def root_of(line: InvoiceLine) -> str:
    """The id of the line it adjusts, or its own."""
    return line.line_id if line.adjusts is None else line.adjusts.line_id


def charge_of(line: InvoiceLine) -> tuple[str, str]:
    """What it is for, in whatever period."""
    return line.charge_id, repr(sorted(line.dimensions.items()))


def is_credit_of(credit: InvoiceLine, line: InvoiceLine) -> bool:
    """Whether a credit of a fee gives back of that fee."""
    within = line.period_start <= credit.period_start and credit.period_end <= line.period_end
    return line.charge_kind in FEES and line.plan_id == credit.plan_id and within
