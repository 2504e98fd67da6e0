"""What is allowed in a price plan and seldom meant: said when it is saved, refused never."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from ingest.document import decimal_text
from ingest.errors import Issue
from rating.money import exact_money, minor_digits
from rating.price_plan import (
    GRADUATED_MODELS,
    Charge,
    MatrixPrice,
    Price,
    PricePlan,
    SimplePrice,
    TieredPrice,
    tiers_of,
)
from rating.reference import cut_decimal, model_tiers


def price_plan_warnings(plan: PricePlan) -> Iterator[Issue]:
    """Of every tier bound past which one more unit lowers the bill: its path, the two quantities
    (priced units, after conversion and free units) and what they come to in a whole period.

    Only where one tier prices all units can a bill fall so; the charge's minimum and maximum are
    counted in. plan: one that keeps the rules of ``rating/plan_rules.py``.
    """
    for position, charge in enumerate(plan.charges):
        for pointer, price in _simple_prices(charge.price, f"charges[{position}].price"):
            if isinstance(price, TieredPrice) and not isinstance(price, GRADUATED_MODELS):
                yield from _falling_bills(charge, price, pointer, currency=plan.currency)


def _simple_prices(price: Price, pointer: str) -> Iterator[tuple[str, SimplePrice]]:
    if not isinstance(price, MatrixPrice):
        yield pointer, price
        return
    for position, cell in enumerate(price.cells):
        yield f"{pointer}.cells[{position}].price", cell.price
    if price.default is not None:
        yield f"{pointer}.default", price.default


def _falling_bills(charge: Charge, price: TieredPrice, pointer: str, *, currency: str) -> Iterator[Issue]:
    digits = minor_digits(currency)
    for position, tier in enumerate(tiers_of(price)[:-1]):
        if tier.up_to is None:
            return
        units = Fraction(tier.up_to)
        here, beyond = (_amount(charge, price, quantity) for quantity in (units, units + 1))
        if beyond >= here:
            continue
        more, less = (exact_money(cut_decimal(amount), digits=digits) for amount in (here, beyond))
        yield Issue(
            "more_costs_less",
            f"{pointer}.tiers[{position}].up_to",
            f"{decimal_text(tier.up_to)} {charge.unit} cost {more} {currency}, and "
            f"{decimal_text(tier.up_to + Decimal(1))} cost {less}: one more lowers the bill.",
            "graduated tiers, or a flat_amount that makes up for the lower price, unless this is meant.",
        )


def _amount(charge: Charge, price: TieredPrice, units: Fraction) -> Fraction:
    amount = sum((tier.amount for tier in model_tiers(price, units, 0, zero_reaches=False)), Fraction(0))
    if charge.minimum_amount is not None:
        amount = max(amount, Fraction(charge.minimum_amount))
    if charge.maximum_amount is not None:
        amount = min(amount, Fraction(charge.maximum_amount))
    return amount
