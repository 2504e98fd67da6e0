"""Which plan version prices which day, and whether it has anything to charge: as flat arrays.

Versions never expire: the one with the latest ``effective_from`` that has come is in force, and of
several saved for the same date the one saved last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan

ARREARS: Final = "arrears"
ADVANCE: Final = "advance"
_PLAN_STRIDE: Final = 1 << 32
"""Wider than any day number, so that (plan, day) sorts as one integer."""


@dataclass(frozen=True, slots=True)
class PlanSchedule:
    """One entry a (plan, effective date), sorted so; ``plan_ids`` numbers the plans."""

    plan_ids: Mapping[str, int]
    key: NDArray[np.int64]
    effective: NDArray[np.int64]
    version: NDArray[np.int64]
    has_arrears: NDArray[np.bool_]
    has_advance: NDArray[np.bool_]

    def in_force(self, plan: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entry in force for each plan on each day; the caller knows that there is one."""
        found: NDArray[np.int64] = np.searchsorted(self.key, plan * _PLAN_STRIDE + day, "right") - 1
        return found

    def charges(self, entry: NDArray[np.int64], *, arrears: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether the version can charge anything on a row of that timing."""
        found: NDArray[np.bool_] = np.where(arrears, self.has_arrears[entry], self.has_advance[entry])
        return found


def compile_plan_schedule(versions: Sequence[PlanVersion]) -> PlanSchedule:
    """Sort the versions of all plans by the day they take effect."""
    latest = {}
    for entry in sorted(versions, key=lambda entry: entry.version):
        latest[entry.plan.plan_id, entry.plan.effective_from] = entry
    entries = [latest[key] for key in sorted(latest)]
    plan_ids = {plan_id: number for number, plan_id in enumerate(sorted({key[0] for key in latest}))}
    days = [np.datetime64(entry.plan.effective_from, "D") for entry in entries]
    effective = np.array(days, dtype="datetime64[D]").astype(np.int64)
    plan = np.array([plan_ids[entry.plan.plan_id] for entry in entries], np.int64)
    return PlanSchedule(
        plan_ids=plan_ids,
        key=plan * _PLAN_STRIDE + effective,
        effective=effective,
        version=np.array([entry.version for entry in entries], np.int64),
        has_arrears=np.array([_has(entry.plan, ARREARS) for entry in entries], np.bool_),
        has_advance=np.array([_has(entry.plan, ADVANCE) for entry in entries], np.bool_),
    )


def _has(plan: PricePlan, timing: str) -> bool:
    if timing == ARREARS and plan.minimum_spend is not None:
        return True
    return any(
        (charge.timing if charge.kind in {"recurring", "one_time"} else ARREARS) == timing
        for charge in plan.charges
    )
