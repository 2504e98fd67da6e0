"""Payments in the ledger: recorded, applied, taken back, returned; every step posted in the same transaction.

Every step takes the journal first (``lock_journal``), so what it reads of payments and open documents stays
true until it ends: a document is never paid twice, and a payment never applied for more than it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select

from ingest.document import validate_document
from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.deletion import lock_referring
from invoicing.journal import JournalEntry, JournalLine
from invoicing.journal_store import append_entries, entry_named_id, lock_journal, posted_text
from invoicing.open_documents import (
    allocated_minor,
    find_document,
    numbered_documents,
    open_documents,
    series_in_use,
)
from invoicing.payment import (
    Applied,
    OpenDocument,
    PaymentDocument,
    certain_allocations,
    named_numbers,
    payment_rules,
    value_date_issues,
)
from invoicing.payment_allocation import Held, apply_payment, held_payment, settle
from invoicing.payment_tables import PAYMENT_RETURNS, PAYMENTS
from invoicing.tables import CUSTOMERS
from rating.money import format_minor, minor_digits

__all__ = ["allocated_minor"]
SET_OFF: Final = "set_off"
"""The source of a payment that a bill below zero makes, and the rule by which it pays (``set_off.py``)."""
_P = PAYMENTS.c


def record_payment(
    ledger: Engine,
    document: Any,
    *,
    actor: str,
    now: datetime,
    source: str = "api",
    duplicate_key: str | None = None,
) -> tuple[str, bool]:
    """Record a payment (a mapping, or a PaymentDocument) and apply what is certain. Gives its id, and whether
    it is new: the same payment_id and content, or duplicate_key, again records nothing.

    Raises InvalidDocument, NotFound for an unknown payer, Conflict when another payment has the id.
    """
    payment = validate_document(PaymentDocument, document, what="the payment", rules=payment_rules)
    if issues := value_date_issues(payment.value_date, now=now):
        raise InvalidDocument("the payment", issues)
    with ledger_transaction(ledger) as connection:
        lock_referring(connection)
        lock_journal(connection)
        known = _known(connection, payment, duplicate_key)
        if known is not None:
            return known, False
        named = _named(connection, payment)
        payer = payment.customer_id or _only_customer(named)
        held = enter_payment(
            connection, payment, payer=payer, source=source, duplicate_key=duplicate_key, actor=actor, now=now
        )
        certain = certain_allocations(amount_minor=held.amount_minor, customer_id=payer, named=named)
        apply_payment(connection, held, certain, actor=actor, now=now)
    return held.payment_id, True


def enter_payment(
    connection: Connection,
    payment: PaymentDocument,
    *,
    payer: str | None,
    source: str,
    duplicate_key: str | None,
    actor: str,
    now: datetime,
) -> Held:
    """Write and post a payment that is not known and pays nothing yet, with the journal locked. Raises
    Conflict where another payment has its id."""
    if payment.payment_id is not None:
        taken = select(_P.payment_id).where(_P.payment_id == payment.payment_id)
        if connection.execute(taken).first() is not None:
            raise _id_taken(payment.payment_id)
    amount_minor = int(payment.amount.scaleb(minor_digits(payment.currency)))
    payment_id = payment.payment_id or entry_named_id(connection, "pay", _P.payment_id)
    row = {
        "payment_id": payment_id,
        "customer_id": payer,
        "currency": payment.currency,
        "amount_minor": amount_minor,
        "value_date": payment.value_date.isoformat(),
        "reference": payment.reference,
        "text": payment.text,
        "bank_reference": payment.bank_reference,
        "source": source,
        "duplicate_key": duplicate_key,
        "recorded_at": posted_text(now),
        "recorded_by": actor,
    }
    connection.execute(insert(PAYMENTS).values(**row))
    held = Held(payment_id, payer, payment.currency, amount_minor, payment.value_date, False, (), 0)
    append_entries(connection, [_received(held)], now=now)
    changed = Change(actor, "recorded", "payment", payment_id, None, _audited(row), "")
    record_changes(connection, [changed], now=now)
    return held


def _audited(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("customer_id", "currency", "amount_minor", "value_date", "reference", "text", "source")
    return {name: row[name] for name in kept}


def _known(connection: Connection, payment: PaymentDocument, duplicate_key: str | None) -> str | None:
    """The id of the payment that is on record already."""
    if duplicate_key is not None:
        found = connection.execute(select(_P.payment_id).where(_P.duplicate_key == duplicate_key)).scalar()
        if found is not None:
            return str(found)
    if payment.customer_id is not None:
        wanted = select(CUSTOMERS.c.customer_id).where(CUSTOMERS.c.customer_id == payment.customer_id)
        if connection.execute(wanted).first() is None:
            raise NotFound(
                f"there is no customer {payment.customer_id!r} who could have paid. Leave customer_id out "
                "when the payer is not known, or save the customer first: `ratemill customer put`."
            )
    if payment.payment_id is None:
        return None
    row = connection.execute(select(PAYMENTS).where(_P.payment_id == payment.payment_id)).one_or_none()
    if row is None:
        return None
    minor = int(payment.amount.scaleb(minor_digits(payment.currency)))
    said = (payment.currency, minor, payment.value_date.isoformat(), payment.reference, payment.text)
    if said != (row.currency, row.amount_minor, row.value_date, row.reference, row.text):
        raise _id_taken(payment.payment_id)
    return payment.payment_id


def _id_taken(payment_id: str) -> Conflict:
    return Conflict(
        f"payment {payment_id!r} is on record with another amount, day or text, and a payment "
        "never changes. Give this one an id of its own, or return the other first.",
        reason_code="payment_id_taken",
    )


def _named(connection: Connection, payment: PaymentDocument) -> list[tuple[OpenDocument, str]]:
    """The documents that the payment names, each with the rule that found it."""
    words = f"{payment.reference}\n{payment.text}"
    numbers = named_numbers(words, series_in_use(connection))
    ids = numbered_documents(connection, numbers)
    found = open_documents(connection, list(ids.values()))
    named = [(found[ids[key]], rule) for key, rule in numbers.items() if key in ids]
    strange = len(ids) != len(numbers) or any(each.currency != payment.currency for each, _ in named)
    return [] if strange else named


def _only_customer(named: Iterable[tuple[OpenDocument, str]]) -> str | None:
    """The one customer of the named documents; None when there are none or several."""
    customers = {document.customer_id for document, _ in named}
    return customers.pop() if len(customers) == 1 else None


def allocate_payment(
    ledger: Engine, payment_id: str, *, document: str, amount_minor: int | None, actor: str, now: datetime
) -> None:
    """Apply a payment to one document (id or printed number), by default as much as possible.

    Raises NotFound, Conflict when currencies differ, when more is asked for than is unapplied or open, or
    when nothing is left of either.
    """
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        held = held_payment(connection, payment_id)
        document_id = find_document(connection, document)
        found = open_documents(connection, [document_id])[document_id]
        if found.currency != held.currency:
            raise Conflict(
                f"payment {payment_id} is in {held.currency}, document {found.number} in {found.currency}.",
                reason_code="currencies_differ",
            )
        most = min(held.unapplied_minor, found.payable_minor)
        wanted = most if amount_minor is None else amount_minor
        if not 0 < wanted <= most:
            unapplied, still_open, asked = (
                format_minor(minor, held.currency)
                for minor in (held.unapplied_minor, found.payable_minor, wanted)
            )
            raise Conflict(
                f"{asked} {held.currency} of payment {payment_id} cannot pay document {found.number}: "
                f"{unapplied} of the payment is unapplied and {still_open} of the document is open.",
                reason_code="allocation_too_large",
            )
        apply_payment(connection, held, [Applied(found, wanted, "manual")], actor=actor, now=now)
        changed = {"document": found.number, "amount_minor": wanted}
        record_changes(
            connection, [Change(actor, "allocated", "payment", payment_id, None, changed, "")], now=now
        )


def unapply_payment(
    ledger: Engine, payment_id: str, *, document: str, reason: str, actor: str, now: datetime
) -> None:
    """Take back all that a payment pays of a document; the payment stays. It counts on the days it was
    applied on: it never was. Raises NotFound, Conflict when it pays nothing of it."""
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        held = held_payment(connection, payment_id)
        document_id = find_document(connection, document)
        paid = held.applied_to(document_id)
        if not paid:
            raise Conflict(
                f"payment {payment_id} pays nothing of document {document}, so nothing can be taken back.",
                reason_code="nothing_applied",
            )
        by_day: dict[date, int] = {}
        for row in held.rows:
            if row[0] == document_id:
                by_day[row[3]] = by_day.get(row[3], 0) - row[1]
        for day, amount in sorted(by_day.items()):
            if amount:
                settle(connection, held, document_id, amount, day, "unapplied", actor=actor, now=now)
        before = {"document_id": document_id, "amount_minor": paid}
        record_changes(
            connection, [Change(actor, "unapplied", "payment", payment_id, before, None, reason)], now=now
        )


def return_payment(
    ledger: Engine, payment_id: str, *, on: date, reason: str, actor: str, now: datetime
) -> None:
    """The payment bounced: what it paid is open again from ``on`` (not before it was applied).

    Raises NotFound, InvalidInput without a reason, InvalidDocument for a day far ahead, Conflict when it was
    returned before.
    """
    if issues := value_date_issues(on, now=now):
        raise InvalidDocument("the return", issues)
    if not reason.strip():
        raise InvalidInput(
            f"payment {payment_id!r} can be returned with a reason only; say why.",
            reason_code="reason_missing",
        )
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        held = held_payment(connection, payment_id)
        if held.returned:
            raise Conflict(f"payment {payment_id} was returned before.", reason_code="payment_returned")
        source = connection.execute(select(_P.source).where(_P.payment_id == payment_id)).scalar_one()
        if source == SET_OFF:
            raise Conflict(
                f"{payment_id} is a set-off: no money came in that could bounce. `ratemill payment unapply "
                f"{payment_id} DOCUMENT` takes it back; it is money on account then.",
                reason_code="set_off_returned",
            )
        day = max([on, held.value_date, *(row[3] for row in held.rows)])
        for document_id in dict.fromkeys(row[0] for row in held.rows):
            paid = held.applied_to(document_id)
            if paid:
                settle(connection, held, document_id, -paid, day, "returned", actor=actor, now=now)
        row = {"entry_date": day.isoformat(), "reason": reason, "recorded_at": posted_text(now)}
        connection.execute(insert(PAYMENT_RETURNS).values(payment_id=payment_id, recorded_by=actor, **row))
        append_entries(connection, [_returned(held, day)], now=now)
        change = Change(
            actor, "returned", "payment", payment_id, None, {"entry_date": day.isoformat()}, reason
        )
        record_changes(connection, [change], now=now)


def _received(held: Held) -> JournalEntry:
    return _cash(held, "payment", held.value_date, held.amount_minor)


def _returned(held: Held, day: date) -> JournalEntry:
    return _cash(held, "reversal", day, -held.amount_minor)


def _cash(held: Held, kind: Any, day: date, amount_minor: int) -> JournalEntry:
    whose = (held.customer_id or "", "", held.currency)
    return JournalEntry(
        entry_id=f"{kind}/{held.payment_id}",
        kind=kind,
        entry_date=day,
        lines=(JournalLine("cash", amount_minor, *whose), JournalLine(held.account, -amount_minor, *whose)),
        payment_id=held.payment_id,
    )
