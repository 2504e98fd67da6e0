"""Accruals in the ledger: brought to what they should be, and taken back when their document is issued."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, select

from ingest.ledger import ledger_transaction
from invoicing.accrual import AccrualKey, accrual_entries
from invoicing.accrual_tables import ACCRUAL_RUNS, OPEN_ACCRUALS
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.journal_store import append_entries, lock_journal, posted_text
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.tables import ISSUED_DOCUMENTS

_DOCUMENTS_PER_STEP: Final = 2_000
_E, _L = JOURNAL_ENTRIES.c, JOURNAL_LINES.c


@dataclass(frozen=True, slots=True)
class Accrued:
    """What a run posted: entries, and of how many documents to come."""

    entries: int
    documents: int


def post_accruals(
    ledger: Engine,
    wanted: Mapping[AccrualKey, int],
    document_ids: Sequence[str],
    *,
    through: date,
    now: datetime,
) -> Accrued:
    """Bring the accruals of these documents, of days up to ``through``, to ``wanted``: what differs is
    posted, what is not wanted any more is taken back. Documents that were issued meanwhile are left
    alone. Again: nothing."""
    by_document: dict[str, dict[AccrualKey, int]] = defaultdict(dict)
    for key, amount in wanted.items():
        by_document[key.document_id][key] = amount
    ids = sorted(document_ids)
    entries = documents = 0
    for start in range(0, len(ids), _DOCUMENTS_PER_STEP):
        block = ids[start : start + _DOCUMENTS_PER_STEP]
        with ledger_transaction(ledger) as connection:
            lock_journal(connection)
            changed = _post_block(connection, block, by_document, through=through, now=now)
        entries += changed.entries
        documents += changed.documents
    return Accrued(entries, documents)


def open_accruals(ledger: Engine) -> set[str]:
    """The documents to come of which something is accrued."""
    with ledger.connect() as connection:
        return set(connection.execute(select(OPEN_ACCRUALS.c.document_id)).scalars())


def _post_block(
    connection: Connection,
    block: Sequence[str],
    by_document: Mapping[str, Mapping[AccrualKey, int]],
    *,
    through: date,
    now: datetime,
) -> Accrued:
    register = ISSUED_DOCUMENTS.c.document_id
    issued = set(select_by_ids(connection, select(register), register, block))
    gone = {row[0] for row in issued}
    left = [document_id for document_id in block if document_id not in gone]
    changes: dict[AccrualKey, int] = defaultdict(int)
    for key, amount in _accrued_now(connection, left).items():
        if key.day <= through:
            changes[key] -= amount
    for document_id in left:
        for key, amount in by_document.get(document_id, {}).items():
            changes[key] += amount
    entries = _append(connection, changes, f"accrued through {through}", now)
    column = OPEN_ACCRUALS.c.document_id
    open_now = {row[0] for row in select_by_ids(connection, select(column), column, left)}
    insert_rows(connection, OPEN_ACCRUALS, [(one,) for one in sorted(set(entries) - open_now)])
    return Accrued(sum(entries.values()), len(entries))


def release_accruals(connection: Connection, document_ids: Sequence[str], *, now: datetime) -> None:
    """Take back what was accrued of documents that are issued in this transaction, on the days it was accrued
    for. The journal is locked."""
    column = OPEN_ACCRUALS.c.document_id
    accrued = [row[0] for row in select_by_ids(connection, select(column), column, document_ids)]
    if not accrued:
        return
    changes = {key: -amount for key, amount in _accrued_now(connection, accrued).items()}
    _append(connection, changes, "issued", now)
    for start in range(0, len(accrued), _DOCUMENTS_PER_STEP):
        block = accrued[start : start + _DOCUMENTS_PER_STEP]
        connection.execute(delete(OPEN_ACCRUALS).where(column.in_(block)))


def _append(
    connection: Connection, changes: Mapping[AccrualKey, int], description: str, now: datetime
) -> dict[str, int]:
    """Post the changes; how many entries each document got."""
    ids = sorted({key.document_id for key, amount in changes.items() if amount})
    counted = select(_E.document_id, func.count()).where(_E.kind == "accrual").group_by(_E.document_id)
    already = {row[0]: int(row[1]) for row in select_by_ids(connection, counted, _E.document_id, ids)}
    entries = accrual_entries(changes, already=already, description=description)
    append_entries(connection, entries, now=now)
    found: dict[str, int] = defaultdict(int)
    for entry in entries:
        found[str(entry.document_id)] += 1
    return found


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
