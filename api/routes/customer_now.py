"""A customer's own view of what is counted, provisioned, limited and prepaid, as of now."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from api.customer_now import customer_now
from api.json import ExactJSON
from api.routing import State, declared

router = APIRouter()

_PERIOD: Final = {"name": "billing_period", "start": "2013-01-01T05:00:00Z", "end": "2013-02-01T05:00:00Z"}
_NOW: Final[dict[str, Any]] = {
    "customer_id": "united",
    "name": "United Air Lines",
    "as_of": "2013-01-20T09:00:00Z",
    "as_of_sequence": 336803,
    "contracts": [
        {
            "contract_id": "united-2013",
            "plan_id": "airport-2013",
            "next_billing_dates": [
                {
                    "billing_date": "2013-02-01",
                    "invoice_day": "2013-02-01",
                    "first_day": "2013-01-01",
                    "last_day": "2013-01-31",
                    "plan_ids": ["airport-2013"],
                }
            ],
            "running": True,
            "period_start": "2013-01-01T05:00:00Z",
            "period_end": "2013-02-01T05:00:00Z",
            "usage": [{"meter_id": "landings", "dimensions": {}, "quantity": "99", "event_count": 99}],
            "unusable": [],
            "licences": [{"meter_id": "gates", "unit": "gate", "level": "2", "unusable_events": 0}],
            "entitlements": [
                {
                    "meter_id": "landings",
                    "mode": "hard",
                    "period": _PERIOD,
                    "used": "99",
                    "limit": "100",
                    "remaining": "1",
                    "event_count": 99,
                    "unusable_events": 0,
                }
            ],
        }
    ],
    "credit": [
        {
            "currency": "USD",
            "granted_minor": 10000,
            "granted_cost": 8000,
            "voided_minor": 0,
            "voided_cost": 0,
            "drawn_minor": 2500,
            "drawn_cost": 2000,
            "expired_minor": 0,
            "expired_cost": 0,
            "remaining_minor": 7500,
            "remaining_cost": 6000,
            "committed_cost": 8000,
            "recognised_cost": 2000,
        }
    ],
}


@router.get(
    "/v1/customers/{customer_id}/now",
    **declared(
        "customer_now",
        "read",
        sees="customer",
        summary="Where a customer stands now",
        tag="usage",
        example=_NOW,
        problems=(404, 503),
    ),
)
def now(state: State, customer_id: str) -> ExactJSON:
    """By contract: usage by meter in the open billing period, licences, limits with what is left, and the
    next billing dates; and the customer's prepaid credit. Each figure is the one of its own endpoint.
    `as_of` is the instant; every figure holds all events up to number `as_of_sequence`."""
    return ExactJSON(customer_now(state, customer_id, at=state.clock.now()))
