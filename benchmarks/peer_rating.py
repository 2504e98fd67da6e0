"""The rating stage's peers: usage in memory to amounts, in exact SQL and in exact Python."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Final

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import peer_clickhouse, peer_duckdb
from benchmarks.dataset import TIERS_PARQUET
from benchmarks.peer_pandas import Tiers, read_tiers, tier_amount
from benchmarks.rating_data import USAGE_PARQUET, first_amounts, read_usage
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import amounts_hash
from ingest.clickhouse import EventStore, default_events_url

LOOP_ROWS_MAX: Final = 1_000_000
APPLY_ROWS_MAX: Final = 200_000
"""The Python peers take minutes beyond these; their speed does not depend on the number of rows."""


def run_duckdb(request: CaseRequest) -> Measured:
    """Tables in DuckDB's memory, DECIMAL arithmetic, result in a table."""
    connection: Any = duckdb.connect(":memory:")
    connection.execute(f"CREATE TABLE usage AS SELECT * FROM '{request.data / USAGE_PARQUET}'")
    connection.execute(f"CREATE TABLE tiers AS SELECT * FROM '{request.data / TIERS_PARQUET}'")
    job = f"""
        CREATE TABLE amounts AS
        WITH wide AS ({peer_duckdb.WIDE_TIERS})
        SELECT row, round(({peer_duckdb.AMOUNT}) * minor_factor::INTEGER, 0)::BIGINT AS amount_minor
        FROM usage JOIN wide USING (plan_id, meter_id)
    """
    rows = int(connection.execute("SELECT count(*) FROM usage").fetchall()[0][0])
    seconds = time_repeatedly(
        request,
        lambda: connection.execute(job),
        lambda: connection.execute("DROP TABLE IF EXISTS amounts"),
    )
    return _measured(request, seconds, rows, lambda: connection.sql("FROM amounts").to_arrow_table())


def run_clickhouse(request: CaseRequest) -> Measured:
    """Memory tables, Decimal256 arithmetic, result in a Memory table."""
    store = EventStore(default_events_url(request.work))
    usage = read_usage(request)
    for name, columns in _CLICKHOUSE_TABLES.items():
        store.command(f"DROP TABLE IF EXISTS {name}")
        store.command(f"CREATE TABLE {name} ({columns}) ENGINE = Memory")
    for start in range(0, len(usage), 500_000):
        store.insert("memory_usage", usage.slice(start, 500_000))
    store.insert("tiers", pq.read_table(request.data / TIERS_PARQUET))
    job = f"""
        INSERT INTO amounts SELECT row, {peer_clickhouse.AMOUNT_MINOR} FROM (
            SELECT u.row AS row, t.minor_digits AS minor_digits, {peer_clickhouse.AMOUNT} AS amount
            FROM memory_usage AS u
            INNER JOIN ({peer_clickhouse.TIER_ARRAYS}) AS t
                ON t.plan_id = u.plan_id AND t.meter_id = u.meter_id)
    """
    try:
        seconds = time_repeatedly(
            request, lambda: store.command(job), lambda: store.command("TRUNCATE TABLE amounts")
        )
        return _measured(request, seconds, len(usage), lambda: store.query("SELECT * FROM amounts"))
    finally:
        store.close()


_CLICKHOUSE_TABLES: Final = {
    "memory_usage": "row Int64, plan_id LowCardinality(String), meter_id LowCardinality(String), "
    "quantity Decimal(38, 12)",
    "tiers": "plan_id LowCardinality(String), meter_id LowCardinality(String), minor_digits UInt8, "
    "tier UInt8, lower Decimal(18, 6), upper Nullable(Decimal(18, 6)), unit_price Decimal(18, 8)",
    "amounts": "row Int64, amount_minor Int64",
}


def run_decimal_loop(request: CaseRequest) -> Measured:
    """A Python loop over lists of Decimals."""
    usage = read_usage(request, rows_max=LOOP_ROWS_MAX)
    columns = [usage[name].to_pylist() for name in ("plan_id", "meter_id", "quantity")]
    tiers = read_tiers(request)
    found: dict[str, list[int]] = {}

    def job() -> None:
        with localcontext() as context:
            context.prec = 76
            found["minor"] = [
                _minor(tiers[plan, meter], quantity) for plan, meter, quantity in zip(*columns, strict=True)
            ]

    seconds = time_repeatedly(request, job, found.clear)
    return _measured(request, seconds, len(usage), lambda: _in_order(found["minor"]))


def run_pandas_apply(request: CaseRequest) -> Measured:
    """``DataFrame.apply`` with a Decimal function, as scripts do."""
    frame = read_usage(request, rows_max=APPLY_ROWS_MAX).to_pandas()
    tiers = read_tiers(request)
    found: dict[str, pd.Series[int]] = {}

    def job() -> None:
        with localcontext() as context:
            context.prec = 76
            found["minor"] = frame.apply(
                lambda row: _minor(tiers[row["plan_id"], row["meter_id"]], row["quantity"]), axis=1
            )

    seconds = time_repeatedly(request, job, found.clear)
    return _measured(request, seconds, len(frame), lambda: _in_order(found["minor"].tolist()))


def _minor(charge: tuple[int, Tiers], quantity: Decimal) -> int:
    minor_digits, tiers = charge
    return int(tier_amount(tiers, quantity).scaleb(minor_digits).quantize(Decimal(1), ROUND_HALF_UP))


def _in_order(amounts: list[int]) -> pa.Table:
    return pa.table({"row": pa.array(range(len(amounts)), pa.int64()), "amount_minor": pa.array(amounts)})


def _measured(
    request: CaseRequest, seconds: tuple[float, ...], rows: int, read: Callable[[], pa.Table]
) -> Measured:
    def result_hash() -> str:
        table = read()
        return amounts_hash(first_amounts(table["row"].to_numpy(), table["amount_minor"].to_numpy()))

    return measured(request, seconds, exact=True, rows=rows, hash_result=result_hash)
