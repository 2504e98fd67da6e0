"""Takes back rated lines that a killed run wrote and nobody was invoiced for.

Lines are written before their invoices. Should a price or an event change before the run is taken
up, some of the lines written first may not come again: without this they would stay for ever
beside those that were invoiced.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ingest.clickhouse import EventStore

BILLED_UNTIL_SCHEMA: Final = pa.schema([("contract_id", pa.string()), ("settled", pa.date32())])
_COLUMNS: Final = "contract_id String, settled Nullable(Date32)"


def delete_unsettled_lines(store: EventStore, billed: pa.Table) -> int:
    """Delete the lines of contracts that lie after their last settled billing date; returns how many.

    billed: BILLED_UNTIL_SCHEMA; ``settled`` is null for a contract that was never billed. Gone for
    every reader when this returns; call it before the lines of a run are written.
    """
    with store.scratch_table(_COLUMNS, billed.cast(BILLED_UNTIL_SCHEMA)) as scratch:
        behind = (
            f"SELECT lines.line_id FROM rated_lines AS lines INNER JOIN {scratch} AS billed "
            "ON lines.contract_id = billed.contract_id "
            f"WHERE lines.contract_id IN (SELECT contract_id FROM {scratch}) "
            "AND (billed.settled IS NULL OR lines.billing_date > billed.settled)"
        )
        found = int(store.command(f"SELECT count() FROM ({behind})"))
        if found:
            store.delete(
                "rated_lines",
                f"contract_id IN (SELECT contract_id FROM {scratch}) AND line_id IN ({behind})",
                key="hex(line_id)",
            )
    return found
