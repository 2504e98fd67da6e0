"""Prices of five tiers in three models, made of the canonical plans' four tiers.

Of every three meters one is graduated, one volume and one graduated by started packages of ten units
(bounds rounded up to whole packages). The fifth tier begins at seven times the third bound and costs half
of the fourth.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import rating_data
from benchmarks.canonical import EVENT_TYPES, Workload
from benchmarks.canonical_plans import BOUND_SCALE, CURRENCIES, MINOR_DIGITS, PRICE_SCALE, plan_documents
from benchmarks.request import CaseRequest
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan

MIXED_TIERS_PARQUET: Final = "mixed_tiers.parquet"
MIXED_MODELS: Final = ("graduated", "volume", "package")
PACKAGE: Final = 10
_LAST_DIGIT: Final = Decimal(1).scaleb(-PRICE_SCALE)


def load(request: CaseRequest) -> None:
    """The rows of the stage, and plan_id, meter_id, minor_digits, model, tier, lower, upper (null: open) and
    unit_price (of a package: its price) for the peers."""
    rating_data.load(request)
    path = request.data / MIXED_TIERS_PARQUET
    if not path.exists():
        pq.write_table(_tier_table(request.workload), path)


def mixed_plan_versions(workload: Workload) -> list[PlanVersion]:
    """The plans, each its first version."""
    documents = plan_documents(workload)
    for document in documents:
        for charge in document["charges"]:
            charge["price"] = _price(charge["meter_id"], charge["price"]["tiers"])
    return [PlanVersion(plan=PricePlan.model_validate(text), version=1) for text in documents]


def model_of(meter_id: str) -> str:
    """Which of the three models a meter has."""
    return MIXED_MODELS[EVENT_TYPES.index(meter_id) % len(MIXED_MODELS)]


def _price(meter_id: str, tiers: list[dict[str, Any]]) -> dict[str, Any]:
    model = model_of(meter_id)
    rows = [
        {"up_to": upper, "package_size": PACKAGE, "package_price": price}
        if model == "package"
        else {"up_to": upper, "unit_price": price}
        for upper, price in _five(model, tiers)
    ]
    return {"model": "volume" if model == "volume" else "graduated", "tiers": rows}


def _five(model: str, tiers: list[dict[str, Any]]) -> list[tuple[Decimal | None, Decimal]]:
    """(upper bound, price) of five tiers."""
    bounds = [Decimal(tier["up_to"]) for tier in tiers[:-1]]
    bounds.append(7 * bounds[-1])
    if model == "package":
        bounds = [(bound / PACKAGE).to_integral_value(ROUND_CEILING) * PACKAGE for bound in bounds]
    prices = [Decimal(tier["unit_price"]) for tier in tiers]
    prices.append((prices[-1] / 2).quantize(_LAST_DIGIT, ROUND_CEILING))
    return list(zip([*bounds, None], prices, strict=True))


def _tier_table(workload: Workload) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for document in plan_documents(workload):
        digits = MINOR_DIGITS[CURRENCIES.index(document["currency"])]
        for charge in document["charges"]:
            model, lower = model_of(charge["meter_id"]), Decimal(0)
            for tier, (upper, price) in enumerate(_five(model, charge["price"]["tiers"]), start=1):
                key = (document["plan_id"], charge["meter_id"], digits, model, tier, lower, upper, price)
                rows.append(dict(zip(_SCHEMA.names, key, strict=True)))
                lower = upper or lower
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


_SCHEMA: Final = pa.schema(
    [
        ("plan_id", pa.string()),
        ("meter_id", pa.string()),
        ("minor_digits", pa.int8()),
        ("model", pa.string()),
        ("tier", pa.int8()),
        ("lower", pa.decimal128(18, BOUND_SCALE)),
        ("upper", pa.decimal128(18, BOUND_SCALE)),
        ("unit_price", pa.decimal128(18, PRICE_SCALE)),
    ]
)
