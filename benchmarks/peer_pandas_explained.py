"""The pandas + Decimal peer storing explained lines: the columns of Ratemill's, tier rows included.

Usage is that of ``peer_pandas``. One plain loop over the rows prices them and fills flat lists of
tier rows, which become Arrow lists by their offsets: no Python list a line. Ids are MD5. What is
the same on every line is a dictionary column of one word.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peer_pandas import Tiers, monthly_usage, read_tiers
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import explained_hash

LINES_PARQUET: Final = "explained_lines.parquet"
_CURRENCIES: Final = {0: "JPY", 2: "EUR", 3: "KWD"}
_QUANTITY: Final = pa.decimal128(38, 12)
_AMOUNT: Final = pa.decimal128(38, 20)


@dataclass(slots=True)
class _Priced:
    """One entry a line, and one a tier row; ``tier_start`` says where a line's tier rows begin."""

    amount: list[Decimal] = field(default_factory=list)
    amount_minor: list[int] = field(default_factory=list)
    currency: list[str] = field(default_factory=list)
    line_id: list[bytes] = field(default_factory=list)
    input_hash: list[bytes] = field(default_factory=list)
    tier_start: list[int] = field(default_factory=lambda: [0])
    tier_number: list[int] = field(default_factory=list)
    tier_units: list[Decimal] = field(default_factory=list)
    tier_amount: list[Decimal] = field(default_factory=list)


def run_job(request: CaseRequest) -> Measured:
    """Parquet events to Parquet explained lines."""
    lines = request.work / LINES_PARQUET
    seconds = time_repeatedly(request, lambda: _job(request), lambda: lines.unlink(missing_ok=True))
    return measured(request, seconds, exact=True, hash_result=lambda: explained_hash(pq.read_table(lines)))


def _job(request: CaseRequest) -> None:
    usage = monthly_usage(request)
    priced = _price(usage, read_tiers(request))
    pq.write_table(_lines(usage, priced), request.work / LINES_PARQUET)


def _price(usage: pd.DataFrame, tiers: dict[tuple[str, str], tuple[int, Tiers]]) -> _Priced:
    priced = _Priced()
    terms = {key: _md5(repr(rows)).hex() for key, rows in tiers.items()}
    names = ("plan_id", "type", "sum", "count", "contract_id")
    months = usage["period_start"].dt.strftime("%Y-%m").tolist()
    rows = zip(*(usage[name].tolist() for name in names), months, strict=True)
    with localcontext() as context:
        context.prec = 76
        for plan_id, meter_id, quantity, event_count, contract_id, month in rows:
            minor_digits, charge = tiers[plan_id, meter_id]
            amount = _append_tiers(priced, charge, quantity)
            minor = amount.scaleb(minor_digits).quantize(Decimal(1), ROUND_HALF_UP)
            question = f"{contract_id}|{plan_id}|{meter_id}|{month}"
            inputs = f"{terms[plan_id, meter_id]}|{quantity}|{event_count}"
            priced.amount.append(amount)
            priced.amount_minor.append(int(minor))
            priced.currency.append(_CURRENCIES[minor_digits])
            priced.line_id.append(_md5(question))
            priced.input_hash.append(_md5(inputs))
    return priced


def _append_tiers(priced: _Priced, tiers: Tiers, quantity: Decimal) -> Decimal:
    """Append the tier rows of a quantity; returns their sum."""
    total = Decimal(0)
    for number, (lower, upper, unit_price) in enumerate(tiers, start=1):
        if quantity <= lower:
            break
        units = (quantity if upper is None or quantity < upper else upper) - lower
        amount = units * unit_price
        total += amount
        priced.tier_number.append(number)
        priced.tier_units.append(units)
        priced.tier_amount.append(amount)
    priced.tier_start.append(len(priced.tier_number))
    return total


def _lines(usage: pd.DataFrame, priced: _Priced) -> pa.Table:
    count = len(usage)
    start, end = usage["period_start"].dt.start_time, (usage["period_start"] + 1).dt.start_time
    days = pa.array(usage["period_start"].dt.days_in_month.to_numpy(np.int32))
    plan_id, meter_id = (pa.array(usage[name]).dictionary_encode() for name in ("plan_id", "type"))
    quantity = pa.array(usage["sum"].tolist(), _QUANTITY)
    offsets = pa.array(priced.tier_start, pa.int32())
    columns: dict[str, Any] = {
        "line_id": pa.array(priced.line_id, pa.binary(16)),
        "run_id": _word("benchmark", count),
        "contract_id": pa.array(usage["contract_id"]),
        "plan_id": plan_id,
        "plan_version": pa.array(np.ones(count, np.uint32)),
        "charge_id": meter_id,
        "charge_kind": _word("usage", count),
        "price_model": _word("graduated", count),
        "meter_id": meter_id,
        "unit": _word("unit", count),
        "billing_date": pa.array(end.dt.date, pa.date32()),
        "period_start": pa.array(start, pa.timestamp("us")),
        "period_end": pa.array(end, pa.timestamp("us")),
        "days": days,
        "full_days": days,
        "dimensions": pa.MapArray.from_arrays(
            pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()), pa.array([], pa.string())
        ),
        "quantity": quantity,
        "rated_quantity": quantity,
        "event_count": pa.array(usage["count"].to_numpy(np.uint64)),
        "tier_number": pa.ListArray.from_arrays(offsets, pa.array(priced.tier_number, pa.uint16())),
        "tier_units": pa.ListArray.from_arrays(offsets, pa.array(priced.tier_units, _QUANTITY)),
        "tier_amount": pa.ListArray.from_arrays(offsets, pa.array(priced.tier_amount, _AMOUNT)),
        "amount": pa.array(priced.amount, _AMOUNT),
        "amount_minor": pa.array(priced.amount_minor, pa.int64()),
        "currency": pa.array(priced.currency).dictionary_encode(),
        "input_hash": pa.array(priced.input_hash, pa.binary(16)),
    }
    return pa.table(columns)


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _word(text: str, count: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))
