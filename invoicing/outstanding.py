"""What is owed at any instant: open documents out of the journal, which come to the balance of receivable."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Engine, func, select

from ingest.errors import BrokenState
from invoicing.bulk import select_by_ids
from invoicing.instalment import StoredPlan, load_plans, parts_as_they_stand
from invoicing.journal_store import JournalFilter, conditions_of, trial_balance
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.number import number_text
from invoicing.tables import ISSUED_DOCUMENTS


@dataclass(frozen=True, slots=True)
class OutstandingDocument:
    """A document of which something is open, minor units, tax included. overdue_days: since its due date; 0
    when it is not due. instalment: of a document that is paid in parts, which part this is; each is due and
    overdue by itself."""

    document_id: str
    number: str
    customer_id: str
    contract_id: str | None
    currency: str
    issue_date: str
    due_date: str | None
    open_minor: int
    overdue_days: int
    instalment: int | None = None


@dataclass(frozen=True, slots=True)
class OutstandingTotal:
    """Of one currency. open_minor: the balance of receivable. overdue_minor: of it, past its due date.
    unapplied_minor: received and not applied, shown apart and never taken off; written_off_minor: given up
    and no longer in open_minor."""

    currency: str
    documents: int
    open_minor: int
    overdue_minor: int
    unapplied_minor: int
    written_off_minor: int


@dataclass(frozen=True, slots=True)
class Outstanding:
    """The open documents by due date, and what they come to by currency."""

    documents: tuple[OutstandingDocument, ...]
    totals: tuple[OutstandingTotal, ...]


OUTSTANDING_SCHEMA: Final = pa.schema(
    [
        ("document_id", pa.string()),
        ("number", pa.string()),
        ("customer_id", pa.string()),
        ("contract_id", pa.string()),
        ("currency", pa.string()),
        ("issue_date", pa.string()),
        ("due_date", pa.string()),
        ("open_minor", pa.int64()),
        ("overdue_days", pa.int64()),
        ("instalment", pa.int64()),
    ]
)
"""``OutstandingDocument``, a row each. due_date, contract_id and instalment may be null."""


def outstanding_table(found: Outstanding) -> pa.Table:
    """The open documents by due date: OUTSTANDING_SCHEMA."""
    return pa.Table.from_pylist([asdict(each) for each in found.documents], schema=OUTSTANDING_SCHEMA)


def outstanding(
    ledger: Engine, *, as_of: date, known_at: datetime | None = None, customer_id: str | None = None
) -> Outstanding:
    """What was open at the end of ``as_of``, as known at ``known_at`` (None: now).

    Raises BrokenState when the documents do not come to the balance of receivable.
    """
    chosen = JournalFilter(on=as_of, known_at=known_at, customer_id=customer_id)
    documents = _documents(ledger, chosen, as_of)
    balances = {
        (row.currency, row.account): row.balance_minor for row in trial_balance(ledger, chosen=chosen)
    }
    totals = []
    given_up = _written_off(ledger, chosen)
    for currency in sorted({currency for currency, _ in balances}):
        own = [each for each in documents if each.currency == currency]
        summed, balance = sum(each.open_minor for each in own), balances.get((currency, "receivable"), 0)
        if summed != balance:
            raise BrokenState(
                f"open documents of {currency} come to {summed} minor units and receivable to {balance}. "
                "`ratemill journal verify` says what does not tie."
            )
        unapplied = -balances.get((currency, "customer_credit"), 0)
        if own or unapplied or given_up.get(currency):
            overdue = sum(each.open_minor for each in own if each.overdue_days)
            count = len({each.document_id for each in own})
            lost = given_up.get(currency, 0)
            totals.append(OutstandingTotal(currency, count, balance, overdue, unapplied, lost))
    return Outstanding(tuple(documents), tuple(totals))


def _written_off(ledger: Engine, chosen: JournalFilter) -> dict[str, int]:
    """By currency, what stands written off, tax included."""
    lines = JOURNAL_LINES.c
    statement = (
        select(lines.currency, func.sum(lines.amount_minor))
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(lines.account == "receivable", JOURNAL_ENTRIES.c.kind == "write_off", *conditions_of(chosen))
        .group_by(lines.currency)
    )
    with ledger.connect() as connection:
        return {row[0]: -int(row[1]) for row in connection.execute(statement)}


def _documents(ledger: Engine, chosen: JournalFilter, as_of: date) -> list[OutstandingDocument]:
    lines, register = JOURNAL_LINES.c, ISSUED_DOCUMENTS.c
    corrected = func.coalesce(register.refers_to, JOURNAL_ENTRIES.c.document_id)
    total = func.sum(lines.amount_minor)
    statement = (
        select(corrected, total)
        .select_from(
            JOURNAL_LINES.join(JOURNAL_ENTRIES).outerjoin(
                ISSUED_DOCUMENTS, register.document_id == JOURNAL_ENTRIES.c.document_id
            )
        )
        .where(lines.account == "receivable", *conditions_of(chosen))
        .group_by(corrected)
        .having(total != 0)
    )
    with ledger.connect() as connection:
        open_minor = {row[0]: int(row[1]) for row in connection.execute(statement)}
        rows = list(
            select_by_ids(connection, select(ISSUED_DOCUMENTS), register.document_id, sorted(open_minor))
        )
        plans = load_plans(connection, sorted(open_minor), known_at=chosen.known_at)
    found: list[OutstandingDocument] = []
    for row in rows:
        document, plan = _document(row, open_minor[row.document_id], as_of), plans.get(row.document_id)
        found += [document] if plan is None else _parts(document, plan, as_of)
    return sorted(found, key=lambda each: (each.due_date or "9999", each.number))


def _parts(document: OutstandingDocument, plan: StoredPlan, as_of: date) -> list[OutstandingDocument]:
    """What is open of each instalment; they sum to what is open of the document."""
    return [
        replace(
            document,
            open_minor=part.open_minor,
            due_date=part.due_date.isoformat(),
            overdue_days=max(0, (as_of - part.due_date).days),
            instalment=part.position,
        )
        for part in parts_as_they_stand(plan.parts, document.open_minor)
        if part.open_minor
    ]


def _document(row: Any, open_minor: int, as_of: date) -> OutstandingDocument:
    late = 0 if row.due_date is None else (as_of - date.fromisoformat(row.due_date)).days
    return OutstandingDocument(
        document_id=row.document_id,
        number=number_text(series=row.series, number=row.number),
        customer_id=row.customer_id,
        contract_id=row.contract_id,
        currency=row.currency,
        issue_date=row.issue_date,
        due_date=row.due_date,
        open_minor=open_minor,
        overdue_days=max(0, late),
    )
