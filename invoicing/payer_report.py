"""Who paid how late: documents and the days on which they were settled, out of journal and payments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from invoicing.bulk import select_by_ids
from invoicing.instalment import load_plans
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.number import number_text
from invoicing.payer_habit import PaidDocument, PayerHabit, payer_habits
from invoicing.payment_tables import PAYMENT_ALLOCATIONS
from invoicing.tables import ISSUED_DOCUMENTS

_R, _L, _A = ISSUED_DOCUMENTS.c, JOURNAL_LINES.c, PAYMENT_ALLOCATIONS.c


def report_payers(
    ledger: Engine, *, as_of: date, days: int, customer_id: str | None = None
) -> list[PayerHabit]:
    """How each customer pays, by documents that were due in the ``days`` before ``as_of``, as they stood at
    the end of that day; the latest payer first. A document in instalments is due with the last of them."""
    with ledger.connect() as connection:
        rows = _due(connection, as_of, days, customer_id)
        ids = sorted(rows)
        plans = load_plans(connection, ids, known_at=None)
        moved, paid = _balances(connection, ids, as_of), _paid(connection, ids, as_of)
    documents = []
    for document_id, row in rows.items():
        plan = plans.get(document_id)
        due = date.fromisoformat(row.due_date) if plan is None else plan.parts[-1][1]
        open_minor, settled_on = _settled(moved.get(document_id, ()))
        if (settled_on is not None and not paid.get(document_id)) or (settled_on is None and due >= as_of):
            continue
        documents.append(
            PaidDocument(
                customer_id=row.customer_id,
                number=number_text(series=row.series, number=row.number),
                currency=row.currency,
                due_date=due,
                settled_on=settled_on,
                open_minor=open_minor,
            )
        )
    return payer_habits(documents, as_of=as_of)


def _due(connection: Connection, as_of: date, days: int, customer_id: str | None) -> dict[str, Any]:
    """Documents that ask for money and were due in that time, in the order they were issued."""
    first = (as_of - timedelta(days=days)).isoformat()
    statement = select(ISSUED_DOCUMENTS).where(
        _R.refers_to.is_(None),
        _R.due_date >= first,
        _R.due_date <= as_of.isoformat(),
        _R.net_minor + _R.tax_minor > 0,
    )
    if customer_id is not None:
        statement = statement.where(_R.customer_id == customer_id)
    rows = connection.execute(statement.order_by(_R.issue_date, _R.document_id))
    return {row.document_id: row for row in rows}


def _balances(connection: Connection, ids: list[str], as_of: date) -> Mapping[str, list[tuple[date, int]]]:
    """What each day did to what is receivable of a document, with what corrects it, day after day."""
    statement = select(_R.document_id, _R.refers_to)
    referring = select_by_ids(connection, statement, _R.refers_to, ids)
    corrects: dict[str, str] = {row[0]: row[1] for row in referring}
    document_id, entry_date = JOURNAL_ENTRIES.c.document_id, JOURNAL_ENTRIES.c.entry_date
    sums = (
        select(document_id, entry_date, func.sum(_L.amount_minor))
        .select_from(JOURNAL_ENTRIES.join(JOURNAL_LINES))
        .where(_L.account == "receivable", entry_date <= as_of.isoformat())
        .group_by(document_id, entry_date)
    )
    found: dict[str, list[tuple[date, int]]] = {}
    row: Any
    for row in select_by_ids(connection, sums, document_id, [*ids, *corrects]):
        moved = (date.fromisoformat(row[1]), int(row[2]))
        found.setdefault(corrects.get(row[0], row[0]), []).append(moved)
    return {key: sorted(moved) for key, moved in found.items()}


def _paid(connection: Connection, ids: list[str], as_of: date) -> Mapping[str, int]:
    statement = (
        select(_A.document_id, func.sum(_A.amount_minor))
        .where(_A.entry_date <= as_of.isoformat())
        .group_by(_A.document_id)
    )
    return {row[0]: int(row[1]) for row in select_by_ids(connection, statement, _A.document_id, ids)}


def _settled(moved: Iterable[tuple[date, int]]) -> tuple[int, date | None]:
    """What is open now, and since when nothing is. A payment that is taken back opens it again."""
    balance, settled_on = 0, None
    for day, amount in moved:
        balance += amount
        if balance > 0:
            settled_on = None
        elif settled_on is None:
            settled_on = day
    return max(balance, 0), settled_on
