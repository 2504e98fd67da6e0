"""Small builders of plans, meters, contracts, periods and usage for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from ingest.meter import Meter
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.schema import USAGE_SCHEMA

UTC = ZoneInfo("UTC")
METERS = {
    meter.meter_id: meter
    for meter in (
        Meter(meter_id="calls", event_type="call", aggregation="count", unit="call"),
        Meter(meter_id="hours", event_type="work", aggregation="sum", unit="hour"),
        Meter(meter_id="bytes", event_type="transfer", aggregation="sum", unit="byte"),
        Meter(meter_id="value", event_type="payment", aggregation="sum", unit="EUR"),
        Meter(
            meter_id="storage", event_type="store", aggregation="sum", group_by=("region", "class"), unit="GB"
        ),
        Meter(
            meter_id="seats", event_type="seat", aggregation="time_weighted", reading="average", unit="seat"
        ),
        Meter(meter_id="seat_days", event_type="seat", aggregation="time_weighted", reading="unit_days"),
        Meter(meter_id="peak", event_type="store", aggregation="max", unit="GB"),
    )
}


def usage_charge(meter_id: str, price: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "charge_id": meter_id,
        "name": meter_id.title(),
        "kind": "usage",
        "meter_id": meter_id,
        "price": price,
        **more,
    }


def plan(*charges: Mapping[str, Any], plan_id: str = "gold", **more: Any) -> PricePlan:
    document = {
        "plan_id": plan_id,
        "name": plan_id.title(),
        "currency": "EUR",
        "effective_from": "2026-01-01",
        "charges": charges,
        **more,
    }
    return PricePlan.model_validate(document)


def versions(*plans: PricePlan) -> list[PlanVersion]:
    """Numbered from 1 a plan, in the order given."""
    counts: dict[str, int] = {}
    numbered = []
    for entry in plans:
        counts[entry.plan_id] = counts.get(entry.plan_id, 0) + 1
        numbered.append(PlanVersion(entry, counts[entry.plan_id]))
    return numbered


def periods(*rows: Mapping[str, Any]) -> pa.Table:
    """Service periods; left out: contract c, plan gold version 1, arrears, January 2026 in UTC."""
    filled = []
    for key, row in enumerate(rows):
        start, end = row.get("start", date(2026, 1, 1)), row.get("end", date(2026, 2, 1))
        days = (end - start).days
        filled.append(
            {
                "period_key": key,
                "contract_id": row.get("contract_id", "c"),
                "plan_id": row.get("plan_id", "gold"),
                "plan_version": row.get("plan_version", 1),
                "agreement": row.get("agreement", ""),
                "timing": row.get("timing", "arrears"),
                "billing_date": row.get("billing_date", end),
                "period_start": datetime(start.year, start.month, start.day, tzinfo=UTC),
                "period_end": datetime(end.year, end.month, end.day, tzinfo=UTC),
                "days": days,
                "full_days": row.get("full_days", days),
                "first": row.get("first", False),
                "period_number": row.get("period_number", 0),
                "period_first_day": row.get("period_first_day", start),
            }
        )
    return pa.Table.from_pylist(filled, schema=SERVICE_PERIOD_SCHEMA)


def usage(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows (period_key, meter_id, quantity[, event_count[, dimensions]])."""
    filled = []
    for row in rows:
        key, meter_id, quantity, *rest = row
        filled.append(
            {
                "period_key": key,
                "meter_id": meter_id,
                "dimensions": list((rest[1] if len(rest) > 1 else {}).items()),
                "quantity": Decimal(quantity),
                "event_count": rest[0] if rest else 1,
            }
        )
    return pa.Table.from_pylist(filled, schema=USAGE_SCHEMA)


def rows_of(table: pa.Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The named columns as tuples, for comparing with a table written in the test."""
    return [tuple(row[name] for name in names) for row in table.to_pylist()]
