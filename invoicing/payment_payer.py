"""Says who paid, of a payment whose payer was unknown.

A payment never changes, so the money is recorded once more, of the payer and with all that it pays, in the
place of the old one, which is returned on its own value date: cash is the same on every day.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime

from sqlalchemy import Engine, insert, select

from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.customer_store import require_customer
from invoicing.journal import EntryKind, JournalEntry, JournalLine
from invoicing.journal_store import append_entries, entry_named_id, lock_journal, posted_text
from invoicing.payment_allocation import Held, held_payment, settle
from invoicing.payment_tables import PAYMENT_RETURNS, PAYMENTS


def assign_payment(
    ledger: Engine, payment_id: str, *, customer_id: str, reason: str, actor: str, now: datetime
) -> str:
    """Give the id of the payment that stands in its place.

    Raises NotFound for an unknown payment or customer; Conflict when the payer is known or the payment was
    returned, or has this done to it before.
    """
    with ledger_transaction(ledger) as connection:
        require_customer(connection, customer_id)
        lock_journal(connection)
        held = held_payment(connection, payment_id)
        if held.returned:
            raise Conflict(f"payment {payment_id} was returned before.", reason_code="payment_returned")
        if held.customer_id is not None:
            raise Conflict(
                f"payment {payment_id} is of customer {held.customer_id!r}. If that is wrong, return it and "
                "record it again.",
                reason_code="payer_known",
            )
        for (document_id, day), amount_minor in _counted(held):
            settle(connection, held, document_id, -amount_minor, day, "unapplied", actor=actor, now=now)
        new_id = entry_named_id(connection, "pay", PAYMENTS.c.payment_id)
        told = f"paid by {customer_id}, recorded as {new_id}" + (f": {reason}" if reason else "")
        back = {"entry_date": held.value_date.isoformat(), "reason": told, "recorded_at": posted_text(now)}
        connection.execute(insert(PAYMENT_RETURNS).values(payment_id=payment_id, recorded_by=actor, **back))
        row = connection.execute(select(PAYMENTS).where(PAYMENTS.c.payment_id == payment_id)).mappings().one()
        known = {"payment_id": new_id, "customer_id": customer_id, "duplicate_key": None}
        recorded = {"recorded_at": posted_text(now), "recorded_by": actor}
        connection.execute(insert(PAYMENTS).values(**{**row, **known, **recorded}))
        paid = Held(new_id, customer_id, held.currency, held.amount_minor, held.value_date, False, (), 0)
        entries = [_cash(held, "reversal", -held.amount_minor), _cash(paid, "payment", held.amount_minor)]
        append_entries(connection, entries, now=now)
        for document_id, day in _first_days(held).items():
            still = held.applied_to(document_id)
            if still:
                settle(connection, paid, document_id, still, day, "manual", actor=actor, now=now)
        change = Change(
            actor, "assigned", "payment", payment_id, None, {"customer_id": customer_id, "as": new_id}, reason
        )
        record_changes(connection, [change], now=now)
    return new_id


def _counted(held: Held) -> list[tuple[tuple[str, date], int]]:
    """What it pays, by document and the day it counts on, in the order of days."""
    sums: Counter[tuple[str, date]] = Counter()
    for document_id, amount_minor, _, day in held.rows:
        sums[document_id, day] += amount_minor
    return sorted(((key, amount) for key, amount in sums.items() if amount), key=lambda each: each[0][::-1])


def _first_days(held: Held) -> dict[str, date]:
    """By document, the first day from which the payment pays of it, in the order of days."""
    found: dict[str, date] = {}
    for (document_id, day), _ in _counted(held):
        found.setdefault(document_id, day)
    return found


def _cash(held: Held, kind: EntryKind, amount_minor: int) -> JournalEntry:
    customer_id = held.customer_id or ""
    return JournalEntry(
        entry_id=f"{kind}/{held.payment_id}",
        kind=kind,
        entry_date=held.value_date,
        lines=(
            JournalLine("cash", amount_minor, customer_id, "", held.currency),
            JournalLine(held.account, -amount_minor, customer_id, "", held.currency),
        ),
        payment_id=held.payment_id,
    )
