"""Reads what an invoice's standing is made of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine

from invoicing.credited import NOTHING_CREDITED, Credited, credited_of
from invoicing.instalment import next_due_date
from invoicing.invoice_standing import Amounts, Standing, standing_of
from invoicing.open_documents import allocated_minor, written_off_minor
from invoicing.review.review import APPROVED
from invoicing.review.review_store import find_review
from invoicing.store import StoredInvoice
from rollup.period import find_time_zone


def invoice_standing(ledger: Engine, stored: StoredInvoice, *, now: datetime) -> Standing:
    """Where an invoice stands now, by the day in its contract's time zone."""
    summary, invoice = stored.summary, stored.invoice
    with ledger.connect() as connection:
        credited = credited_of(connection, [summary.invoice_id]).get(summary.invoice_id, NOTHING_CREDITED)
        allocated = allocated_minor(connection, [summary.invoice_id]).get(summary.invoice_id, 0)
        given_up = written_off_minor(connection, [summary.invoice_id]).get(summary.invoice_id, 0)
        amounts = _amounts(stored, credited, allocated, given_up)
        part_due = next_due_date(connection, summary.invoice_id, amounts.open_minor)
    review = find_review(ledger, summary.invoice_id) if summary.number is None else None
    return standing_of(
        issued=summary.number is not None,
        voided=credited.voided,
        amounts=amounts,
        due_date=part_due or summary.due_date,
        unreviewed=review is not None and review.review.state != APPROVED,
        today=now.astimezone(find_time_zone(str(invoice.contract["time_zone"]))).date(),
    )


def _amounts(stored: StoredInvoice, credited: Credited, allocated: int, given_up: int) -> Amounts:
    summary, invoice = stored.summary, stored.invoice
    return Amounts(
        gross_minor=invoice.gross_minor,
        drawn_minor=summary.credit_minor,
        credited_minor=credited.gross_minor,
        returned_minor=credited.returned_minor,
        allocated_minor=allocated,
        written_off_minor=given_up,
    )
