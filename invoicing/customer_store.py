"""Saves and reads customers. Saving the same document again changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import NotFound
from ingest.ledger import ledger_transaction
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.customer import Customer, customer_rules
from invoicing.tables import CUSTOMERS
from rating.plan_version import SavedDocument


@dataclass(frozen=True, slots=True)
class StoredCustomer:
    """A customer in force, with the version that invoices quote."""

    customer: Customer
    version: int


def save_customer(ledger: Engine, document: Any, *, now: datetime) -> SavedDocument:
    """Check and save one customer document (a mapping, or a Customer). Raises InvalidDocument."""
    return save_customers(ledger, [document], now=now)[0]


def save_customers(ledger: Engine, documents: Sequence[Any], *, now: datetime) -> list[SavedDocument]:
    """Check all documents, then save them in one transaction: all of them or none.

    A document named twice in the list is saved in the order given. Raises InvalidDocument for the
    first bad one.
    """
    customers = [_checked(document) for document in documents]
    stamp = now.isoformat()
    with ledger_transaction(ledger) as connection:
        known = _versions(connection, sorted({customer.customer_id for customer in customers}))
        new: dict[str, tuple[str, int, str, str, str, str]] = {}
        saved = []
        for customer in customers:
            key, text, digest = customer.customer_id, canonical_json(customer), document_hash(customer)
            version, on_record = known.get(key, (0, ""))
            changed = digest != on_record
            if changed:
                version += 1
                if key in new or version == 1:
                    new[key] = (key, version, text, digest, stamp, stamp)
                else:
                    connection.execute(
                        CUSTOMERS.update()
                        .where(CUSTOMERS.c.customer_id == key)
                        .values(version=version, document=text, document_hash=digest, updated_at=stamp)
                    )
                known[key] = (version, digest)
            saved.append(SavedDocument(key, version, created=changed))
        insert_rows(connection, CUSTOMERS, new.values())
    return saved


def get_customer(ledger: Engine, customer_id: str) -> StoredCustomer:
    """The customer in force. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(
            select(CUSTOMERS.c.document, CUSTOMERS.c.version).where(CUSTOMERS.c.customer_id == customer_id)
        ).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no customer {customer_id!r}. Save it with `ratemill customer put` or "
            f"PUT /v1/customers/{customer_id}."
        )
    return StoredCustomer(_parse(row[0]), row[1])


def list_customers(ledger: Engine, *, limit: int, after: str | None = None) -> list[StoredCustomer]:
    """Up to ``limit`` customers by id, those after the id ``after``."""
    statement = select(CUSTOMERS.c.document, CUSTOMERS.c.version).order_by(CUSTOMERS.c.customer_id)
    if after is not None:
        statement = statement.where(CUSTOMERS.c.customer_id > after)
    with ledger.connect() as connection:
        return [StoredCustomer(_parse(row[0]), row[1]) for row in connection.execute(statement.limit(limit))]


def load_customer_texts(connection: Connection, ids: Sequence[str]) -> Mapping[str, tuple[int, str]]:
    """Version and canonical JSON text of each known customer among ``ids``: what invoices embed."""
    statement = select(CUSTOMERS.c.customer_id, CUSTOMERS.c.version, CUSTOMERS.c.document)
    rows = select_by_ids(connection, statement, CUSTOMERS.c.customer_id, ids)
    return {row[0]: (int(row[1]), row[2]) for row in rows}


def _checked(document: Any) -> Customer:
    if isinstance(document, Customer):
        document = document.model_dump()
    name = document.get("customer_id", "?") if isinstance(document, Mapping) else "?"
    return validate_document(Customer, document, what=f"customer {name!r}", rules=customer_rules)


def _versions(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    statement = sa.select(CUSTOMERS.c.customer_id, CUSTOMERS.c.version, CUSTOMERS.c.document_hash)
    rows = select_by_ids(connection, statement, CUSTOMERS.c.customer_id, ids)
    return {row[0]: (int(row[1]), row[2]) for row in rows}


def _parse(text: str) -> Customer:
    return Customer.model_validate(orjson.loads(text))
