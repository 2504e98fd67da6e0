"""Reads the outbox: one delivery, pages of them, and what happened to each."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Engine, or_, select

from ingest.errors import NotFound
from invoicing.delivery.delivery import Delivery, delivery_of
from invoicing.delivery.tables import DELIVERIES, DELIVERY_EVENTS


def get_delivery(ledger: Engine, delivery_id: str) -> Delivery:
    """One delivery. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(
            select(DELIVERIES).where(DELIVERIES.c.delivery_id == delivery_id)
        ).one_or_none()
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id!r}. `ratemill delivery list` shows them.")
    return delivery_of(row)


def list_deliveries(
    ledger: Engine,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    **chosen: str | None,
) -> list[Delivery]:
    """Newest first (by queued_at, then id), those after the position ``after``. chosen: column to value."""
    statement = select(DELIVERIES).order_by(DELIVERIES.c.queued_at.desc(), DELIVERIES.c.delivery_id)
    for name, value in chosen.items():
        if value is not None:
            statement = statement.where(DELIVERIES.c[name] == value)
    if after is not None:
        queued_at, delivery_id = after
        same = (DELIVERIES.c.queued_at == queued_at) & (DELIVERIES.c.delivery_id > delivery_id)
        statement = statement.where(or_(DELIVERIES.c.queued_at < queued_at, same))
    with ledger.connect() as connection:
        return [delivery_of(row) for row in connection.execute(statement.limit(limit))]


def events_of(ledger: Engine, delivery_id: str) -> list[dict[str, Any]]:
    """What happened to a delivery, in order: at, kind, actor, detail."""
    statement = (
        select(DELIVERY_EVENTS)
        .where(DELIVERY_EVENTS.c.delivery_id == delivery_id)
        .order_by(DELIVERY_EVENTS.c.event_id)
    )
    with ledger.connect() as connection:
        rows = connection.execute(statement).all()
    return [
        {"at": row.at, "kind": row.kind, "actor": row.actor, "detail": orjson.loads(row.detail)}
        for row in rows
    ]
