"""What is asked of a customer when its contract is saved: who pays, on what terms, with what order.

An entity with ``require_payer`` takes no contract before that is known, one with
``require_acknowledged_terms`` none whose terms nobody acknowledged. Terms that the customer will not keep
are a warning: the contract is saved, and whoever saved it hears of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import orjson
from sqlalchemy import Connection, Engine, select

from ingest.errors import Issue
from invoicing.billed_time import contract_change_issues
from invoicing.billing_entity import BILLING_ENTITIES
from invoicing.bulk import select_by_ids
from invoicing.customer import Customer
from invoicing.customer_store import load_customer_texts
from invoicing.deletion import deleted_ids, lock_referring
from invoicing.quote_tables import QUOTE_ACCEPTANCES
from invoicing.tables import CUSTOMERS
from invoicing.tax_desk import TaxDesk, load_tax_desk
from rating.contract import Contract


def contract_issues(
    connection: Connection,
    contracts: Sequence[Contract],
    *,
    acknowledged: Mapping[str, str] | None = None,
) -> Mapping[str, Sequence[Issue]]:
    """All that this room holds against contracts that would change, by contract_id: time already billed
    (``contract_change_issues``), a customer or entity that was deleted, an unknown billing entity, a payer
    nobody knows, terms nobody acknowledged. Writes nothing; what contracts name stays on record until the
    transaction ends. acknowledged: terms that are acknowledged in this very transaction, by contract_id."""
    lock_referring(connection)
    found = {key: list(issues) for key, issues in contract_change_issues(connection, contracts).items()}
    for key, issue in _deleted(connection, contracts):
        found.setdefault(key, []).append(issue)
    desk = load_tax_desk(connection, provider=None)
    if desk is None:
        return found
    customers = _customers(connection, contracts)
    agreed = {
        *_acknowledged(connection, contracts),
        *(key for key, terms in (acknowledged or {}).items() if terms),
    }
    for contract in contracts:
        known = contract.contract_id in agreed
        issues = list(_entity_issues(desk, contract, customers.get(contract.customer_id), acknowledged=known))
        if issues:
            found.setdefault(contract.contract_id, []).extend(issues)
    return found


def terms_warnings(ledger: Engine, contract: Contract) -> tuple[Issue, ...]:
    """Where the contract's terms and what its customer said of how it pays do not go together."""
    with ledger.connect() as connection:
        customer = _customers(connection, [contract]).get(contract.customer_id)
    return () if customer is None else tuple(_conflicts(contract, customer))


def _deleted(connection: Connection, contracts: Sequence[Contract]) -> Iterator[tuple[str, Issue]]:
    """Customers and entities that contracts name and that were deleted, by contract_id. One that was never
    on record may come yet; one that was taken away will not, and the contract would wait for it for ever."""
    customers = {one.customer_id for one in contracts}
    on_record = select_by_ids(
        connection, select(CUSTOMERS.c.customer_id), CUSTOMERS.c.customer_id, sorted(customers)
    )
    gone = deleted_ids(connection, "customer", customers - {row[0] for row in on_record})
    entities = {one.billing_entity for one in contracts if one.billing_entity is not None}
    known = BILLING_ENTITIES.find(connection, entities)
    gone_entities = deleted_ids(connection, "billing_entity", entities - known.keys())
    for one in contracts:
        if one.customer_id in gone:
            yield (
                one.contract_id,
                Issue(
                    "customer_deleted",
                    "customer_id",
                    f"Customer {one.customer_id!r} was deleted.",
                    "another customer, or this one saved again: `ratemill customer put`.",
                ),
            )
        if one.billing_entity in gone_entities:
            yield (
                one.contract_id,
                Issue(
                    "entity_deleted",
                    "billing_entity",
                    f"Billing entity {one.billing_entity!r} was deleted.",
                    "another entity, or this one saved again: `ratemill entity put`.",
                ),
            )


def _customers(connection: Connection, contracts: Sequence[Contract]) -> dict[str, Customer]:
    ids = sorted({contract.customer_id for contract in contracts})
    texts = load_customer_texts(connection, ids)
    return {key: Customer.model_validate(orjson.loads(text)) for key, (_, text) in texts.items()}


def _acknowledged(connection: Connection, contracts: Sequence[Contract]) -> Iterator[str]:
    """The contracts whose terms somebody acknowledged with a quote."""
    columns = QUOTE_ACCEPTANCES.c
    statement = select(columns.contract_id).where(columns.terms_version != "")
    ids = sorted({contract.contract_id for contract in contracts})
    yield from (row[0] for row in select_by_ids(connection, statement, columns.contract_id, ids))


def _entity_issues(
    desk: TaxDesk, contract: Contract, customer: Customer | None, *, acknowledged: bool
) -> Iterator[Issue]:
    if contract.billing_entity is not None and contract.billing_entity not in desk.entities:
        yield Issue(
            "billing_entity_unknown",
            "billing_entity",
            f"Billing entity {contract.billing_entity!r} is not on record.",
            f"one of {', '.join(sorted(desk.entities))}.",
        )
        return
    entity_id = contract.billing_entity or desk.entity_id_for(
        {} if customer is None else customer.model_dump()
    )
    stored = None if entity_id is None else desk.entities.get(entity_id)
    if stored is not None and stored.document.require_payer:
        yield from _payer_issues(contract, customer)
    if stored is not None and stored.document.require_acknowledged_terms and not acknowledged:
        yield Issue(
            "terms_not_acknowledged",
            "contract_id",
            f"Nobody acknowledged the terms of contract {contract.contract_id!r}, and billing entity "
            f"{entity_id!r} takes none without.",
            "a quote with terms_version that is accepted: it makes the contract.",
        )


def _payer_issues(contract: Contract, customer: Customer | None) -> Iterator[Issue]:
    where = f"Customer {contract.customer_id!r}"
    parties = () if customer is None else (customer.bill_to, customer.notify)
    if not any(party is not None and party.email for party in parties):
        yield Issue(
            "payer_missing",
            "customer_id",
            f"{where} has nobody who pays: neither bill_to nor notify with an e-mail address.",
            "the payer in the customer document before the contract is saved.",
        )
    if customer is None or customer.ap_terms_days is None:
        yield Issue(
            "payer_terms_missing",
            "customer_id",
            f"{where} does not say within how many days it pays.",
            "ap_terms_days in the customer document.",
        )
    if customer is None or customer.purchase_order_required is None:
        yield Issue(
            "purchase_order_unasked",
            "customer_id",
            f"{where} does not say whether it pays only what names an order.",
            "purchase_order_required: true or false in the customer document.",
        )


def _conflicts(contract: Contract, customer: Customer) -> Iterator[Issue]:
    asked, kept = contract.terms.payment_days, customer.ap_terms_days
    if kept is not None and asked < kept:
        yield Issue(
            "payment_terms_conflict",
            "terms.payment_days",
            f"The contract asks for payment within {asked} days, and customer {customer.customer_id!r} pays "
            f"within {kept}.",
            "terms both sides keep, agreed before the first invoice.",
        )
    if customer.purchase_order_required and not contract.terms.purchase_order:
        yield Issue(
            "purchase_order_missing",
            "terms.purchase_order",
            f"Customer {customer.customer_id!r} pays only what names an order, and the contract has none.",
            "the number of the customer's order.",
        )
