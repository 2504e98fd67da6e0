"""Grants of credit and their entries in the ledger: added, never changed; what is left is their sum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Row, Select, func, insert, select

from ingest.document import canonical_json, validate_document
from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import SYSTEM_ACTOR, Change, record_changes
from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry, CreditGrant, Origin, StoredGrant, credit_rules
from invoicing.credit_draw import taking
from invoicing.credit_posting import post_credit
from invoicing.credit_tables import CREDIT_ENTRIES, CREDIT_GRANTS
from invoicing.tables import CUSTOMERS
from rating.money import minor_digits

_EARTH_AHEAD: Final = timedelta(hours=14)
"""The time zone furthest ahead of UTC: no place on earth has a later date."""
_KIND_ORDER: Final = (
    "granted",
    "rolled_in",
    "drawn",
    "taken_off",
    "returned",
    "put_back",
    "voided",
    "rolled_over",
    "expired",
)


@dataclass(frozen=True, slots=True)
class SavedGrant:
    """created: False when the same grant was on record already."""

    stored: StoredGrant
    created: bool


def grant_credit(ledger: Engine, document: Any, *, now: datetime, actor: str = SYSTEM_ACTOR) -> SavedGrant:
    """Check and enter one grant (a mapping, or a CreditGrant). The same document again changes nothing.
    actor: who gives it, as the audit trail names them.

    Raises InvalidDocument, NotFound for an unknown customer, Conflict when another grant has the id.
    """
    if isinstance(document, CreditGrant):
        document = document.model_dump()
    name = document.get("grant_id", "?") if isinstance(document, Mapping) else "?"
    grant = validate_document(CreditGrant, document, what=f"credit {name!r}", rules=credit_rules)
    with ledger_transaction(ledger) as connection:
        # The lock on the customer makes two that send the same grant at one moment wait for each other.
        customer = select(CUSTOMERS.c.customer_id).where(CUSTOMERS.c.customer_id == grant.customer_id)
        if connection.execute(customer.with_for_update()).first() is None:
            raise NotFound(
                f"there is no customer {grant.customer_id!r} to give credit to. Save it with "
                f"`ratemill customer put` or PUT /v1/customers/{grant.customer_id}."
            )
        known = connection.execute(
            select(CREDIT_GRANTS.c.document).where(CREDIT_GRANTS.c.grant_id == grant.grant_id)
        ).scalar_one_or_none()
        if known is not None and known != canonical_json(grant):
            raise Conflict(
                f"credit {grant.grant_id!r} is on record with other terms, and a grant never changes. Give "
                "this one an id of its own, or void the other first.",
                reason_code="grant_id_taken",
            )
        if known is None:
            write_grant(connection, new_grant(grant, origin="given", origin_id=None), now=now)
            after = {"amount": str(grant.amount), "currency": grant.currency, "customer": grant.customer_id}
            change = Change(actor, "granted", "credit", grant.grant_id, None, after, "")
            record_changes(connection, [change], now=now)
    return SavedGrant(get_grant(ledger, grant.grant_id), created=known is None)


def write_grant(connection: Connection, stored: StoredGrant, *, now: datetime) -> None:
    """Enter a checked grant, with all of its amount on the day it begins, in the caller's transaction."""
    write_grants(connection, [stored], now=now)
    write_entries(connection, [stored.opening_entry()], now=now)


def new_grant(grant: CreditGrant, *, origin: Origin, origin_id: str | None) -> StoredGrant:
    """A checked grant of which nothing is taken yet, to be entered."""
    digits = minor_digits(grant.currency)
    amount, cost = (int(number.scaleb(digits)) for number in (grant.amount, grant.cost_basis))
    return StoredGrant(grant, amount, cost, amount, origin, origin_id, "")


def write_grants(connection: Connection, grants: Sequence[StoredGrant], *, now: datetime) -> None:
    """Enter grants without their entries, in the caller's transaction. One that is there breaks a key."""
    rows = [
        {
            "grant_id": stored.grant.grant_id,
            "customer_id": stored.grant.customer_id,
            "currency": stored.grant.currency,
            "kind": stored.grant.kind,
            "amount_minor": stored.amount_minor,
            "cost_minor": stored.cost_minor,
            "effective_from": stored.grant.effective_from.isoformat(),
            "expires_on": stored.grant.expires_on.isoformat() if stored.grant.expires_on else None,
            "origin": stored.origin,
            "origin_id": stored.origin_id,
            "document": canonical_json(stored.grant),
            "created_at": now.isoformat(),
        }
        for stored in grants
    ]
    if rows:
        connection.execute(insert(CREDIT_GRANTS), rows)


