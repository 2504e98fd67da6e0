"""A charge's price in words and its tier bounds, for the snapshot an invoice keeps.

Tier numbers of a rated line count the tiers of the price that was used (of a matrix: of the cell
that matched), from 1. Models without tiers have the single tier 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ingest.document import decimal_text
from rating.agreement import Agreement
from rating.discount import Discount
from rating.event_bounds import BANDS
from rating.item_line import ITEM_KIND, stated_charge
from rating.money import exact_money, minor_digits
from rating.price_plan import (
    Charge,
    Direction,
    DynamicPrice,
    FlatPrice,
    MatrixPrice,
    PackagePrice,
    PercentagePrice,
    PercentTier,
    PerUnitPrice,
    PricePlan,
    SimplePrice,
    Tier,
    TieredPrice,
    tiers_of,
)

_ZERO: Final = Decimal(0)
_TIERED_TEXT: Final = {
    "graduated": "each unit at the price of its tier",
    "graduated_percentage": "each part at the percentage of its tier",
    "volume": "all units at the price of the tier reached",
    "capacity": "all units at the price of the tier the highest level reached",
    "stairstep": "one amount for the tier reached",
}


@dataclass(frozen=True, slots=True)
class TierTerms:
    """What the plan says about one tier; None where the model has no such thing."""

    above: Decimal
    up_to: Decimal | None
    unit_price: Decimal | None
    flat_amount: Decimal | None


@dataclass(frozen=True, slots=True)
class ChargeTerms:
    """What an invoice line says about its charge besides the numbers."""

    description: str
    price_text: str
    tiers: tuple[TierTerms, ...]
    discounts: tuple[Discount, ...] = ()


def charge_terms(plan: PricePlan, *, charge_id: str, dimensions: Mapping[str, str], unit: str) -> ChargeTerms:
    """Name, price and tiers of a charge for one combination of dimension values.

    ``charge_id`` is a charge of the plan, ``minimum-spend`` or the minimum of a group. unit: the one on the
    rated line, which is the meter's when the charge names none. Raises KeyError for another charge.
    """
    digits = minor_digits(plan.currency)
    charge = next((charge for charge in plan.charges if charge.charge_id == charge_id), None)
    if charge is None:
        minimum = plan.minimum_of(charge_id)
        if minimum is None:
            raise KeyError(charge_id)
        names = {group.charge_id: group.name for group in plan.group_minimums}
        text = f"up to {exact_money(minimum, digits=digits)} a period"
        return ChargeTerms(names.get(charge_id, "Minimum spend"), text, ())
    price = used_price(charge, dimensions)
    if price is None:
        return ChargeTerms(charge.name, "", (), plan.reductions())
    text = price_text(price, unit=unit, digits=digits) + _counting_text(charge)
    reductions = () if charge.kind == ITEM_KIND else plan.reductions()
    return ChargeTerms(charge.name, text, tier_terms(price), reductions)


def credit_terms(plan: PricePlan, *, charge_id: str) -> ChargeTerms:
    """What a credit line says: which fee it gives back of. Raises KeyError for a charge the plan has not."""
    charge = next((charge for charge in plan.charges if charge.charge_id == charge_id), None)
    if charge is None:
        raise KeyError(charge_id)
    return ChargeTerms(f"{charge.name}, credit for what is not used", "of what was billed", ())


def stated_terms(plan: PricePlan, *, dimensions: Mapping[str, str], unit: str) -> ChargeTerms:
    """What a line says whose items state their price."""
    price = stated_charge(dimensions, unit=unit).price
    if isinstance(price, MatrixPrice):
        raise KeyError(unit)
    text = price_text(price, unit=unit, digits=minor_digits(plan.currency))
    return ChargeTerms("Stated price", text, tier_terms(price))


def true_up_terms(plan: PricePlan, agreement: Agreement, *, commitment_id: str) -> ChargeTerms:
    """The words of a line that trues up a commitment. Raises KeyError for one that is not agreed."""
    for entry in agreement.term_commitments:
        if entry.commitment_id == commitment_id:
            digits = minor_digits(plan.currency)
            least = exact_money(entry.amount or Decimal(0), digits=digits)
            if entry.units is not None:
                price = exact_money(entry.unit_price or Decimal(0), digits=digits)
                least = f"{decimal_text(entry.units)} {entry.unit or 'unit'} at {price}"
            term = f"from {entry.effective_from} to {entry.effective_until}"
            return ChargeTerms(f"{entry.name}, true-up", f"up to {least} {term}", ())
    raise KeyError(commitment_id)


def _counting_text(charge: Charge) -> str:
    """What is counted beyond the period and the contract, or by a formula; nothing for most charges."""
    said = []
    if charge.formula is not None:
        said.append(f"quantity: {charge.formula}")
    if charge.tiers_count == "event":
        said.append("each event by itself")
    elif charge.tiers_count == "moment":
        said.append("each unit in the tier it stands in")
    elif charge.tiers_count != "period":
        span = "contract year" if charge.tiers_count == "year" else charge.tiers_count.replace("_", " ")
        said.append(f"counted over the {span}")
    if charge.pooled_over != "contract":
        beside = "the customer's other contracts" if charge.pooled_over == "customer" else "its pool"
        said.append(f"counted together with {beside}")
    return f" ({'; '.join(said)})" if said else ""


def used_price(charge: Charge, dimensions: Mapping[str, str]) -> SimplePrice | None:
    """The charge's price; of a matrix the first cell that matches, its default, or None."""
    if not isinstance(charge.price, MatrixPrice):
        return charge.price
    for cell in charge.price.cells:
        if all(dimensions.get(name, "") == value for name, value in cell.match.items()):
            return cell.price
    return charge.price.default


