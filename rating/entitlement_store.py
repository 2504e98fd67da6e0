"""Which contracts limit which meters, in the ledger; the limits themselves stand in the documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select

from rating.contract import Contract
from rating.tables import CONTRACT_ENTITLEMENTS, CONTRACT_SUBJECTS, CONTRACT_VERSIONS, CONTRACTS


def forget_entitlements(connection: Connection, contract_ids: Sequence[str]) -> None:
    """Take the rows of the contracts away; at most 500 ids."""
    table = CONTRACT_ENTITLEMENTS
    connection.execute(delete(table).where(table.c.contract_id.in_(contract_ids)))


def write_entitlements(connection: Connection, contracts: Iterable[Contract]) -> None:
    """Keep which meters the contracts limit."""
    rows = [
        {"contract_id": contract.contract_id, "meter_id": one.meter_id, "period": one.period}
        for contract in contracts
        for one in contract.entitlements
    ]
    if rows:
        connection.execute(insert(CONTRACT_ENTITLEMENTS), rows)


def find_contracts(
    ledger: Engine,
    *,
    subject: str | None = None,
    contract_id: str | None = None,
    customer_id: str | None = None,
) -> list[Contract]:
    """The contracts in force that hold the subject, have the id and belong to the customer, as far as these
    are given, by contract_id."""
    conditions: list[ColumnElement[bool]] = []
    if subject is not None:
        holders = select(CONTRACT_SUBJECTS.c.contract_id).where(CONTRACT_SUBJECTS.c.subject == subject)
        conditions.append(CONTRACTS.c.contract_id.in_(holders))
    if contract_id is not None:
        conditions.append(CONTRACTS.c.contract_id == contract_id)
    if customer_id is not None:
        conditions.append(CONTRACTS.c.customer_id == customer_id)
    return _contracts(ledger, conditions)


def limited_contracts(ledger: Engine) -> list[Contract]:
    """The contracts in force that limit any meter, by contract_id."""
    limiting = select(CONTRACT_ENTITLEMENTS.c.contract_id).distinct()
    return _contracts(ledger, [CONTRACTS.c.contract_id.in_(limiting)])


def _contracts(ledger: Engine, conditions: Sequence[ColumnElement[bool]]) -> list[Contract]:
    newest = (CONTRACTS.c.contract_id == CONTRACT_VERSIONS.c.contract_id) & (
        CONTRACTS.c.version == CONTRACT_VERSIONS.c.version
    )
    query = (
        select(CONTRACT_VERSIONS.c.document)
        .join(CONTRACTS, newest)
        .where(*conditions)
        .order_by(CONTRACTS.c.contract_id)
    )
    with ledger.connect() as connection:
        texts = connection.execute(query).scalars().all()
    return [Contract.model_validate_json(text) for text in texts]
