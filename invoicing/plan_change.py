"""From when on a new plan version may take effect: never inside time that is billed already.

Usage is billed up to a contract's last settled date, a fee in advance up to the date after it. A
version that takes effect earlier would not change those bills, and a fee it moves from advance to
arrears (or back) would be billed twice (or never). A version that only adds matrix prices where
there were none is always welcome: it changes no bill, and it is what a held date waits for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, func, select

from ingest.errors import Issue
from invoicing.billed_time import load_versions_of, next_billing_date
from invoicing.tables import SETTLED_BILLING_DATES
from rating.plan_version import PlanVersion, version_in_force
from rating.price_plan import Charge, MatrixPrice, PricePlan
from rating.tables import CONTRACTS


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far a contract is billed: usage to ``settled``, fees in advance to ``following``."""

    contract_id: str
    start: date
    settled: date
    following: date


def plan_change_issues(connection: Connection, plan: PricePlan) -> Iterator[Issue]:
    """One issue when the version would take effect inside billed time, with the first day it may.

    Read only; ask before the version is saved.
    """
    versions = load_versions_of(connection, [plan.plan_id])
    if not versions:
        return
    reaches = _reaches(connection, plan.plan_id)
    inside = _inside(plan, plan.effective_from, versions, reaches)
    if not inside:
        return
    possible = plan.effective_from
    later = inside
    while later:
        possible = max(until for _, until in later)
        later = _inside(plan, possible, versions, reaches)
    example, until = max(inside, key=lambda entry: (entry[1], entry[0]))
    yield Issue(
        "effective_in_billed_time",
        "effective_from",
        f"Prices would change from {plan.effective_from} on, and {len(inside)} contracts on the plan are "
        f"billed for later days: contract {example!r} up to {until}.",
        f"{possible} or a later day, so that no bill is behind the new prices.",
    )


def _inside(
    plan: PricePlan, effective: date, versions: Sequence[PlanVersion], reaches: Sequence[_Reach]
) -> list[tuple[str, date]]:
    """(contract_id, billed until) of the contracts billed for time the version would price."""
    standing = version_in_force(versions, plan_id=plan.plan_id, on=effective)
    if standing is None or _only_adds_prices(standing.plan, plan):
        return []
    dates = (entry.plan.effective_from for entry in versions)
    replaced_on = min((day for day in dates if day > effective), default=date.max)
    fees = _moves_fees(standing.plan, plan)
    untils = ((reach, reach.following if fees else reach.settled) for reach in reaches)
    return [
        (reach.contract_id, until)
        for reach, until in untils
        if effective < until and reach.start < replaced_on
    ]


def _moves_fees(standing: PricePlan, plan: PricePlan) -> bool:
    """Whether a fee that is billed in advance differs: in its price, its discounts or when it is billed."""
    before, after = (_fixed(version) for version in (standing, plan))
    differs = before != after or (standing.discounts, standing.discounting) != (
        plan.discounts,
        plan.discounting,
    )
    return differs and any(charge.timing == "advance" for charge in (*before, *after))


def _fixed(plan: PricePlan) -> list[Charge]:
    fixed = [charge for charge in plan.charges if charge.kind in {"recurring", "one_time"}]
    return sorted(fixed, key=lambda charge: charge.charge_id)


def _only_adds_prices(standing: PricePlan, plan: PricePlan) -> bool:
    before, after = (_rest(version) for version in (standing, plan))
    return (
        before == after
        and len(standing.charges) == len(plan.charges)
        and all(map(_adds_cells, standing.charges, plan.charges))
    )


def _adds_cells(before: Charge, after: Charge) -> bool:
    if before == after:
        return True
    old, new = before.price, after.price
    if not isinstance(old, MatrixPrice) or not isinstance(new, MatrixPrice) or old.default is not None:
        return False
    kept = new.model_copy(update={"cells": new.cells[: len(old.cells)], "default": None})
    return after.model_copy(update={"price": kept}) == before


def _rest(plan: PricePlan) -> dict[str, Any]:
    return plan.model_dump(exclude={"charges", "effective_from", "name"})


def _reaches(connection: Connection, plan_id: str) -> list[_Reach]:
    dates = SETTLED_BILLING_DATES
    columns = (
        CONTRACTS.c.contract_id,
        CONTRACTS.c.start_date,
        CONTRACTS.c.end_date,
        CONTRACTS.c.cadence,
        CONTRACTS.c.anchor_date,
    )
    query = (
        select(*columns, func.max(dates.c.billing_date))
        .join(dates, dates.c.contract_id == CONTRACTS.c.contract_id)
        .where(CONTRACTS.c.plan_id == plan_id)
        .group_by(*columns)
    )
    following: dict[tuple[str, str, str], date] = {}
    reaches = []
    for contract_id, start, end, cadence, anchor, settled in connection.execute(query):
        last = date.fromisoformat(settled)
        if (cadence, anchor, settled) not in following:
            following[cadence, anchor, settled] = next_billing_date(
                cadence=cadence, anchor_date=date.fromisoformat(anchor), after=last
            )
        until = following[cadence, anchor, settled]
        until = until if end is None else max(last, min(until, date.fromisoformat(end)))
        reaches.append(_Reach(contract_id, date.fromisoformat(start), last, until))
    return reaches
