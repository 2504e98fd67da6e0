"""The plain ClickHouse peer storing explained lines: the columns of Ratemill's, tier rows included.

Events, FINAL and tier arrays are those of ``peer_clickhouse``. Units of all four tiers come from one
arrayMap, the arrays are sliced to the tiers reached, and only those are multiplied (in Decimal256).
Amounts are stored as Decimal(38, 20), all their digits; what does not fit is an error. What is the
same on every line of the workload is a literal, which spares the peer a join.
"""

from __future__ import annotations

from typing import Final

from benchmarks.peer_clickhouse import AMOUNT_MINOR, USAGE, peer_store, with_span
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import explained_hash
from ingest.clickhouse import EventStore

_TABLE: Final = """
CREATE TABLE explained_lines (
    line_id FixedString(16), run_id LowCardinality(String), contract_id String,
    plan_id LowCardinality(String), plan_version UInt32, charge_id LowCardinality(String),
    charge_kind LowCardinality(String), price_model LowCardinality(String),
    meter_id LowCardinality(String), unit LowCardinality(String),
    billing_date Date32, period_start DateTime64(6, 'UTC'), period_end DateTime64(6, 'UTC'),
    days Int32, full_days Int32, dimensions Map(LowCardinality(String), LowCardinality(String)),
    quantity Decimal(38, 12) CODEC(ZSTD(1)), rated_quantity Decimal(38, 12) CODEC(ZSTD(1)),
    event_count UInt64, tier_number Array(UInt16), tier_units Array(Decimal(38, 12)) CODEC(ZSTD(1)),
    tier_amount Array(Decimal(38, 20)) CODEC(ZSTD(1)), amount Decimal(38, 20) CODEC(ZSTD(1)),
    amount_minor Int64, currency LowCardinality(String), input_hash FixedString(16) CODEC(NONE)
) ENGINE = MergeTree ORDER BY (contract_id, meter_id, period_start)
"""

_PRICES: Final = """
SELECT plan_id, meter_id, any(minor_digits) AS minor_digits,
       multiIf(minor_digits = 0, 'JPY', minor_digits = 2, 'EUR', 'KWD') AS currency,
       sipHash128(groupArray((ifNull(upper, 0), unit_price))) AS price_hash,
       groupArray(toDecimal128(lower, 12)) AS lowers,
       groupArray(ifNull(toDecimal128(upper, 12), toDecimal128('99999999999999999999', 12))) AS uppers,
       groupArray(toDecimal256(unit_price, 8)) AS prices
FROM (SELECT * FROM tiers ORDER BY plan_id, meter_id, tier) GROUP BY plan_id, meter_id
"""

_PRICED: Final = f"""
SELECT c.contract_id AS contract_id, c.plan_id AS plan_id, u.meter_id AS meter_id,
       toDateTime64(u.period_start, 6, 'UTC') AS period_start, addMonths(period_start, 1) AS period_end,
       toInt32(dateDiff('day', period_start, period_end)) AS days,
       u.quantity AS quantity, u.event_count AS event_count, t.minor_digits AS minor_digits,
       t.currency AS currency, t.price_hash AS price_hash,
       arrayMap((low, high) -> least(u.quantity, high) - low, t.lowers, t.uppers) AS units,
       arrayCount(unit -> unit > 0, units) AS tier_count,
       range(1, tier_count + 1) AS tier_number,
       arraySlice(units, 1, tier_count) AS tier_units,
       arrayMap((unit, price) -> unit * price, tier_units, arraySlice(t.prices, 1, tier_count)) AS tier_amount
FROM ({USAGE}) AS u
INNER JOIN contracts AS c ON c.subject = u.subject
INNER JOIN ({_PRICES}) AS t ON t.plan_id = c.plan_id AND t.meter_id = u.meter_id
"""

_LINES: Final = f"""
INSERT INTO explained_lines
SELECT sipHash128(contract_id, plan_id, meter_id, period_start) AS line_id, 'benchmark', contract_id,
       plan_id, 1, meter_id AS charge_id, 'usage', 'graduated', meter_id, 'unit',
       toDate32(period_end), period_start, period_end, days, days AS full_days, map(),
       quantity, quantity AS rated_quantity, event_count, tier_number, tier_units, tier_amount,
       arraySum(tier_amount) AS amount, {AMOUNT_MINOR} AS amount_minor, currency,
       sipHash128(price_hash, quantity, event_count) AS input_hash
FROM ({_PRICED})
"""


def run_job(request: CaseRequest) -> Measured:
    """Stored events to stored explained lines."""
    statement = with_span(_LINES, request)
    with peer_store(request) as store:
        seconds = time_repeatedly(request, lambda: store.command(statement), lambda: _empty_table(store))
        return measured(
            request,
            seconds,
            exact=True,
            hash_result=lambda: explained_hash(store.query("SELECT * FROM explained_lines")),
        )


def _empty_table(store: EventStore) -> None:
    store.command("DROP TABLE IF EXISTS explained_lines")
    store.command(_TABLE)
