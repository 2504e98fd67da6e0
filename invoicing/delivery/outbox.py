"""The outbox: which messages are to be sent, who is sending one, and what became of each.

    queued -> sending -> sent -> opened -> confirmed          bounced may follow sent and opened
                      -> queued again (temporary failure)     failed, unknown, held need a person (``retry``)

An attempt is committed before anything leaves: that it begins, and the hash of the bytes it sends. So
after a crash it is known whether a message may be out. If it may be, a channel that tells repeats apart by an
id is tried again and any other is ``unknown``: nobody gets an invoice twice without a person wanting it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Select, select, update

from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import record_change
from invoicing.delivery.delivery import (
    BACK_OFF,
    LEASE,
    NEEDS_PERSON,
    NO_REASON,
    SYSTEM,
    WAITED_TOO_LONG,
    Delivery,
    NewDelivery,
    Outcome,
    Refused,
    Sent,
    TryAgain,
    Unclear,
    delivery_of,
)
from invoicing.delivery.find import get_delivery
from invoicing.delivery.tables import DELIVERIES, DELIVERY_EVENTS, stamp


def add_deliveries(
    connection: Connection, wanted: Iterable[NewDelivery], *, actor: str, now: datetime
) -> list[str]:
    """Put messages into the outbox, in the caller's transaction; one that is there already is left as it is.
    Returns the ids of the new ones."""
    added = []
    for one in wanted:
        delivery_id = one.delivery_id
        known = select(DELIVERIES.c.delivery_id).where(DELIVERIES.c.delivery_id == delivery_id)
        if connection.execute(known).first() is not None:
            continue
        held = bool(one.reason_code)
        row = {
            "delivery_id": delivery_id,
            "document_id": one.document_id,
            "customer_id": one.customer_id,
            "channel": one.channel,
            "purpose": one.purpose,
            "occasion": one.occasion,
            "recipient": one.recipient,
            "role": one.role,
            "state": "held" if held else "queued",
            "reason_code": one.reason_code,
            "reason": one.reason,
            "attempts": 0,
            "retried_after": 0,
            "due_at": stamp(one.due_at),
            "next_attempt_at": None if held else stamp(one.due_at),
            "leased_until": None,
            "message_id": "",
            "content_hash": "",
            "message_hash": "",
            "provider_id": "",
            "confirm_wanted": one.confirm_wanted,
            "follow_up_at": None,
            "queued_at": stamp(now),
            "sent_at": None,
        }
        connection.execute(DELIVERIES.insert().values(row))
        detail = {"reason": one.reason} if held else {"due_at": stamp(one.due_at)}
        record_event(connection, delivery_id, "held" if held else "queued", detail, actor=actor, now=now)
        added.append(delivery_id)
    return added


def record_event(
    connection: Connection,
    delivery_id: str,
    kind: str,
    detail: Mapping[str, Any],
    *,
    actor: str,
    now: datetime,
) -> None:
    """Add one event, in the caller's transaction. detail: what JSON can hold."""
    text = orjson.dumps(dict(detail), option=orjson.OPT_SORT_KEYS).decode()
    connection.execute(
        DELIVERY_EVENTS.insert().values(
            delivery_id=delivery_id, at=stamp(now), kind=kind, actor=actor, detail=text
        )
    )


def claim_next(ledger: Engine, *, channels: Collection[str], now: datetime) -> Delivery | None:
    """Take the queued message that has waited longest among those whose time has come; None when none has.

    It is ``sending`` and this worker's for ``LEASE``. Two workers never take the same one: on PostgreSQL
    each skips rows that another holds, on SQLite only one transaction writes at a time.
    """
    statement = (
        select(DELIVERIES)
        .where(
            DELIVERIES.c.state == "queued",
            DELIVERIES.c.next_attempt_at <= stamp(now),
            DELIVERIES.c.channel.in_(sorted(channels)),
        )
        .order_by(DELIVERIES.c.next_attempt_at, DELIVERIES.c.delivery_id)
        .limit(1)
    )
    with ledger_transaction(ledger) as connection:
        row = connection.execute(_locked(connection, statement)).one_or_none()
        if row is None:
            return None
        claimed = {
            "state": "sending",
            "attempts": row.attempts + 1,
            "leased_until": stamp(now + LEASE),
            "message_hash": "",
        }
        _change(connection, row.delivery_id, claimed)
        return delivery_of(row, claimed)


def begin_attempt(
    ledger: Engine,
    delivery: Delivery,
    *,
    message_id: str,
    content_hash: str,
    message_hash: str,
    now: datetime,
) -> None:
    """Say on record that exactly these bytes are about to leave. After this a crash leaves doubt.

    Raises Conflict when the lease has passed to somebody else.
    """
    with ledger_transaction(ledger) as connection:
        changed = connection.execute(
            update(DELIVERIES)
            .where(*_still_ours(delivery, ("sending",)))
            .values(message_id=message_id, content_hash=content_hash, message_hash=message_hash)
        ).rowcount
        if changed != 1:
            raise Conflict(
                f"delivery {delivery.delivery_id} is not this worker's any more.", reason_code="lease_lost"
            )
        detail = {
            "attempt": delivery.attempts,
            "content_hash": content_hash,
            "message_hash": message_hash,
            "message_id": message_id,
        }
        record_event(connection, delivery.delivery_id, "attempt", detail, actor=SYSTEM, now=now)


