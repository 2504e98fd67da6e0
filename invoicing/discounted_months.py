"""In which months an adjustment is revenue where credit at a discount paid for what it adjusts.

Credit that cost less than it pays (promotional credit after tax cost nothing) lowers what of a line is
revenue. A line alone is lowered in proportion to its months. An adjustment is whatever makes the line and all
that adjusted it, each less its own discount, revenue by the usage as it is known now:

    line of 1,000, 800 of January and 200 of February, of which such credit paid half     400    100
    all of it turns out to be of February, 1,001: the adjustment of 1 is                 -400    401

So no month is below zero that was used. What comes to nothing after its discount moves nothing; the next
adjustment does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, select

from ingest.event import QUANTITY_SCALE
from invoicing.bulk import select_by_ids
from invoicing.month_shares import USAGE_KIND, of_one_sign
from invoicing.posting import DocumentLine, PostedDocument, discounts_of
from invoicing.recognition import MonthShares, line_parts, shared_parts
from invoicing.tables import INVOICE_LINES, ISSUED_DOCUMENTS, LINE_ADJUSTMENTS
from rating.steps import ADJUSTMENT_KIND

_SHARE_OF_ONE = 10**QUANTITY_SCALE
Load = Callable[[Sequence[str]], Iterator[PostedDocument]]
"""Gives documents on the register by id, with the shares of their lines as they are written."""


class _Place(NamedTuple):
    """When a document was issued, its series and its number."""

    issued_at: str
    series: str
    number: int


@dataclass(frozen=True, slots=True)
class ChainPart:
    """A line, or an adjustment of it: minor units net, what credit discounts it by, its shares as written."""

    amount_minor: int
    discount_minor: int
    shares: MonthShares | None

    @property
    def left_minor(self) -> int:
        return self.amount_minor - self.discount_minor


def shares_after_discounts(
    period_start: date, period_end: date, chain: Sequence[ChainPart]
) -> MonthShares | None:
    """The shares of the last part: minor units of each month, which sum to what is left of it. chain: the
    line and what adjusts it, in the order they were issued; the period is half-open.

    None where its own shares hold: nothing is discounted, it comes to nothing, or usage is not known.
    """
    if not any(part.discount_minor for part in chain):
        return None
    used: dict[date, int] = defaultdict(int)
    posted: dict[date, int] = defaultdict(int)
    own: MonthShares | None = None
    for place, part in enumerate(chain):
        for day, amount in line_parts(USAGE_KIND, period_start, period_end, part.amount_minor, part.shares):
            used[day] += amount
        own = None
        usage = of_one_sign(used.items()) if part.shares else ()
        if usage and place:
            wanted = dict(shared_parts(usage, sum(posted.values()) + part.left_minor))
            moves = [(day, wanted.get(day, 0) - posted[day]) for day in sorted({*wanted, *posted})]
            own = tuple((day, amount * _SHARE_OF_ONE) for day, amount in moves if amount)
        if part.left_minor:
            for day, amount in line_parts(
                USAGE_KIND, period_start, period_end, part.left_minor, own or part.shares
            ):
                posted[day] += amount
    return own if chain[-1].left_minor else None


def discounted_months(
    connection: Connection, documents: Sequence[PostedDocument], load: Load
) -> dict[str, MonthShares]:
    """The shares, by line_id, of those adjustments on the documents that do not go by what is written with
    them. documents: on the register."""
    lines = {line.line_id: line for document in documents for line in _adjusting(document)}
    if not lines:
        return {}
    roots, invoice_of = _chains(connection, sorted(lines))
    # A document is posted before its own lines are entered.
    invoice_of |= {line.line_id: one.document_id for one in documents for line in _adjusting(one)}
    places, with_credit = _places(connection, sorted(set(invoice_of.values())))
    if not with_credit:
        return {}
    known = {document.document_id: document for document in documents}
    known |= {one.document_id: one for one in load([key for key in places if key not in known])}
    parts = {
        line.line_id: (
            places[document_id],
            ChainPart(line.amount_minor, off, document.shares.get(line.line_id)),
        )
        for document_id, document in known.items()
        if document_id in places
        for line, off in _discounted(document)
        if line.line_id in invoice_of
    }
    chains: dict[str, list[str]] = defaultdict(list)
    for line_id in invoice_of:
        if line_id in parts:
            chains[roots.get(line_id, line_id)].append(line_id)
    found = {}
    for line_id, line in lines.items():
        through, _ = parts[line_id]
        earlier = [parts[each] for each in chains[roots[line_id]] if each != line_id]
        before = [part for place, part in sorted(earlier, key=lambda one: one[0]) if place < through]
        own = shares_after_discounts(line.period_start, line.period_end, [*before, parts[line_id][1]])
        if own:
            found[line_id] = own
    return found


def _adjusting(document: PostedDocument) -> Iterator[DocumentLine]:
    """Adjustments of usage over several months, on a document that bills them."""
    if document.kind == "credit_note" and document.corrects:
        return
    for line in document.lines:
        if line.charge_kind == ADJUSTMENT_KIND and document.shares.get(line.line_id):
            yield line


def _discounted(document: PostedDocument) -> Iterator[tuple[DocumentLine, int]]:
    discounts = discounts_of(document)
    for line in document.lines:
        yield line, discounts.get(line.line_id, 0)


def _chains(connection: Connection, line_ids: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """By adjustment the line it adjusts, of all adjustments of the lines that some adjust; by line of these
    and the lines themselves, the invoice that has it."""
    table = LINE_ADJUSTMENTS.c
    pairs = select(table.line_id, table.adjusted_line_id)
    adjusted = {row[1] for row in select_by_ids(connection, pairs, table.line_id, line_ids)}
    rows = select_by_ids(connection, pairs, table.adjusted_line_id, sorted(adjusted))
    roots = {row[0]: row[1] for row in rows}
    every = sorted({*roots, *adjusted})
    lines = INVOICE_LINES.c
    invoices = select_by_ids(connection, select(lines.line_id, lines.invoice_id), lines.line_id, every)
    return roots, {row[0]: row[1] for row in invoices}


def _places(connection: Connection, document_ids: Sequence[str]) -> tuple[dict[str, _Place], bool]:
    """The place of each that is issued, and whether credit paid, or came back by, any of them."""
    register = ISSUED_DOCUMENTS.c
    statement = select(
        register.document_id, register.issued_at, register.series, register.number, register.credit_minor
    )
    rows = list(select_by_ids(connection, statement, register.document_id, document_ids))
    places = {row.document_id: _Place(row.issued_at, row.series, row.number) for row in rows}
    return places, any(row.credit_minor for row in rows)
