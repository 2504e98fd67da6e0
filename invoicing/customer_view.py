"""Which system says what of a customer: one customer's fields, and the conflicts of all."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, tuple_

from invoicing.customer_claims import (
    StoredRecord,
    StoredSources,
    load_records,
    load_sources,
    merge_records,
)
from invoicing.customer_record import FieldInForce
from invoicing.customer_store import get_customer
from invoicing.customer_tables import CUSTOMER_CONFLICTS


@dataclass(frozen=True, slots=True)
class CustomerConflict:
    """A field of a customer on which systems differ."""

    customer_id: str
    in_force: FieldInForce


@dataclass(frozen=True, slots=True)
class CustomerRecords:
    """records: one a system, by its name; none while no system has sent any. fields: as they are in force."""

    records: tuple[StoredRecord, ...]
    fields: tuple[FieldInForce, ...]


def list_conflicts(
    ledger: Engine,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    customer_id: str | None = None,
) -> list[CustomerConflict]:
    """Up to ``limit`` conflicts by customer and field, those behind ``after``."""
    found: list[CustomerConflict] = []
    with ledger.connect() as connection:
        sources = load_sources(connection).sources
        while len(found) < limit:
            wanted = limit - len(found)
            places = _places(connection, limit=wanted, after=after, customer_id=customer_id)
            held = load_records(connection, sorted({customer for customer, _ in places}))
            fields = {
                (customer, one.field): one
                for customer, records in held.items()
                for one in merge_records(customer, records, sources).conflicts()
            }
            # A record that came in between the two reads may have ended a conflict.
            found += [CustomerConflict(place[0], fields[place]) for place in places if place in fields]
            if len(places) < wanted:
                break
            after = places[-1]
    return found


def _places(
    connection: Connection, *, limit: int, after: tuple[str, str] | None, customer_id: str | None
) -> list[tuple[str, str]]:
    table = CUSTOMER_CONFLICTS
    query = select(table).order_by(table.c.customer_id, table.c.field).limit(limit)
    if after is not None:
        query = query.where(tuple_(table.c.customer_id, table.c.field) > tuple_(*after))
    if customer_id is not None:
        query = query.where(table.c.customer_id == customer_id)
    return [(row.customer_id, row.field) for row in connection.execute(query)]


def records_of_customer(ledger: Engine, customer_id: str) -> CustomerRecords:
    """What each system says of a customer, and which of it is in force. Raises NotFound."""
    get_customer(ledger, customer_id)
    with ledger.connect() as connection:
        held = load_records(connection, [customer_id]).get(customer_id, {})
        sources = load_sources(connection).sources
    records = tuple(held[system] for system in sorted(held))
    return CustomerRecords(records, merge_records(customer_id, held, sources).fields)


def get_sources(ledger: Engine) -> StoredSources:
    """The sources of truth in force."""
    with ledger.connect() as connection:
        return load_sources(connection)
