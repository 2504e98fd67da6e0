"""Builders the tests of this room share: contract tables, plans, and tables people can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan

MONTHLY_FEE = {
    "charge_id": "fee",
    "name": "Monthly fee",
    "kind": "recurring",
    "timing": "advance",
    "price": {"model": "flat", "amount": "30"},
}
CALLS = {
    "charge_id": "calls",
    "name": "API calls",
    "kind": "usage",
    "meter_id": "calls",
    "unit": "call",
    "price": {"model": "per_unit", "unit_price": "0.01"},
}


def plan(
    *,
    plan_id: str = "gold",
    effective_from: str = "2020-01-01",
    version: int = 1,
    charges: Iterable[Mapping[str, Any]] = (MONTHLY_FEE, CALLS),
    **more: Any,
) -> PlanVersion:
    document = {
        "plan_id": plan_id,
        "name": plan_id.title(),
        "currency": "EUR",
        "effective_from": effective_from,
        "charges": list(charges),
        **more,
    }
    return PlanVersion(PricePlan.model_validate(document), version)


def contract_row(contract_id: str = "c1", **changes: Any) -> dict[str, Any]:
    row = {
        "contract_id": contract_id,
        "version": 1,
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": date(2025, 1, 15),
        "end_date": None,
        "time_zone": "UTC",
        "cadence": "monthly",
        "anchor_date": None,
    }
    row |= changes
    row["anchor_date"] = row["anchor_date"] or row["start_date"]
    return row


def contracts_table(*rows: dict[str, Any]) -> pa.Table:
    schema = pa.schema(
        [
            ("contract_id", pa.string()),
            ("version", pa.int64()),
            ("customer_id", pa.string()),
            ("plan_id", pa.string()),
            ("start_date", pa.date32()),
            ("end_date", pa.date32()),
            ("time_zone", pa.string()),
            ("cadence", pa.string()),
            ("anchor_date", pa.date32()),
        ]
    )
    return pa.Table.from_pylist(list(rows), schema=schema)


def settled_table(*rows: tuple[str, str]) -> pa.Table:
    return pa.table(
        {
            "contract_id": pa.array([row[0] for row in rows], pa.string()),
            "billing_date": pa.array([row[1] for row in rows], pa.string()),
        }
    )


def readable(periods: pa.Table) -> list[str]:
    """``c1 2025-02-15 arrears 2025-01-15T00:00 2025-02-15T00:00 31/31 v1`` (times in UTC)."""
    return [
        f"{row['contract_id']} {row['billing_date']} {row['timing']:7} "
        f"{row['period_start']:%Y-%m-%dT%H:%M} {row['period_end']:%Y-%m-%dT%H:%M} "
        f"{row['days']}/{row['full_days']} v{row['plan_version']}{' first' if row['first'] else ''}"
        for row in periods.to_pylist()
    ]
