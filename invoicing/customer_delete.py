"""Deletes a customer that was saved by mistake; one that anything refers to stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, delete, literal_column, select

from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.credit_tables import CREDIT_GRANTS
from invoicing.customer_claims import load_records, lock_customers
from invoicing.customer_record import DIRECT
from invoicing.customer_store import unknown_customer
from invoicing.customer_tables import CUSTOMER_CONFLICTS, CUSTOMER_EXTERNAL_IDS, CUSTOMER_RECORDS
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
from invoicing.delivery.tables import DELIVERIES
from invoicing.pay_out_tables import PAY_OUTS
from invoicing.payment_tables import PAYMENT_SETTINGS, PAYMENTS
from invoicing.quote_tables import QUOTES
from invoicing.tables import CUSTOMERS, INVOICES, ISSUED_DOCUMENTS
from invoicing.template_store import forget_choice
from rating.tables import CONTRACTS

CUSTOMER_OBJECT: Final = "customer"
FurtherReferences = Callable[[Connection, str], Iterable[Reference]]
"""What other rooms keep about a customer."""
_GOES_WITH_IT: Final = (CUSTOMER_EXTERNAL_IDS, CUSTOMER_CONFLICTS, CUSTOMER_RECORDS, PAYMENT_SETTINGS)
_ELSE: Final = (
    "A customer that something was agreed with or billed to is kept for the books: end its contracts "
    "(`end_date`) if nothing is to be billed any more, and put the document right if it is wrong."
)

_FORGET: Final = (
    "`ratemill customer forget SYSTEM EXTERNAL_ID` takes such a record away (enter the customer with "
    "`customer put` first, where no other record has its name)."
)


def delete_customer(
    ledger: Engine,
    customer_id: str,
    *,
    reason: str,
    actor: str,
    now: datetime,
    further: FurtherReferences,
) -> DeletedRecord:
    """Delete a customer with what is only said of it: what was entered beside other systems' records, its
    external ids, whether money on account pays by itself, its choice of a template. The audit trail keeps
    all of it. The same id saved later is a new customer, at version 1.

    Raises InvalidInput without a reason, NotFound, Conflict (customer_in_use) when anything refers to it.
    """
    reason = checked_reason(reason, what=f"customer {customer_id!r}")
    with ledger_transaction(ledger) as connection:
        lock_deleting(connection)
        found = lock_customers(connection, [customer_id])
        if not found:
            raise unknown_customer(customer_id)
        references = [*_references(connection, customer_id), *further(connection, customer_id)]
        refuse_in_use(f"customer {customer_id!r}", references, reason_code="customer_in_use", else_do=_ELSE)
        before = _before(connection, found[0])
        template_id = forget_choice(connection, "customer", customer_id)
        for table in _GOES_WITH_IT:
            connection.execute(delete(table).where(table.c.customer_id == customer_id))
        connection.execute(delete(CUSTOMERS).where(CUSTOMERS.c.customer_id == customer_id))
        before |= {"template_id": template_id} if template_id else {}
        change = Change(actor, DELETED, CUSTOMER_OBJECT, customer_id, before, None, reason)
        record_changes(connection, [change], now=now)
    return DeletedRecord(customer_id, found[0].version)


def _before(connection: Connection, row: Any) -> dict[str, Any]:
    entered = load_records(connection, [row.customer_id]).get(row.customer_id, {}).get(DIRECT)
    setting = connection.execute(
        select(PAYMENT_SETTINGS.c.applies_credit).where(PAYMENT_SETTINGS.c.customer_id == row.customer_id)
    ).scalar_one_or_none()
    return state_before(
        row.version,
        orjson.loads(row.document),
        entered_directly=None if entered is None else orjson.loads(entered.document),
        payment_settings=None if setting is None else {"applies_credit": bool(setting)},
    )


def _references(connection: Connection, key: str) -> Iterator[Reference]:
    contracts, quotes, drafts, issued = CONTRACTS.c, QUOTES.c, INVOICES.c, ISSUED_DOCUMENTS.c
    items, records = BILLABLE_ITEMS.c, CUSTOMER_RECORDS.c
    of_systems = (records.customer_id == key) & (records.system != DIRECT)
    for words, column, where, instead in (
        ("contracts", contracts.contract_id, contracts.customer_id == key, ""),
        ("quotes", quotes.quote_id, quotes.customer_id == key, ""),
        ("invoices", drafts.invoice_id, drafts.customer_id == key, ""),
        (
            "other documents",
            issued.document_id,
            (issued.customer_id == key) & (issued.kind != "invoice"),
            "",
        ),
        ("deliveries", DELIVERIES.c.delivery_id, DELIVERIES.c.customer_id == key, ""),
        ("credit grants", CREDIT_GRANTS.c.grant_id, CREDIT_GRANTS.c.customer_id == key, ""),
        ("payments", PAYMENTS.c.payment_id, PAYMENTS.c.customer_id == key, ""),
        ("pay-outs", PAY_OUTS.c.pay_out_id, PAY_OUTS.c.customer_id == key, ""),
        ("billable items", items.item_id, items.customer_id == key, ""),
        (
            "records of other systems",
            records.system + literal_column("' '") + records.external_id,
            of_systems,
            _FORGET,
        ),
    ):
        yield from references_in(connection, words, column, where, instead)
    yield from _children(connection, key)


def _children(connection: Connection, key: str) -> Iterator[Reference]:
    """Customers that belong to it, in force or by the record of a system."""
    instead = "Save them with another `parent_id`, or none."
    places = (("customers that belong to it", CUSTOMERS), ("records of customers that do", CUSTOMER_RECORDS))
    for words, table in places:
        yield from references_in_documents(connection, words, table, "customer_id", "parent_id", key, instead)
