"""The pandas + Decimal peer: the script many finance teams run at month end, written with care.

Reads the needed Parquet columns, drops resends, groups with exact ``Decimal`` sums, prices row by
row in a plain loop (faster than ``DataFrame.apply``), writes Parquet.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import groupby
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dataset import CONTRACTS_PARQUET, EVENTS_PARQUET, TIERS_PARQUET
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import lines_hash

LINES_PARQUET: Final = "lines.parquet"
Tiers = list[tuple[Decimal, Decimal | None, Decimal]]


def load_job(request: CaseRequest) -> None:
    """The Parquet files are its storage."""
    request.work.mkdir(parents=True, exist_ok=True)


def run_bare_job(request: CaseRequest) -> Measured:
    """Parquet events to Parquet lines of seven columns."""
    lines = request.work / LINES_PARQUET
    seconds = time_repeatedly(request, lambda: _job(request), lambda: lines.unlink(missing_ok=True))
    return measured(request, seconds, exact=True, hash_result=lambda: lines_hash(pq.read_table(lines)))


def _job(request: CaseRequest) -> None:
    usage = monthly_usage(request)
    amounts = _price(usage, read_tiers(request))
    usage["amount"] = pd.Series([amount for amount, _ in amounts], dtype=object)
    usage["amount_minor"] = [minor for _, minor in amounts]
    usage["period_start"] = usage["period_start"].dt.start_time
    usage = usage.rename(columns={"type": "meter_id", "sum": "quantity", "count": "event_count"})
    kept = ["contract_id", "meter_id", "period_start", "quantity", "event_count", "amount", "amount_minor"]
    table = pa.Table.from_pandas(usage[kept], preserve_index=False)
    pq.write_table(table, request.work / LINES_PARQUET)


def monthly_usage(request: CaseRequest) -> pd.DataFrame:
    """Exact usage and its contract: subject, type, period_start (a month), sum, count, contract_id,
    plan_id."""
    columns = ["source", "id", "type", "subject", "time", "value"]
    events = pd.read_parquet(request.data / EVENTS_PARQUET, columns=columns)
    events = events.drop_duplicates(["source", "id"])
    events = events[(events["time"] >= request.time_from) & (events["time"] < request.time_to)]
    events["period_start"] = events["time"].dt.tz_localize(None).astype("datetime64[us]").dt.to_period("M")
    usage = (
        events.groupby(["subject", "type", "period_start"], sort=False, observed=True)["value"]
        .agg(["sum", "count"])
        .reset_index()
    )
    contracts = pd.read_parquet(request.data / CONTRACTS_PARQUET)
    return usage.merge(contracts, on="subject", validate="many_to_one")


def _price(usage: pd.DataFrame, tiers: dict[tuple[str, str], tuple[int, Tiers]]) -> list[tuple[Decimal, int]]:
    amounts = []
    with localcontext() as context:
        context.prec = 76
        for plan_id, meter_id, quantity in zip(usage["plan_id"], usage["type"], usage["sum"], strict=True):
            minor_digits, rows = tiers[plan_id, meter_id]
            amount = tier_amount(rows, quantity)
            minor = amount.scaleb(minor_digits).quantize(Decimal(1), ROUND_HALF_UP)
            amounts.append((amount, int(minor)))
    return amounts


def tier_amount(tiers: Tiers, quantity: Decimal) -> Decimal:
    """Each unit at the price of its tier, exactly (in a context of enough digits)."""
    amount = Decimal(0)
    for lower, upper, unit_price in tiers:
        if quantity <= lower:
            break
        inside = quantity if upper is None or quantity < upper else upper
        amount += (inside - lower) * unit_price
    return amount


def read_tiers(request: CaseRequest) -> dict[tuple[str, str], tuple[int, Tiers]]:
    """(plan, meter) -> minor digits and tiers as (lower, upper, unit price)."""
    rows: list[dict[str, Any]] = pq.read_table(request.data / TIERS_PARQUET).to_pylist()
    grouped = groupby(rows, key=lambda row: (row["plan_id"], row["meter_id"], row["minor_digits"]))
    return {
        (plan_id, meter_id): (digits, [(row["lower"], row["upper"], row["unit_price"]) for row in tiers])
        for (plan_id, meter_id, digits), tiers in grouped
    }
