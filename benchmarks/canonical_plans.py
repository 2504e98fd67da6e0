"""Prices and contracts of the canonical workload: as plain numbers, documents and flat tables.

Every plan prices each of the twelve event types with one charge. In the races every charge is
graduated with four tiers of their own bounds and prices, so that a peer can price it with one join;
in the proof (``mixed_models``) plans use six price models, flat amounts and three currencies.

Bounds are whole numbers of millionths, prices of 10**-8, flat amounts of 1/1000.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.canonical import (
    EVENT_TYPES,
    FIRST_INSTANT,
    Int64s,
    Workload,
    contract_names,
    draw,
    subject_names,
)

BOUND_SCALE: Final = 6
PRICE_SCALE: Final = 8
FLAT_SCALE: Final = 3
TIERS: Final = 4
CURRENCIES: Final = ("EUR", "JPY", "KWD")
MINOR_DIGITS: Final = (2, 0, 3)
MODELS: Final = ("graduated", "volume", "per_unit", "package", "stairstep", "flat")
PACKAGE_UNITS: Final = 250

_MODEL, _BOUND, _BOUND_STEP, _PRICE, _FLAT, _PLAN, _PRICE_DIGITS = 31, 32, 33, 40, 50, 60, 61


@dataclass(frozen=True, slots=True)
class PriceNumbers:
    """Prices as integers. Shapes: plan, charge (one an event type), tier.

    model: index into MODELS, int64[plans, 12]; bounds: inclusive upper bounds of tiers 1 to 3,
    int64[plans, 12, 3]; prices int64[plans, 12, 4]; flats int64[plans, 12, 4];
    currency: index into CURRENCIES, int64[plans].
    """

    model: Int64s
    bounds: Int64s
    prices: Int64s
    flats: Int64s
    currency: Int64s


def price_numbers(workload: Workload) -> PriceNumbers:
    """The prices of every plan, from the seed."""
    charges = len(EVENT_TYPES)
    shape = (workload.plans, charges)
    index = np.arange(workload.plans * charges, dtype=np.uint64)

    def pick(field: int, count: int) -> Int64s:
        drawn: Int64s = (draw(workload.seed, field, index) % np.uint64(count)).astype(np.int64).reshape(shape)
        return drawn

    # First bound 20 to 1,019, then each 3 to 11 times the one before; every other charge has a
    # bound that is not a whole number.
    fraction = pick(_BOUND, 2) * 500_001
    first = (20 + pick(_BOUND, 1000)) * 10**BOUND_SCALE + fraction
    bounds = np.stack(
        [first, first * (3 + pick(_BOUND_STEP, 9)), first * 11 * (3 + pick(_BOUND_STEP, 9))], axis=-1
    )
    # Prices fall from tier to tier and have 2 to 8 fraction digits.
    step = 10 ** pick(_PRICE_DIGITS, PRICE_SCALE - 1)
    prices = np.stack(
        [(pick(_PRICE + tier, 10**PRICE_SCALE) // 2**tier // step + 1) * step for tier in range(TIERS)],
        axis=-1,
    )
    flats = np.zeros((*shape, TIERS), dtype=np.int64)
    model = np.zeros(shape, dtype=np.int64)
    plan = np.arange(workload.plans)
    currency = np.where(plan % 20 == 7, 1, np.where(plan % 20 == 13, 2, 0))
    if workload.mixed_models:
        model = pick(_MODEL, len(MODELS))
        flats = np.stack([pick(_FLAT + tier, 5) * 1250 for tier in range(TIERS)], axis=-1)
    return PriceNumbers(model, bounds, prices, flats, currency)


def contract_plans(workload: Workload) -> Int64s:
    """The plan number of each contract: int64[contracts]."""
    index = np.arange(workload.contracts, dtype=np.uint64)
    plans: Int64s = (draw(workload.seed, _PLAN, index) % np.uint64(workload.plans)).astype(np.int64)
    return plans


def plan_name(number: int) -> str:
    return f"plan-{number:03d}"


def meter_documents() -> list[dict[str, Any]]:
    """One meter an event type, of the same name: the sum of the values."""
    return [{"meter_id": kind, "event_type": kind, "aggregation": "sum"} for kind in EVENT_TYPES]


def plan_documents(workload: Workload) -> list[dict[str, Any]]:
    """The plans as people write them, in force from the first day."""
    numbers = price_numbers(workload)
    return [
        {
            "plan_id": plan_name(plan),
            "name": f"Plan {plan}",
            "currency": CURRENCIES[int(numbers.currency[plan])],
            "effective_from": FIRST_INSTANT.date().isoformat(),
            "charges": [
                {
                    "charge_id": kind,
                    "name": kind.replace("_", " "),
                    "kind": "usage",
                    "meter_id": kind,
                    "price": _price_document(numbers, plan, charge),
                }
                for charge, kind in enumerate(EVENT_TYPES)
            ],
        }
        for plan in range(workload.plans)
    ]


def contract_documents(workload: Workload) -> list[dict[str, Any]]:
    """One contract a subject and customer, monthly from the first day, in UTC."""
    number = np.arange(workload.contracts)
    names = contract_names(number).to_pylist()
    subjects = subject_names(number).to_pylist()
    plans = contract_plans(workload).tolist()
    start = FIRST_INSTANT.date().isoformat()
    return [
        {
            "contract_id": name,
            "customer_id": subject,
            "plan_id": plan_name(plan),
            "subjects": [subject],
            "start_date": start,
            "time_zone": "UTC",
        }
        for name, subject, plan in zip(names, subjects, plans, strict=True)
    ]


def customer_documents(workload: Workload) -> list[dict[str, Any]]:
    """One customer a contract."""
    names = subject_names(np.arange(workload.contracts)).to_pylist()
    return [{"customer_id": name, "name": name.replace("-", " ").title()} for name in names]


def contract_table(workload: Workload) -> pa.Table:
    """For the peers: contract_id, subject, plan_id."""
    number = np.arange(workload.contracts)
    plans = pa.array([plan_name(plan) for plan in range(workload.plans)])
    return pa.table(
        {
            "contract_id": contract_names(number),
            "subject": subject_names(number),
            "plan_id": plans.take(pa.array(contract_plans(workload))),
        }
    )


def tier_table(workload: Workload) -> pa.Table:
    """For the peers: plan_id, meter_id, minor_digits, tier (1-4), lower, upper (null: open), unit_price."""
    if workload.mixed_models:
        raise ValueError("the peers price graduated tiers only; use a workload without mixed_models")
    numbers = price_numbers(workload)
    rows: list[dict[str, Any]] = []
    for plan in range(workload.plans):
        for charge, kind in enumerate(EVENT_TYPES):
            lower = Decimal(0)
            for tier in range(TIERS):
                upper = _bound(numbers, plan, charge, tier) if tier < TIERS - 1 else None
                rows.append(
                    {
                        "plan_id": plan_name(plan),
                        "meter_id": kind,
                        "minor_digits": MINOR_DIGITS[int(numbers.currency[plan])],
                        "tier": tier + 1,
                        "lower": lower,
                        "upper": upper,
                        "unit_price": _price(numbers, plan, charge, tier),
                    }
                )
                lower = upper if upper is not None else lower
    return pa.Table.from_pylist(rows, schema=_TIER_SCHEMA)


_TIER_SCHEMA: Final = pa.schema(
    [
        ("plan_id", pa.string()),
        ("meter_id", pa.string()),
        ("minor_digits", pa.int8()),
        ("tier", pa.int8()),
        ("lower", pa.decimal128(18, BOUND_SCALE)),
        ("upper", pa.decimal128(18, BOUND_SCALE)),
        ("unit_price", pa.decimal128(18, PRICE_SCALE)),
    ]
)


def _price_document(numbers: PriceNumbers, plan: int, charge: int) -> dict[str, Any]:
    model = MODELS[int(numbers.model[plan, charge])]
    if model == "per_unit":
        return {"model": model, "unit_price": str(_price(numbers, plan, charge, 0))}
    if model == "package":
        price = str(_price(numbers, plan, charge, 0))
        return {"model": model, "package_size": str(PACKAGE_UNITS), "package_price": price}
    if model == "flat":
        return {"model": model, "amount": str(_price(numbers, plan, charge, 0))}
    return {
        "model": model,
        "tiers": [_tier_document(numbers, plan, charge, model, tier) for tier in range(TIERS)],
    }


def _tier_document(numbers: PriceNumbers, plan: int, charge: int, model: str, tier: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if tier < TIERS - 1:
        document["up_to"] = str(_bound(numbers, plan, charge, tier))
    if model != "stairstep":
        document["unit_price"] = str(_price(numbers, plan, charge, tier))
    flat = int(numbers.flats[plan, charge, tier])
    if flat or model == "stairstep":
        document["flat_amount"] = str(Decimal(flat).scaleb(-FLAT_SCALE))
    return document


def _bound(numbers: PriceNumbers, plan: int, charge: int, tier: int) -> Decimal:
    return Decimal(int(numbers.bounds[plan, charge, tier])).scaleb(-BOUND_SCALE)


def _price(numbers: PriceNumbers, plan: int, charge: int, tier: int) -> Decimal:
    return Decimal(int(numbers.prices[plan, charge, tier])).scaleb(-PRICE_SCALE)