def write_entries(connection: Connection, entries: Iterable[CreditEntry], *, now: datetime) -> None:
    """Enter and post them in the caller's transaction. The same entry twice breaks a key."""
    entries = list(entries)
    rows = [
        {
            "entry_id": _entry_id(entry),
            "grant_id": entry.grant_id,
            "kind": entry.kind,
            "entry_date": entry.entry_date.isoformat(),
            "amount_minor": entry.amount_minor,
            "cost_minor": entry.cost_minor,
            "invoice_id": entry.invoice_id,
            "reason": entry.reason,
            "lines": orjson.dumps(entry.lines).decode(),
            "created_at": now.isoformat(),
        }
        for entry in entries
    ]
    if rows:
        connection.execute(insert(CREDIT_ENTRIES), rows)
        post_credit(connection, entries, now=now)


def lock_grants(connection: Connection, customer_ids: Sequence[str]) -> dict[str, list[StoredGrant]]:
    """The grants of these customers of which something is left, by customer; nobody else takes from them
    until the transaction ends. Call it in a ledger transaction before anything is taken."""
    table = CREDIT_GRANTS
    if connection.execute(select(table.c.grant_id).limit(1)).first() is None:
        return {}
    ids = sorted(set(customer_ids))
    locked = select(table.c.grant_id).order_by(table.c.grant_id).with_for_update()
    for _ in select_by_ids(connection, locked, table.c.customer_id, ids):
        pass
    return open_grants(connection, ids)


def open_grants(connection: Connection, customer_ids: Sequence[str]) -> dict[str, list[StoredGrant]]:
    """The grants of these customers of which something is left, by customer, each sorted by id."""
    found: dict[str, list[StoredGrant]] = {}
    rows = select_by_ids(
        connection, _with_remaining(), CREDIT_GRANTS.c.customer_id, sorted(set(customer_ids))
    )
    for stored in sorted((_stored(row) for row in rows), key=lambda stored: stored.grant.grant_id):
        if stored.remaining_minor:
            found.setdefault(stored.grant.customer_id, []).append(stored)
    return found


def stored_grants(connection: Connection, grant_ids: Sequence[str]) -> list[StoredGrant]:
    """These grants, used up or not, in the caller's transaction; by id."""
    rows = select_by_ids(connection, _with_remaining(), CREDIT_GRANTS.c.grant_id, sorted(set(grant_ids)))
    return sorted((_stored(row) for row in rows), key=lambda stored: stored.grant.grant_id)


def sold_grants(connection: Connection, line_ids: Sequence[str]) -> list[StoredGrant]:
    """The grants that invoice lines sold, as retainers and top-ups do; by id."""
    sold = _with_remaining().where(CREDIT_GRANTS.c.origin.in_(("retainer", "top_up")))
    rows = select_by_ids(connection, sold, CREDIT_GRANTS.c.origin_id, sorted(set(line_ids)))
    return sorted((_stored(row) for row in rows), key=lambda stored: stored.grant.grant_id)


def expired_customers(connection: Connection, *, as_of: date) -> list[str]:
    """Customers with a grant that has expired by that day and of which something is left."""
    statement = (
        select(CREDIT_GRANTS.c.customer_id)
        .join(CREDIT_ENTRIES, CREDIT_ENTRIES.c.grant_id == CREDIT_GRANTS.c.grant_id)
        .where(CREDIT_GRANTS.c.expires_on <= as_of.isoformat())
        .group_by(CREDIT_GRANTS.c.customer_id, CREDIT_GRANTS.c.grant_id)
        .having(func.sum(CREDIT_ENTRIES.c.amount_minor) > 0)
    )
    return sorted(set(connection.execute(statement).scalars()))


def void_grant(
    ledger: Engine, grant_id: str, *, reason: str, on: date, now: datetime, actor: str = SYSTEM_ACTOR
) -> StoredGrant:
    """Take back what is left of a grant, dated ``on`` (not before the grant begins). actor: who does, as the
    audit trail names them.

    Raises NotFound, InvalidInput without a reason or for a day to come, Conflict when nothing is left.
    """
    if not reason.strip():
        raise InvalidInput(
            f"credit {grant_id!r} can be voided with a reason only; say why.", reason_code="reason_missing"
        )
    if on > (now + _EARTH_AHEAD).date():
        raise InvalidInput(
            f"credit {grant_id!r} cannot be voided on {on}, a day to come; what is left then is not known.",
            reason_code="date_in_the_future",
        )
    stored = get_grant(ledger, grant_id)
    with ledger_transaction(ledger) as connection:
        held = lock_grants(connection, [stored.grant.customer_id]).get(stored.grant.customer_id, [])
        left = {each.grant.grant_id: each.remaining_minor for each in held}.get(grant_id, 0)
        if not left:
            raise Conflict(
                f"nothing is left of credit {grant_id!r}, so there is nothing to void.",
                reason_code="credit_used_up",
            )
        amount, cost = taking(stored, left, remaining_minor=left)
        dated = max(on, stored.grant.effective_from)
        entry = CreditEntry(grant_id, "voided", dated, amount, cost, reason=reason)
        write_entries(connection, [entry], now=now)
        was, left_now = {"remaining_minor": left}, {"remaining_minor": 0}
        change = Change(actor, "voided", "credit", grant_id, was, left_now, reason)
        record_changes(connection, [change], now=now)
    return replace(stored, remaining_minor=0)


