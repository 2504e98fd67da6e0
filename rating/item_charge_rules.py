"""What a rate card (a charge of kind ``item``) must keep: a price a unit, whatever else was sold."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import Issue
from rating.price_plan import Charge, simple_prices


def item_charge_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    """Every rule the charge breaks that is about items."""
    unfit = sorted({price.model for price in simple_prices(charge.price)} - {"per_unit"})
    if unfit:
        yield Issue(
            "model_not_for_kind",
            f"{pointer}.price",
            f"Items cannot be priced by {unfit[0]}: what one costs may not depend on the others.",
            "per_unit, or a matrix of per_unit prices.",
        )
    steps = {
        "meter_id": charge.meter_id is not None,
        "formula": charge.formula is not None,
        "quantity": charge.quantity is not None,
        "unit_conversion": charge.unit_conversion is not None,
        "free_units": charge.free_units is not None,
        "minimum_amount": charge.minimum_amount is not None,
        "maximum_amount": charge.maximum_amount is not None,
        "zero_usage": charge.zero_usage != "skip",
        "tiers_count": charge.tiers_count != "period",
        "pooled_over": charge.pooled_over != "contract",
        "timing": charge.timing == "advance",
        "prorated": not charge.prorated,
    }
    for name, given in steps.items():
        if given:
            yield Issue(
                "step_not_for_kind",
                f"{pointer}.{name}",
                "A rate card has a price a unit and nothing else: items bring their quantity, in arrears.",
                f"no {name}.",
            )
    if len(set(charge.group_by)) != len(charge.group_by) or not all(charge.group_by):
        yield Issue(
            "item_group_by",
            f"{pointer}.group_by",
            f"The fields are {list(charge.group_by)}.",
            "names of fields of items, like project and role, each once.",
        )


def group_by_unused(charge: Charge, pointer: str) -> Issue:
    """A charge that prices no items groups none."""
    return Issue(
        "step_not_for_kind",
        f"{pointer}.group_by",
        f"A {charge.kind} charge has no items to group; the meter groups usage.",
        "no group_by, or kind: item.",
    )
