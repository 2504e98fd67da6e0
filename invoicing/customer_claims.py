"""Records of customers in the ledger, one a system, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select, update

from ingest.document import canonical_json
from ingest.errors import Conflict
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.customer import Customer
from invoicing.customer_record import (
    DIRECT,
    Claim,
    CustomerRecord,
    CustomerSources,
    MergedCustomer,
    claimed_values,
    merge_customer,
    new_claim,
)
from invoicing.customer_tables import (
    CUSTOMER_CONFLICTS,
    CUSTOMER_EXTERNAL_IDS,
    CUSTOMER_RECORDS,
    CUSTOMER_SOURCES,
)
from invoicing.tables import CUSTOMERS


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as sent (``document``, canonical JSON) with its claim. changed_at: when it last changed."""

    customer_id: str
    claim: Claim
    document: str
    changed_at: str


@dataclass(frozen=True, slots=True)
class StoredSources:
    """The sources of truth in force; version 0 is the one there is before any was saved."""

    sources: CustomerSources
    version: int


def lock_customers(connection: Connection, customer_ids: Sequence[str]) -> list[Any]:
    """The rows of these customers; on PostgreSQL nobody else changes them until the transaction ends."""
    query = select(CUSTOMERS).with_for_update()
    return list(select_by_ids(connection, query, CUSTOMERS.c.customer_id, customer_ids))


def load_records(connection: Connection, customer_ids: Sequence[str]) -> dict[str, dict[str, StoredRecord]]:
    """The records of each customer by system; customers without any are left out."""
    found: dict[str, dict[str, StoredRecord]] = {}
    table = CUSTOMER_RECORDS
    for row in select_by_ids(connection, select(table), table.c.customer_id, customer_ids):
        found.setdefault(row.customer_id, {})[row.system] = read_record(row)
    return found


def read_record(row: Any) -> StoredRecord:
    """A row of ``customer_records``."""
    model = Customer if row.system == DIRECT else CustomerRecord
    values = claimed_values(model.model_validate(orjson.loads(row.document)))
    claim = Claim(row.system, row.external_id, values, orjson.loads(row.since), row.told_at)
    return StoredRecord(row.customer_id, claim, row.document, row.changed_at)


def sent_record(
    customer_id: str,
    system: str,
    document: CustomerRecord | Customer,
    *,
    before: StoredRecord | None,
    now: str,
) -> StoredRecord:
    """The record that a system has sent now; the one before it when that says the same."""
    if isinstance(document, CustomerRecord):
        document = document.model_copy(update={"customer_id": customer_id})  # often said the first time only
    text = canonical_json(document)
    if before is not None and before.document == text:
        return before
    external_id = document.customer_id if isinstance(document, Customer) else document.external_id
    claim = new_claim(
        system, external_id, claimed_values(document), before=before.claim if before else None, now=now
    )
    return StoredRecord(customer_id, claim, text, now)


def merge_records(
    customer_id: str, records: Mapping[str, StoredRecord], sources: CustomerSources
) -> MergedCustomer:
    """The customer that the records of all systems make."""
    entered = records.get(DIRECT)
    written = orjson.loads(entered.document) if entered else {}
    claims = [records[system].claim for system in sorted(records)]
    merged = merge_customer(
        customer_id, claims, sources, entered_external_ids=written.get("external_ids", {})
    )
    if written.get("delivery") is None:
        return merged
    # How a customer wants its documents is only ever entered directly.
    return replace(merged, document=merged.document | {"delivery": written["delivery"]})


def write_records(
    connection: Connection,
    records: Mapping[str, Mapping[str, StoredRecord]],
    *,
    before: Mapping[str, Mapping[str, StoredRecord]],
) -> None:
    """Write the records, by customer and system, that are not those on record ``before``. The customers are
    on record."""
    table, new = CUSTOMER_RECORDS, []
    for owner, of_owner in records.items():
        for system, record in of_owner.items():
            claim, on_record = record.claim, before.get(owner, {}).get(system)
            since = orjson.dumps(claim.since).decode()
            if on_record is None:
                values = (system, claim.external_id, owner, record.document, since)
                new.append((*values, claim.told_at, record.changed_at))
            elif on_record is not record:
                key = (table.c.system == system) & (table.c.external_id == claim.external_id)
                content = {"document": record.document, "since": since, "changed_at": record.changed_at}
                connection.execute(update(table).where(key).values(**content))
    insert_rows(connection, table, new)


def write_conflicts(connection: Connection, merged: Mapping[str, MergedCustomer]) -> None:
    """Note on which fields the records of these customers differ, and forget what was noted before."""
    table, ids = CUSTOMER_CONFLICTS, sorted(merged)
    rows = select_by_ids(connection, select(table), table.c.customer_id, ids)
    before = {(row.customer_id, row.field) for row in rows}
    now = {(customer, one.field) for customer in ids for one in merged[customer].conflicts()}
    for customer, field in sorted(before - now):
        key = (table.c.customer_id == customer) & (table.c.field == field)
        connection.execute(delete(table).where(key))
    insert_rows(connection, table, sorted(now - before))


def keep_external_ids(connection: Connection, customers: Iterable[Customer]) -> None:
    """Note whose external ids are whose, by the last document of each customer.

    Raises Conflict when one belongs to a customer that is not among these, or is given to two of them.
    """
    table = CUSTOMER_EXTERNAL_IDS
    last = {customer.customer_id: customer.external_ids for customer in customers}
    wanted: dict[tuple[str, str], str] = {}
    for customer_id, external_ids in last.items():
        for key in external_ids.items():
            if wanted.setdefault(key, customer_id) != customer_id:
                raise _taken(key, owner=wanted[key], other=customer_id)
    held = select_by_ids(connection, select(table), table.c.customer_id, sorted(last))
    before = {(row.system, row.external_id): row.customer_id for row in held}
    for key in sorted(key for key, owner in before.items() if wanted.get(key) != owner):
        place = (table.c.system == key[0]) & (table.c.external_id == key[1])
        connection.execute(delete(table).where(place))
    new = {key: owner for key, owner in wanted.items() if before.get(key) != owner}
    for key, owner in owners_of_external_ids(connection, new).items():
        raise _taken(key, owner=owner, other=new[key])
    insert_rows(connection, table, sorted((*key, owner) for key, owner in new.items()))


def owners_of_external_ids(
    connection: Connection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The customer of each (system, external id) that has one."""
    wanted, table = set(keys), CUSTOMER_EXTERNAL_IDS
    ids = sorted({external_id for _, external_id in wanted})
    rows = select_by_ids(connection, select(table), table.c.external_id, ids)
    found = {(row.system, row.external_id): row.customer_id for row in rows}
    return {key: owner for key, owner in found.items() if key in wanted}


def load_sources(connection: Connection) -> StoredSources:
    """The sources of truth in force."""
    table = CUSTOMER_SOURCES
    query = select(table.c.version, table.c.document).order_by(table.c.version.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        return StoredSources(CustomerSources(), 0)
    return StoredSources(CustomerSources.model_validate(orjson.loads(row[1])), row[0])


def _taken(key: tuple[str, str], *, owner: str, other: str) -> Conflict:
    system, external_id = key
    return Conflict(
        f"{external_id!r} of {system} belongs to customer {owner!r}, so it cannot be customer {other!r} too; "
        f"nothing was saved. Take it off {owner!r} first, or leave it out of {other!r}.",
        reason_code="external_id_taken",
    )
