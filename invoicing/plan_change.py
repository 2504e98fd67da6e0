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

from sqlalchemy import Connection, func, or_, select

from ingest.errors import Issue
from invoicing.billed_time import load_versions_of, next_billing_date
from invoicing.tables import SETTLED_BILLING_DATES
from rating.agreement import AgreedSegment
from rating.agreement_store import load_segments
from rating.plan_version import PlanVersion, version_in_force
from rating.price_plan import Charge, MatrixPrice, PricePlan, is_licence_in_advance
from rating.tables import CONTRACT_AGREEMENTS, CONTRACTS


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
    count = len({contract_id for contract_id, _ in inside})  # one may be on the plan in several stretches
    yield Issue(
        "effective_in_billed_time",
        "effective_from",
        f"Prices would change from {plan.effective_from} on, and {count} contracts on the plan are "
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
    """Whether a fee or a licence in advance differs: in price, discounts, proration or when it is billed."""
    before, after = (_fixed(version) for version in (standing, plan))
    around, new_around = (
        (each.discounts, each.discounting, each.proration, each.proration_divisor)
        for each in (standing, plan)
    )
    differs = before != after or around != new_around
    return differs and any(charge.timing == "advance" for charge in (*before, *after))


def _fixed(plan: PricePlan) -> list[Charge]:
    kinds = {"recurring", "one_time"}
    fixed = [charge for charge in plan.charges if charge.kind in kinds or is_licence_in_advance(charge)]
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
    """One a billed contract and stretch of time it is on the plan, as far as that is billed."""
    dates = SETTLED_BILLING_DATES
    through_phases = select(CONTRACT_AGREEMENTS.c.contract_id).where(CONTRACT_AGREEMENTS.c.plan_id == plan_id)
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
        .where(or_(CONTRACTS.c.plan_id == plan_id, CONTRACTS.c.contract_id.in_(through_phases)))
        .group_by(*columns)
    )
    following: dict[tuple[str, str, str], date] = {}
    reaches = []
    rows = list(connection.execute(query))
    segments = load_segments(connection, [row[0] for row in rows])
    for contract_id, start, end, cadence, anchor, settled in rows:
        last = date.fromisoformat(settled)
        if (cadence, anchor, settled) not in following:
            following[cadence, anchor, settled] = next_billing_date(
                cadence=cadence, anchor_date=date.fromisoformat(anchor), after=last
            )
        until = following[cadence, anchor, settled]
        until = until if end is None else max(last, min(until, date.fromisoformat(end)))
        for first, past in _on_plan(segments.get(contract_id, ()), plan_id, date.fromisoformat(start)):
            if first < until:
                reaches.append(_Reach(contract_id, first, min(last, past), min(until, past)))
    return reaches


def _on_plan(track: Sequence[AgreedSegment], plan_id: str, start: date) -> Iterator[tuple[date, date]]:
    """[first day, first day no longer) of each stretch on the plan; a contract without segments is on it for
    ever."""
    if not track:
        yield start, date.max
    ends = [*(segment.effective_from for segment in track[1:]), date.max]
    for segment, past in zip(track, ends, strict=False):
        if segment.plan_id == plan_id:
            yield segment.effective_from, past
