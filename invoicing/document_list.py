"""Issued documents of all kinds, from the register: by day, customer and kind, and by the words on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Row, Select, and_, or_, select, tuple_

from ingest.errors import InvalidInput
from invoicing.number import number_text, split_number
from invoicing.search_index import caught_up, places_of
from invoicing.search_tables import SEARCHED_DOCUMENTS
from invoicing.tables import ISSUED_DOCUMENTS

_R: Final = ISSUED_DOCUMENTS.c


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """A row of the register, see ``ISSUED_DOCUMENTS``; amounts signed as the customer owes them."""

    document_id: str
    kind: str
    number: str
    customer_id: str
    contract_id: str | None
    entity_id: str | None
    issue_date: date
    due_date: date | None
    currency: str
    net_minor: int
    tax_minor: int
    credit_minor: int
    refers_to: str | None
    document_hash: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Every field that is not None must hold; ``issued_from`` <= issue date < ``issued_to``. search: a
    printed number, or words as ``invoicing/search_index.py`` finds them."""

    kind: str | None = None
    customer_id: str | None = None
    contract_id: str | None = None
    entity_id: str | None = None
    issued_from: date | None = None
    issued_to: date | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """next_position: what ``after`` of the next page is; None on the last page."""

    documents: tuple[DocumentSummary, ...]
    next_position: tuple[Any, ...] | None


def list_documents(
    ledger: Engine, *, chosen: DocumentFilter, limit: int, after: tuple[Any, ...] | None = None
) -> DocumentPage:
    """One page, newest first: by issue date, series and number, or, where words are searched, in the order in
    which the index took them in.

    Raises InvalidInput for a search without words, Conflict for an index that is behind.
    """
    conditions = _conditions(chosen)
    if chosen.search is not None:
        numbered = _numbered(chosen.search)
        if numbered is None or not _rows(ledger, select(_R.document_id).where(numbered)):
            return _searched(ledger, chosen.search, conditions, limit, after)
        conditions.append(numbered)
    if after is not None:
        day, series, number = _position(after, 3)
        same_day = and_(_R.issue_date == day, tuple_(_R.series, _R.number) < tuple_(series, number))
        conditions.append(or_(_R.issue_date < day, same_day))
    statement = select(ISSUED_DOCUMENTS).where(*conditions)
    order = (_R.issue_date.desc(), _R.series.desc(), _R.number.desc())
    rows = _rows(ledger, statement.order_by(*order).limit(limit + 1))
    last = rows[limit - 1] if len(rows) > limit else None
    following = None if last is None else (last.issue_date, last.series, last.number)
    return DocumentPage(tuple(_summary(row) for row in rows[:limit]), following)


def _numbered(words: str) -> ColumnElement[bool] | None:
    """The document with this printed number, None for words that look like none."""
    split = split_number(words.strip())
    return None if split is None else and_(_R.series == split[0], _R.number == split[1])


def _searched(
    ledger: Engine,
    words: str,
    conditions: list[ColumnElement[bool]],
    limit: int,
    after: tuple[Any, ...] | None,
) -> DocumentPage:
    caught_up(ledger)
    places = places_of(ledger, words)
    found = places.subquery()
    if after is not None:
        (place,) = _position(after, 1)
        conditions = [*conditions, found.c.place < place]
    statement = (
        select(*ISSUED_DOCUMENTS.columns, found.c.place)
        .select_from(found)
        .join(SEARCHED_DOCUMENTS, SEARCHED_DOCUMENTS.c.place == found.c.place)
        .join(ISSUED_DOCUMENTS, _R.document_id == SEARCHED_DOCUMENTS.c.document_id)
        .where(*conditions)
        .order_by(found.c.place.desc())
        .limit(limit + 1)
    )
    rows = _rows(ledger, statement)
    following = (rows[limit - 1].place,) if len(rows) > limit else None
    return DocumentPage(tuple(_summary(row) for row in rows[:limit]), following)


def _conditions(chosen: DocumentFilter) -> list[ColumnElement[bool]]:
    exact = ("kind", "customer_id", "contract_id", "entity_id")
    conditions: list[ColumnElement[bool]] = [
        _R[name] == getattr(chosen, name) for name in exact if getattr(chosen, name) is not None
    ]
    if chosen.issued_from is not None:
        conditions.append(_R.issue_date >= chosen.issued_from.isoformat())
    if chosen.issued_to is not None:
        conditions.append(_R.issue_date < chosen.issued_to.isoformat())
    return conditions


def _position(after: tuple[Any, ...], fields: int) -> tuple[Any, ...]:
    if len(after) != fields:
        raise InvalidInput(
            "the cursor is of another question. Send `next_cursor` with the filters it was answered for.",
            reason_code="bad_cursor",
        )
    return after


def _rows(ledger: Engine, statement: Select[Any]) -> list[Row[Any]]:
    with ledger.connect() as connection:
        return list(connection.execute(statement))


def _summary(row: Row[Any]) -> DocumentSummary:
    return DocumentSummary(
        document_id=row.document_id,
        kind=row.kind,
        number=number_text(series=row.series, number=row.number),
        customer_id=row.customer_id,
        contract_id=row.contract_id,
        entity_id=row.entity_id,
        issue_date=date.fromisoformat(row.issue_date),
        due_date=None if row.due_date is None else date.fromisoformat(row.due_date),
        currency=row.currency,
        net_minor=row.net_minor,
        tax_minor=row.tax_minor,
        credit_minor=row.credit_minor,
        refers_to=row.refers_to,
        document_hash=row.document_hash,
    )
