"""What payments pay: rows that are added, each posted, and the payment as it stands after all of them.

The caller has locked the journal, so what it read of payments and open documents is still so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select

from ingest.errors import NotFound
from invoicing.audit_trail import SYSTEM_ACTOR
from invoicing.bulk import select_by_ids
from invoicing.journal import Account, JournalEntry, JournalLine
from invoicing.journal_store import append_entries, posted_text
from invoicing.open_documents import open_documents
from invoicing.pay_out_tables import PAY_OUT_PARTS
from invoicing.payment import Applied, net_paid
from invoicing.payment_tables import PAYMENT_ALLOCATIONS, PAYMENT_RETURNS, PAYMENTS
from invoicing.write_off import Step, recover

_P, _A, _RETURNED = PAYMENTS.c, PAYMENT_ALLOCATIONS.c, PAYMENT_RETURNS.c
_CREDIT_NOTE: Final = "credit_note"


@dataclass(frozen=True, slots=True)
class Held:
    """A payment as the steps below need it. rows: (document_id, amount_minor, net_minor, entry_date) of what
    was applied and taken back, in order. paid_out_minor: what of it went back to the customer."""

    payment_id: str
    customer_id: str | None
    currency: str
    amount_minor: int
    value_date: date
    returned: bool
    rows: tuple[tuple[str, int, int, date], ...]
    paid_out_minor: int

    @property
    def unapplied_minor(self) -> int:
        """What of it pays nothing and was not paid out; of a returned payment nothing is left."""
        if self.returned:
            return 0
        return self.amount_minor - sum(row[1] for row in self.rows) - self.paid_out_minor

    @property
    def account(self) -> Account:
        """Where money of it that pays nothing stands."""
        return "customer_credit" if self.customer_id is not None else "suspense"

    def applied_to(self, document_id: str) -> int:
        """What it pays of one document now."""
        return sum(row[1] for row in self.rows if row[0] == document_id)

    def free_from(self) -> date:
        """The first day what is unapplied can be applied on: the value date, or when it was last taken
        back."""
        return max([self.value_date, *(row[3] for row in self.rows if row[1] < 0)])


def apply_payment(
    connection: Connection, held: Held, applied: Sequence[Applied], *, actor: str, now: datetime
) -> None:
    """Enter and post what a payment pays, with the journal locked. The caller knows that it fits."""
    for each in applied:
        day = max(held.free_from(), each.document.issue_date)
        document_id = each.document.document_id
        settle(connection, held, document_id, each.amount_minor, day, each.rule, actor=actor, now=now)


def free_credited(connection: Connection, document_ids: Sequence[str], *, on: date, now: datetime) -> None:
    """After credit notes: where payments pay more of a document than it is now, free the rest, the newest
    payment first. Call it with the journal locked, when the credit notes are in the register."""
    for document in open_documents(connection, document_ids).values():
        excess = -document.open_minor
        if excess <= 0:
            continue
        if document.written_off_minor > 0:
            owed_again = min(excess, document.written_off_minor)
            recover(connection, document, owed_again, Step(_CREDIT_NOTE, on, "", SYSTEM_ACTOR, now))
            excess -= owed_again
        paying = select(_A.payment_id).where(_A.document_id == document.document_id).group_by(_A.payment_id)
        newest_first = paying.order_by(func.max(_A.created_at).desc(), _A.payment_id)
        for payment_id in connection.execute(newest_first).scalars().all():
            held = held_payment(connection, payment_id)
            freed = min(excess, held.applied_to(document.document_id))
            if freed:
                day = max([on, *(row[3] for row in held.rows)])
                settle(
                    connection,
                    held,
                    document.document_id,
                    -freed,
                    day,
                    _CREDIT_NOTE,
                    actor=SYSTEM_ACTOR,
                    now=now,
                )
                excess -= freed


def settle(
    connection: Connection,
    held: Held,
    document_id: str,
    amount_minor: int,
    day: date,
    rule: str,
    *,
    actor: str,
    now: datetime,
) -> None:
    """Enter one row, above or below zero, and post it. What of the document is written off and paid by it is
    owed again first."""
    document = open_documents(connection, [document_id])[document_id]
    given_up = amount_minor - document.open_minor
    if amount_minor > 0 and given_up > 0:
        recover(
            connection, document, given_up, Step("payment", day, f"paid by {held.payment_id}", actor, now)
        )
        document = open_documents(connection, [document_id])[document_id]
    net = net_paid(document, document.settled_minor + amount_minor) - document.settled_net_minor
    last = select(func.max(_A.position)).where(_A.payment_id == held.payment_id)
    position = (connection.execute(last).scalar() or 0) + 1
    row = {"amount_minor": amount_minor, "net_minor": net, "entry_date": day.isoformat(), "rule": rule}
    connection.execute(
        insert(PAYMENT_ALLOCATIONS).values(
            payment_id=held.payment_id,
            position=position,
            document_id=document_id,
            created_at=posted_text(now),
            created_by=actor,
            **row,
        )
    )
    whose = (document.customer_id, document.contract_id, document.currency)
    lines = (
        JournalLine(held.account, amount_minor, held.customer_id or "", "", document.currency),
        JournalLine("receivable", -net, *whose, part="net"),
        JournalLine("receivable", net - amount_minor, *whose, part="tax"),
    )
    entry = JournalEntry(
        entry_id=f"allocation/{held.payment_id}/{position}",
        kind="allocation",
        entry_date=day,
        lines=tuple(line for line in lines if line.amount_minor),
        document_id=document_id,
        payment_id=held.payment_id,
        description=rule,
    )
    append_entries(connection, [entry], now=now)


def held_payment(connection: Connection, payment_id: str) -> Held:
    """One payment with what was done with it. Raises NotFound."""
    found = held_payments(connection, [payment_id])
    if not found:
        raise NotFound(f"there is no payment {payment_id!r}. `ratemill payment list` shows what came in.")
    return found[0]


def held_payments(connection: Connection, payment_ids: Sequence[str]) -> list[Held]:
    """Payments in the order of ``payment_ids``; unknown ones are left out."""
    ids = list(payment_ids)
    rows = {row.payment_id: row for row in select_by_ids(connection, select(PAYMENTS), _P.payment_id, ids)}
    back = select(_RETURNED.payment_id)
    returned = {row[0] for row in select_by_ids(connection, back, _RETURNED.payment_id, ids)}
    applied: dict[str, list[tuple[str, int, int, date]]] = {}
    statement = select(PAYMENT_ALLOCATIONS).order_by(_A.payment_id, _A.position)
    for row in select_by_ids(connection, statement, _A.payment_id, ids):
        day = date.fromisoformat(row.entry_date)
        applied.setdefault(row.payment_id, []).append((row.document_id, row.amount_minor, row.net_minor, day))
    out = select(PAY_OUT_PARTS.c.payment_id, func.sum(PAY_OUT_PARTS.c.amount_minor))
    by_payment = out.group_by(PAY_OUT_PARTS.c.payment_id)
    paid_out = {
        row[0]: int(row[1]) for row in select_by_ids(connection, by_payment, PAY_OUT_PARTS.c.payment_id, ids)
    }
    return [
        Held(
            payment_id=payment_id,
            customer_id=rows[payment_id].customer_id,
            currency=rows[payment_id].currency,
            amount_minor=rows[payment_id].amount_minor,
            value_date=date.fromisoformat(rows[payment_id].value_date),
            returned=payment_id in returned,
            rows=tuple(applied.get(payment_id, ())),
            paid_out_minor=paid_out.get(payment_id, 0),
        )
        for payment_id in payment_ids
        if payment_id in rows
    ]
