"""Which contracts name a pool, in the ledger; the word itself stands in their documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert

from rating.contract import Contract
from rating.contract_columns import rows_of
from rating.tables import CONTRACT_POOLS


def forget_pools(connection: Connection, contract_ids: Sequence[str]) -> None:
    """Take the rows of the contracts away; at most 500 ids."""
    table = CONTRACT_POOLS
    connection.execute(delete(table).where(table.c.contract_id.in_(contract_ids)))


def write_pools(connection: Connection, contracts: Iterable[Contract]) -> None:
    """Keep the pools that the contracts name."""
    rows = [
        {"contract_id": contract.contract_id, "pool_id": contract.pool_id}
        for contract in contracts
        if contract.pool_id is not None
    ]
    if rows:
        connection.execute(insert(CONTRACT_POOLS), rows)


def load_pools(connection: Connection, contract_ids: Sequence[str] | None = None) -> dict[str, str]:
    """The pool of each contract in force (all, or those named) that names one, by contract_id."""
    return dict(rows_of(connection, CONTRACT_POOLS, contract_ids))
