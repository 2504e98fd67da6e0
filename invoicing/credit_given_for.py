"""For which of its own lines a bill gives credit back, as its posting needs it.

Entries of credit name the lines that drew it, on earlier bills, and credit goes back bill by bill
(``credit_give_back.py``). So what goes back of an earlier bill is for the lines that give back of it, in
proportion. Credit that came to pay by way of another reduction is for all that the bill lowers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from invoicing.credit_give_back import Past
from invoicing.credit_past import load_past
from invoicing.invoice import Invoice, parse_invoice
from invoicing.lines_given_back import BilledLines, standing_lines
from invoicing.posting import CreditUse
from rating.money import allocate


def for_own_lines(connection: Connection, text: str, uses: Sequence[CreditUse]) -> list[CreditUse]:
    """What a bill gave back, by its own lines. text: its canonical content. uses: of its entries."""
    invoice = parse_invoice(text)
    past = load_past(connection, invoice, beside=[])
    lowered = lowered_of_bills(invoice, past)
    every = {line.line_id: -line.amount_minor for line in invoice.lines if line.amount_minor < 0}
    bill_of = {line.line_id: bill.invoice_id for bill in past.bills for line in bill.lines}
    return [replace(use, lines=tuple(_by_own_line(use, lowered, every, bill_of))) for use in uses]


def lowered_of_bills(invoice: Invoice, past: Past) -> dict[str, dict[str, int]]:
    """By earlier bill, what lines of the invoice give back of it, with tax, minor units above zero."""
    billed, bill_of = BilledLines(), {}
    for bill in past.bills:
        billed.taken_by(bill, past.credited)
        for line, net, _ in standing_lines(bill, past.credited):
            billed.add(line, net)
            bill_of[line.line_id] = bill.invoice_id
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line, parts in billed.takes(invoice, {}):
        for line_id, amount in parts:
            found[bill_of[line_id]][line.line_id] += amount
    return found


def _by_own_line(
    use: CreditUse,
    lowered: Mapping[str, Mapping[str, int]],
    every: Mapping[str, int],
    bill_of: Mapping[str, str],
) -> Iterator[tuple[str, int]]:
    """every: all that the bill lowers."""
    for line_id, amount in use.lines:
        chosen = lowered.get(bill_of.get(line_id, "")) or every
        for own, part in zip(chosen, allocate(amount, list(chosen.values())), strict=True):
            if part:
                yield own, part
