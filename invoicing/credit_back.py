"""Credit that comes back to a grant, and where it goes when the grant has ended. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final

from invoicing.credit import CreditEntry, CreditGrant, StoredGrant
from invoicing.credit_draw import cost_used
from invoicing.credit_store import new_grant
from rating.money import minor_digits

_ID_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class ComingBack:
    """What is entered: on the grant, and, when it has ended, on the new one in ``opened``."""

    entries: tuple[CreditEntry, ...]
    opened: tuple[StoredGrant, ...]


def coming_back(entry: CreditEntry, stored: StoredGrant, *, ended: bool, beside_minor: int = 0) -> ComingBack:
    """entry: what comes back, with its day and document. ended: whether the grant has lapsed, rolled over or
    was voided; one that expires by that day has as well. beside_minor: what the document put back of credit
    before tax, which moves on with it."""
    if not ended and not expired(stored, on=entry.entry_date):
        return ComingBack((entry,), ())
    whole = replace(entry, amount_minor=entry.amount_minor + beside_minor)
    on = moving_on(whole, stored, begins=entry.entry_date)
    return replace(on, entries=(entry, *on.entries))


def expired(stored: StoredGrant, *, on: date) -> bool:
    """Whether the grant pays for nothing of that day and later."""
    return stored.grant.expires_on is not None and stored.grant.expires_on <= on


def moving_on(entry: CreditEntry, stored: StoredGrant, *, begins: date) -> ComingBack:
    """What came back to a grant that has ended goes on to a new one. entry: what came back, with its day and
    document. begins: the first day the new one pays for."""
    amount, cost = -entry.amount_minor, -entry.cost_minor
    leaving = replace(entry, kind="rolled_over", amount_minor=amount, cost_minor=cost, lines=())
    successor = _successor(stored, entry.amount_minor, entry.cost_minor, entry.invoice_id or "", begins)
    opening = replace(successor.opening_entry(), entry_date=entry.entry_date)
    return ComingBack((leaving, opening), (successor,))


def cost_back(stored: StoredGrant, amount_minor: int, *, remaining_minor: int) -> int:
    """The cost of so much of a grant that comes back, when ``remaining_minor`` of it are left before."""
    used = stored.amount_minor - remaining_minor
    return cost_used(stored, used) - cost_used(stored, used - amount_minor)


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
