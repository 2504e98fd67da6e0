"""What later bills gave back of an invoice's lines by themselves: a credit note must not take it again.

Two things give back: an adjustment (usage that was lowered) names the line it adjusts, and a fee credit (an
end, a change in mid-period) is of the fee in advance of its charge and plan whose days it lies in. A credit
note that takes such a reduction back makes it owed again. Drafts count: they will be issued.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, select

from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.given_back_at_most import FEES
from invoicing.tables import INVOICE_LINES, INVOICES, LINE_ADJUSTMENTS
from rating.steps import FEE_CREDIT_KIND

_L, _I = INVOICE_LINES.c, INVOICES.c


class BilledPart(NamedTuple):
    """A line, an adjustment of it or a credit of a fee, net minor units, signed; credited_minor: what credit
    notes say of it, of the other sign."""

    line_id: str
    amount_minor: int
    credited_minor: int

    @property
    def left_minor(self) -> int:
        """What stands of it."""
        return self.amount_minor + self.credited_minor


def given_back(parts: Sequence[BilledPart]) -> dict[str, int]:
    """What the parts below zero give back of those above, by line_id, above zero: of the line first, then of
    its adjustments in their order; never more than is left of each.

    >>> given_back([BilledPart("line", 1000, 0), BilledPart("more", 500, 0), BilledPart("less", -1200, 0)])
    {'line': 1000, 'more': 200}
    """
    reduced = -sum(part.left_minor for part in parts if part.left_minor < 0)
    found = {}
    for part in parts:
        taken = min(reduced, max(0, part.left_minor))
        if taken:
            found[part.line_id] = taken
            reduced -= taken
    return found


def given_back_of(
    connection: Connection, invoice: Mapping[str, Any], *, contract_id: str, billing_date: str
) -> dict[str, int]:
    """By line_id of the invoice's lines, net minor units above zero; lines nothing went back of are left
    out. invoice: its canonical document. contract_id: as its row has it."""
    chains = _adjustment_chains(connection, invoice["lines"])
    credits_of_fees = _fee_credits(connection, contract_id, billing_date)
    for line in invoice["lines"]:
        for credit in credits_of_fees:
            if _is_credit_of(credit, line):
                chains[_root(line)].append((credit["line_id"], credit["amount_minor"]))
    wanted = sorted({line_id for parts in chains.values() if len(parts) > 1 for line_id, _ in parts})
    credited = _credited(connection, wanted)
    found: dict[str, int] = {}
    for parts in chains.values():
        found |= given_back([BilledPart(line_id, amount, credited[line_id]) for line_id, amount in parts])
    own = {line["line_id"] for line in invoice["lines"]}
    return {line_id: amount for line_id, amount in found.items() if line_id in own}


def _root(line: Mapping[str, Any]) -> str:
    """The line that this one adjusts, or itself."""
    return str(line["adjusts"]["line_id"] if "adjusts" in line else line["line_id"])


def _adjustment_chains(
    connection: Connection, lines: Iterable[Mapping[str, Any]]
) -> dict[str, list[tuple[str, int]]]:
    """(line_id, amount_minor) of each line and its adjustments, by the line adjusted, oldest bill first."""
    roots = sorted({_root(line) for line in lines})
    adjusting = select(LINE_ADJUSTMENTS.c.line_id, LINE_ADJUSTMENTS.c.adjusted_line_id)
    rows = select_by_ids(connection, adjusting, LINE_ADJUSTMENTS.c.adjusted_line_id, roots)
    root_of = {root: root for root in roots} | {row.line_id: row.adjusted_line_id for row in rows}
    billed = select(_L.line_id, _L.amount_minor, _I.billing_date).join(
        INVOICES, _I.invoice_id == _L.invoice_id
    )
    found = sorted(
        select_by_ids(connection, billed, _L.line_id, sorted(root_of)),
        key=lambda row: (row.line_id not in roots, row.billing_date, row.line_id),
    )
    chains: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in found:
        chains[root_of[row.line_id]].append((row.line_id, row.amount_minor))
    return chains


def _fee_credits(connection: Connection, contract_id: str, billing_date: str) -> list[Mapping[str, Any]]:
    """The credits of fees on the contract's bills after that date, as their documents have them."""
    later = select(_I.document).where(
        _I.contract_id == contract_id,
        _I.billing_date > billing_date,
        _I.document.like(f'%"{FEE_CREDIT_KIND}"%'),
    )
    documents = connection.execute(later.order_by(_I.billing_date)).scalars()
    return [
        line
        for text in documents
        for line in orjson.loads(text)["lines"]
        if line["charge_kind"] == FEE_CREDIT_KIND
    ]


def _is_credit_of(credit: Mapping[str, Any], line: Mapping[str, Any]) -> bool:
    alike = all(credit[name] == line[name] for name in ("charge_id", "plan_id", "dimensions"))
    within = line["period_start"] <= credit["period_start"] and credit["period_end"] <= line["period_end"]
    return alike and within and line["charge_kind"] in FEES


def _credited(connection: Connection, line_ids: Sequence[str]) -> Mapping[str, int]:
    """What credit notes say of each line, signed as they have it."""
    found: dict[str, int] = defaultdict(int)
    if not line_ids:
        return found
    wanted = set(line_ids)
    invoices = sorted(
        {row[0] for row in select_by_ids(connection, select(_L.invoice_id), _L.line_id, line_ids)}
    )
    for line in _credited_lines(connection, invoices):
        if line["line_id"] in wanted:
            found[line["line_id"]] += line["amount_minor"]
    return found


def _credited_lines(connection: Connection, invoice_ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    notes = select(CREDIT_NOTES.c.document)
    for row in select_by_ids(connection, notes, CREDIT_NOTES.c.invoice_id, invoice_ids):
        yield from orjson.loads(row.document)["lines"]
