"""Tier rows for people: bounds and unit price of the plan beside the units and amounts of the line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from ingest.document import decimal_text
from rating.event_bounds import BETWEEN
from rating.money import exact_money, grouped_words
from rating.price_plan import (
    DynamicPrice,
    FlatPrice,
    PackagePrice,
    PercentagePrice,
    PercentTier,
    PerUnitPrice,
    SimplePrice,
    Tier,
    TieredPrice,
)
from rating.reference import Priced, cut_decimal


@dataclass(frozen=True, slots=True)
class TierRow:
    """One tier row; every number as text. ``up_to`` None: the rest. ``price`` says in words what a unit
    or the tier costs, with at least the currency's digits."""

    number: int
    above: str
    up_to: str | None
    units: str
    price: str
    amount: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self, digits: int) -> str:
        """For people: numbers grouped, the amount with at least ``digits`` digits."""
        above, units = grouped_words(self.above), grouped_words(self.units)
        bounds = f"above {above}" if self.up_to is None else f"{above} to {grouped_words(self.up_to)}"
        amount = exact_money(Decimal(self.amount), digits=digits, grouped=True)
        return f"tier {self.number} ({bounds}): {units} units, {grouped_words(self.price)} = {amount}"


def tier_rows(price: SimplePrice, priced: Priced, *, digits: int, goes_on: bool) -> Iterator[TierRow]:
    """The rows of one priced quantity; their amounts sum to the cut model amount. digits: those of the
    currency. goes_on: tiers go on from an earlier period, so that a flat amount is due once in all of them
    and perhaps not in this row."""
    for share, amount in zip(priced.tiers, priced.tier_amounts(), strict=True):
        above, up_to = "0", None
        if isinstance(price, TieredPrice):
            tier = price.tiers[share.number - 1]
            up_to = None if tier.up_to is None else decimal_text(tier.up_to)
            before = price.tiers[share.number - 2].up_to if share.number > 1 else None
            above = decimal_text(before) if before is not None else "0"
        yield TierRow(
            number=share.number,
            above=above,
            up_to=up_to,
            units=decimal_text(cut_decimal(share.units)),
            price=_price_text(price, share.number, digits, goes_on=goes_on),
            amount=decimal_text(cut_decimal(amount)),
        )


def _price_text(price: SimplePrice, number: int, digits: int, *, goes_on: bool) -> str:
    def money(amount: Decimal) -> str:
        return exact_money(amount, digits=digits)

    if isinstance(price, FlatPrice):
        return f"flat {money(price.amount)}"
    if isinstance(price, PerUnitPrice):
        return f"{money(price.unit_price)} each"
    if isinstance(price, DynamicPrice):
        times = "" if price.multiplier == 1 else f" x {decimal_text(price.multiplier)}"
        return f"amount of the events{times}"
    if isinstance(price, PackagePrice):
        return _package_text(price.package_size, money(price.package_price), up=price.round == "up")
    if isinstance(price, PercentagePrice):
        if price.is_by_event and number != BETWEEN:
            bound = price.minimum_per_event if number < BETWEEN else price.maximum_per_event
            return f"{'least' if number < BETWEEN else 'most'} {money(bound or Decimal(0))} for each event"
        return f"{decimal_text(price.percent)} %" + _fixed_text(price, digits)
    return _tier_text(price.tiers[number - 1], digits, goes_on=goes_on)


def _package_text(size: Decimal, cost: str, *, up: bool) -> str:
    return f"{cost} for each package of {decimal_text(size)} units, a started one {'whole' if up else 'free'}"


def _fixed_text(price: PercentagePrice, digits: int) -> str:
    if price.fixed_per_event is None:
        return ""
    free = f" after the first {price.free_events}" if price.free_events else ""
    return f" and {exact_money(price.fixed_per_event, digits=digits)} for each event{free}"


def _tier_text(tier: Tier | PercentTier, digits: int, *, goes_on: bool) -> str:
    parts = []
    if isinstance(tier, PercentTier):
        parts += [] if tier.percent is None else [f"{decimal_text(tier.percent)} %"]
    elif tier.package_size is not None:
        cost = exact_money(tier.package_price or Decimal(0), digits=digits)
        parts.append(_package_text(tier.package_size, cost, up=tier.round == "up"))
    elif tier.unit_price is not None:
        parts.append(f"{exact_money(tier.unit_price, digits=digits)} each")
    if tier.flat_amount is not None:
        parts.append(f"flat {exact_money(tier.flat_amount, digits=digits)}{' once' if goes_on else ''}")
    return " and ".join(parts)
