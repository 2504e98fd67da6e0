"""Input of the rating stage: usage rows in memory, twelve meters a contract, prices of the workload.

Quantities run from 10**-9 to a million, evenly over the powers of ten, so every tier is reached.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.canonical import (
    EVENT_TYPES,
    MONTH_STARTS,
    Int64s,
    Workload,
    contract_names,
    draw,
    nanos_to_decimal,
)
from benchmarks.canonical_plans import plan_documents, plan_name
from benchmarks.request import CaseRequest
from ingest.event import TIMESTAMP
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.schema import USAGE_SCHEMA

USAGE_PARQUET: Final = "rating_usage.parquet"
CHECKED_ROWS: Final = 100_000
"""Every system prices at least these first rows; their amounts are what the hash is made of."""
ROWS: Final = {"tiny": 12_000, "small": 1_200_000, "full": 9_600_000}

_PLAN, _DIGITS, _QUANTITY = 70, 71, 72


def load(request: CaseRequest) -> None:
    """Write row, plan_id, meter_id and quantity of every usage row, once for all systems."""
    path = request.data / USAGE_PARQUET
    if path.exists():
        return
    rows = ROWS[request.size]
    plans, meters = (
        pa.array([plan_name(plan) for plan in range(request.workload.plans)]),
        pa.array(EVENT_TYPES),
    )
    table = pa.table(
        {
            "row": pa.array(np.arange(rows)),
            "plan_id": plans.take(pa.array(_plans(request.workload, rows))),
            "meter_id": meters.take(pa.array(np.arange(rows) % len(EVENT_TYPES))),
            "quantity": nanos_to_decimal(_quantities(request.workload, rows)),
        }
    )
    pq.write_table(table, path)


def read_usage(request: CaseRequest, *, rows_max: int | None = None) -> pa.Table:
    """The first ``rows_max`` rows (all when None)."""
    table = pq.read_table(request.data / USAGE_PARQUET)
    return table.slice(0, rows_max) if rows_max is not None else table


def plan_versions(workload: Workload) -> list[PlanVersion]:
    """The plans of the workload, each its first version."""
    return [PlanVersion(plan=PricePlan.model_validate(text), version=1) for text in plan_documents(workload)]


def as_periods_and_usage(usage: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The same rows as SERVICE_PERIOD_SCHEMA (one period a contract) and USAGE_SCHEMA."""
    per_contract = len(EVENT_TYPES)
    contracts = len(usage) // per_contract
    usage = usage.slice(0, contracts * per_contract)
    keys = pa.array(np.arange(contracts, dtype=np.uint32))
    constant = np.zeros(contracts, np.int64)

    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([value], kind).take(pa.array(constant))

    word = SERVICE_PERIOD_SCHEMA.field("plan_id").type
    plans = usage["plan_id"].take(pa.array(np.arange(contracts) * per_contract)).combine_chunks()
    periods = [
        keys,
        contract_names(np.arange(contracts)),
        plans.dictionary_encode().cast(word),
        same(1, pa.uint32()),
        same("", pa.string()).dictionary_encode(),
        same("arrears", pa.string()).dictionary_encode(),
        same(date(2025, 2, 1), pa.date32()),
        same(MONTH_STARTS[0], TIMESTAMP),
        same(MONTH_STARTS[1], TIMESTAMP),
        same(31, pa.int32()),
        same(31, pa.int32()),
        same(True, pa.bool_()),
        same(0, pa.int32()),
        same(date(2025, 1, 1), pa.date32()),
    ]
    rows = contracts * per_contract
    no_dimensions = pa.MapArray.from_arrays(
        pa.array(np.zeros(rows + 1, np.int32)), pa.array([], pa.string()), pa.array([], pa.string())
    )
    columns = [
        pa.array((np.arange(rows) // per_contract).astype(np.uint32)),
        usage["meter_id"].combine_chunks().dictionary_encode().cast(word),
        no_dimensions,
        usage["quantity"].combine_chunks(),
        pa.array(np.ones(rows, np.uint64)),
    ]
    return (
        pa.Table.from_arrays(periods, schema=SERVICE_PERIOD_SCHEMA),
        pa.Table.from_arrays(columns, schema=USAGE_SCHEMA),
    )


def first_amounts(rows: Any, amounts: Any) -> pl.Series:
    """Amounts of the checked rows in row order."""
    frame = pl.DataFrame({"row": rows, "amount_minor": amounts}).cast(pl.Int64)
    return frame.filter(pl.col("row") < CHECKED_ROWS).sort("row")["amount_minor"]


def _plans(workload: Workload, rows: int) -> Int64s:
    contract = np.arange(rows, dtype=np.uint64) // np.uint64(len(EVENT_TYPES))
    plans: Int64s = (draw(workload.seed, _PLAN, contract) % np.uint64(workload.plans)).astype(np.int64)
    return plans


def _quantities(workload: Workload, rows: int) -> Int64s:
    row = np.arange(rows, dtype=np.uint64)
    digits = (draw(workload.seed, _DIGITS, row) % np.uint64(15)).astype(np.int64) + 1
    below = (10**digits).astype(np.uint64)
    quantities: Int64s = (draw(workload.seed, _QUANTITY, row) % below).astype(np.int64) + 1
    return quantities
