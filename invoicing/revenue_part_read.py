"""The days of revenue in the journal, made of documents; kept in the event store beside the journal's copy.

Made when a report by day is asked for, in the order of entries: nothing of it is posted, and a billing run
knows nothing of it. What is kept is derived, and can be dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, select

from invoicing.accrual_tables import ACCRUED_FROM
from invoicing.bulk import select_by_ids
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.posted_documents import posted_documents
from invoicing.posting import PostedDocument
from invoicing.posting_rows import RecognisedDays
from invoicing.registered import registered_documents
from invoicing.revenue_parts import DaysOfUse, RowKey, accrued_part, document_parts, parts_of_row

PARTS_SCHEMA: Final = pa.schema(
    [
        ("entry_number", pa.uint64()),
        ("position", pa.uint32()),
        ("first_day", pa.date32()),
        ("last_day", pa.date32()),
        ("billed_on", pa.date32()),
        ("posted_at", pa.timestamp("us", "UTC")),
        ("customer_id", pa.string()),
        ("contract_id", pa.string()),
        ("charge_id", pa.string()),
        ("currency", pa.string()),
        ("amount_minor", pa.int64()),
        ("through_minor", pa.list_(pa.int64())),
    ]
)
"""One row a part of a row of revenue that lies over several days; see ``RevenuePart``. position: 1, 2,
3 ... in the entry."""
_A_DAY: Final = timedelta(days=1)
_SPREAD: Final = ("recognition", "invoice", "credit_note", "accrual")
_E, _L = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
FindDays = Callable[[Iterable[tuple[PostedDocument, datetime]]], Mapping[str, DaysOfUse]]
"""Says by line id of which lines it is known on which days they were used; of documents, each with the
instant it was posted."""
_Parts = Mapping[tuple[date, bool], list[int]]


def straight_line(_documents: Iterable[tuple[PostedDocument, datetime]]) -> Mapping[str, DaysOfUse]:
    """Nothing is known of the days of usage."""
    return {}


def read_parts(connection: Connection, after: int, through: int, days_of_use: FindDays) -> pa.Table:
    """PARTS_SCHEMA of the entries behind ``after`` up to ``through``. days_of_use: asked for the days of what
    their documents bill."""
    rows = _revenue_rows(connection, after, through)
    issued, parts = _parts_of_documents(connection, rows, days_of_use)
    begun, accrued = _accrued_from(connection, rows), _accrued_before(connection, rows)
    positions: dict[int, int] = defaultdict(int)
    columns: list[tuple[Any, ...]] = []
    for row in rows:
        last, amount_minor = date.fromisoformat(row.entry_date), -row.amount_minor
        if row.kind == "accrual":
            billed_on = last + _A_DAY
            key = (row.document_id, row.charge_id, last)
            first, before = begun.get(key, last.replace(day=1)), accrued.get((row.entry_number, *key), 0)
            found = [accrued_part(first, last, before, amount_minor)] if first < last else []
        else:
            billed_on = issued[row.document_id]
            own = parts[row.document_id].get((last, row.charge_id), {})
            found = parts_of_row(last, amount_minor, own)
        whose = (row.customer_id, row.contract_id, row.charge_id, row.currency)
        for part in found:
            positions[row.entry_number] += 1
            place = (row.entry_number, positions[row.entry_number])
            when = (part.first_day, last, billed_on, datetime.fromisoformat(row.posted_at))
            columns.append((*place, *when, *whose, part.amount_minor, part.through_minor))
    return parts_table(columns)


def parts_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows of values as PARTS_SCHEMA."""
    values = zip(*rows, strict=True) if rows else ((),) * len(PARTS_SCHEMA)
    arrays = [pa.array(list(column), field.type) for field, column in zip(PARTS_SCHEMA, values, strict=True)]
    return pa.table(arrays, schema=PARTS_SCHEMA)


def _revenue_rows(connection: Connection, after: int, through: int) -> Sequence[Any]:
    names = ("customer_id", "contract_id", "charge_id", "currency", "amount_minor")
    statement = (
        select(
            *(_E.entry_number, _E.kind, _E.entry_date, _E.posted_at, _E.document_id),
            *(_L[name] for name in names),
        )
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(
            _E.entry_number > after,
            _E.entry_number <= through,
            _E.kind.in_(_SPREAD),
            _L.account == "revenue",
        )
        .order_by(_L.entry_number, _L.position)
    )
    return connection.execute(statement).all()


def _parts_of_documents(
    connection: Connection, rows: Sequence[Any], days_of_use: FindDays
) -> tuple[dict[str, date], dict[str, dict[RowKey, _Parts]]]:
    """By document: the day it was issued, and the parts of its rows."""
    posted = {row.document_id: row.posted_at for row in rows if row.kind != "accrual"}
    issued: dict[str, date] = {}
    parts: dict[str, dict[RowKey, _Parts]] = {}
    registered = registered_documents(connection, list(posted))
    documents = posted_documents(connection, registered, RecognisedDays())
    used = days_of_use((each, datetime.fromisoformat(posted[each.document_id])) for each in documents)
    for document in documents:
        issued[document.document_id] = document.issue_date
        parts[document.document_id] = dict(document_parts(document, used))
    return issued, parts


def _accrued_from(connection: Connection, rows: Sequence[Any]) -> dict[tuple[str, str, date], date]:
    """The first days of what is accrued, by document, charge and day; where not that of the month."""
    ids = list(dict.fromkeys(row.document_id for row in rows if row.kind == "accrual"))
    columns = ACCRUED_FROM.c
    return {
        (row.document_id, row.charge_id, date.fromisoformat(row.day)): date.fromisoformat(row.first_day)
        for row in select_by_ids(connection, select(ACCRUED_FROM), columns.document_id, ids)
    }


def _accrued_before(connection: Connection, rows: Sequence[Any]) -> dict[tuple[int, str, str, date], int]:
    """What was accrued before each of the rows that are accruals: by entry, document, charge and day."""
    ids = list(dict.fromkeys(row.document_id for row in rows if row.kind == "accrual"))
    statement = (
        select(_E.entry_number, _E.document_id, _L.charge_id, _E.entry_date, _L.amount_minor)
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(_E.kind == "accrual", _L.account == "revenue")
    )
    found: dict[tuple[int, str, str, date], int] = {}
    sums: dict[tuple[str, str, date], int] = defaultdict(int)
    for number, document_id, charge_id, day, amount in sorted(
        tuple(row) for row in select_by_ids(connection, statement, _E.document_id, ids)
    ):
        key = (document_id, charge_id, date.fromisoformat(day))
        found[number, *key] = sums[key]
        sums[key] -= amount
    return found
