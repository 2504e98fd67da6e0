"""The rules of a list of tiers: no hole, no tier without a price, packages that fit their tier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ingest.document import decimal_text
from ingest.errors import Issue
from rating.price_plan import GraduatedPrice, PercentTier, StairstepPrice, Tier, TieredPrice, tiers_of

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


def package_size_rules(size: Decimal, pointer: str) -> Iterator[Issue]:
    """A package holds something."""
    if size <= 0:
        yield Issue(
            "package_size_not_positive",
            pointer,
            f"A package holds {decimal_text(size)} units.",
            "a package_size above 0.",
        )


def tier_list_rules(price: TieredPrice, pointer: str) -> Iterator[Issue]:
    """Every rule the tiers break, with paths below ``pointer``."""
    tiers = tiers_of(price)
    if not tiers or len(tiers) > TIERS_MAX:
        yield Issue("tier_count", pointer, f"There are {len(tiers)} tiers.", f"1 to {TIERS_MAX} tiers.")
        return
    yield from _bound_rules(tiers, pointer)
    below = Decimal(0)
    for position, tier in enumerate(tiers):
        at = f"{pointer}[{position}]"
        yield from not_negative(tier.flat_amount, f"{at}.flat_amount")
        if isinstance(tier, PercentTier):
            yield from _percent_rules(tier, at)
        elif isinstance(price, StairstepPrice):
            yield from _stair_rules(tier, at)
        else:
            yield from _unit_rules(tier, at)
            if isinstance(price, GraduatedPrice):
                yield from _whole_package_rules(tier, below, at)
        below = below if tier.up_to is None else tier.up_to


def _percent_rules(tier: PercentTier, at: str) -> Iterator[Issue]:
    yield from not_negative(tier.percent, f"{at}.percent")
    if tier.percent is None and tier.flat_amount is None:
        yield _no_price(at, "a percent, a flat_amount or both; write 0 when the tier is free.")


def _stair_rules(tier: Tier, at: str) -> Iterator[Issue]:
    for name, number in (("unit_price", tier.unit_price), ("package_price", tier.package_price)):
        if number is not None:
            yield Issue(
                "unit_price_in_stairstep",
                f"{at}.{name}",
                "A stairstep tier costs its flat_amount, nothing per unit.",
                f"no {name} here, or model: volume.",
            )
    if tier.flat_amount is None:
        yield _no_price(at, "a flat_amount; write 0 when the tier is free.")


def _unit_rules(tier: Tier, at: str) -> Iterator[Issue]:
    yield from not_negative(tier.unit_price, f"{at}.unit_price")
    yield from not_negative(tier.package_price, f"{at}.package_price")
    if tier.package_size is not None:
        yield from package_size_rules(tier.package_size, f"{at}.package_size")
    if (tier.package_size is None) != (tier.package_price is None):
        yield Issue(
            "package_half_said",
            at,
            "A tier sold in packages needs both their size and their price.",
            "package_size and package_price, or neither.",
        )
    elif tier.package_price is not None and tier.unit_price is not None:
        yield Issue(
            "unit_and_package_price",
            f"{at}.unit_price",
            "The tier has a price by the unit and one by the package.",
            "unit_price, or package_size with package_price.",
        )
    elif tier.unit_price is None and tier.package_price is None and tier.flat_amount is None:
        yield _no_price(at, "a unit_price, a flat_amount or both; write 0 when the tier is free.")


def _whole_package_rules(tier: Tier, below: Decimal, at: str) -> Iterator[Issue]:
    # A package that lies across a bound would be paid in both tiers, or in neither.
    size = tier.package_size
    if size is None or tier.up_to is None or size <= 0 or tier.up_to <= below:
        return
    if (Fraction(tier.up_to) - Fraction(below)) % Fraction(size):
        yield Issue(
            "package_across_bound",
            f"{at}.package_size",
            f"The units above {decimal_text(below)} up to {decimal_text(tier.up_to)} are no whole number of "
            f"packages of {decimal_text(size)}.",
            "a tier that holds whole packages.",
        )


def _no_price(pointer: str, expected: str) -> Issue:
    return Issue("tier_without_price", pointer, "The tier has no price.", expected)


def _bound_rules(tiers: Sequence[Tier | PercentTier], pointer: str) -> Iterator[Issue]:
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
