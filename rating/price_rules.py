"""The rules of one price, whatever charge or matrix cell it stands in."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ingest.errors import Issue
from rating.price_plan import (
    DynamicPrice,
    FlatPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    SimplePrice,
    TieredPrice,
)
from rating.tier_rules import not_negative, package_size_rules, tier_list_rules


def simple_price_rules(price: SimplePrice, pointer: str, *, currency: str) -> Iterator[Issue]:
    """Every rule the price breaks, with paths below ``pointer``. currency: the plan's."""
    if isinstance(price, TieredPrice):
        yield from tier_list_rules(price, f"{pointer}.tiers")
    elif isinstance(price, PackagePrice):
        yield from not_negative(price.package_price, f"{pointer}.package_price")
        yield from package_size_rules(price.package_size, f"{pointer}.package_size")
    else:
        for name, number in _numbers(price):
            yield from not_negative(number, f"{pointer}.{name}")
    if isinstance(price, DynamicPrice) and price.currency != currency:
        yield Issue(
            "currency_differs",
            f"{pointer}.currency",
            f"The events carry {price.currency}, the plan bills {currency}; nothing converts between them.",
            f"{currency}, or events that carry it.",
        )
    if isinstance(price, PercentagePrice) and not price.is_by_event:
        yield from _free_event_rules(price, pointer)


def _free_event_rules(price: PercentagePrice, pointer: str) -> Iterator[Issue]:
    if price.free_events and price.fixed_per_event is None:
        yield Issue(
            "free_events_unused",
            f"{pointer}.free_events",
            "Free events are spared the fixed amount of an event, and there is none.",
            "a fixed_per_event, or free_units for value that is free.",
        )


def _numbers(
    price: FlatPrice | PerUnitPrice | PercentagePrice | DynamicPrice,
) -> list[tuple[str, Decimal | None]]:
    if isinstance(price, FlatPrice):
        return [("amount", price.amount)]
    if isinstance(price, PerUnitPrice):
        return [("unit_price", price.unit_price)]
    if isinstance(price, DynamicPrice):
        return [("multiplier", price.multiplier)]
    names = ("percent", "fixed_per_event", "minimum_per_event", "maximum_per_event")
    return [(name, getattr(price, name)) for name in names]
