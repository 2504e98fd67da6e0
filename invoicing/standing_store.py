"""Reads what the standing of an invoice or a special invoice is made of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Engine

from invoicing.credited import NOTHING_CREDITED, credited_of
from invoicing.instalment import next_due_date
from invoicing.invoice import Invoice
from invoicing.invoice_standing import Amounts, Standing, standing_of
from invoicing.open_documents import allocated_minor, written_off_minor
from invoicing.review.review import APPROVED
from invoicing.review.review_store import find_review
from invoicing.special_invoice_store import StoredSpecialInvoice
from invoicing.store import StoredInvoice
from rollup.period import find_time_zone


def invoice_standing(ledger: Engine, stored: StoredInvoice, *, now: datetime) -> Standing:
    """Where an invoice stands now, by the day in its contract's time zone."""
    summary, invoice = stored.summary, stored.invoice
    with ledger.connect() as connection:
        amounts, voided = _amounts(connection, invoice, drawn_minor=summary.credit_minor)
        part_due = next_due_date(connection, summary.invoice_id, amounts.open_minor)
    review = find_review(ledger, summary.invoice_id) if summary.number is None else None
    zone = find_time_zone(str(invoice.contract["time_zone"]))
    return standing_of(
        issued=summary.number is not None,
        voided=voided,
        amounts=amounts,
        due_date=part_due or summary.due_date,
        creditable=summary.gross_minor >= 0,
        unreviewed=review is not None and review.review.state != APPROVED,
        today=now.astimezone(zone).date(),
    )


def special_standing(ledger: Engine, stored: StoredSpecialInvoice, *, now: datetime) -> Standing:
    """Where a special invoice stands now; it has never been a draft."""
    summary, invoice = stored.summary, stored.invoice
    with ledger.connect() as connection:
        amounts, voided = _amounts(connection, invoice, drawn_minor=0)
        part_due = next_due_date(connection, summary.document_id, amounts.open_minor)
    zone = find_time_zone(str(invoice.contract["time_zone"]))
    return standing_of(
        issued=True,
        voided=voided,
        amounts=amounts,
        due_date=part_due or summary.due_date,
        creditable=summary.deducted_by is None,
        today=now.astimezone(zone).date(),
    )


def _amounts(connection: Connection, invoice: Invoice, *, drawn_minor: int) -> tuple[Amounts, bool]:
    """What is on record of a document, and whether credit notes left nothing of it."""
    document_id = invoice.invoice_id
    credited = credited_of(connection, [document_id]).get(document_id, NOTHING_CREDITED)
    amounts = Amounts(
        gross_minor=invoice.gross_minor,
        drawn_minor=drawn_minor,
        credited_minor=credited.gross_minor,
        returned_minor=credited.returned_minor,
        allocated_minor=allocated_minor(connection, [document_id]).get(document_id, 0),
        written_off_minor=written_off_minor(connection, [document_id]).get(document_id, 0),
    )
    return amounts, credited.voided