def get_grant(ledger: Engine, grant_id: str) -> StoredGrant:
    """One grant with what is left of it. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(_with_remaining().where(CREDIT_GRANTS.c.grant_id == grant_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no credit {grant_id!r}. `ratemill credits list` shows what there is.")
    return _stored(row)


def list_grants(
    ledger: Engine, *, customer_id: str | None, only_open: bool, limit: int, after: str | None = None
) -> list[StoredGrant]:
    """Up to ``limit`` grants by id, those after the id ``after``. only_open: of which something is left."""
    statement = _with_remaining().order_by(CREDIT_GRANTS.c.grant_id)
    if customer_id is not None:
        statement = statement.where(CREDIT_GRANTS.c.customer_id == customer_id)
    if after is not None:
        statement = statement.where(CREDIT_GRANTS.c.grant_id > after)
    if only_open:
        statement = statement.having(func.sum(CREDIT_ENTRIES.c.amount_minor) > 0)
    with ledger.connect() as connection:
        return [_stored(row) for row in connection.execute(statement.limit(limit))]


def entries_of(ledger: Engine, grant_ids: Sequence[str]) -> list[CreditEntry]:
    """All entries of the grants, by date; of one day, what comes before what goes."""
    with ledger.connect() as connection:
        rows = list(select_by_ids(connection, select(CREDIT_ENTRIES), CREDIT_ENTRIES.c.grant_id, grant_ids))
    rows.sort(
        key=lambda row: (row.entry_date, _KIND_ORDER.index(row.kind), row.grant_id, row.invoice_id or "")
    )
    return [read_entry(row) for row in rows]


def read_entry(row: Row[Any]) -> CreditEntry:
    """A row of CREDIT_ENTRIES, parsed."""
    return CreditEntry(
        grant_id=row.grant_id,
        kind=row.kind,
        entry_date=date.fromisoformat(row.entry_date),
        amount_minor=row.amount_minor,
        cost_minor=row.cost_minor,
        invoice_id=row.invoice_id,
        reason=row.reason,
        lines=tuple((line_id, amount) for line_id, amount in orjson.loads(row.lines)),
    )


def grants_of_customer(ledger: Engine, customer_id: str) -> list[StoredGrant]:
    """Every grant the customer ever had, by id."""
    statement = _with_remaining().where(CREDIT_GRANTS.c.customer_id == customer_id)
    with ledger.connect() as connection:
        return [_stored(row) for row in connection.execute(statement.order_by(CREDIT_GRANTS.c.grant_id))]


def _entry_id(entry: CreditEntry) -> str:
    """A grant is made, expires, rolls over and is voided once, and drawn once an invoice; what a credit note
    gives back comes once a credit note, and goes on to a new grant with it when the old one has ended."""
    question = f"ratemill credit\n{entry.grant_id}\n{entry.kind}\n{entry.invoice_id or ''}"
    return hashlib.sha256(question.encode()).hexdigest()[:32]


def _with_remaining() -> Select[Any]:
    """Grants with the sum of their entries."""
    remaining = func.sum(CREDIT_ENTRIES.c.amount_minor).label("remaining_minor")
    joined = CREDIT_GRANTS.join(CREDIT_ENTRIES, CREDIT_ENTRIES.c.grant_id == CREDIT_GRANTS.c.grant_id)
    columns = list(CREDIT_GRANTS.columns)
    return select(*columns, remaining).select_from(joined).group_by(*columns)


def _stored(row: Row[Any]) -> StoredGrant:
    return StoredGrant(
        grant=CreditGrant.model_validate_json(row.document),
        amount_minor=row.amount_minor,
        cost_minor=row.cost_minor,
        remaining_minor=int(row.remaining_minor),
        origin=row.origin,
        origin_id=row.origin_id,
        created_at=row.created_at,
    )
