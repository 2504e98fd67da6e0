"""Whether what was due has been delivered: counts by state and channel, and what is late and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Engine, func, select

from invoicing.delivery.delivery import DELIVERED, OUR_OWN, Delivery, delivery_of
from invoicing.delivery.tables import BOUNCED_ADDRESSES, DELIVERIES, stamp

LATE_MAX: Final = 100
"""Late deliveries that are listed one by one."""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """states: (channel, state) and how many; late: due and not delivered, the longest first, at most
    ``LATE_MAX`` of late_count; waiting: by channel that is not set up, how many wait for it."""

    states: tuple[tuple[str, str, int], ...]
    late: tuple[Delivery, ...]
    late_count: int
    waiting: dict[str, int]
    bounced_addresses: tuple[tuple[str, str, str], ...]


def delivery_status(ledger: Engine, *, channels: Collection[str], now: datetime) -> DeliveryStatus:
    """The state of the outbox. channels: those that are set up."""
    table = DELIVERIES
    counts = select(table.c.channel, table.c.state, func.count()).group_by(table.c.channel, table.c.state)
    late = select(table).where(*_late(now)).order_by(table.c.due_at, table.c.delivery_id).limit(LATE_MAX)
    addresses = select(BOUNCED_ADDRESSES).order_by(BOUNCED_ADDRESSES.c.address)
    with ledger.connect() as connection:
        states = tuple(sorted((row[0], row[1], int(row[2])) for row in connection.execute(counts)))
        found = tuple(delivery_of(row) for row in connection.execute(late))
        bounced = tuple((row.address, row.bounced_at, row.reason) for row in connection.execute(addresses))
    waiting: dict[str, int] = {}
    for channel, state, count in states:
        if state == "queued" and channel not in channels:
            waiting[channel] = waiting.get(channel, 0) + count
    late_count = count_late(ledger, now=now) if len(found) == LATE_MAX else len(found)
    return DeliveryStatus(states, found, late_count, waiting, bounced)


def count_late(ledger: Engine, *, now: datetime) -> int:
    """How many deliveries are due and not delivered: what an alarm watches."""
    with ledger.connect() as connection:
        return int(connection.execute(select(func.count()).where(*_late(now))).scalar_one())


def _late(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Its hour has come and it is not out; an alert to ourselves is nothing a customer waits for."""
    return (
        DELIVERIES.c.due_at <= stamp(now),
        DELIVERIES.c.state.not_in(DELIVERED),
        DELIVERIES.c.purpose.not_in(OUR_OWN),
    )
