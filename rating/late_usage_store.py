"""Which contracts let late usage be, in the ledger; the word itself stands in their documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert

from rating.contract import Contract
from rating.contract_columns import rows_of
from rating.tables import CONTRACTS_WITHOUT_ADJUSTMENTS


def forget_late_usage(connection: Connection, contract_ids: Sequence[str]) -> None:
    """Take the rows of the contracts away; at most 500 ids."""
    table = CONTRACTS_WITHOUT_ADJUSTMENTS
    connection.execute(delete(table).where(table.c.contract_id.in_(contract_ids)))


def write_late_usage(connection: Connection, contracts: Iterable[Contract]) -> None:
    """Keep which of the contracts ignore late usage."""
    rows = [
        {"contract_id": contract.contract_id} for contract in contracts if contract.late_usage == "ignore"
    ]
    if rows:
        connection.execute(insert(CONTRACTS_WITHOUT_ADJUSTMENTS), rows)


def contracts_without_adjustments(
    connection: Connection, contract_ids: Sequence[str] | None = None
) -> frozenset[str]:
    """The contracts in force (all, or those named) that ignore late usage."""
    return frozenset(row[0] for row in rows_of(connection, CONTRACTS_WITHOUT_ADJUSTMENTS, contract_ids))
