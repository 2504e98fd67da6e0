"""What was billed before, read from rated lines: what a commitment over a term is measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.event import TIMESTAMP
from rating.adjustment_line import ADJUSTED_FEE, BILLED_QUANTITY
from rating.money import minor_to_decimal
from rating.steps import FEE_ADJUSTMENT
from rating.term_commitment import TermCommitment
from rating.true_up import BILLED_SPEND_SCHEMA, SPENT
from rollup.period import local_midnight

SPANS_SCHEMA: Final = pa.schema(
    [
        pa.field("owner", pa.string(), nullable=False),
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("span_start", TIMESTAMP, nullable=False),
        pa.field("span_end", TIMESTAMP, nullable=False),
        pa.field("settled", pa.date32(), nullable=False),
    ]
)
"""One row a contract, and one for its bills after its end: lines that stand under the key ``owner``, whose
period lies in [span_start, span_end), of billing dates up to the last one that is settled: lines after it are
of a run that was killed or is at work. They count for ``contract_id``."""
_COLUMNS: Final = (
    "owner String, contract_id String, span_start DateTime64(6, 'UTC'), "
    "span_end DateTime64(6, 'UTC'), settled Date32"
)


_ID_COLUMNS: Final = "line_id String"
_ID_SCHEMA: Final = pa.schema([pa.field("line_id", pa.string(), nullable=False)])


def read_billed_spend(store: EventStore, spans: pa.Table, *, without: Sequence[str] = ()) -> pa.Table:
    """BILLED_SPEND_SCHEMA, one row a contract, billing date, charge and period. spans: SPANS_SCHEMA. without:
    ids of lines that do not count, in hex."""
    if not spans.num_rows:
        return BILLED_SPEND_SCHEMA.empty_table()
    names = [name for name in BILLED_SPEND_SCHEMA.names if name not in {*SPENT, "contract_id"}]
    keys = ["spans.contract_id AS contract_id", *(f"lines.{name} AS {name}" for name in names)]
    with ExitStack() as tables:
        scratch = tables.enter_context(store.scratch_table(_COLUMNS, spans.cast(SPANS_SCHEMA)))
        counted = ""
        if without:
            ids = pa.table({"line_id": pa.array(without, pa.string())}, schema=_ID_SCHEMA)
            not_counted = tables.enter_context(store.scratch_table(_ID_COLUMNS, ids))
            counted = f"AND lower(hex(line_id)) NOT IN (SELECT line_id FROM {not_counted})"
        found = store.query(
            f"SELECT {', '.join(keys)}, sum(toDecimal128(lines.amount_minor, 0)) AS amount_minor, "
            "sum(lines.added_units) AS units "
            "FROM (SELECT contract_id AS owner, billing_date, charge_id, currency, "
            f"if(mapContains(inputs, '{ADJUSTED_FEE}'), '{FEE_ADJUSTMENT}', toString(charge_kind)) "
            "AS charge_kind, "
            f"period_start, period_end, amount_minor, quantity - inputs['{BILLED_QUANTITY}'] AS added_units "
            "FROM rated_lines FINAL "
            f"WHERE contract_id IN (SELECT owner FROM {scratch}) "
            f"{counted}) AS lines "
            f"INNER JOIN {scratch} AS spans ON lines.owner = spans.owner "
            "WHERE lines.period_start >= spans.span_start AND lines.period_end <= spans.span_end "
            "AND lines.billing_date <= spans.settled "
            "GROUP BY contract_id, billing_date, charge_id, charge_kind, currency, period_start, period_end "
            "ORDER BY contract_id, billing_date, charge_id, period_start"
        )
    columns = []
    for field in BILLED_SPEND_SCHEMA:
        column = found[field.name]
        plain = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        columns.append(plain.cast(field.type))
    return pa.Table.from_arrays(columns, schema=BILLED_SPEND_SCHEMA)


def spent_towards(
    store: EventStore,
    line: Mapping[str, Any],
    commitment: TermCommitment,
    *,
    contract_id: str,
    time_zone: str,
) -> list[tuple[date, Decimal]]:
    """(billing date, major units or units) that counted towards the commitment, for each date that counted
    something.

    line: the true-up, one row of RATED_LINE_SCHEMA as Python values; its period is the term, as far as the
    contract went. One that was adjusted after the end stands under another key than its contract's, whose
    lines count too. contract_id, time_zone: of the contract.
    """
    spans = [
        {
            "owner": owner,
            "contract_id": contract_id,
            "span_start": line["period_start"],
            "span_end": local_midnight(commitment.effective_until, time_zone),
            "settled": line["billing_date"],
        }
        for owner in dict.fromkeys((contract_id, line["contract_id"]))
    ]
    spent: dict[date, Decimal] = {}
    for row in read_billed_spend(store, pa.Table.from_pylist(spans, schema=SPANS_SCHEMA)).to_pylist():
        if commitment.covers(charge_id=row["charge_id"], charge_kind=row["charge_kind"]):
            counted = row["units"]
            if commitment.units is None:
                counted = minor_to_decimal(int(row["amount_minor"]), line["currency"])
            day = row["billing_date"]
            spent[day] = spent.get(day, Decimal(0)) + counted
    return sorted(spent.items())
