"""Accruals in the ledger: brought to what they should be, and taken back when their document is issued."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, select

from ingest.ledger import ledger_transaction
from invoicing.accrual import AccrualKey, accrual_entries
from invoicing.accrual_tables import ACCRUAL_RUNS, ACCRUED_FROM, OPEN_ACCRUALS
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.journal_store import append_entries, lock_journal, posted_text
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.tables import INVOICES, ISSUED_DOCUMENTS, SETTLED_BILLING_DATES

_DOCUMENTS_PER_STEP: Final = 2_000
_E, _L = JOURNAL_ENTRIES.c, JOURNAL_LINES.c


def post_accruals(
    ledger: Engine,
    wanted: Mapping[AccrualKey, int],
    document_ids: Sequence[str],
    *,
    first_days: Mapping[AccrualKey, date],
    through: date,
    now: datetime,
) -> int:
    """Bring the accruals of these documents, of days up to ``through``, to ``wanted``: what differs is
    posted, what is not wanted any more is taken back. Documents that were issued meanwhile are left
    alone. Again: nothing. first_days: of what is wanted, from which day of its month on it was had.
    Returns how many entries were posted."""
    by_document: dict[str, dict[AccrualKey, int]] = defaultdict(dict)
    for key, amount in wanted.items():
        by_document[key.document_id][key] = amount
    ids = sorted(document_ids)
    entries = 0
    for start in range(0, len(ids), _DOCUMENTS_PER_STEP):
        block = ids[start : start + _DOCUMENTS_PER_STEP]
        with ledger_transaction(ledger) as connection:
            lock_journal(connection)
            entries += _post_block(connection, block, by_document, through=through, now=now)
            _keep_first_days(connection, block, first_days)
    return entries


def _keep_first_days(
    connection: Connection, block: Sequence[str], first_days: Mapping[AccrualKey, date]
) -> None:
    """Keep what is not kept of them and is not the first of its month."""
    columns, ids = ACCRUED_FROM.c, set(block)
    named = select(columns.document_id, columns.charge_id, columns.day)
    known = {tuple(row) for row in select_by_ids(connection, named, columns.document_id, block)}
    wanted = {
        (key.document_id, key.charge_id, key.day.isoformat()): first.isoformat()
        for key, first in first_days.items()
        if key.document_id in ids and first.day != 1
    }
    rows = [(*key, first) for key, first in sorted(wanted.items()) if key not in known]
    insert_rows(connection, ACCRUED_FROM, rows)


def open_accruals(ledger: Engine) -> set[str]:
    """The documents to come of which something is accrued."""
    with ledger.connect() as connection:
        return set(connection.execute(select(OPEN_ACCRUALS.c.document_id)).scalars())


def overtaken_accruals(connection: Connection) -> dict[str, str]:
    """Contract by document to come, of what is accrued of a day before a settled billing date of the contract
    and stands in no draft. Where that document is not to come any more, another one has billed the day."""
    settled = SETTLED_BILLING_DATES.c
    later = (settled.contract_id == _L.contract_id) & (settled.billing_date > _E.entry_date)
    statement = (
        select(_E.document_id, _L.contract_id)
        .select_from(JOURNAL_ENTRIES.join(JOURNAL_LINES).join(SETTLED_BILLING_DATES, later))
        .where(_E.kind == "accrual", _L.account == "unbilled")
        .distinct()
    )
    ids = connection.execute(select(OPEN_ACCRUALS.c.document_id)).scalars().all()
    found = {row[0]: row[1] for row in select_by_ids(connection, statement, _E.document_id, ids)}
    draft = select(INVOICES.c.invoice_id).where(INVOICES.c.state == "draft")
    drafts = {row[0] for row in select_by_ids(connection, draft, INVOICES.c.invoice_id, sorted(found))}
    return {document_id: contract for document_id, contract in found.items() if document_id not in drafts}


def _post_block(
    connection: Connection,
    block: Sequence[str],
    by_document: Mapping[str, Mapping[AccrualKey, int]],
    *,
    through: date,
    now: datetime,
) -> int:
    register = ISSUED_DOCUMENTS.c.document_id
    gone = {row[0] for row in select_by_ids(connection, select(register), register, block)}
    left = [document_id for document_id in block if document_id not in gone]
    accrued = _accrued_now(connection, left)
    wanted = {key: amount for key, amount in accrued.items() if key.day > through}
    for document_id in left:
        wanted.update(by_document.get(document_id, {}))
    changes = {key: wanted.get(key, 0) - accrued.get(key, 0) for key in {*wanted, *accrued}}
    entries = _append(connection, changes, f"accrued through {through}", now)
    column = OPEN_ACCRUALS.c.document_id
    open_before = {row[0] for row in select_by_ids(connection, select(column), column, left)}
    open_now = {key.document_id for key, amount in wanted.items() if amount}
    insert_rows(connection, OPEN_ACCRUALS, [(one,) for one in sorted(open_now - open_before)])
    _close(connection, sorted(open_before - open_now))
    return entries


def release_accruals(
    connection: Connection, document_ids: Sequence[str], *, description: str, now: datetime
) -> int:
    """Take back all that is accrued of these documents, on the days it was accrued for: they are issued in
    this transaction, or will never be. The journal is locked. Returns how many entries were posted."""
    column = OPEN_ACCRUALS.c.document_id
    accrued = [row[0] for row in select_by_ids(connection, select(column), column, document_ids)]
    if not accrued:
        return 0
    changes = {key: -amount for key, amount in _accrued_now(connection, accrued).items()}
    entries = _append(connection, changes, description, now)
    _close(connection, accrued)
    return entries


def _close(connection: Connection, document_ids: Sequence[str]) -> None:
    """Nothing is accrued of these any more."""
    for start in range(0, len(document_ids), _DOCUMENTS_PER_STEP):
        block = document_ids[start : start + _DOCUMENTS_PER_STEP]
        connection.execute(delete(OPEN_ACCRUALS).where(OPEN_ACCRUALS.c.document_id.in_(block)))


def _append(
    connection: Connection, changes: Mapping[AccrualKey, int], description: str, now: datetime
) -> int:
    """Post the changes; how many entries they are."""
    ids = sorted({key.document_id for key, amount in changes.items() if amount})
    counted = select(_E.document_id, func.count()).where(_E.kind == "accrual").group_by(_E.document_id)
    already = {row[0]: int(row[1]) for row in select_by_ids(connection, counted, _E.document_id, ids)}
    entries = accrual_entries(changes, already=already, description=description)
    append_entries(connection, entries, now=now)
    return len(entries)


def _accrued_now(connection: Connection, document_ids: Iterable[str]) -> dict[AccrualKey, int]:
    """What is accrued of each of the documents, all that was taken back taken off."""
    statement = (
        select(
            _E.document_id,
            _E.entry_date,
            _L.customer_id,
            _L.contract_id,
            _L.charge_id,
            _L.currency,
            func.sum(_L.amount_minor),
        )
        .select_from(JOURNAL_ENTRIES.join(JOURNAL_LINES))
        .where(_E.kind == "accrual", _L.account == "unbilled")
        .group_by(_E.document_id, _E.entry_date, _L.customer_id, _L.contract_id, _L.charge_id, _L.currency)
    )
    return {
        AccrualKey(row[0], date.fromisoformat(row[1]), *row[2:6]): int(row[6])
        for row in select_by_ids(connection, statement, _E.document_id, list(document_ids))
    }


def note_run(ledger: Engine, *, through: date, actor: str, now: datetime) -> None:
    """Keep that the month was accrued."""
    with ledger_transaction(ledger) as connection:
        connection.execute(delete(ACCRUAL_RUNS).where(ACCRUAL_RUNS.c.through == through.isoformat()))
        connection.execute(
            ACCRUAL_RUNS.insert().values(
                through=through.isoformat(), finished_at=posted_text(now), actor=actor
            )
        )


def accrued_through(ledger: Engine) -> date | None:
    """The last month that was accrued, None before the first."""
    with ledger.connect() as connection:
        last = connection.execute(select(func.max(ACCRUAL_RUNS.c.through))).scalar_one()
    return None if last is None else date.fromisoformat(last)
