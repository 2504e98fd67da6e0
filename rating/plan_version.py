"""A price plan with the number it was saved under, and which of them is in force on a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from ingest.errors import Issue
from rating.price_plan import PricePlan

if TYPE_CHECKING:  # `ratemill price` starts without a database driver
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """``version`` counts the saves of one plan from 1; a line names it, so it never changes.

    agreement: the key of the agreement laid over it (``rating/agreement.py``), empty for the plan itself.
    """

    plan: PricePlan
    version: int
    agreement: str = ""


@dataclass(frozen=True, slots=True)
class SavedDocument:
    """What a save did: the version that holds the document, and whether this call made it. warnings:
    what is allowed in it and seldom meant."""

    key: str
    version: int
    created: bool
    warnings: tuple[Issue, ...] = ()


Entered = Callable[["Connection", Sequence[SavedDocument]], None]
"""What a save calls in its transaction, with all it saved: where other rooms enter who saved it."""


def version_in_force(versions: Iterable[PlanVersion], *, plan_id: str, on: date) -> PlanVersion | None:
    """The version of a plan that prices the day ``on``: the latest ``effective_from`` that has come,
    and of several saved for that same date the one saved last. None before the first."""
    candidates = [
        candidate
        for candidate in versions
        if candidate.plan.plan_id == plan_id and candidate.plan.effective_from <= on
    ]
    return max(
        candidates, key=lambda candidate: (candidate.plan.effective_from, candidate.version), default=None
    )
