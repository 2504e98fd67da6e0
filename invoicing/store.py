"""Reads invoices from the ledger: pages, single ones, totals, and which invoice a line is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, func, or_, select

from ingest.errors import InvalidInput, NotFound
from invoicing.bulk import halves_of, sum_of_halves
from invoicing.invoice import Invoice, parse_invoice
from invoicing.invoice_search import found_by
from invoicing.number import number_text, split_number
from invoicing.tables import BESIDE, INVOICE_LINES, INVOICES, contract_of


@dataclass(frozen=True, slots=True)
class InvoiceSummary:
    """An invoice without its lines. Dates are local to the contract; ``number`` as printed.

    total_minor: net, gross_minor: with tax. credit_minor: what credit paid of that (of a draft: nothing
    yet), due_minor: the rest. entity_id: the billing entity that sends it, null where none does.
    """

    invoice_id: str
    number: str | None
    state: str
    contract_id: str
    customer_id: str
    billing_date: date
    issue_date: date | None
    due_date: date | None
    currency: str
    total_minor: int
    document_hash: str
    run_id: str
    credit_minor: int
    due_minor: int
    tax_minor: int
    gross_minor: int
    entity_id: str | None


@dataclass(frozen=True, slots=True)
class StoredInvoice:
    """An invoice in full; ``text`` is the canonical document exactly as it was written."""

    summary: InvoiceSummary
    invoice: Invoice
    text: str


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """Which invoices: every field that is not None must hold; ``billing_from`` <= date < ``billing_to``.
    search: see ``invoicing/invoice_search.py``."""

    customer_id: str | None = None
    contract_id: str | None = None
    state: str | None = None
    currency: str | None = None
    run_id: str | None = None
    billing_from: date | None = None
    billing_to: date | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """``next_cursor`` is None on the last page."""

    invoices: tuple[InvoiceSummary, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class InvoiceTotal:
    """What a customer was invoiced in one currency and state: total_minor net, tax_minor on top of it."""

    customer_id: str
    currency: str
    state: str
    invoices: int
    total_minor: int
    tax_minor: int


@dataclass(frozen=True, slots=True)
class LinePlace:
    """Where a rated line stands: on which invoice, in which position (from 1)."""

    invoice_id: str
    position: int
    line_id: str


_SUMMARY_COLUMNS = [column for column in INVOICES.columns if column.name != "document"]


def list_invoices(
    ledger: Engine, *, chosen: InvoiceFilter, limit: int, cursor: str | None = None
) -> InvoicePage:
    """One page, newest billing date first. ``cursor`` is the ``next_cursor`` of the page before.

    Raises InvalidInput for a cursor that was not given out here or a limit below 1.
    """
    if limit < 1:
        raise InvalidInput(
            f"a page of {limit} invoices was asked for; ask for at least 1.", reason_code="bad_limit"
        )
    conditions = _conditions(ledger, chosen)
    if cursor is not None:
        day, _, invoice_id = cursor.partition("~")
        if not invoice_id:
            raise InvalidInput(
                f"{cursor!r} is not a cursor; use next_cursor of the page before.", reason_code="bad_cursor"
            )
        same_day = and_(INVOICES.c.billing_date == day, INVOICES.c.invoice_id > invoice_id)
        conditions.append(or_(INVOICES.c.billing_date < day, same_day))
    statement = (
        select(*_SUMMARY_COLUMNS)
        .where(*conditions)
        .order_by(INVOICES.c.billing_date.desc(), INVOICES.c.invoice_id)
        .limit(limit + 1)
    )
    with ledger.connect() as connection:
        rows = connection.execute(statement).all()
    found = tuple(_summary(row) for row in rows[:limit])
    more = len(rows) > limit
    return InvoicePage(
        invoices=found,
        next_cursor=f"{found[-1].billing_date.isoformat()}~{found[-1].invoice_id}" if more else None,
    )


def get_invoice(ledger: Engine, id_or_number: str) -> StoredInvoice:
    """One invoice by its id or its printed number (``INV-2025-000001``). Raises NotFound."""
    condition: ColumnElement[bool] = INVOICES.c.invoice_id == id_or_number
    split = split_number(id_or_number)
    if split is not None:
        condition = or_(condition, and_(INVOICES.c.series == split[0], INVOICES.c.number == split[1]))
    with ledger.connect() as connection:
        row = connection.execute(select(INVOICES).where(condition)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no invoice {id_or_number!r}. `ratemill invoice list` shows ids and numbers."
        )
    return StoredInvoice(_summary(row), parse_invoice(row.document), row.document)


def invoice_totals(ledger: Engine, *, chosen: InvoiceFilter) -> list[InvoiceTotal]:
    """Sums by customer, currency and state, sorted so."""
    keys = (INVOICES.c.customer_id, INVOICES.c.currency, INVOICES.c.state)
    statement = (
        select(*keys, func.count(), *halves_of(INVOICES.c.total_minor), *halves_of(INVOICES.c.tax_minor))
        .where(*_conditions(ledger, chosen))
        .group_by(*keys)
    )
    with ledger.connect() as connection:
        rows = connection.execute(statement).all()
    return sorted(
        (
            InvoiceTotal(
                row[0], row[1], row[2], int(row[3]), sum_of_halves(*row[4:6]), sum_of_halves(*row[6:])
            )
            for row in rows
        ),
        key=lambda total: (total.customer_id, total.currency, total.state),
    )


def find_line(ledger: Engine, line_id: str) -> LinePlace:
    """The invoice a rated line is on, by the line's id in hex. Raises NotFound."""
    statement = select(INVOICE_LINES.c.invoice_id, INVOICE_LINES.c.position).where(
        INVOICE_LINES.c.line_id == line_id
    )
    with ledger.connect() as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(
            f"no invoice has a line {line_id!r}. The ids stand on each invoice: `ratemill invoice show`."
        )
    return LinePlace(row[0], int(row[1]), line_id)


