"""What documents did to prepaid credit, as their posting needs it: drew, gave back, sold, took back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

import orjson
from sqlalchemy import Connection, func, select, tuple_

from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.credit_tables import CREDIT_ENTRIES, CREDIT_GRANTS
from invoicing.posting import TOP_UP_CHARGE_ID, CreditSold, CreditUse, DocumentLine
from invoicing.register import IssuedDocument
from invoicing.tables import ISSUED_DOCUMENTS
from rating.retainer import sells_credit

SOLD_BY_INVOICE: Final = ("retainer", "top_up")
"""Origins of grants that a line of an invoice sold."""


def credit_used(connection: Connection, document_ids: Sequence[str]) -> dict[str, list[CreditUse]]:
    """What invoices drew, and what credit notes gave back (below zero), by document."""
    columns = CREDIT_ENTRIES.c
    statement = select(columns.invoice_id, columns.amount_minor, columns.cost_minor, columns.lines).where(
        columns.kind.in_(("drawn", "returned"))
    )
    found: dict[str, list[CreditUse]] = defaultdict(list)
    for row in select_by_ids(connection, statement, columns.invoice_id, document_ids):
        lines = tuple((line_id, amount) for line_id, amount in orjson.loads(row.lines))
        found[row.invoice_id].append(CreditUse(-row.amount_minor, -row.cost_minor, lines))
    return found


def credit_sold(
    connection: Connection, documents: Iterable[Sequence[DocumentLine]]
) -> Mapping[str, CreditSold]:
    """The grants that lines of invoices sold, by line_id."""
    columns = CREDIT_GRANTS.c
    statement = select(columns.origin_id, columns.cost_minor, columns.effective_from).where(
        columns.origin.in_(SOLD_BY_INVOICE)
    )
    written = list(documents)
    charge_ids = {line.charge_id for lines in written for line in lines}
    if not any(map(_is_of_credit, charge_ids)):
        return {}
    selling = [line_id for lines in written for line_id in _selling(lines)]
    return {
        row.origin_id: CreditSold(row.cost_minor, date.fromisoformat(row.effective_from))
        for row in select_by_ids(connection, statement, columns.origin_id, selling)
    }


def credit_taken_back(
    connection: Connection, note: IssuedDocument, lines: Sequence[DocumentLine]
) -> Mapping[str, int]:
    """Of lines that sold credit, what of this credit note is credit that was voided (its cost, minor units
    above zero, by line_id), after what earlier credit notes of the invoice took of it. What is voided after
    the note was issued is none of it."""
    selling = _selling(lines)
    if not selling:
        return {}
    voided = _voided_cost(connection, selling, note)
    earlier = _credited_before(connection, note)
    found = {}
    for line in lines:
        if line.line_id in voided:
            before = earlier.get(line.line_id, 0)
            upto = min(voided[line.line_id], before - line.amount_minor)
            found[line.line_id] = upto - min(voided[line.line_id], before)
    return found


def _selling(lines: Sequence[DocumentLine]) -> list[str]:
    return [line.line_id for line in lines if _is_of_credit(line.charge_id)]


def _is_of_credit(charge_id: str) -> bool:
    return sells_credit(charge_id) or charge_id == TOP_UP_CHARGE_ID


def _voided_cost(connection: Connection, line_ids: Sequence[str], note: IssuedDocument) -> dict[str, int]:
    """What was voided of the grants that lines sold, and of those they rolled over to; by line_id."""
    grants, entries = CREDIT_GRANTS.c, CREDIT_ENTRIES.c
    sold = select(grants.grant_id, grants.origin_id).where(grants.origin.in_(SOLD_BY_INVOICE))
    line_of = {row[0]: row[1] for row in select_by_ids(connection, sold, grants.origin_id, line_ids)}
    rolled = select(grants.grant_id, grants.origin_id).where(grants.origin == "rollover")
    newest = dict(line_of)
    while newest:
        found = select_by_ids(connection, rolled, grants.origin_id, sorted(newest))
        newest = {row[0]: newest[row[1]] for row in found}
        line_of |= newest
    register = ISSUED_DOCUMENTS.c
    issued_at = select(register.issued_at).where(register.document_id == note.document_id).scalar_subquery()
    voided = select(entries.grant_id, func.sum(entries.cost_minor)).where(
        entries.kind == "voided", entries.created_at <= issued_at
    )
    sums: dict[str, int] = defaultdict(int)
    grouped = voided.group_by(entries.grant_id)
    for grant_id, cost in select_by_ids(connection, grouped, entries.grant_id, sorted(line_of)):
        sums[line_of[grant_id]] -= int(cost)
    return sums


def _credited_before(connection: Connection, note: IssuedDocument) -> dict[str, int]:
    """What earlier credit notes of the invoice took back of each line, minor units above zero."""
    columns = CREDIT_NOTES.c
    statement = select(columns.document).where(
        columns.invoice_id == note.refers_to,
        tuple_(columns.issue_date, columns.number) < (note.issue_date.isoformat(), note.number),
    )
    sums: dict[str, int] = defaultdict(int)
    for text in connection.execute(statement).scalars():
        for line in orjson.loads(text)["lines"]:
            sums[line["line_id"]] -= line["amount_minor"]
    return sums
