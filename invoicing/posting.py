"""What is posted for an issued document, and for credit that is given, lapses or is taken back. Pure.

A document of 31 January's usage (119.00 with tax), issued on 1 February, is two entries:

    2026-01-31 recognition   Dr unbilled 100.00                    Cr revenue 100.00
    2026-02-01 invoice       Dr receivable 119.00   Cr tax 19.00   Cr unbilled 100.00

What is recognised before the issue date waits in ``unbilled``, what is recognised later in ``deferred``, and
what falls on the day itself goes straight to revenue. So, for each contract and on any day,

    recognised - billed = unbilled - deferred - prepaid credit + suspense

where billed is what receivable was debited net of tax: the lines less the credit drawn. The lines of an entry
that name a charge come, summed, to what of it was billed.

Credit is carried at what was paid for it. A line paid with credit of a lower cost is revenue of that cost:
the difference is a discount, taken off the line before it is recognised. A line that sells credit is no
revenue: what was paid goes to ``prepaid_credit`` on the day the credit begins, the rest is recognised like a
fee.

A deposit is ``deferred`` under its own charge, and no revenue; the final invoice that deducts it takes it out
again.

A credit note takes back revenue: what its lines say of days before it on its own date (earlier months stay as
they were reported), what they say of later days when those come. Credit it gives back is ``prepaid_credit``
again at the cost it was drawn at; the difference was a discount of lines, never revenue. Credit that a line
sold and that was voided waits in ``suspense`` for the credit note of that line, which takes it; what of the
line was used by then is taken off revenue. Credit given for money outside the books stays in ``suspense``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple

from invoicing.journal import Account, EntryKind, JournalEntry, JournalLine
from invoicing.recognition import MonthShares, line_parts
from rating.money import allocate

BREAKAGE_CHARGE_ID: Final = "credit-breakage"
TOP_UP_CHARGE_ID: Final = "top-up"
DEPOSIT_CHARGE_ID: Final = "~deposit"
"""No key that people choose begins so: no charge is taken for a deposit."""
DEPOSIT_KIND: Final = "deposit"
DEDUCTED_DEPOSIT_KIND: Final = "deducted_deposit"
NO_REVENUE: Final = frozenset({DEPOSIT_KIND, DEDUCTED_DEPOSIT_KIND})
"""Kinds of lines that are no revenue: a deposit waits in ``deferred`` until a final invoice deducts it."""
DEDUCTED_PROGRESS_KIND: Final = "deducted_progress"
"""The line of a final invoice that takes off what a progress invoice billed."""


class DocumentLine(NamedTuple):
    """What posting needs of a line; the period is half-open, the amount net and signed. A tuple, because a
    billing run makes one for each of its lines."""

    line_id: str
    charge_id: str
    charge_kind: str
    period_start: date
    period_end: date
    amount_minor: int


def document_lines(document: Mapping[str, Any]) -> list[DocumentLine]:
    """The lines of a document's canonical content, parsed."""
    return [
        DocumentLine(
            line["line_id"],
            line["charge_id"],
            line["charge_kind"],
            date.fromisoformat(line["period_start"]),
            date.fromisoformat(line["period_end"]),
            line["amount_minor"],
        )
        for line in document["lines"]
    ]


@dataclass(frozen=True, slots=True)
class CreditUse:
    """What an invoice drew of one grant, minor units at or above zero; at or below, what a credit note or a
    bill below zero gave back. cost_minor: of what was paid for it. lines: (line_id, amount), of the invoice
    that drew, or of the bill that gave back, summing to amount_minor."""

    amount_minor: int
    cost_minor: int
    lines: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class CreditSold:
    """The grant a line sold: what was paid for it, and the day it begins."""

    cost_minor: int
    effective_from: date


@dataclass(frozen=True, slots=True)
class PostedDocument:
    """An issued document as posting sees it. Amounts as in the register. used: of its drawn credit. sold: by
    line_id. taken_back: of a credit note's lines that sold credit, what was voided of it, at cost, by
    line_id. corrects: of a credit note, whether it takes back an earlier document; False: it is a bill that
    came to less than nothing. shares: by line_id, of lines over several months that go by what was used."""

    document_id: str
    kind: EntryKind
    customer_id: str
    contract_id: str
    currency: str
    issue_date: date
    net_minor: int
    tax_minor: int
    credit_minor: int
    lines: Sequence[DocumentLine]
    used: Sequence[CreditUse] = ()
    sold: Mapping[str, CreditSold] = field(default_factory=dict)
    taken_back: Mapping[str, int] = field(default_factory=dict)
    corrects: bool = True
    shares: Mapping[str, MonthShares] = field(default_factory=dict)


_Parts = dict[tuple[date, Account, str], int]
"""(day, account, charge_id) -> amount in credit, minor units."""


def document_entries(document: PostedDocument) -> list[JournalEntry]:
    """The entries of a document, by date; none for one that comes to nothing. Each sums to zero."""
    drawn, discounts = _drawn_by_charge(document)
    parts = _recognised(document, discounts)
    days: dict[date, list[JournalLine]] = defaultdict(list)

    customer_id, contract_id, currency = document.customer_id, document.contract_id, document.currency

    def line(account: Account, amount: int, charge_id: str = "", part: str = "") -> JournalLine:
        return JournalLine(account, amount, customer_id, contract_id, currency, charge_id, part)

    issue_date = document.issue_date
    waiting: dict[tuple[Account, str], int] = defaultdict(int)
    for (day, account, charge_id), amount in parts.items():
        if not amount:
            continue
        if day == issue_date:
            waiting[account, charge_id] -= amount
            continue
        between: Account = "unbilled" if day < issue_date else "deferred"
        waiting[between, charge_id] -= amount
        days[day] += [line(between, amount, charge_id), line(account, -amount, charge_id)]
    billed = [
        line("receivable", document.net_minor - document.credit_minor, part="net"),
        line("receivable", document.tax_minor, part="tax"),
        *(line("prepaid_credit", cost, charge_id) for charge_id, cost in drawn.items()),
        line("tax", -document.tax_minor),
        *(line(account, amount, charge_id) for (account, charge_id), amount in waiting.items()),
    ]
    found = [_entry(document, "recognition", day, lines) for day, lines in days.items()]
    found.append(_entry(document, document.kind, document.issue_date, billed))
    return sorted((entry for entry in found if entry.lines), key=lambda entry: entry.entry_date)


