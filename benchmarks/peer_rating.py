"""The rating stage's peers: usage in memory to amounts, in exact SQL and in exact Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

Amount = Callable[[Tiers, Decimal], Decimal]
Charges = Mapping[tuple[str, str], tuple[int, Tiers, Amount]]
"""(plan, meter) -> minor digits, tiers, and how a quantity is priced by them."""
LOOP_ROWS_MAX: Final = 1_000_000
APPLY_ROWS_MAX: Final = 200_000
"""The Python peers take minutes beyond these; their speed does not depend on the number of rows."""


def run_duckdb(request: CaseRequest) -> Measured:
    return in_duckdb(request, tiers=TIERS_PARQUET, wide=peer_duckdb.WIDE_TIERS, amount=peer_duckdb.AMOUNT)


def in_duckdb(request: CaseRequest, *, tiers: str, wide: str, amount: str) -> Measured:
    """Tables in DuckDB's memory, DECIMAL arithmetic, result in a table. tiers: their Parquet file; wide: the
    statement that makes one row a plan and meter of them; amount: what a row of usage comes to."""
    connection: Any = duckdb.connect(":memory:")
    connection.execute(f"CREATE TABLE usage AS SELECT * FROM '{request.data / USAGE_PARQUET}'")
    connection.execute(f"CREATE TABLE tiers AS SELECT * FROM '{request.data / tiers}'")
    job = f"""
        CREATE TABLE amounts AS
        WITH wide AS ({wide})
        SELECT row, round(({amount}) * minor_factor::INTEGER, 0)::BIGINT AS amount_minor
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
    return in_clickhouse(
        request,
        tiers=TIERS_PARQUET,
        columns=_TIER_COLUMNS,
        arrays=peer_clickhouse.TIER_ARRAYS,
        amount=peer_clickhouse.AMOUNT,
    )


def in_clickhouse(request: CaseRequest, *, tiers: str, columns: str, arrays: str, amount: str) -> Measured:
    """Memory tables, Decimal256 arithmetic, result in a Memory table. tiers, columns: their Parquet file and
    its table; arrays: the statement that makes one row a plan and meter of it; amount: of a row of usage."""
    store = EventStore(default_events_url(request.work))
    usage = read_usage(request)
    for name, kinds in (*_CLICKHOUSE_TABLES.items(), ("tiers", columns)):
        store.command(f"DROP TABLE IF EXISTS {name}")
        store.command(f"CREATE TABLE {name} ({kinds}) ENGINE = Memory")
    for start in range(0, len(usage), 500_000):
        store.insert("memory_usage", usage.slice(start, 500_000))
    store.insert("tiers", pq.read_table(request.data / tiers))
    job = f"""
        INSERT INTO amounts SELECT row, {peer_clickhouse.AMOUNT_MINOR} FROM (
            SELECT u.row AS row, t.minor_digits AS minor_digits, {amount} AS amount
            FROM memory_usage AS u
            INNER JOIN ({arrays}) AS t
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
    "amounts": "row Int64, amount_minor Int64",
}
_TIER_COLUMNS: Final = (
    "plan_id LowCardinality(String), meter_id LowCardinality(String), minor_digits UInt8, "
    "tier UInt8, lower Decimal(18, 6), upper Nullable(Decimal(18, 6)), unit_price Decimal(18, 8)"
)


def run_decimal_loop(request: CaseRequest) -> Measured:
    return by_loop(request, _graduated(request), rows_max=LOOP_ROWS_MAX)


def by_loop(request: CaseRequest, charges: Charges, *, rows_max: int) -> Measured:
    """A Python loop over lists of Decimals."""
    usage = read_usage(request, rows_max=rows_max)
    columns = [usage[name].to_pylist() for name in ("plan_id", "meter_id", "quantity")]
    found: dict[str, list[int]] = {}

    def job() -> None:
        with localcontext() as context:
            context.prec = 76
            found["minor"] = [
                _minor(charges[plan, meter], quantity) for plan, meter, quantity in zip(*columns, strict=True)
            ]

    seconds = time_repeatedly(request, job, found.clear)
    return _measured(request, seconds, len(usage), lambda: _in_order(found["minor"]))


def run_pandas_apply(request: CaseRequest) -> Measured:
    return by_apply(request, _graduated(request), rows_max=APPLY_ROWS_MAX)


def by_apply(request: CaseRequest, charges: Charges, *, rows_max: int) -> Measured:
    """``DataFrame.apply`` with a Decimal function, as scripts do."""
    frame = read_usage(request, rows_max=rows_max).to_pandas()
    found: dict[str, pd.Series[int]] = {}

    def job() -> None:
        with localcontext() as context:
            context.prec = 76
            found["minor"] = frame.apply(
                lambda row: _minor(charges[row["plan_id"], row["meter_id"]], row["quantity"]), axis=1
            )

    seconds = time_repeatedly(request, job, found.clear)
    return _measured(request, seconds, len(frame), lambda: _in_order(found["minor"].tolist()))


def _graduated(request: CaseRequest) -> Charges:
    return {key: (digits, tiers, tier_amount) for key, (digits, tiers) in read_tiers(request).items()}


def _minor(charge: tuple[int, Tiers, Amount], quantity: Decimal) -> int:
    minor_digits, tiers, amount = charge
    return int(amount(tiers, quantity).scaleb(minor_digits).quantize(Decimal(1), ROUND_HALF_UP))


def _in_order(amounts: list[int]) -> pa.Table:
    return pa.table({"row": pa.array(range(len(amounts)), pa.int64()), "amount_minor": pa.array(amounts)})


def _measured(
    request: CaseRequest, seconds: tuple[float, ...], rows: int, read: Callable[[], pa.Table]
) -> Measured:
    def result_hash() -> str:
        table = read()
        return amounts_hash(first_amounts(table["row"].to_numpy(), table["amount_minor"].to_numpy()))

    return measured(request, seconds, exact=True, rows=rows, hash_result=result_hash)
