"""What is open of issued documents: the register less what credit notes and payments settle and what is
written off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from ingest.errors import NotFound
from invoicing.bulk import select_by_ids
from invoicing.number import number_text, split_number
from invoicing.pay_out_tables import PAY_OUT_PARTS
from invoicing.payment import OpenDocument
from invoicing.payment_tables import PAYMENT_ALLOCATIONS
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES
from invoicing.write_off_tables import WRITE_OFFS

_R = ISSUED_DOCUMENTS.c


def open_documents(connection: Connection, document_ids: Sequence[str]) -> dict[str, OpenDocument]:
    """The documents by id, as they stand. Unknown ids are left out."""
    ids = sorted(set(document_ids))
    rows = {
        row.document_id: row
        for row in select_by_ids(connection, select(ISSUED_DOCUMENTS), _R.document_id, ids)
    }
    credited = _pairs(select_by_ids(connection, _credited(), _R.refers_to, ids))
    paid = _paid_of(connection, ids)
    given_up = _pairs(select_by_ids(connection, _written_off(), WRITE_OFFS.c.document_id, ids))
    return {
        document_id: _open_document(
            row, *(found.get(document_id, (0, 0)) for found in (credited, paid, given_up))
        )
        for document_id, row in rows.items()
    }


def allocated_minor(connection: Connection, document_ids: Sequence[str]) -> dict[str, int]:
    """What payments pay of each document now, minor units, and below zero what was paid out of it; documents
    of which nothing is are left out."""
    paid = _paid_of(connection, sorted(set(document_ids)))
    return {document_id: amount for document_id, (amount, _) in paid.items() if amount}


def written_off_minor(connection: Connection, document_ids: Sequence[str]) -> dict[str, int]:
    """What is written off of each document now, minor units; documents of which nothing is are left out."""
    ids = sorted(set(document_ids))
    found = _pairs(select_by_ids(connection, _written_off(), WRITE_OFFS.c.document_id, ids))
    return {document_id: amount for document_id, (amount, _) in found.items() if amount}


def _paid_of(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """What payments pay less what was paid out, the whole and of it the lines."""
    paid = _pairs(select_by_ids(connection, _paid(), PAYMENT_ALLOCATIONS.c.document_id, ids))
    out = _pairs(select_by_ids(connection, _paid_out(), PAY_OUT_PARTS.c.document_id, ids))
    for document_id, (amount, net) in out.items():
        before = paid.get(document_id, (0, 0))
        paid[document_id] = (before[0] - amount, before[1] - net)
    return paid


def _credited() -> Select[Any]:
    """What credit notes take off documents: the whole due, and of it the lines."""
    net = _R.net_minor - _R.credit_minor
    return select(_R.refers_to, func.sum(net + _R.tax_minor), func.sum(net)).group_by(_R.refers_to)


def _paid() -> Select[Any]:
    columns = PAYMENT_ALLOCATIONS.c
    return select(columns.document_id, func.sum(columns.amount_minor), func.sum(columns.net_minor)).group_by(
        columns.document_id
    )


def _paid_out() -> Select[Any]:
    columns = PAY_OUT_PARTS.c
    sums = (func.sum(columns.amount_minor), func.sum(columns.net_minor))
    return select(columns.document_id, *sums).group_by(columns.document_id)


def _written_off() -> Select[Any]:
    columns = WRITE_OFFS.c
    sums = (func.sum(columns.amount_minor), func.sum(columns.net_minor))
    return select(columns.document_id, *sums).group_by(columns.document_id)


def _pairs(rows: Iterable[Any]) -> dict[str, tuple[int, int]]:
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}


def _open_document(
    row: Any, credited: tuple[int, int], paid: tuple[int, int], given_up: tuple[int, int]
) -> OpenDocument:
    net = row.net_minor - row.credit_minor
    return OpenDocument(
        document_id=row.document_id,
        number=number_text(series=row.series, number=row.number),
        kind=row.kind,
        customer_id=row.customer_id,
        contract_id=row.contract_id or "",
        currency=row.currency,
        issue_date=date.fromisoformat(row.issue_date),
        due_date=None if row.due_date is None else date.fromisoformat(row.due_date),
        due_minor=net + row.tax_minor + credited[0],
        due_net_minor=net + credited[1],
        paid_minor=paid[0],
        paid_net_minor=paid[1],
        written_off_minor=given_up[0],
        written_off_net_minor=given_up[1],
    )


def find_document(connection: Connection, id_or_number: str) -> str:
    """The id of an issued document, by its id or its printed number. Raises NotFound."""
    condition = _R.document_id == id_or_number
    split = split_number(id_or_number)
    if split is not None:
        condition = or_(condition, (_R.series == split[0]) & (_R.number == split[1]))
    found = connection.execute(select(_R.document_id).where(condition)).scalar()
    if found is None:
        raise NotFound(
            f"no document {id_or_number!r} was issued. `ratemill report outstanding` shows what is open."
        )
    return str(found)


def numbered_documents(
    connection: Connection, numbers: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], str]:
    """Ids of issued documents by (series, number); those that were not issued are left out."""
    found = {}
    for series, number in numbers:
        wanted = select(_R.document_id).where(_R.series == series, _R.number == number)
        document_id = connection.execute(wanted).scalar()
        if document_id is not None:
            found[series, number] = str(document_id)
    return found


def series_in_use(connection: Connection) -> list[str]:
    """Every series that numbers were drawn from."""
    return list(connection.execute(select(NUMBER_SERIES.c.series).order_by(NUMBER_SERIES.c.series)).scalars())
