"""The audit trail: every change of state with who, when, what it was, what it became, and why.

Entries are only added, in the transaction of the change, so neither is there without the other. Each
one's hash covers the one before it: none can be altered, removed or slipped in without every later hash
being wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, select, update

from ingest.document import Document, decimal_text
from ingest.errors import BrokenState
from invoicing.audit_tables import AUDIT_CHAIN, AUDIT_ENTRIES, CHAIN_ID
from invoicing.bulk import insert_rows

SYSTEM_ACTOR: Final = "system"
"""The actor of what happens by itself: a scheduled run, a top-up, an expiry."""

State = Mapping[str, Any] | Document
"""What is kept of an object: names and values, or the document itself. No binary floats."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object, by ``object_kind`` (``invoice``, ``contract`` ...) and ``object_id``.

    actor: the name of an API key, or ``SYSTEM_ACTOR``. action: what was done, as a verb in the past
    (``issued``). before, after: the part of the object that says what changed; None where it was not there.
    """

    actor: str
    action: str
    object_kind: str
    object_id: str
    before: State | None
    after: State | None
    reason: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change as kept: ``sequence`` from 1, ``occurred_at`` ISO 8601 in UTC."""

    sequence: int
    occurred_at: str
    actor: str
    action: str
    object_kind: str
    object_id: str
    before: str | None
    after: str | None
    reason: str
    entry_hash: str

    def to_dict(self) -> dict[str, Any]:
        """With ``before`` and ``after`` as JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        states = {name: None if values[name] is None else orjson.loads(values[name]) for name in _STATES}
        return values | states


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries: every field that is not None must hold; ``occurred_from`` <= instant < ``occurred_to``,
    both with their zone."""

    actor: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    occurred_from: datetime | None = None
    occurred_to: datetime | None = None


_STATES: Final = ("before", "after")
_EXACT: Final = ("actor", "action", "object_kind", "object_id")


def record_change(
    connection: Connection,
    *,
    actor: str,
    action: str,
    object_kind: str,
    object_id: str,
    before: State | None,
    after: State | None,
    reason: str,
    now: datetime,
) -> None:
    """Enter one change in the caller's transaction; see ``Change`` and ``record_changes``."""
    change = Change(actor, action, object_kind, object_id, before, after, reason)
    record_changes(connection, [change], now=now)


def record_changes(connection: Connection, changes: Sequence[Change], *, now: datetime) -> None:
    """Enter changes in their order, in the caller's transaction.

    The end of the chain stays locked until that transaction ends, so that nobody goes on from the same hash:
    call it as the last write, after numbers are drawn and credit is locked, or two transactions may wait for
    each other. Raises BrokenState for a change that names nobody or nothing.
    """
    if not changes:
        return
    # An update first, not a select: it takes the row's lock on every store.
    statement = (
        update(AUDIT_CHAIN)
        .where(AUDIT_CHAIN.c.chain_id == CHAIN_ID)
        .values(last_sequence=AUDIT_CHAIN.c.last_sequence + len(changes))
        .returning(AUDIT_CHAIN.c.last_sequence, AUDIT_CHAIN.c.entry_hash)
    )
    last, head = connection.execute(statement).one()
    occurred_at = now.astimezone(UTC).isoformat()
    rows = []
    for sequence, change in enumerate(changes, start=int(last) - len(changes) + 1):
        if not (change.actor and change.action and change.object_kind and change.object_id):
            raise BrokenState(f"a change without an actor or an object cannot be entered: {change}")
        kept = (
            sequence,
            occurred_at,
            change.actor,
            change.action,
            change.object_kind,
            change.object_id,
            state_text(change.before),
            state_text(change.after),
            change.reason,
        )
        head = entry_hash(head, kept)
        rows.append((*kept, head))
    insert_rows(connection, AUDIT_ENTRIES, rows, sorted_by="object_id")
    connection.execute(update(AUDIT_CHAIN).where(AUDIT_CHAIN.c.chain_id == CHAIN_ID).values(entry_hash=head))


def entry_hash(before: str, kept: Sequence[Any]) -> str:
    """The hash of an entry after the one whose hash is ``before``. kept: its columns from ``sequence`` to
    ``reason``, as stored."""
    return hashlib.sha256(before.encode() + orjson.dumps(list(kept))).hexdigest()


def state_text(state: State | None) -> str | None:
    """Canonical JSON: sorted names, decimals as text."""
    if state is None:
        return None
    plain = state.model_dump(mode="json") if isinstance(state, Document) else dict(state)
    return orjson.dumps(plain, default=_json_value, option=orjson.OPT_SORT_KEYS).decode()


def list_entries(
    ledger: Engine, *, chosen: AuditFilter, limit: int, before_sequence: int | None = None
) -> list[AuditEntry]:
    """Up to ``limit`` entries, newest first, those older than ``before_sequence``."""
    table = AUDIT_ENTRIES
    conditions = [
        table.c[name] == getattr(chosen, name) for name in _EXACT if getattr(chosen, name) is not None
    ]
    if chosen.occurred_from is not None:
        conditions.append(table.c.occurred_at >= chosen.occurred_from.astimezone(UTC).isoformat())
    if chosen.occurred_to is not None:
        conditions.append(table.c.occurred_at < chosen.occurred_to.astimezone(UTC).isoformat())
    if before_sequence is not None:
        conditions.append(table.c.sequence < before_sequence)
    statement = select(table).where(*conditions).order_by(table.c.sequence.desc()).limit(limit)
    with ledger.connect() as connection:
        return [AuditEntry(**row) for row in connection.execute(statement).mappings()]


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError
