"""Which contracts name the billing entity that sends their invoices, in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert

from rating.contract import Contract
from rating.contract_columns import rows_of
from rating.tables import CONTRACT_BILLING_ENTITIES


def forget_billing_entities(connection: Connection, contract_ids: Sequence[str]) -> None:
    """Take the rows of the contracts away; at most 500 ids."""
    table = CONTRACT_BILLING_ENTITIES
    connection.execute(delete(table).where(table.c.contract_id.in_(contract_ids)))


def write_billing_entities(connection: Connection, contracts: Iterable[Contract]) -> None:
    """Keep the entity of each contract that names one."""
    rows = [
        {"contract_id": contract.contract_id, "entity_id": contract.billing_entity}
        for contract in contracts
        if contract.billing_entity is not None
    ]
    if rows:
        connection.execute(insert(CONTRACT_BILLING_ENTITIES), rows)


def load_contract_entities(
    connection: Connection, contract_ids: Sequence[str] | None = None
) -> dict[str, str]:
    """The entity of each contract in force (all, or those named) that names one, by contract_id."""
    return dict(rows_of(connection, CONTRACT_BILLING_ENTITIES, contract_ids))
