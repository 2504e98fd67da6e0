"""Prepaid credit that an invoice drew goes back when a credit note takes the invoice back.

It goes to the grant it came from. If that has ended meanwhile (expired, rolled over, voided), it moves on to
a new grant of the same kind, for the same contracts and charges, that begins on the day of the credit note
and never expires: what was wrongly billed must not lapse with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Final

import orjson
from sqlalchemy import Connection, and_, or_, select

from ingest.errors import BrokenState
from invoicing.credit import CreditEntry, CreditGrant, EntryKind, StoredGrant
from invoicing.credit_draw import cost_used
from invoicing.credit_note import CreditBack
from invoicing.credit_note_allowance import PutBack
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.credit_store import lock_grants, new_grant, stored_grants, write_entries, write_grants
from invoicing.credit_tables import CREDIT_ENTRIES
from rating.money import minor_digits

_ENDS: Final = ("expired", "rolled_over", "voided")
_ID_LENGTH_MAX: Final = 128


def return_credit(
    connection: Connection,
    returned: Sequence[CreditBack],
    *,
    put_back: Sequence[PutBack],
    customer_id: str,
    invoice_id: str,
    credit_note_id: str,
    line_ids: Collection[str],
    issue_date: date,
    now: datetime,
) -> None:
    """Enter what goes back, in the transaction that issues the credit note. put_back: what was taken off
    lines before tax. line_ids: the lines it is for; what they drew goes back before what others did."""
    if not returned and not put_back:
        return
    lock_grants(connection, [customer_id])
    before_tax = _by_grant(put_back)
    grant_ids = [*(back.grant_id for back in returned), *before_tax]
    grants = {stored.grant.grant_id: stored for stored in stored_grants(connection, grant_ids)}
    missing = next((grant_id for grant_id in grant_ids if grant_id not in grants), None)
    if missing is not None:
        raise BrokenState(f"invoice {invoice_id} drew credit {missing!r}, which is not on record.")
    ended = _ended(connection, grant_ids)
    drawn = _drawn(connection, grant_ids, invoice_id)
    made: list[CreditEntry] = []
    for back in returned:
        stored = grants[back.grant_id]
        used = stored.amount_minor - stored.remaining_minor
        cost = cost_used(stored, used) - cost_used(stored, used - back.amount_minor)
        lines = given_back(drawn.get(back.grant_id, {}), back.amount_minor, first=line_ids)
        made.append(_coming(back.grant_id, "returned", back.amount_minor, cost, lines))
    for grant_id, lines in before_tax.items():
        amount = -sum(part for _, part in lines)
        made.append(_coming(grant_id, "put_back", amount, 0, lines))
    entries: list[CreditEntry] = []
    opened: list[StoredGrant] = []
    for entry in (replace(each, entry_date=issue_date, invoice_id=credit_note_id) for each in made):
        stored = grants[entry.grant_id]
        entries.append(entry)
        expires_on = stored.grant.expires_on
        if entry.grant_id in ended or (expires_on is not None and expires_on <= issue_date):
            amount, taken = -entry.amount_minor, -entry.cost_minor
            entries.append(
                replace(entry, kind="rolled_over", amount_minor=amount, cost_minor=taken, lines=())
            )
            successor = _successor(stored, entry.amount_minor, entry.cost_minor, credit_note_id, issue_date)
            opened.append(successor)
            entries.append(successor.opening_entry())
    write_grants(connection, opened, now=now)
    write_entries(connection, entries, now=now)


def _coming(
    grant_id: str,
    kind: EntryKind,
    amount_minor: int,
    cost_minor: int,
    lines: tuple[tuple[str, int], ...],
) -> CreditEntry:
    """An entry without its date and document."""
    return CreditEntry(grant_id, kind, date.min, amount_minor, cost_minor, lines=lines)


def _by_grant(put_back: Sequence[PutBack]) -> dict[str, tuple[tuple[str, int], ...]]:
    """(line_id, amount below zero) of each grant."""
    found: dict[str, tuple[tuple[str, int], ...]] = {}
    for back in put_back:
        found[back.grant_id] = (*found.get(back.grant_id, ()), (back.line_id, -back.amount_minor))
    return found


def _successor(
    stored: StoredGrant, amount_minor: int, cost_minor: int, credit_note_id: str, begins: date
) -> StoredGrant:
    """The grant that takes what an ended one gets back."""
    before, digits = stored.grant, minor_digits(stored.grant.currency)
    named = f"{before.grant_id}:{credit_note_id}"
    grant = CreditGrant(
        grant_id=named if len(named) <= _ID_LENGTH_MAX else hashlib.sha256(named.encode()).hexdigest(),
        customer_id=before.customer_id,
        name=before.name,
        kind=before.kind,
        currency=before.currency,
        amount=Decimal(amount_minor).scaleb(-digits),
        cost_basis=Decimal(cost_minor).scaleb(-digits),
        priority=before.priority,
        effective_from=begins,
        contract_ids=before.contract_ids,
        charge_ids=before.charge_ids,
        note=f"given back by credit note {credit_note_id}",
    )
    return new_grant(grant, origin="rollover", origin_id=before.grant_id)


def _ended(connection: Connection, grant_ids: Sequence[str]) -> set[str]:
    """Those that have lapsed, rolled over or were voided."""
    table = CREDIT_ENTRIES
    found = select(table.c.grant_id).where(table.c.grant_id.in_(grant_ids), table.c.kind.in_(_ENDS))
    return set(connection.execute(found).scalars())


def _drawn(
    connection: Connection, grant_ids: Sequence[str], invoice_id: str
) -> Mapping[str, Mapping[str, int]]:
    """What the invoice drew of each grant and did not get back yet, by line, in the order it was drawn."""
    table = CREDIT_ENTRIES
    notes = select(CREDIT_NOTES.c.credit_note_id).where(CREDIT_NOTES.c.invoice_id == invoice_id)
    of_invoice = and_(table.c.kind == "drawn", table.c.invoice_id == invoice_id)
    of_notes = and_(table.c.kind == "returned", table.c.invoice_id.in_(notes.scalar_subquery()))
    statement = (
        select(table.c.grant_id, table.c.lines)
        .where(table.c.grant_id.in_(grant_ids), or_(of_invoice, of_notes))
        .order_by(table.c.kind)
    )
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(statement):
        left = found.setdefault(row.grant_id, {})
        for line_id, amount in orjson.loads(row.lines):
            left[line_id] = left.get(line_id, 0) + amount
    return found


def given_back(
    left: Mapping[str, int], amount_minor: int, *, first: Collection[str]
) -> tuple[tuple[str, int], ...]:
    """The lines that give an amount back, those in ``first`` before others and the last drawn first; below
    zero. left: what each drew and still has.

    >>> given_back({"a": 30, "b": 20}, 35, first={"a"})
    (('a', -30), ('b', -5))
    """
    last_first = list(left)[::-1]
    order = sorted(last_first, key=lambda line_id: line_id not in first)
    found = []
    for line_id in order:
        part = min(left[line_id], amount_minor)
        if part > 0:
            found.append((line_id, -part))
            amount_minor -= part
    return tuple(found)
