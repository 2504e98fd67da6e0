"""What people and the clock do with reviews, in the ledger: each change with its audit entry, or not at
all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import SYSTEM_ACTOR, record_change
from invoicing.review.open import INVOICE_OBJECT
from invoicing.review.review import (
    Acting,
    Review,
    approved,
    check_reason,
    delegated,
    escalated,
    handed_up,
    sent_back,
    submitted_again,
)
from invoicing.review.review_store import locked_review, open_reviews, write_review


def approve(ledger: Engine, invoice_id: str, acting: Acting, *, reason: str, now: datetime) -> Review:
    """Hand it to the next reviewer; the last one's approval lets it be issued. See ``approved``."""
    return _move(
        ledger, invoice_id, acting, "approved", reason, lambda review: approved(review, acting, now=now), now
    )


def send_back(ledger: Engine, invoice_id: str, acting: Acting, *, reason: str, now: datetime) -> Review:
    """Hand it back, with the reason. See ``sent_back``."""
    return _move(
        ledger,
        invoice_id,
        acting,
        "sent_back",
        reason,
        lambda review: sent_back(review, acting, reason=reason, now=now),
        now,
    )


def delegate(
    ledger: Engine, invoice_id: str, acting: Acting, *, to: str, reason: str, now: datetime
) -> Review:
    """Hand it to somebody else in the reviewer's place. See ``delegated``."""
    return _move(
        ledger,
        invoice_id,
        acting,
        "delegated",
        reason,
        lambda review: delegated(review, acting, to=to, now=now),
        now,
    )


def escalate(ledger: Engine, invoice_id: str, acting: Acting, *, reason: str, now: datetime) -> Review:
    """Hand it at once to whom the rules escalate. See ``handed_up``."""
    return _move(
        ledger,
        invoice_id,
        acting,
        "escalated",
        reason,
        lambda review: handed_up(review, acting, reason=reason, now=now),
        now,
    )


def submit(ledger: Engine, invoice_id: str, acting: Acting, *, reason: str, now: datetime) -> Review:
    """Bring a returned one before its reviewers again. Raises InvalidInput without a reason."""
    check_reason(reason, "it is submitted again")
    return _move(
        ledger, invoice_id, acting, "submitted", reason, lambda review: submitted_again(review, now=now), now
    )


def escalate_overdue(ledger: Engine, *, now: datetime) -> list[str]:
    """Hand on what reviewers left lying, as its rules say; gives the ids of the invoices. Each is a
    transaction of its own, so one that is being decided at this moment keeps no other waiting."""
    with ledger.connect() as connection:
        reviews = open_reviews(connection)
    late = [review.invoice_id for review in reviews if escalated(review, now=now) is not None]
    return [invoice_id for invoice_id in late if _escalate(ledger, invoice_id, now=now)]


def _escalate(ledger: Engine, invoice_id: str, *, now: datetime) -> bool:
    with ledger_transaction(ledger) as connection:
        try:
            before = locked_review(connection, invoice_id)
        except Conflict:  # issued meanwhile
            return False
        after = escalated(before, now=now)
        if after is None:
            return False
        write_review(connection, after, now=now)
        record_change(
            connection,
            actor=SYSTEM_ACTOR,
            action="escalated",
            object_kind=INVOICE_OBJECT,
            object_id=invoice_id,
            before=before.facts(),
            after=after.facts(),
            reason=f"{before.reviewer} had it for {before.escalate_after_hours} hours",
            now=now,
        )
    return True


def _move(
    ledger: Engine,
    invoice_id: str,
    acting: Acting,
    action: str,
    reason: str,
    change: Callable[[Review], Review],
    now: datetime,
) -> Review:
    with ledger_transaction(ledger) as connection:
        before = locked_review(connection, invoice_id)
        after = change(before)
        write_review(connection, after, now=now)
        record_change(
            connection,
            actor=acting.actor,
            action=action,
            object_kind=INVOICE_OBJECT,
            object_id=invoice_id,
            before=before.facts(),
            after=after.facts() | {"by": acting.reviewer},
            reason=reason,
            now=now,
        )
    return after
