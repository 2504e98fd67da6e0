"""Prepaid credit that an invoice drew goes back when a credit note takes the invoice back.

It goes to the grant it came from. If that has ended meanwhile (expired, rolled over, voided), it moves on to
a new grant of the same kind, for the same contracts and charges, that begins on the day of the credit note
and never expires: what was wrongly billed must not lapse with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime

from sqlalchemy import Connection

from ingest.errors import BrokenState, Conflict
from invoicing.credit import CreditEntry, EntryKind, StoredGrant
from invoicing.credit_back import coming_back, cost_back, given_back
from invoicing.credit_give_back import drawn_left
from invoicing.credit_note import CreditBack
from invoicing.credit_note_allowance import PutBack
from invoicing.credit_past import drawn_and_returned, ended_grants
from invoicing.credit_store import lock_grants, stored_grants, write_entries, write_grants


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
    lines before tax. line_ids: the lines it is for; what they drew goes back before what others did.
    Raises Conflict when a bill gave some of it back since the credit note was drafted."""
    if not returned and not put_back:
        return
    lock_grants(connection, [customer_id])
    before_tax = _by_grant(put_back)
    grant_ids = [*(back.grant_id for back in returned), *before_tax]
    grants = {stored.grant.grant_id: stored for stored in stored_grants(connection, grant_ids)}
    missing = next((grant_id for grant_id in grant_ids if grant_id not in grants), None)
    if missing is not None:
        raise BrokenState(f"invoice {invoice_id} drew credit {missing!r}, which is not on record.")
    ended = ended_grants(connection, grant_ids)
    drawn = drawn_left(drawn_and_returned(connection, grant_ids), invoice_id)
    made: list[CreditEntry] = []
    for back in returned:
        stored = grants[back.grant_id]
        cost = cost_back(stored, back.amount_minor, remaining_minor=stored.remaining_minor)
        lines = given_back(drawn.get(back.grant_id, {}), back.amount_minor, first=line_ids)
        if -sum(part for _, part in lines) != back.amount_minor:
            raise Conflict(
                f"another document gave credit {back.grant_id!r} back meanwhile; nothing was credited. "
                "Send the request again.",
                reason_code="credit_changed",
            )
        made.append(_coming(back.grant_id, "returned", back.amount_minor, cost, lines))
    for grant_id, lines in before_tax.items():
        amount = -sum(part for _, part in lines)
        made.append(_coming(grant_id, "put_back", amount, 0, lines))
    entries: list[CreditEntry] = []
    opened: list[StoredGrant] = []
    for entry in (replace(each, entry_date=issue_date, invoice_id=credit_note_id) for each in made):
        came = coming_back(entry, grants[entry.grant_id], ended=entry.grant_id in ended)
        entries += came.entries
        opened += came.opened
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
