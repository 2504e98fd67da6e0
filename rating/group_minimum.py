"""Which charges count towards which minimum of a group, as look-up arrays over a price book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating.price_plan import GroupMinimum


@dataclass(frozen=True, slots=True)
class GroupIndex:
    """One entry a group in the plain arrays; groups in the order of their plan rows.

    plan_start: the groups of plan row p are plan_start[p] .. plan_start[p + 1]. price_row: of the minimum.
    member_start, member: those that charge row c counts towards are member[member_start[c] :
    member_start[c + 1]].
    """

    plan_start: NDArray[np.int64]
    price_row: NDArray[np.int32]
    member_start: NDArray[np.int64]
    member: NDArray[np.int64]


def index_groups(
    groups: Sequence[tuple[int, GroupMinimum, int]],
    charge_rows: Mapping[tuple[int, str], int],
    *,
    plan_count: int,
) -> GroupIndex | None:
    """None when there are none. groups: (plan row, group, price row), by plan row. charge_rows: (plan row,
    charge_id) -> charge row of every charge; one that a group names and the plan has not counts nothing."""
    if not groups:
        return None
    of_plan = np.bincount([plan_row for plan_row, _, _ in groups], minlength=plan_count)
    pairs = sorted(
        (charge_rows[plan_row, charge_id], slot)
        for slot, (plan_row, group, _) in enumerate(groups)
        for charge_id in group.charge_ids
        if (plan_row, charge_id) in charge_rows
    )
    of_charge = np.bincount([charge for charge, _ in pairs], minlength=len(charge_rows))
    return GroupIndex(
        plan_start=np.concatenate([[0], np.cumsum(of_plan)]).astype(np.int64),
        price_row=np.array([price_row for _, _, price_row in groups], np.int32),
        member_start=np.concatenate([[0], np.cumsum(of_charge)]).astype(np.int64),
        member=np.array([slot for _, slot in pairs], np.int64),
    )
