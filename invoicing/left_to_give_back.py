"""What is left of billed lines after corrections in review and credit notes: no more can be given back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, func, select

from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.review.tables import REVIEW_CORRECTIONS
from invoicing.tables import INVOICE_LINES, ISSUED_DOCUMENTS, LINE_ADJUSTMENTS, LINE_ALLOWANCES

_L, _C = INVOICE_LINES.c, REVIEW_CORRECTIONS.c
_AS_PRICED = func.coalesce(_L.priced_minor, _L.amount_minor).label("priced_minor")


def left_to_give_back(
    connection: Connection, line_ids: Sequence[bytes], *, known_at: datetime | None
) -> dict[bytes, int]:
    """By line_id, minor units as the line was priced (with tax where its price includes it, before credit
    that was taken off it), zero or more.

    A line and its corrections are one. Credit notes are net of tax: where the price includes tax, the share
    of the net amount that is left, rounded down, is left of the price; of credit taken off, what was not put
    back. known_at: what credit notes issued up to that instant left; None: all.
    """
    whole = _with_corrections(connection, line_ids)
    taken = _taken(connection, whole, known_at)
    keys = {line_id: line_id.hex() for line_id in line_ids}
    return {
        line_id: _left(taken.priced[key], taken.net[key], taken.credited[key])
        + max(0, taken.allowed[key] - taken.put_back[key])
        for line_id, key in keys.items()
    }


def credited_of_lines(connection: Connection, line_ids: Sequence[bytes]) -> dict[bytes, int]:
    """By line_id, what credit notes took of a line, its corrections and all that adjusted it, minor units as
    priced, rounded up, and of credit taken before tax what they put back; lines of which nothing was taken
    are left out."""
    whole = _with_corrections(connection, line_ids)
    adjusting = select(LINE_ADJUSTMENTS.c.line_id, LINE_ADJUSTMENTS.c.adjusted_line_id)
    ids = sorted(line_id.hex() for line_id in line_ids)
    rows = select_by_ids(connection, adjusting, LINE_ADJUSTMENTS.c.adjusted_line_id, ids)
    whole |= {row.line_id: row.adjusted_line_id for row in rows}
    taken = _taken(connection, whole, None)
    found = {}
    for key in taken.credited.keys() | taken.put_back.keys():
        credited, net = taken.credited[key], taken.net[key]
        priced = -(-credited * taken.priced[key] // net) if net else credited
        found[bytes.fromhex(key)] = priced + taken.put_back[key]
    return {line_id: amount for line_id, amount in found.items() if amount}


@dataclass(frozen=True, slots=True)
class _Taken:
    """Sums by line: as priced, net, net of what credit notes took; credit taken off before tax, and what
    credit notes put back of it."""

    priced: dict[str, int]
    net: dict[str, int]
    credited: dict[str, int]
    allowed: dict[str, int]
    put_back: dict[str, int]


def _with_corrections(connection: Connection, line_ids: Sequence[bytes]) -> dict[str, str]:
    """Each line and its corrections in review, to the line; ids in hex."""
    ids = [line_id.hex() for line_id in line_ids]
    statement = select(REVIEW_CORRECTIONS.c.line_id, REVIEW_CORRECTIONS.c.corrected_line_id)
    corrections = select_by_ids(connection, statement, _C.corrected_line_id, ids)
    return {line_id: line_id for line_id in ids} | {row[0]: row[1] for row in corrections}


def _taken(connection: Connection, whole: Mapping[str, str], known_at: datetime | None) -> _Taken:
    """whole: of which line each is a part. known_at: of ``left_to_give_back``."""
    columns = select(_L.line_id, _L.invoice_id, _L.amount_minor, _AS_PRICED)
    taken = _Taken(*(defaultdict(int) for _ in range(5)))
    invoices = set()
    for row in select_by_ids(connection, columns, _L.line_id, sorted(whole)):
        taken.net[whole[row.line_id]] += row.amount_minor
        taken.priced[whole[row.line_id]] += row.priced_minor
        invoices.add(row.invoice_id)
    for row in select_by_ids(connection, select(LINE_ALLOWANCES), LINE_ALLOWANCES.c.line_id, sorted(whole)):
        taken.allowed[whole[row.line_id]] += row.amount_minor
    issued = ISSUED_DOCUMENTS.c.document_id == CREDIT_NOTES.c.credit_note_id
    notes = select(CREDIT_NOTES.c.document, ISSUED_DOCUMENTS.c.issued_at).join(ISSUED_DOCUMENTS, issued)
    for row in select_by_ids(connection, notes, CREDIT_NOTES.c.invoice_id, sorted(invoices)):
        if known_at is not None and datetime.fromisoformat(row.issued_at) > known_at:
            continue
        note = orjson.loads(row.document)
        for line in note["lines"]:
            if line["line_id"] in whole:
                taken.credited[whole[line["line_id"]]] -= line["amount_minor"]
        for back in note.get("put_back_credit", ()):
            if back["line_id"] in whole:
                taken.put_back[whole[back["line_id"]]] += back["amount_minor"]
    return taken


def _left(priced_minor: int, net_minor: int, credited_minor: int) -> int:
    """
    >>> _left(11900, 10000, 2500), _left(10000, 10000, 10000), _left(-100, -100, 0)
    (8925, 0, 0)
    """
    if net_minor - credited_minor <= 0 or priced_minor <= 0:
        return 0
    return priced_minor * (net_minor - credited_minor) // net_minor if credited_minor else priced_minor
