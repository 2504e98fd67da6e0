"""Issued documents that a credit note can take back: bills and special invoices, found, locked, and
held to what they are part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, select

from ingest.errors import BrokenState, Conflict, NotFound
from invoicing.given_back import given_back_of
from invoicing.number import number_text
from invoicing.special_invoice_head import lock_deductible, named, printed_number, selected
from invoicing.special_invoice_tables import SPECIAL_INVOICES
from invoicing.store import get_invoice
from invoicing.tables import INVOICES


@dataclass(frozen=True, slots=True)
class Creditable:
    """kind: as in the register. number, issue_date: None of a draft. document: canonical. bill: the contract
    and billing date as its row has them; None of a special invoice."""

    document_id: str
    kind: str
    number: str | None
    issue_date: date | None
    customer_id: str
    contract_id: str
    currency: str
    document: Mapping[str, Any]
    gross_minor: int
    bill: tuple[str, str] | None


def find_creditable(ledger: Engine, id_or_number: str) -> Creditable:
    """A bill or a special invoice by id or printed number. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(selected().where(named(id_or_number))).one_or_none()
    if row is not None:
        return Creditable(
            document_id=row.document_id,
            kind=row.kind,
            number=printed_number(row),
            issue_date=date.fromisoformat(row.issue_date),
            customer_id=row.customer_id,
            contract_id=row.contract_id,
            currency=row.currency,
            document=orjson.loads(row.document),
            gross_minor=row.net_minor + row.tax_minor,
            bill=None,
        )
    try:
        stored = get_invoice(ledger, id_or_number)
    except NotFound:
        raise NotFound(
            f"there is no invoice {id_or_number!r} that could be credited. `ratemill invoice list` and "
            "`ratemill special-invoice list` show ids and numbers."
        ) from None
    summary = stored.summary
    return Creditable(
        document_id=summary.invoice_id,
        kind="invoice",
        number=summary.number,
        issue_date=summary.issue_date,
        customer_id=summary.customer_id,
        contract_id=summary.contract_id,
        currency=summary.currency,
        document=orjson.loads(stored.text),
        gross_minor=summary.gross_minor,
        bill=(summary.contract_id, summary.billing_date.isoformat()),
    )


def lock_creditable(connection: Connection, found: Creditable) -> None:
    """Nobody else credits the document, and no final invoice deducts it, until the transaction ends."""
    if found.bill is None:
        lock_deductible(connection, found.contract_id)
        return
    held = select(INVOICES.c.invoice_id).where(INVOICES.c.invoice_id == found.document_id)
    if connection.execute(held.with_for_update()).first() is None:
        raise BrokenState(
            f"invoice {found.document_id} is gone from the ledger. Restore it from its last backup."
        )


def refuse_uncreditable(connection: Connection, found: Creditable) -> None:
    """Raises Conflict for a draft, a bill below zero, and what a final invoice deducted."""
    if found.number is None:
        raise Conflict(
            f"invoice {found.document_id} is a draft: nothing was issued that could be credited.",
            reason_code="invoice_state",
        )
    if found.gross_minor < 0:
        raise Conflict(
            f"{found.number} is a credit note: the bill came to less than nothing. What is wrong "
            "with it is put right on the contract's next bill.",
            reason_code="invoice_state",
        )
    if found.bill is not None:
        return
    row = connection.execute(selected().where(SPECIAL_INVOICES.c.document_id == found.document_id)).one()
    if row.final_id is not None:
        columns = (SPECIAL_INVOICES.c.series, SPECIAL_INVOICES.c.number)
        final = select(*columns).where(SPECIAL_INVOICES.c.document_id == row.final_id)
        by = connection.execute(final).one()
        final_number = number_text(series=by.series, number=by.number)
        raise Conflict(
            f"{found.number} is deducted by final invoice {final_number}, which would deduct money that was "
            f"given back. Credit {final_number} in full first; then this one can be credited, or deducted "
            "again.",
            reason_code="deducted_already",
        )


def given_back_of_creditable(connection: Connection, found: Creditable) -> dict[str, int]:
    """What later bills gave back of its lines, by line_id; nothing of a special invoice, which no bill
    touches."""
    if found.bill is None:
        return {}
    contract_id, billing_date = found.bill
    return given_back_of(connection, found.document, contract_id=contract_id, billing_date=billing_date)
