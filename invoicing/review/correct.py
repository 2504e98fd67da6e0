"""Corrections in the ledger: the draft, its lines, its review and the audit entry in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select, update

from ingest.ledger import ledger_transaction
from invoicing.audit_trail import record_change
from invoicing.credit_issue import show_credit
from invoicing.invoice import Invoice, invoice_hash, invoice_text, parse_invoice
from invoicing.line_rewrite import rewrite_lines
from invoicing.lock import billing_lock
from invoicing.month_share_store import copy_month_shares
from invoicing.review.correction import CorrectionRequest, corrected
from invoicing.review.open import INVOICE_OBJECT
from invoicing.review.review import IN_REVIEW, RETURNED, Acting, Review, check_turn, restarted
from invoicing.review.review_store import locked_review, write_review
from invoicing.review.tables import REVIEW_CORRECTIONS, stamp
from invoicing.tables import INVOICE_LINES, INVOICES


def correct(
    ledger: Engine, invoice_id: str, acting: Acting, request: CorrectionRequest, *, now: datetime
) -> Review:
    """Correct a draft. In review only the reviewer does; then, and once it was approved, its reviewers begin
    again, because what they approved has changed. A returned one stays so until it is submitted.

    Raises NotFound, Conflict when it is issued or a billing run is at work (which adds up its drafts),
    Forbidden when it is somebody else's turn, and InvalidInput as ``corrected``.
    """
    with billing_lock(ledger), ledger_transaction(ledger) as connection:
        review = locked_review(connection, invoice_id)
        if review.state == IN_REVIEW:
            check_turn(review, acting, "correct it")
        row = connection.execute(
            select(INVOICES.c.document, INVOICES.c.customer_id).where(INVOICES.c.invoice_id == invoice_id)
        ).one()
        before = parse_invoice(row.document)
        after = show_credit(connection, corrected(before, request), customer_id=row.customer_id)
        text = invoice_text(after)
        _write_invoice(connection, before, after, text)
        prepared = dict.fromkeys((*review.prepared_by, acting.reviewer))
        changed = review if review.state == RETURNED else restarted(review, now=now)
        changed = replace(changed, prepared_by=tuple(prepared), corrections=review.corrections + 1)
        write_review(connection, changed, now=now)
        added = after.lines[-1]
        copy_month_shares(connection, line_id=request.line_id, to_line_id=added.line_id)
        connection.execute(
            insert(REVIEW_CORRECTIONS).values(
                line_id=added.line_id,
                invoice_id=invoice_id,
                corrected_line_id=request.line_id,
                reviewer=acting.reviewer,
                reason=request.reason,
                corrected_at=stamp(now),
            )
        )
        record_change(
            connection,
            actor=acting.actor,
            action="corrected",
            object_kind=INVOICE_OBJECT,
            object_id=invoice_id,
            before={
                "state": review.state,
                "line_id": request.line_id,
                "total_minor": before.total_minor,
                "tax_minor": before.tax_minor,
                "document_hash": invoice_hash(row.document),
            },
            after={
                "state": changed.state,
                "by": acting.reviewer,
                "line_id": added.line_id,
                "amount_minor": added.amount_minor,
                "total_minor": after.total_minor,
                "tax_minor": after.tax_minor,
                "document_hash": invoice_hash(text),
            },
            reason=request.reason,
            now=now,
        )
    return changed


def _write_invoice(connection: Connection, before: Invoice, after: Invoice, text: str) -> None:
    """The draft's text and sums, its new line, and the net of lines that share its tax."""
    connection.execute(
        update(INVOICES)
        .where(INVOICES.c.invoice_id == after.invoice_id)
        .values(
            document=text,
            document_hash=invoice_hash(text),
            total_minor=after.total_minor,
            tax_minor=after.tax_minor,
        )
    )
    rewrite_lines(connection, before, after)  # the new line stands behind them
    added = after.lines[-1]
    values = {
        "invoice_id": after.invoice_id,
        "position": len(after.lines),
        "line_id": added.line_id,
        "charge_id": added.charge_id,
        "amount_minor": added.amount_minor,
        "priced_minor": None if added.tax is None else added.tax.inclusive_minor,
    }
    connection.execute(insert(INVOICE_LINES).values(**values))
