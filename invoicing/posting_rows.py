"""Documents straight to rows of the journal: the fast twin of ``document_entries``. Pure.

Nearly every document has neither to do with credit nor with deposits, and takes nothing back: its lines are
revenue on days that depend on their kind and period alone. Such a document becomes rows without values in
between; any other goes by ``document_entries``, which the tests hold this to, row by row.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from invoicing.journal_rows import JournalRows, LineRow
from invoicing.posting import NO_REVENUE, PostedDocument, document_entries
from invoicing.recognition import line_parts, month_parts, recognised_days

_Period = tuple[str, date, date]
"""The kind of a line's charge and its period: what its days depend on."""
_SEVERAL: Final = None


class RecognisedDays(dict[_Period, date | None]):
    """The one day on which lines of a kind and period are revenue, each found once; None where there are
    several, as of few lines."""

    def __missing__(self, period: _Period) -> date | None:
        parts = month_parts(*recognised_days(*period), 1)
        day = self[period] = parts[0][0] if len(parts) == 1 else _SEVERAL
        return day


def add_document(rows: JournalRows, document: PostedDocument, days: RecognisedDays) -> None:
    """Add the entries of ``document_entries``. Raises BrokenState when one does not sum to zero."""
    if _is_plain(document):
        _add_plain(rows, document, days)
        return
    for entry in document_entries(document):
        rows.add(entry)


def _is_plain(document: PostedDocument) -> bool:
    if document.used or document.taken_back or document.credit_minor:
        return False
    if document.kind == "credit_note" and document.corrects:
        return False
    billed, sold = 0, document.sold
    for line_id, _, charge_kind, _, _, amount_minor in document.lines:
        if charge_kind in NO_REVENUE or (sold and line_id in sold):
            return False
        billed += amount_minor
    return billed == document.net_minor


def _add_plain(rows: JournalRows, document: PostedDocument, days: RecognisedDays) -> None:
    issue_date, shares = document.issue_date, document.shares
    parts: dict[tuple[date, str], int] = {}
    for line_id, charge_id, charge_kind, start, end, amount_minor in document.lines:
        if not amount_minor:
            continue
        only = days[charge_kind, start, end]
        if only is not _SEVERAL:
            parts[only, charge_id] = parts.get((only, charge_id), 0) + amount_minor
            continue
        for day, part in line_parts(charge_kind, start, end, amount_minor, shares.get(line_id)):
            parts[day, charge_id] = parts.get((day, charge_id), 0) + part
    recognised: dict[date, list[tuple[str, int, str]]] = {}
    waiting: dict[tuple[str, str], int] = {}
    for (day, charge_id), amount in parts.items():
        if not amount:
            continue
        between = "revenue" if day == issue_date else "unbilled" if day < issue_date else "deferred"
        waiting[between, charge_id] = waiting.get((between, charge_id), 0) - amount
        if day != issue_date:
            lines = recognised.setdefault(day, [])
            lines.append((between, amount, charge_id))
            lines.append(("revenue", -amount, charge_id))
    for day in sorted(day for day in recognised if day < issue_date):
        _add_recognition(rows, document, day, recognised[day])
    _add_billed(rows, document, waiting)
    for day in sorted(day for day in recognised if day > issue_date):
        _add_recognition(rows, document, day, recognised[day])


def _add_recognition(
    rows: JournalRows, document: PostedDocument, day: date, lines: list[tuple[str, int, str]]
) -> None:
    number = _add_entry(rows, document, "recognition", day)
    customer_id, contract_id, currency = document.customer_id, document.contract_id, document.currency
    rows.lines += [
        (number, position, account, "", customer_id, contract_id, charge_id, currency, amount)
        for position, (account, amount, charge_id) in enumerate(lines, 1)
    ]


def _add_billed(rows: JournalRows, document: PostedDocument, waiting: dict[tuple[str, str], int]) -> None:
    """The entry of the document itself; none when it has no line."""
    net, tax = document.net_minor, document.tax_minor
    billed = [("receivable", "net", "", net), ("receivable", "tax", "", tax), ("tax", "", "", -tax)]
    billed += [(account, "", charge_id, amount) for (account, charge_id), amount in waiting.items()]
    billed = [line for line in billed if line[3]]
    if not billed:
        return
    number = _add_entry(rows, document, document.kind, document.issue_date)
    customer_id, contract_id, currency = document.customer_id, document.contract_id, document.currency
    lines: list[LineRow] = [
        (number, position, account, part, customer_id, contract_id, charge_id, currency, amount)
        for position, (account, part, charge_id, amount) in enumerate(billed, 1)
    ]
    rows.lines += lines


def _add_entry(rows: JournalRows, document: PostedDocument, kind: str, day: date) -> int:
    number, document_id, on = rows.next_number, document.document_id, day.isoformat()
    rows.next_number = number + 1
    rows.entries.append(
        (number, f"{kind}/{document_id}/{on}", kind, on, rows.posted_at, document_id, None, "")
    )
    return number