def _entry(
    document: PostedDocument, kind: EntryKind, day: date, lines: Sequence[JournalLine]
) -> JournalEntry:
    return JournalEntry(
        entry_id=f"{kind}/{document.document_id}/{day.isoformat()}",
        kind=kind,
        entry_date=day,
        lines=tuple(each for each in lines if each.amount_minor),
        document_id=document.document_id,
    )


def _recognised(document: PostedDocument, discounts: Mapping[str, int]) -> _Parts:
    """When and where the lines go, after discounts (by line_id) and with what sells credit set apart."""
    parts: _Parts = defaultdict(int)
    for line in document.lines:
        sale = document.sold.get(line.line_id)
        if sale is not None:
            parts[sale.effective_from, "prepaid_credit", line.charge_id] += sale.cost_minor
        voided = document.taken_back.get(line.line_id, 0)
        if voided:
            parts[document.issue_date, "suspense", line.charge_id] -= voided
        left = _left_of(document, line, discounts)
        if line.charge_kind in NO_REVENUE:
            parts[document.issue_date, "deferred", line.charge_id] += left
            continue
        if not left:
            continue
        shares = document.shares.get(line.line_id)
        for day, amount in line_parts(line.charge_kind, line.period_start, line.period_end, left, shares):
            counted_on = max(day, document.issue_date) if catches_up(document) else day
            parts[counted_on, "revenue", line.charge_id] += amount
    return parts


def catches_up(document: PostedDocument) -> bool:
    """Whether what the document says of days before its own counts on its own: it takes back revenue that
    was reported."""
    return document.kind == "credit_note" and document.corrects


def revenue_lines(document: PostedDocument) -> Iterator[tuple[DocumentLine, int]]:
    """The lines that are revenue, each with what of it is: without discounts and what sells credit."""
    _, discounts = _drawn_by_charge(document)
    for line in document.lines:
        left = _left_of(document, line, discounts)
        if left and line.charge_kind not in NO_REVENUE:
            yield line, left


def _left_of(document: PostedDocument, line: DocumentLine, discounts: Mapping[str, int]) -> int:
    sale = document.sold.get(line.line_id)
    left = line.amount_minor - discounts.get(line.line_id, 0) - (0 if sale is None else sale.cost_minor)
    return left + document.taken_back.get(line.line_id, 0)


def _drawn_by_charge(document: PostedDocument) -> tuple[dict[str, int], dict[str, int]]:
    """The cost of the drawn credit by charge, and what it discounts each line (by line_id)."""
    cost_of: dict[str, int] = defaultdict(int)
    discounts: dict[str, int] = defaultdict(int)
    if not document.used:
        return cost_of, discounts
    charges = {line.line_id: line.charge_id for line in document.lines}
    for use in document.used:
        lines: Sequence[tuple[str, int]] = use.lines
        if any(line_id not in charges for line_id, _ in lines):
            lines = _over_lines(use.amount_minor, document.lines)
        costs = allocate(use.cost_minor, [abs(amount) for _, amount in lines])
        for (line_id, amount), cost in zip(lines, costs, strict=True):
            cost_of[charges[line_id]] += cost
            discounts[line_id] += amount - cost
    return cost_of, discounts


def discounts_of(document: PostedDocument) -> dict[str, int]:
    """What credit that cost less than it pays takes off lines, minor units by line_id."""
    return _drawn_by_charge(document)[1]


def _over_lines(amount_minor: int, lines: Sequence[DocumentLine]) -> list[tuple[str, int]]:
    """Credit that a credit note gives back for lines that are not on it: in proportion to those that are and
    take something back."""
    weights = [max(0, -line.amount_minor) for line in lines]
    if not any(weights):
        weights[0] = 1
    parts = allocate(amount_minor, weights)
    return [(line.line_id, part) for line, part in zip(lines, parts, strict=True) if part]


@dataclass(frozen=True, slots=True)
class CreditPosting:
    """An entry of credit to post. cost_minor: signed, as credit has it. contract_id: empty when the credit
    is not of one contract."""

    grant_id: str
    kind: str
    entry_date: date
    customer_id: str
    contract_id: str
    currency: str
    cost_minor: int
    reason: str


def credit_entry(posting: CreditPosting) -> JournalEntry:
    """Credit given for money outside the books, lapsed (which is revenue), or taken back."""
    other: Account = "revenue" if posting.kind == "expired" else "suspense"
    charge_id = BREAKAGE_CHARGE_ID if posting.kind == "expired" else ""
    whose = (posting.customer_id, posting.contract_id, posting.currency)
    return JournalEntry(
        entry_id=f"credit/{posting.grant_id}/{posting.kind}",
        kind="credit",
        entry_date=posting.entry_date,
        lines=(
            JournalLine("prepaid_credit", -posting.cost_minor, *whose, charge_id),
            JournalLine(other, posting.cost_minor, *whose, charge_id),
        ),
        description=posting.reason or f"credit {posting.grant_id} {posting.kind}",
    )
