"""What the minimums of groups of charges in a plan must keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ingest.errors import Issue
from rating.price_plan import Charge, PricePlan
from rating.tier_rules import not_negative

GROUP_MINIMUMS_MAX: Final = 100


def group_minimum_rules(plan: PricePlan) -> Iterator[Issue]:
    """Every rule the groups break, with paths below ``group_minimums``."""
    if len(plan.group_minimums) > GROUP_MINIMUMS_MAX:
        yield Issue(
            "group_minimum_count",
            "group_minimums",
            f"There are {len(plan.group_minimums)} minimums of groups.",
            f"at most {GROUP_MINIMUMS_MAX}.",
        )
    metered = {charge.charge_id for charge in plan.charges if _is_in_arrears(charge)}
    seen: set[str] = set()
    for position, group in enumerate(plan.group_minimums):
        at = f"group_minimums[{position}]"
        if group.minimum_id in seen:
            yield Issue(
                "minimum_id_taken",
                f"{at}.minimum_id",
                f"{group.minimum_id!r} is used by another minimum of the plan.",
                "a minimum_id of its own for every minimum.",
            )
        seen.add(group.minimum_id)
        yield from not_negative(group.amount, f"{at}.amount")
        unfit = [charge_id for charge_id in group.charge_ids if charge_id not in metered]
        twice = len(set(group.charge_ids)) < len(group.charge_ids)
        if unfit or twice or not group.charge_ids:
            said = f"{unfit[0]!r} is no usage or licence charge in arrears of the plan." if unfit else ""
            said = said or ("A charge is named twice." if twice else "The group names no charge.")
            yield Issue(
                "group_minimum_charges",
                f"{at}.charge_ids",
                said,
                "usage and licence charges in arrears of the plan, each once: a fee is due in any case.",
            )
    if plan.group_minimums and plan.maximum_spend is not None:
        yield Issue(
            "group_minimum_and_maximum",
            "group_minimums",
            "The maximum spend lowers the charges of a period, and the minimum of a group would raise them.",
            "group_minimums or maximum_spend.",
        )


def _is_in_arrears(charge: Charge) -> bool:
    return charge.kind in ("usage", "licence") and charge.timing == "arrears"