def _conditions(ledger: Engine, chosen: InvoiceFilter) -> list[ColumnElement[bool]]:
    exact: Mapping[str, Any] = {
        name: getattr(chosen, name) for name in ("customer_id", "state", "currency", "run_id")
    }
    conditions: list[ColumnElement[bool]] = [
        INVOICES.c[name] == value for name, value in exact.items() if value is not None
    ]
    if chosen.contract_id is not None:
        beside = INVOICES.c.contract_id.startswith(f"{chosen.contract_id}{BESIDE}", autoescape=True)
        conditions.append(or_(INVOICES.c.contract_id == chosen.contract_id, beside))
    if chosen.search is not None:
        conditions.append(found_by(ledger, chosen.search))
    if chosen.billing_from is not None:
        conditions.append(INVOICES.c.billing_date >= chosen.billing_from.isoformat())
    if chosen.billing_to is not None:
        conditions.append(INVOICES.c.billing_date < chosen.billing_to.isoformat())
    return conditions


def _summary(row: Row[Any]) -> InvoiceSummary:
    numbered = row.series is not None and row.number is not None
    return InvoiceSummary(
        invoice_id=row.invoice_id,
        number=number_text(series=row.series, number=row.number) if numbered else None,
        state=row.state,
        contract_id=contract_of(row.contract_id),
        customer_id=row.customer_id,
        billing_date=date.fromisoformat(row.billing_date),
        issue_date=_date_or_none(row.issue_date),
        due_date=_date_or_none(row.due_date),
        currency=row.currency,
        total_minor=row.total_minor,
        document_hash=row.document_hash,
        run_id=row.run_id,
        credit_minor=row.credit_minor,
        due_minor=row.total_minor + row.tax_minor - row.credit_minor,
        tax_minor=row.tax_minor,
        gross_minor=row.total_minor + row.tax_minor,
        entity_id=row.entity_id,
    )


def _date_or_none(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
