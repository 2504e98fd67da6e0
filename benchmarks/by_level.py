"""Prices that a rule of CloudKitty's hashmap module can hold too, made of the canonical plans' tiers.

Every other meter has the unit price of its first tier; the others are volume prices of all four tiers:
the tier that holds the quantity prices all of it.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.canonical import EVENT_TYPES, Workload
from benchmarks.canonical_plans import plan_documents
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan

VOLUME_METERS: Final = frozenset(EVENT_TYPES[1::2])
"""The meters with a price by level; the other ones have a unit price."""


def plan_versions_by_level(workload: Workload) -> list[PlanVersion]:
    """The canonical plans with these prices, each its first version."""
    documents = plan_documents(workload)
    for document in documents:
        for charge in document["charges"]:
            charge["price"] = _by_level(charge["meter_id"], charge["price"]["tiers"])
    return [PlanVersion(plan=PricePlan.model_validate(text), version=1) for text in documents]


def _by_level(meter_id: str, tiers: list[dict[str, Any]]) -> dict[str, Any]:
    if meter_id in VOLUME_METERS:
        return {"model": "volume", "tiers": tiers}
    return {"model": "per_unit", "unit_price": tiers[0]["unit_price"]}
