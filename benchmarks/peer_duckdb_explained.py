"""The DuckDB peer storing explained lines: the columns of Ratemill's, tier rows included.

The rollup and the wide row of tiers are those of ``peer_duckdb``. Tier rows are list literals under
a CASE by the number of tiers reached; slicing lists of four, and one CASE giving a struct of all
lists, took as much processor time or more (1 M events, a shared machine, differences of 2-8 %). A
128-bit hash is two of DuckDB's 64-bit ones: ``md5_number`` took 15 % more for the whole job. Amounts
keep the 20 digits their product has. What is the same on every line of the workload is a literal,
which spares the peer a join.
"""

from __future__ import annotations

from typing import Final

from benchmarks.peer_duckdb import USAGE, database, with_span
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import explained_hash

_PRICES: Final = """
SELECT plan_id, meter_id, (10 ** any_value(minor_digits))::INTEGER AS minor_factor,
       CASE any_value(minor_digits) WHEN 0 THEN 'JPY' WHEN 2 THEN 'EUR' ELSE 'KWD' END AS currency,
       md5(string_agg(concat_ws(' ', tier, upper, unit_price), ';' ORDER BY tier)) AS price_hash,
       max(upper) FILTER (tier = 1) AS bound1, max(upper) FILTER (tier = 2) AS bound2,
       max(upper) FILTER (tier = 3) AS bound3,
       max(unit_price) FILTER (tier = 1) AS price1, max(unit_price) FILTER (tier = 2) AS price2,
       max(unit_price) FILTER (tier = 3) AS price3, max(unit_price) FILTER (tier = 4) AS price4
FROM tiers GROUP BY plan_id, meter_id
"""


def _by_tier(entries: tuple[str, ...]) -> str:
    """A list of the entries of the tiers that the quantity reaches."""
    lists = [f"[{', '.join(entries[:count])}]" for count in (1, 2, 3, 4)]
    cases = " ".join(f"WHEN quantity <= bound{count} THEN {lists[count - 1]}" for count in (1, 2, 3))
    return f"CASE {cases} ELSE {lists[3]} END"


_NUMBERS: Final = _by_tier(("1::USMALLINT", "2::USMALLINT", "3::USMALLINT", "4::USMALLINT"))
_UNITS: Final = _by_tier(("units1", "units2", "units3", "units4"))
_AMOUNTS: Final = _by_tier(("units1 * price1", "units2 * price2", "units3 * price3", "units4 * price4"))

_LINES: Final = f"""
CREATE OR REPLACE TABLE explained_lines AS
WITH usage AS ({USAGE}), prices AS ({_PRICES}),
priced AS (
    SELECT contract_id, c.plan_id, u.meter_id, period_start, period_start + INTERVAL 1 MONTH AS period_end,
           quantity, event_count, prices.* EXCLUDE (plan_id, meter_id),
           least(quantity, bound1) AS units1, least(quantity, bound2) - bound1 AS units2,
           least(quantity, bound3) - bound2 AS units3, quantity - bound3 AS units4
    FROM usage u JOIN contracts c USING (subject)
    JOIN prices ON prices.plan_id = c.plan_id AND prices.meter_id = u.meter_id
),
tiered AS (
    SELECT *, {_NUMBERS} AS tier_number, {_UNITS} AS tier_units, {_AMOUNTS} AS tier_amount,
           units1 * price1 + greatest(units2, 0) * price2 + greatest(units3, 0) * price3
           + greatest(units4, 0) * price4 AS amount
    FROM priced
)
SELECT hash(contract_id, meter_id, period_start)::UHUGEINT * 18446744073709551616::UHUGEINT
           + hash(contract_id || plan_id, meter_id, period_start) AS line_id,
       'benchmark' AS run_id, contract_id, plan_id, 1::UINTEGER AS plan_version, meter_id AS charge_id,
       'usage' AS charge_kind, 'graduated' AS price_model, meter_id, 'unit' AS unit,
       period_end::DATE AS billing_date, period_start, period_end,
       date_diff('day', period_start, period_end)::INTEGER AS days,
       date_diff('day', period_start, period_end)::INTEGER AS full_days,
       MAP {{{{}}}}::MAP(VARCHAR, VARCHAR) AS dimensions, quantity, quantity AS rated_quantity, event_count,
       tier_number, tier_units, tier_amount, amount,
       round(amount * minor_factor, 0)::BIGINT AS amount_minor, currency,
       hash(price_hash, quantity, event_count)::UHUGEINT * 18446744073709551616::UHUGEINT
           + hash(event_count, quantity, price_hash, 1) AS input_hash
FROM tiered
"""

# DuckDB gives Arrow 128-bit integers as doubles.
_READ: Final = """
SELECT * REPLACE (line_id::VARCHAR AS line_id, input_hash::VARCHAR AS input_hash) FROM explained_lines
"""


def run_job(request: CaseRequest) -> Measured:
    """Stored events to stored explained lines."""
    statement = with_span(_LINES, request)
    with database(request) as connection:
        seconds = time_repeatedly(
            request,
            lambda: connection.execute(statement),
            lambda: connection.execute("DROP TABLE IF EXISTS explained_lines"),
        )
        return measured(
            request,
            seconds,
            exact=True,
            hash_result=lambda: explained_hash(connection.sql(_READ).to_arrow_table()),
        )
