"""What is left of a grant on the day it expires: part of it may roll over once, the rest lapses.

Both entries carry the day of expiry, whenever they are made. They are made when nothing can draw on the
grant any more: no billing date up to that day is open, and no invoice of one waits as a draft. So a bill
that comes late still finds the credit it was promised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import chain

from sqlalchemy import Connection, Engine, select

from ingest.document import plain
from ingest.ledger import ledger_transaction
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_draw import taking
from invoicing.credit_store import (
    expired_customers,
    lock_grants,
    open_grants,
    write_entries,
    write_grants,
)
from invoicing.due import due_service_periods
from invoicing.tables import INVOICES
from rating.money import minor_digits
from rating.tables import CONTRACTS

_ID_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True)
class Lapse:
    """The end of one grant. rolled_over: the new grant that takes a part of the rest, None for nothing."""

    entries: tuple[CreditEntry, ...]
    rolled_over: StoredGrant | None


@dataclass(frozen=True, slots=True)
class Expired:
    """grants: ids that lapsed. waiting: ids that have expired and wait for a billing date to be billed."""

    grants: tuple[str, ...]
    waiting: tuple[str, ...]


def lapse_of(stored: StoredGrant) -> Lapse:
    """What becomes of the rest of an expired grant. Pure."""
    grant, left = stored.grant, stored.remaining_minor
    expires_on = grant.expires_on
    if expires_on is None or not left:
        return Lapse((), None)
    moved = 0
    if grant.rollover is not None:
        most = grant.rollover.maximum
        moved = left if most is None else min(left, int(most.scaleb(minor_digits(grant.currency))))
    entries, rolled_over = [], None
    if moved:
        amount, cost = taking(stored, moved, remaining_minor=left)
        entries.append(CreditEntry(grant.grant_id, "rolled_over", expires_on, amount, cost))
        rolled_over = _rolled_over(stored, moved_minor=moved, cost_minor=-cost)
    if left > moved:
        amount, cost = taking(stored, left - moved, remaining_minor=left - moved)
        entries.append(CreditEntry(grant.grant_id, "expired", expires_on, amount, cost))
    return Lapse(tuple(entries), rolled_over)


def _rolled_over(stored: StoredGrant, *, moved_minor: int, cost_minor: int) -> StoredGrant:
    """The grant that takes what rolls over: the same terms, from the day of expiry on, and no rollover."""
    grant = stored.grant
    digits = minor_digits(grant.currency)
    moved, cost = (plain(Decimal(minor).scaleb(-digits)) for minor in (moved_minor, cost_minor))
    taken = grant.model_copy(
        update={
            "grant_id": _rollover_id(grant.grant_id),
            "amount": moved,
            "cost_basis": cost,
            "effective_from": grant.expires_on,
            "expires_on": grant.rollover.expires_on if grant.rollover else None,
            "rollover": None,
        }
    )
    return StoredGrant(taken, moved_minor, cost_minor, moved_minor, "rollover", grant.grant_id, "")


def expire_credit(ledger: Engine, *, as_of: date, now: datetime) -> Expired:
    """Let every grant lapse that has expired by ``as_of`` and that nothing can draw on any more. Again: no
    change."""
    done: list[str] = []
    while True:  # what rolled over may have expired as well
        with ledger.connect() as connection:
            customers = expired_customers(connection, as_of=as_of)
        lapsed, waiting = _expire(ledger, customers, as_of=as_of, now=now) if customers else ([], [])
        done += lapsed
        if not lapsed:
            return Expired(tuple(done), tuple(waiting))


def _expire(
    ledger: Engine, customers: Sequence[str], *, as_of: date, now: datetime
) -> tuple[list[str], list[str]]:
    with ledger.connect() as connection:
        held = open_grants(connection, customers)
        contracts = _contracts_of(connection, customers)
    expiring = [
        stored
        for grants in held.values()
        for stored in grants
        if stored.grant.expires_on is not None and stored.grant.expires_on <= as_of
    ]
    if not expiring:
        return [], []  # somebody else was faster
    latest = max(stored.grant.expires_on for stored in expiring if stored.grant.expires_on)
    lapses, lapsed, waiting = list[Lapse](), list[str](), list[str]()
    with ledger_transaction(ledger) as connection:
        fresh = lock_grants(connection, customers)
        reachable = sorted(chain.from_iterable(contracts.values()))
        first_open = _first_open_dates(ledger, connection, reachable, latest)
        for stored in (stored for grants in fresh.values() for stored in grants):
            grant = stored.grant
            if grant.expires_on is None or grant.expires_on > as_of:
                continue
            reach = grant.contract_ids or contracts.get(grant.customer_id, ())
            if any(first_open.get(contract_id, date.max) <= grant.expires_on for contract_id in reach):
                waiting.append(grant.grant_id)
                continue
            lapses.append(lapse_of(stored))
            lapsed.append(grant.grant_id)
        rolled_over = [lapse.rolled_over for lapse in lapses if lapse.rolled_over is not None]
        entries = chain.from_iterable(lapse.entries for lapse in lapses)
        write_grants(connection, rolled_over, now=now)
        opening = [stored.opening_entry() for stored in rolled_over]
        write_entries(connection, [*entries, *opening], now=now)
    return lapsed, waiting


def _contracts_of(connection: Connection, customers: Sequence[str]) -> dict[str, list[str]]:
    """The contracts of each customer."""
    found: dict[str, list[str]] = {}
    columns = (CONTRACTS.c.customer_id, CONTRACTS.c.contract_id)
    for row in select_by_ids(connection, select(*columns), CONTRACTS.c.customer_id, customers):
        found.setdefault(row[0], []).append(row[1])
    return found


def _first_open_dates(
    ledger: Engine, connection: Connection, contract_ids: Sequence[str], latest: date
) -> dict[str, date]:
    """By contract: the first billing date up to ``latest`` that is open or whose invoice is a draft."""
    found: dict[str, date] = {}
    if not contract_ids:
        return found
    catalogue = load_billing_catalogue(ledger, contract_ids)
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=latest,
    )
    columns = (periods[name].to_pylist() for name in ("contract_id", "billing_date"))
    drafts = select(INVOICES.c.contract_id, INVOICES.c.billing_date).where(INVOICES.c.state == "draft")
    waiting = select_by_ids(connection, drafts, INVOICES.c.contract_id, contract_ids)
    drafted = [(row[0], date.fromisoformat(row[1])) for row in waiting]
    for contract_id, day in [*zip(*columns, strict=True), *drafted]:
        found[contract_id] = min(day, found.get(contract_id, day))
    return found


def _rollover_id(grant_id: str) -> str:
    named = f"{grant_id}:rollover"
    if len(named) <= _ID_LENGTH_MAX:
        return named
    return f"{hashlib.sha256(grant_id.encode()).hexdigest()[:32]}:rollover"