def price_text(price: SimplePrice, *, unit: str, digits: int) -> str:
    """``0.01 per call``, ``5.00 per started package of 1000 call``, ``2.5 % + 0.30 per event`` and so on.
    digits: those of the currency; a price has at least so many."""

    def money(number: Decimal) -> str:
        return exact_money(number, digits=digits)

    if isinstance(price, FlatPrice):
        return f"flat {money(price.amount)}"
    if isinstance(price, PerUnitPrice):
        return f"{money(price.unit_price)} per {unit}"
    if isinstance(price, DynamicPrice):
        return "as the events say" + ("" if price.multiplier == 1 else f" x {decimal_text(price.multiplier)}")
    if isinstance(price, PackagePrice):
        return _package_text(money(price.package_price), price.package_size, price.round, unit)
    if isinstance(price, PercentagePrice):
        return f"{decimal_text(price.percent)} %{_fixed_text(price, digits)}{_bounds_text(price, digits)}"
    # The columns of an invoice's tiers hold prices by the unit; what is sold otherwise is said here.
    other = [
        f"tier {number}: {text}"
        for number, tier in enumerate(tiers_of(price), start=1)
        if (text := _tier_text(tier, unit, digits))
    ]
    return _TIERED_TEXT[price.model] + (f" ({'; '.join(other)})" if other else "")


def _package_text(cost: str, size: Decimal, rounding: Direction, unit: str) -> str:
    started = "started" if rounding == "up" else "full"
    return f"{cost} per {started} package of {decimal_text(size)} {unit}"


def _fixed_text(price: PercentagePrice, digits: int) -> str:
    if price.fixed_per_event is None:
        return ""
    free = f" after the first {price.free_events}" if price.free_events else ""
    return f" + {exact_money(price.fixed_per_event, digits=digits)} per event{free}"


def _bounds_text(price: PercentagePrice, digits: int) -> str:
    bounds = (("at least", price.minimum_per_event), ("at most", price.maximum_per_event))
    said = [f"{word} {exact_money(bound, digits=digits)}" for word, bound in bounds if bound is not None]
    return f", {' and '.join(said)} per event" if said else ""


def _tier_text(tier: Tier | PercentTier, unit: str, digits: int) -> str:
    if isinstance(tier, PercentTier):
        return "" if tier.percent is None else f"{decimal_text(tier.percent)} %"
    if tier.package_size is None or tier.package_price is None:
        return ""
    return _package_text(exact_money(tier.package_price, digits=digits), tier.package_size, tier.round, unit)


def tier_terms(price: SimplePrice) -> tuple[TierTerms, ...]:
    """The tiers of a price in order, number 1 first."""
    if isinstance(price, TieredPrice):
        above = _ZERO
        tiers = []
        for tier in price.tiers:
            by_unit = None if isinstance(tier, PercentTier) else tier.unit_price
            tiers.append(TierTerms(above, tier.up_to, by_unit, tier.flat_amount))
            above = above if tier.up_to is None else tier.up_to
        return tuple(tiers)
    if isinstance(price, PercentagePrice) and price.is_by_event:
        return (TierTerms(_ZERO, None, None, None),) * len(BANDS)
    unit_price = price.unit_price if isinstance(price, PerUnitPrice) else None
    flat_amount = price.amount if isinstance(price, FlatPrice) else None
    return (TierTerms(_ZERO, None, unit_price, flat_amount),)
