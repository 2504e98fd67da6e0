"""The peers of ``mixed_tiers.py``: five tiers of three models in exact SQL and in exact Python."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from itertools import groupby
from typing import Any, Final

import pyarrow.parquet as pq

from benchmarks.mixed_tiers import MIXED_TIERS_PARQUET, PACKAGE
from benchmarks.peer_pandas import Tiers, tier_amount
from benchmarks.peer_rating import (
    APPLY_ROWS_MAX,
    LOOP_ROWS_MAX,
    Amount,
    Charges,
    by_apply,
    by_loop,
    in_clickhouse,
    in_duckdb,
)
from benchmarks.request import CaseRequest, Measured

_TIERS: Final = range(1, 6)
_UNITS: Final = {
    1: "least(quantity, bound1)",
    **{tier: f"greatest(least(quantity, bound{tier}) - bound{tier - 1}, 0)" for tier in (2, 3, 4)},
    5: "greatest(quantity - bound4, 0)",
}

DUCKDB_WIDE: Final = f"""
SELECT plan_id, meter_id, any_value(model) AS model, 10 ** any_value(minor_digits) AS minor_factor,
       {", ".join(f"max(upper) FILTER (tier = {tier}) AS bound{tier}" for tier in _TIERS[:-1])},
       {", ".join(f"max(unit_price) FILTER (tier = {tier}) AS price{tier}" for tier in _TIERS)}
FROM tiers GROUP BY plan_id, meter_id
"""
DUCKDB_AMOUNT: Final = f"""
CASE model
WHEN 'graduated' THEN {" + ".join(f"{_UNITS[tier]} * price{tier}" for tier in _TIERS)}
WHEN 'package' THEN {" + ".join(f"ceil({_UNITS[tier]} * 0.1) * price{tier}" for tier in _TIERS)}
ELSE quantity * CASE {" ".join(f"WHEN quantity <= bound{tier} THEN price{tier}" for tier in _TIERS[:-1])}
    ELSE price5 END
END
"""
"""A division of decimals is a binary float there; a tenth is a multiplication."""

CLICKHOUSE_COLUMNS: Final = (
    "plan_id LowCardinality(String), meter_id LowCardinality(String), minor_digits UInt8, "
    "model LowCardinality(String), tier UInt8, lower Decimal(18, 6), upper Nullable(Decimal(18, 6)), "
    "unit_price Decimal(18, 8)"
)
CLICKHOUSE_ARRAYS: Final = """
SELECT plan_id, meter_id, any(minor_digits) AS minor_digits, any(model) AS model,
       groupArray(toDecimal128(lower, 12)) AS lowers,
       groupArray(ifNull(toDecimal128(upper, 12), toDecimal128('99999999999999999999', 12))) AS uppers,
       groupArray(toDecimal256(unit_price, 8)) AS prices
FROM (SELECT * FROM tiers ORDER BY plan_id, meter_id, tier) GROUP BY plan_id, meter_id
"""
_INSIDE: Final = "greatest(least(u.quantity, high) - low, toDecimal128(0, 12))"
CLICKHOUSE_AMOUNT: Final = f"""
multiIf(
    t.model = 'graduated',
    toDecimal256(arraySum(arrayMap(
        (low, high, price) -> {_INSIDE} * price, t.lowers, t.uppers, t.prices)), 20),
    t.model = 'package',
    toDecimal256(arraySum(arrayMap(
        (low, high, price) -> toDecimal256(ceil({_INSIDE} * toDecimal32('0.1', 1)), 0) * price,
        t.lowers, t.uppers, t.prices)), 20),
    toDecimal256(u.quantity * arrayFirst((price, high) -> u.quantity <= high, t.prices, t.uppers), 20))
"""


def run_duckdb(request: CaseRequest) -> Measured:
    return in_duckdb(request, tiers=MIXED_TIERS_PARQUET, wide=DUCKDB_WIDE, amount=DUCKDB_AMOUNT)


def run_clickhouse(request: CaseRequest) -> Measured:
    return in_clickhouse(
        request,
        tiers=MIXED_TIERS_PARQUET,
        columns=CLICKHOUSE_COLUMNS,
        arrays=CLICKHOUSE_ARRAYS,
        amount=CLICKHOUSE_AMOUNT,
    )


def run_decimal_loop(request: CaseRequest) -> Measured:
    return by_loop(request, _charges(request), rows_max=LOOP_ROWS_MAX)


def run_pandas_apply(request: CaseRequest) -> Measured:
    return by_apply(request, _charges(request), rows_max=APPLY_ROWS_MAX)


def _charges(request: CaseRequest) -> Charges:
    rows: list[dict[str, Any]] = pq.read_table(request.data / MIXED_TIERS_PARQUET).to_pylist()
    found: dict[tuple[str, str], tuple[int, Tiers, Amount]] = {}
    for (plan_id, meter_id), group in groupby(rows, key=lambda row: (row["plan_id"], row["meter_id"])):
        own = list(group)
        tiers = [(row["lower"], row["upper"], row["unit_price"]) for row in own]
        found[plan_id, meter_id] = own[0]["minor_digits"], tiers, AMOUNTS[own[0]["model"]]
    return found


def volume_amount(tiers: Tiers, quantity: Decimal) -> Decimal:
    """All units at the price of the tier that holds the quantity."""
    for _, upper, price in tiers:
        if upper is None or quantity <= upper:
            return quantity * price
    raise ValueError("the last tier is open")


def package_amount(tiers: Tiers, quantity: Decimal) -> Decimal:
    """Started packages of each tier at its price."""
    amount = Decimal(0)
    for lower, upper, price in tiers:
        if quantity <= lower:
            break
        inside = quantity if upper is None or quantity < upper else upper
        amount += ((inside - lower) / PACKAGE).to_integral_value(ROUND_CEILING) * price
    return amount


AMOUNTS: Final[dict[str, Amount]] = {
    "graduated": tier_amount,
    "volume": volume_amount,
    "package": package_amount,
}
