"""What a contract's own prices must keep: every override on a charge that is there, once a day, and the
plan that comes of it as good as any plan.

The rules of prices stand in ``plan_rules.py``; here the agreed plan is put through them and what they
find on an overridden charge is said of the override.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ingest.errors import Issue
from ingest.meter import Meter
from rating.agreement import (
    Agreement,
    ChargeOverride,
    DatedOverride,
    SpendLimits,
    agreed_plan,
)
from rating.contract import Contract
from rating.dated_rules import overlap, window_rules
from rating.discount import Discount
from rating.plan_rules import price_plan_rules
from rating.price_plan import PricePlan

_CHARGE_POINTER: Final = re.compile(r"charges\[(\d+)\]\.?")
_REPLACED: Final = tuple(name for name in ChargeOverride.model_fields if name != "charge_id")


def agreement_rules(
    contract: Contract, *, plans: Sequence[PricePlan], meters: Mapping[str, Meter]
) -> Iterator[Issue]:
    """Every rule the overrides break, with paths below ``overrides``.

    plans: all versions of the contract's plan, in the order saved. meters: all on record, by id.
    """
    said: set[tuple[str, str]] = set()
    for position, override in enumerate(contract.overrides):
        pointer = f"overrides[{position}]"
        yield from window_rules(override, contract, pointer)
        yield from _overlap_rules(contract.overrides, position)
        if all(getattr(override, name) is None for name in _REPLACED):
            yield Issue(
                "override_of_nothing",
                pointer,
                f"The override of {override.charge_id!r} replaces nothing.",
                f"one of {', '.join(_REPLACED)}.",
            )
        priced = [plan for plan in plans if _is_priced_by(override, plan)]
        if plans and not priced:
            yield Issue(
                "unknown_charge",
                f"{pointer}.charge_id",
                f"No version of plan {contract.plan_id!r} has a charge {override.charge_id!r}.",
                f"a charge_id of the plan, like {plans[-1].charges[0].charge_id!r}.",
            )
        for plan in priced:
            for issue in broken_by(override, plan, meters=meters, discounts=contract.discounts):
                place = f"{pointer}.{issue.pointer}".rstrip(".")
                if (issue.reason_code, place) not in said:
                    said.add((issue.reason_code, place))
                    yield Issue(issue.reason_code, place, issue.message, issue.expected)


def commitment_rules(
    contract: Contract, *, plans: Sequence[PricePlan], meters: Mapping[str, Meter]
) -> Iterator[Issue]:
    """Every rule the commitments break, with paths below ``commitments``; plans, meters as above."""
    entries = contract.commitments
    for position, entry in enumerate(entries):
        pointer = f"commitments[{position}]"
        yield from window_rules(entry, contract, pointer)
        if any(overlap(earlier, entry) for earlier in entries[:position]):
            yield Issue(
                "commitment_overlaps",
                pointer,
                "Two commitments hold on one day.",
                "one commitment a day; end the one where the other begins.",
            )
        if entry.minimum_spend is None and entry.maximum_spend is None:
            yield Issue(
                "commitment_of_nothing",
                pointer,
                "The commitment names no amount.",
                "minimum_spend, maximum_spend or both.",
            )
        limits = SpendLimits(minimum_spend=entry.minimum_spend, maximum_spend=entry.maximum_spend)
        found = {
            (issue.reason_code, f"{pointer}.{issue.pointer}"): issue
            for plan in plans
            for issue in price_plan_rules(agreed_plan(plan, Agreement(limits=limits)), meters=meters)
            if issue.pointer in SpendLimits.model_fields
        }
        for (code, place), issue in found.items():
            yield Issue(code, place, issue.message, issue.expected)


def broken_by(
    override: ChargeOverride, plan: PricePlan, *, meters: Mapping[str, Meter], discounts: Sequence[Discount]
) -> Iterator[Issue]:
    """The rules a plan version breaks under the override and keeps without it; paths below the charge.

    discounts: of the contract. One that was for the listed price may not go with the contract's own (units
    off a matrix); that is said of the override's price, too.
    """
    places = [place for place, charge in enumerate(plan.charges) if charge.charge_id == override.charge_id]
    discounted = agreed_plan(plan, Agreement(discounts=tuple(discounts)))
    before = {(issue.reason_code, issue.pointer) for issue in price_plan_rules(discounted, meters=meters)}
    laid_over = agreed_plan(discounted, Agreement(overrides=(_undated(override),)))
    for issue in price_plan_rules(laid_over, meters=meters):
        if (issue.reason_code, issue.pointer) in before:
            continue
        found = _CHARGE_POINTER.match(issue.pointer)
        if found and int(found[1]) in places:
            yield Issue(issue.reason_code, issue.pointer[found.end() :], issue.message, issue.expected)
        elif issue.pointer.startswith("discounts["):
            yield Issue(issue.reason_code, "price", issue.message, issue.expected)


def _undated(override: ChargeOverride) -> ChargeOverride:
    return ChargeOverride(**{name: getattr(override, name) for name in ChargeOverride.model_fields})


def _is_priced_by(override: ChargeOverride, plan: PricePlan) -> bool:
    return any(charge.charge_id == override.charge_id for charge in plan.charges)


def _overlap_rules(overrides: Sequence[DatedOverride], position: int) -> Iterator[Issue]:
    mine = overrides[position]
    for earlier in overrides[:position]:
        if earlier.charge_id == mine.charge_id and overlap(earlier, mine):
            yield Issue(
                "override_overlaps",
                f"overrides[{position}]",
                f"{mine.charge_id!r} is overridden twice on one day.",
                "one override of a charge a day; end the one where the other begins.",
            )
            return
