"""Deletes a billing entity that was saved by mistake; one that anything refers to stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, delete, select

from ingest.ledger import ledger_transaction, lock_name
from invoicing.audit_trail import Change, record_changes
from invoicing.billing_entity import BILLING_ENTITIES, load_entities
from invoicing.customer_tables import CUSTOMER_RECORDS
from invoicing.deletion import (
    DELETED,
    DeletedRecord,
    Reference,
    checked_reason,
    lock_deleting,
    references_in,
    references_in_documents,
    refuse_in_use,
    state_before,
)
from invoicing.quote_tables import QUOTES
from invoicing.review.rules import DEFAULT_RULES, REVIEW_RULES
from invoicing.tables import CUSTOMERS, INVOICES, ISSUED_DOCUMENTS, SAVED_DOCUMENTS
from invoicing.tax_desk import sender_by_default
from invoicing.template_store import forget_choice
from rating.tables import CONTRACT_BILLING_ENTITIES, CONTRACTS

ENTITY_OBJECT: Final = "billing_entity"
_FIELD: Final = "billing_entity"
_ELSE: Final = (
    "An entity that something was billed or offered by is kept for the books and for its numbers; let "
    "contracts and customers name another one, and it sends nothing more."
)


def delete_entity(ledger: Engine, entity_id: str, *, reason: str, actor: str, now: datetime) -> DeletedRecord:
    """Delete all versions of an entity with what is only said of it: its review rules and its choice of a
    template. The audit trail keeps every version. The same id saved later is a new entity, at version 1.

    Raises InvalidInput without a reason, NotFound, Conflict (entity_in_use) when anything refers to it.
    """
    reason = checked_reason(reason, what=f"billing entity {entity_id!r}")
    with ledger_transaction(ledger) as connection:
        lock_deleting(connection)
        lock_name(connection, f"{BILLING_ENTITIES.name} {entity_id}")
        found = BILLING_ENTITIES.in_force(connection, entity_id)
        references = list(_references(connection, entity_id))
        refuse_in_use(f"billing entity {entity_id!r}", references, reason_code="entity_in_use", else_do=_ELSE)
        earlier = _earlier_versions(connection, entity_id, found.version)
        own = {} if entity_id == DEFAULT_RULES else REVIEW_RULES.find(connection, [entity_id])
        template_id = forget_choice(connection, "entity", entity_id)
        for kind in (BILLING_ENTITIES.name, *([REVIEW_RULES.name] if own else [])):
            place = (SAVED_DOCUMENTS.c.kind == kind) & (SAVED_DOCUMENTS.c.key == entity_id)
            connection.execute(delete(SAVED_DOCUMENTS).where(place))
        before = state_before(
            found.version,
            found.document.model_dump(mode="json"),
            earlier_versions=earlier,
            review_rules=own[entity_id].model_dump(mode="json") if own else None,
            template_id=template_id,
        )
        change = Change(actor, DELETED, ENTITY_OBJECT, entity_id, before, None, reason)
        record_changes(connection, [change], now=now)
    return DeletedRecord(entity_id, found.version)


def _earlier_versions(connection: Connection, key: str, version: int) -> list[Any]:
    table = SAVED_DOCUMENTS.c
    query = select(table.document).where(table.kind == BILLING_ENTITIES.name, table.key == key)
    texts = connection.execute(query.where(table.version < version).order_by(table.version)).scalars()
    return [orjson.loads(text) for text in texts]


def _references(connection: Connection, key: str) -> Iterator[Reference]:
    named, drafts, issued = CONTRACT_BILLING_ENTITIES.c, INVOICES.c, ISSUED_DOCUMENTS.c
    contracts = "Let these contracts name another entity."
    yield from references_in(connection, "contracts", named.contract_id, named.entity_id == key, contracts)
    if sender_by_default(load_entities(connection)) == key:
        yield from _by_default(connection)
    for words, table in (("customers", CUSTOMERS), ("records of customers", CUSTOMER_RECORDS)):
        instead = "Let these customers name another entity, or none."
        yield from references_in_documents(connection, words, table, "customer_id", _FIELD, key, instead)
    yield from references_in_documents(connection, "quotes", QUOTES, "quote_id", _FIELD, key, "")
    yield from references_in(connection, "invoices", drafts.invoice_id, drafts.entity_id == key, "")
    others = (issued.entity_id == key) & (issued.kind != "invoice")
    yield from references_in(connection, "other documents", issued.document_id, others, "")


def _by_default(connection: Connection) -> Iterator[Reference]:
    """Contracts whose invoices it sends because neither they nor their customers name an entity."""
    named, contracts, customers = CONTRACT_BILLING_ENTITIES.c, CONTRACTS.c, CUSTOMERS.c
    own = select(named.contract_id).where(named.contract_id == contracts.contract_id)
    of_customer = select(customers.customer_id).where(
        customers.customer_id == contracts.customer_id,
        customers.document.contains(f'"{_FIELD}":"', autoescape=True),
    )
    yield from references_in(
        connection,
        "contracts by default",
        contracts.contract_id,
        ~own.exists() & ~of_customer.exists(),
        "It sends the invoices of every contract that names nobody: save another entity with `default: true` "
        "and this one without, or let these contracts name another.",
    )
