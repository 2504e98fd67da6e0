"""The charge ids of lines that no charge of a plan is behind; none may use them."""

from __future__ import annotations

from typing import Final

MINIMUM_SPEND_CHARGE_ID: Final = "minimum-spend"
STATED_CHARGE_ID: Final = "stated-price"
"""Of billable items that state their own price."""
GROUP_MINIMUM_PREFIX: Final = "minimum:"
"""What the id of a group's minimum begins with; its own id follows."""


def is_minimum(charge_id: str) -> bool:
    """Whether a line of this id raises a period, or some of its charges, to a minimum."""
    return charge_id == MINIMUM_SPEND_CHARGE_ID or charge_id.startswith(GROUP_MINIMUM_PREFIX)
