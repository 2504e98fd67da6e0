"""Amounts a plan fixes must fit minor units: one that does not would hold every period it falls due in."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from ingest.document import decimal_text
from ingest.errors import Issue
from rating.money import MINOR_DIGITS, round_to_minor
from rating.price_plan import FlatPrice, MatrixPrice, Price, PricePlan, TieredPrice, tiers_of

MINOR_LIMIT: Final = 2**63


def fixed_amount_rules(plan: PricePlan) -> Iterator[Issue]:
    """Flat amounts, minimums and maximums of 2**63 minor units or more, with their paths. A plan of
    an unknown currency has no minor units; that is said elsewhere."""
    digits = MINOR_DIGITS.get(plan.currency)
    if digits is None:
        return
    for pointer, amount in _fixed_amounts(plan):
        if amount is None or round_to_minor(amount, digits=digits, mode=plan.rounding) < MINOR_LIMIT:
            continue
        yield Issue(
            "amount_too_large",
            pointer,
            f"{decimal_text(amount)} {plan.currency} is more than an invoice line can hold.",
            f"an amount below {Decimal(MINOR_LIMIT).scaleb(-digits):f}.",
        )


def _fixed_amounts(plan: PricePlan) -> Iterator[tuple[str, Decimal | None]]:
    yield "minimum_spend", plan.minimum_spend
    yield "maximum_spend", plan.maximum_spend
    for position, group in enumerate(plan.group_minimums):
        yield f"group_minimums[{position}].amount", group.amount
    for position, charge in enumerate(plan.charges):
        at = f"charges[{position}]"
        yield f"{at}.minimum_amount", charge.minimum_amount
        yield f"{at}.maximum_amount", charge.maximum_amount
        yield from _flat_amounts(charge.price, f"{at}.price")


def _flat_amounts(price: Price, pointer: str) -> Iterator[tuple[str, Decimal | None]]:
    if isinstance(price, MatrixPrice):
        for position, cell in enumerate(price.cells):
            yield from _flat_amounts(cell.price, f"{pointer}.cells[{position}].price")
        if price.default is not None:
            yield from _flat_amounts(price.default, f"{pointer}.default")
    elif isinstance(price, FlatPrice):
        yield f"{pointer}.amount", price.amount
    elif isinstance(price, TieredPrice):
        for position, tier in enumerate(tiers_of(price)):
            yield f"{pointer}.tiers[{position}].flat_amount", tier.flat_amount
