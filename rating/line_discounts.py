"""The discounts a rated line shows, and whether they are those of its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final

from ingest.errors import BrokenState
from ingest.event import QUANTITY_SCALE
from rating.bill_rounding import part_follows
from rating.discount import Discount, MaximumSpend
from rating.discount_lines import percent_step
from rating.price_plan import PricePlan

_SCALE: Final = 10**QUANTITY_SCALE


@dataclass(frozen=True, slots=True)
class LineDiscount:
    """One discount on a line: what it took off, and what it left."""

    discount: Discount
    amount: Decimal
    left: Decimal


def list_amount(line: Mapping[str, Any]) -> Fraction:
    """What the line came to before its discounts, exact to 12 digits."""
    return sum((Fraction(part) for part in line["discount_amount"]), Fraction(line["amount"]))


def discounts_of(line: Mapping[str, Any], plan: PricePlan) -> list[LineDiscount]:
    """The discounts in the order applied. plan: the version the line names under its agreement. Raises
    BrokenState when that has no discount of such a number."""
    left, found, reductions = list_amount(line), [], plan.reductions()
    for number, amount in zip(line["discount_number"], line["discount_amount"], strict=True):
        if not 1 <= number <= len(reductions):
            raise BrokenState(
                f"a line of contract {line['contract_id']!r} names discount {number}; plan "
                f"{plan.plan_id!r} version {line['plan_version']} under its agreement has "
                f"{len(reductions)}. Check that the plan given is that version."
            )
        left -= Fraction(amount)
        found.append(LineDiscount(reductions[number - 1], amount, _decimal(left)))
    return found


def discounts_follow(
    line: Mapping[str, Any], plan: PricePlan, *, price_with_free: Callable[[Decimal], Fraction]
) -> bool:
    """Whether each discount took what it says, and the rest was rounded once. The share of an amount
    cannot be told from one line: it must only be of at most that amount.

    price_with_free: what the line comes to with so many more units free.
    """
    before, units = list_amount(line), Decimal(0)
    listed = _scaled(before)
    for entry in discounts_of(line, plan):
        discount, amount = entry.discount, _scaled(Fraction(entry.amount))
        if discount.percent is not None:
            base = _scaled(before) if plan.discounting.mode == "stacked" else listed
            bound = abs(_scaled(before))
            step = percent_step(base, discount.percent, plan)
            if abs(amount) != min(abs(step), bound):
                return False
        elif isinstance(discount, MaximumSpend):
            if not 0 <= Fraction(entry.left) < before:  # beside usage taken back it may be above the maximum
                return False
        elif discount.amount is not None:
            if not 0 < Fraction(entry.amount) <= Fraction(discount.amount):
                return False
        else:
            units += discount.units or Decimal(0)
            if amount != _scaled(before - price_with_free(units)):
                return False
        before = Fraction(entry.left)
    return part_follows(line, plan)


def _scaled(amount: Fraction) -> int:
    return int(amount * _SCALE)


def _decimal(amount: Fraction) -> Decimal:
    return Decimal(_scaled(amount)).scaleb(-QUANTITY_SCALE, context=Context(prec=60))
