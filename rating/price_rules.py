"""The rules of one price, whatever charge or matrix cell it stands in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from ingest.document import decimal_text
from ingest.errors import Issue
from rating.price_plan import (
    FlatPrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    SimplePrice,
    StairstepPrice,
    Tier,
    VolumePrice,
)

TIERS_MAX: Final = 1000


def not_negative(number: Decimal | None, pointer: str) -> Iterator[Issue]:
    """A number that may be left out but not below zero."""
    if number is not None and number < 0:
        yield Issue(
            "negative_number",
            pointer,
            f"{decimal_text(number)} is below zero.",
            "a number of at least 0; credits come from negative usage, not from negative prices.",
        )


def simple_price_rules(price: SimplePrice, pointer: str) -> Iterator[Issue]:
    """Every rule the price breaks, with paths below ``pointer``."""
    if isinstance(price, FlatPrice):
        yield from not_negative(price.amount, f"{pointer}.amount")
    elif isinstance(price, PerUnitPrice):
        yield from not_negative(price.unit_price, f"{pointer}.unit_price")
    elif isinstance(price, PackagePrice):
        yield from not_negative(price.package_price, f"{pointer}.package_price")
        if price.package_size <= 0:
            yield Issue(
                "package_size_not_positive",
                f"{pointer}.package_size",
                f"A package holds {decimal_text(price.package_size)} units.",
                "a package_size above 0.",
            )
    elif isinstance(price, PercentagePrice):
        yield from not_negative(price.percent, f"{pointer}.percent")
        yield from not_negative(price.fixed_per_event, f"{pointer}.fixed_per_event")
    else:
        yield from _tier_list_rules(price, f"{pointer}.tiers")


def _tier_list_rules(price: GraduatedPrice | VolumePrice | StairstepPrice, pointer: str) -> Iterator[Issue]:
    if not price.tiers or len(price.tiers) > TIERS_MAX:
        yield Issue("tier_count", pointer, f"There are {len(price.tiers)} tiers.", f"1 to {TIERS_MAX} tiers.")
        return
    yield from _bound_rules(price.tiers, pointer)
    for position, tier in enumerate(price.tiers):
        at = f"{pointer}[{position}]"
        yield from not_negative(tier.unit_price, f"{at}.unit_price")
        yield from not_negative(tier.flat_amount, f"{at}.flat_amount")
        if isinstance(price, StairstepPrice):
            if tier.unit_price is not None:
                yield Issue(
                    "unit_price_in_stairstep",
                    f"{at}.unit_price",
                    "A stairstep tier costs its flat_amount, nothing per unit.",
                    "no unit_price here, or model: volume.",
                )
            if tier.flat_amount is None:
                yield _no_price(at, "a flat_amount; write 0 when the tier is free.")
        elif tier.unit_price is None and tier.flat_amount is None:
            yield _no_price(at, "a unit_price, a flat_amount or both; write 0 when the tier is free.")


def _no_price(pointer: str, expected: str) -> Issue:
    return Issue("tier_without_price", pointer, "The tier has no price.", expected)


def _bound_rules(tiers: Sequence[Tier], pointer: str) -> Iterator[Issue]:
    below = Decimal(0)
    for position, tier in enumerate(tiers[:-1]):
        at = f"{pointer}[{position}].up_to"
        if tier.up_to is None:
            yield Issue(
                "open_tier_not_last",
                at,
                "An open tier holds all the rest, so nothing can follow it.",
                f"an up_to above {decimal_text(below)}.",
            )
            return
        if tier.up_to <= below:
            yield Issue(
                "tiers_not_increasing",
                at,
                f"The tier ends at {decimal_text(tier.up_to)}, the one before it at {decimal_text(below)}.",
                f"an up_to above {decimal_text(below)}.",
            )
        below = max(below, tier.up_to)
    if tiers[-1].up_to is not None:
        yield Issue(
            "last_tier_bounded",
            f"{pointer}[{len(tiers) - 1}].up_to",
            f"The last tier ends at {decimal_text(tiers[-1].up_to)}; usage past it would have no price.",
            "no up_to on the last tier.",
        )
