"""Tier rows for people: bounds and unit price of the plan beside the units and amounts of the line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ingest.document import decimal_text
from rating.price_plan import (
    FlatPrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    SimplePrice,
    StairstepPrice,
    VolumePrice,
)
from rating.reference import Priced, cut_decimal


@dataclass(frozen=True, slots=True)
class TierRow:
    """One tier row; every number as text. ``up_to`` None: the rest. ``price`` says in words what a unit
    or the tier costs."""

    number: int
    above: str
    up_to: str | None
    units: str
    price: str
    amount: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        bounds = f"above {self.above}" if self.up_to is None else f"{self.above} to {self.up_to}"
        return f"tier {self.number} ({bounds}): {self.units} units, {self.price} = {self.amount}"


def tier_rows(price: SimplePrice, priced: Priced) -> Iterator[TierRow]:
    """The rows of one priced quantity; their amounts sum to the cut model amount."""
    for share, amount in zip(priced.tiers, priced.tier_amounts(), strict=True):
        above, up_to = "0", None
        if isinstance(price, GraduatedPrice | VolumePrice | StairstepPrice):
            tier = price.tiers[share.number - 1]
            up_to = None if tier.up_to is None else decimal_text(tier.up_to)
            before = price.tiers[share.number - 2].up_to if share.number > 1 else None
            above = decimal_text(before) if before is not None else "0"
        yield TierRow(
            number=share.number,
            above=above,
            up_to=up_to,
            units=decimal_text(cut_decimal(share.units)),
            price=_price_text(price, share.number),
            amount=decimal_text(cut_decimal(amount)),
        )


def _price_text(price: SimplePrice, number: int) -> str:
    if isinstance(price, FlatPrice):
        return f"flat {decimal_text(price.amount)}"
    if isinstance(price, PerUnitPrice):
        return f"{decimal_text(price.unit_price)} each"
    if isinstance(price, PackagePrice):
        size, cost = decimal_text(price.package_size), decimal_text(price.package_price)
        return f"{cost} for each {size}, started packages {'whole' if price.round == 'up' else 'free'}"
    if isinstance(price, PercentagePrice):
        fixed = price.fixed_per_event
        return f"{decimal_text(price.percent)} %" + (
            "" if fixed is None else f" and {decimal_text(fixed)} for each event"
        )
    tier = price.tiers[number - 1]
    parts = []
    if tier.unit_price is not None:
        parts.append(f"{decimal_text(tier.unit_price)} each")
    if tier.flat_amount is not None:
        parts.append(f"flat {decimal_text(tier.flat_amount)}")
    return " and ".join(parts)