def settle(
    ledger: Engine, delivery: Delivery, outcome: Outcome, *, follow_up_at: datetime | None, now: datetime
) -> str:
    """Write what became of an attempt; returns the state it leads to. follow_up_at: when to ask again if it
    is sent and nobody confirms it.

    An answer that comes after the lease ran out still counts: what the other side said is the truth.
    """
    state, reason_code, reason, next_attempt = "sent", "", "", None
    tries = delivery.attempts - delivery.retried_after
    if isinstance(outcome, TryAgain) and tries <= len(BACK_OFF):
        state, next_attempt = "queued", stamp(now + BACK_OFF[tries - 1])
    elif isinstance(outcome, TryAgain | Refused):
        state = "failed"
    elif isinstance(outcome, Unclear):
        state = "unknown"
    values: dict[str, Any] = {"state": state, "next_attempt_at": next_attempt, "leased_until": None}
    if isinstance(outcome, Sent):
        values |= {"sent_at": stamp(now), "provider_id": outcome.provider_id[:255]}
        values["follow_up_at"] = None if follow_up_at is None else stamp(follow_up_at)
        detail = {"provider_id": outcome.provider_id}
    else:
        reason_code, reason = outcome.reason_code, outcome.reason
        detail = {"reason_code": reason_code, "reason": reason, "next_attempt_at": next_attempt or ""}
    values |= {"reason_code": reason_code, "reason": reason}
    kind = "temporary_failure" if state == "queued" else state
    with ledger_transaction(ledger) as connection:
        changed = connection.execute(
            update(DELIVERIES).where(*_still_ours(delivery, ("sending", "unknown"))).values(values)
        ).rowcount
        if changed == 1:
            record_event(connection, delivery.delivery_id, kind, detail, actor=SYSTEM, now=now)
    return state if changed == 1 else get_delivery(ledger, delivery.delivery_id).state


def release_expired(ledger: Engine, *, idempotent: Collection[str], now: datetime) -> int:
    """Decide on attempts whose worker is gone: again where nothing can be out or the channel tells repeats
    apart (``idempotent``), else ``unknown``. Returns how many there were."""
    statement = select(DELIVERIES).where(
        DELIVERIES.c.state == "sending", DELIVERIES.c.leased_until < stamp(now)
    )
    with ledger_transaction(ledger) as connection:
        rows = connection.execute(_locked(connection, statement)).all()
        for row in rows:
            if not row.message_hash or row.channel in idempotent:
                values = {"state": "queued", "next_attempt_at": stamp(now), "leased_until": None}
                detail = {"reason": "the worker that had it is gone; nothing can have been sent twice"}
            else:
                died = Unclear(
                    "sender_died", "The process that was sending it died: it may have arrived or not."
                )
                detail = {"reason_code": died.reason_code, "reason": died.reason}
                values = {"state": "unknown", "leased_until": None, "next_attempt_at": None}
                values |= detail
            _change(connection, row.delivery_id, values)
            record_event(connection, row.delivery_id, str(values["state"]), detail, actor=SYSTEM, now=now)
    return len(rows)


def hold_old(ledger: Engine, *, channels: Collection[str], now: datetime) -> int:
    """Hold what has waited past ``WAITED_TOO_LONG`` without one attempt; returns how many."""
    statement = select(DELIVERIES.c.delivery_id).where(
        DELIVERIES.c.state == "queued",
        DELIVERIES.c.attempts == 0,
        DELIVERIES.c.next_attempt_at < stamp(now - WAITED_TOO_LONG),
        DELIVERIES.c.channel.in_(sorted(channels)),
    )
    days = WAITED_TOO_LONG.days
    old = Refused(
        "waited_too_long", f"It has waited for more than {days} days; `ratemill delivery retry` sends it."
    )
    with ledger_transaction(ledger) as connection:
        ids = connection.execute(_locked(connection, statement)).scalars().all()
        for delivery_id in ids:
            values = {"state": "held", "next_attempt_at": None, "reason": old.reason}
            _change(connection, delivery_id, values | {"reason_code": old.reason_code})
            record_event(connection, delivery_id, "held", {"reason": old.reason}, actor=SYSTEM, now=now)
    return len(ids)


def retry(ledger: Engine, delivery_id: str, *, actor: str, now: datetime) -> Delivery:
    """Send again what failed, bounced, is held or unknown, as a person wants. Raises NotFound, Conflict."""
    delivery = get_delivery(ledger, delivery_id)
    with ledger_transaction(ledger) as connection:
        changed = connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.delivery_id == delivery_id, DELIVERIES.c.state.in_(NEEDS_PERSON))
            .values(
                state="queued",
                retried_after=DELIVERIES.c.attempts,
                next_attempt_at=stamp(now),
                **NO_REASON,
            )
        ).rowcount
        if changed != 1:
            raise Conflict(
                f"delivery {delivery_id} is {delivery.state}; only one that failed, bounced, is held or "
                "unknown is tried again. `ratemill invoice resend` sends an invoice once more.",
                reason_code="delivery_state",
            )
        record_event(connection, delivery_id, "retried", {"was": delivery.state}, actor=actor, now=now)
        record_change(
            connection,
            actor=actor,
            action="retried",
            object_kind="delivery",
            object_id=delivery_id,
            before={"state": delivery.state, "reason_code": delivery.reason_code},
            after={"state": "queued"},
            reason=delivery.reason,
            now=now,
        )
    return get_delivery(ledger, delivery_id)


def _locked(connection: Connection, statement: Select[Any]) -> Select[Any]:
    if connection.dialect.name == "postgresql":
        return statement.with_for_update(skip_locked=True)
    return statement


def _still_ours(delivery: Delivery, states: Collection[str]) -> tuple[Any, ...]:
    return (
        DELIVERIES.c.delivery_id == delivery.delivery_id,
        DELIVERIES.c.attempts == delivery.attempts,
        DELIVERIES.c.state.in_(states),
    )


def _change(connection: Connection, delivery_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.delivery_id == delivery_id).values(**values))
