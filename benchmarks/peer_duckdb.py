"""The DuckDB peer: a native database file holding every event as sent, resends included.

First sending wins: ``rowid IN (SELECT min(rowid) ... GROUP BY source, id)``. Measured on 10 M
events against DISTINCT, DISTINCT ON, first(), any_value() and QUALIFY row_number(): it was the
fastest of seven that are right (2.5-3.0 s; the others 2.9-6.3 s). Tiers are joined as one wide row
a plan and meter, which beat joining four rows and adding them up (4.4 s and 5.1 s for the whole job).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from benchmarks.dataset import CONTRACTS_PARQUET, EVENTS_PARQUET, TIERS_PARQUET
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import lines_hash, usage_hash

USAGE: Final = """
SELECT subject, type AS meter_id, date_trunc('month', time) AS period_start,
       sum(value) AS quantity, count(*) AS event_count
FROM events
WHERE rowid IN (SELECT min(rowid) FROM events GROUP BY source, id)
  AND time >= TIMESTAMP '{time_from}' AND time < TIMESTAMP '{time_to}'
GROUP BY ALL
"""

WIDE_TIERS: Final = """
SELECT plan_id, meter_id, 10 ** any_value(minor_digits) AS minor_factor,
       max(upper) FILTER (tier = 1) AS bound1, max(upper) FILTER (tier = 2) AS bound2,
       max(upper) FILTER (tier = 3) AS bound3,
       max(unit_price) FILTER (tier = 1) AS price1, max(unit_price) FILTER (tier = 2) AS price2,
       max(unit_price) FILTER (tier = 3) AS price3, max(unit_price) FILTER (tier = 4) AS price4
FROM tiers GROUP BY plan_id, meter_id
"""

AMOUNT: Final = """
least(quantity, bound1) * price1
+ greatest(least(quantity, bound2) - bound1, 0) * price2
+ greatest(least(quantity, bound3) - bound2, 0) * price3
+ greatest(quantity - bound3, 0) * price4
"""

_LINES: Final = f"""
CREATE OR REPLACE TABLE lines AS
WITH usage AS ({USAGE}), wide AS ({WIDE_TIERS}),
priced AS (
    SELECT contract_id, u.meter_id, period_start, quantity, event_count, minor_factor, {AMOUNT} AS amount
    FROM usage u JOIN contracts c USING (subject)
    JOIN wide w ON w.plan_id = c.plan_id AND w.meter_id = u.meter_id
)
SELECT contract_id, meter_id, period_start, quantity, event_count, amount,
       round(amount * minor_factor::INTEGER, 0)::BIGINT AS amount_minor
FROM priced
"""


def load_job(request: CaseRequest) -> None:
    """Fill the database file. Not timed."""
    with database(request) as connection:
        connection.execute(
            "CREATE TABLE events AS SELECT source, id, type, subject, time::TIMESTAMP AS time, "
            f"value, properties FROM '{request.data / EVENTS_PARQUET}'"
        )
        for name, file in (("contracts", CONTRACTS_PARQUET), ("tiers", TIERS_PARQUET)):
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM '{request.data / file}'")


def run_bare_job(request: CaseRequest) -> Measured:
    """Stored events to stored lines of seven columns."""
    with database(request) as connection:
        seconds = time_repeatedly(
            request,
            lambda: connection.execute(with_span(_LINES, request)),
            lambda: connection.execute("DROP TABLE IF EXISTS lines"),
        )
        return measured(
            request,
            seconds,
            exact=True,
            hash_result=lambda: lines_hash(connection.sql("SELECT * FROM lines").to_arrow_table()),
        )


def run_rollup(request: CaseRequest) -> Measured:
    """Stored events to an Arrow table of usage in this process."""
    found: dict[str, pa.Table] = {}
    statement = with_span(USAGE, request)
    with database(request) as connection:

        def job() -> None:
            found["usage"] = connection.sql(statement).to_arrow_table()

        seconds = time_repeatedly(request, job, found.clear)
        return measured(request, seconds, exact=True, hash_result=lambda: usage_hash(found["usage"]))


@contextmanager
def database(request: CaseRequest) -> Iterator[Any]:
    """The peer's database file, open."""
    request.work.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(str(request.work / "peer.duckdb"))
    try:
        yield connection
    finally:
        connection.close()


def with_span(sql: str, request: CaseRequest) -> str:
    """The statement with the billed months put in."""
    return sql.format(time_from=f"{request.time_from:%Y-%m-%d}", time_to=f"{request.time_to:%Y-%m-%d}")
