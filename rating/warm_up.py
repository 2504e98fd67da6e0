"""Compiles the kernels of this room before they are needed, on a contract that nobody has."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.meter import Meter
from rating.compile import compile_price_book
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.rate import rate_usage
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rating.wider_usage import EarlierUsage, WiderUsage
from rollup.schema import USAGE_SCHEMA

_METER: Final = Meter(meter_id="warm-up", event_type="warm-up", aggregation="sum", group_by=("kind",))
_PRICE: Final = {"model": "graduated", "tiers": [{"up_to": 1, "unit_price": 1}, {"unit_price": 1}]}
_PLAN: Final = PricePlan.model_validate(
    {
        "plan_id": "warm-up",
        "name": "Warm-up",
        "currency": "EUR",
        "effective_from": "2026-01-01",
        "minimum_spend": "1000000000",
        "discounts": [{"discount_id": "warm-up", "name": "Warm-up", "percent": "1"}],
        "charges": [
            {
                "charge_id": "warm-up",
                "name": "Warm-up",
                "kind": "usage",
                "meter_id": "warm-up",
                "price": _PRICE,
            },
            {
                "charge_id": "goes-on",
                "name": "Goes on",
                "kind": "usage",
                "meter_id": "warm-up",
                "tiers_count": "contract",
                "price": _PRICE,
            },
        ],
    }
)


def warm_up() -> None:
    """Rate one quantity and one minimum spend; no store is touched."""
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    period = {
        "period_key": 0,
        "contract_id": "warm-up",
        "plan_id": "warm-up",
        "plan_version": 1,
        "agreement": "",
        "timing": "arrears",
        "billing_date": date(2026, 2, 1),
        "period_start": start,
        "period_end": end,
        "days": 31,
        "full_days": 31,
        "first": True,
        "period_number": 0,
        "period_first_day": date(2026, 1, 1),
    }
    usage = {
        "period_key": 0,
        "meter_id": "warm-up",
        "dimensions": [("kind", "any")],
        "quantity": Decimal(10**8),  # goes the long way, the minimum spend the short one
        "event_count": 1,
    }
    used = pa.Table.from_pylist([usage], schema=USAGE_SCHEMA)
    rate_usage(
        periods=pa.Table.from_pylist([period], schema=SERVICE_PERIOD_SCHEMA),
        usage=used,
        price_book=compile_price_book([PlanVersion(_PLAN, 1)], {"warm-up": _METER}),
        run_id="warm-up",
        wider=WiderUsage(
            {"contract": EarlierUsage(used, np.ones(1, np.bool_))},
            SERVICE_PERIOD_SCHEMA.empty_table(),
            USAGE_SCHEMA.empty_table(),
            np.full(1, -1, np.int64),
        ),
    )
