"""What a discount must keep, on a plan or on a contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from ingest.document import decimal_text
from ingest.errors import Issue
from rating.discount import RESERVED_IDS, Discount
from rating.money import MINOR_DIGITS
from rating.price_plan import Charge, MatrixPrice, PricePlan, is_special

DISCOUNTS_MAX: Final = 100
_HUNDRED: Final = Decimal(100)


def discount_rules(
    discounts: Sequence[Discount], pointer: str, *, plans: Sequence[PricePlan]
) -> Iterator[Issue]:
    """Every rule the discounts break, with paths below ``pointer``. plans: the versions they may be used
    with, of one currency; a charge must be in one of them."""
    if len(discounts) > DISCOUNTS_MAX:
        yield Issue(
            "discount_count",
            pointer,
            f"There are {len(discounts)} discounts.",
            f"at most {DISCOUNTS_MAX} discounts.",
        )
    seen: set[str] = set()
    for position, discount in enumerate(discounts):
        at = f"{pointer}[{position}]"
        if discount.discount_id in seen | RESERVED_IDS:
            yield Issue(
                "discount_id_taken",
                f"{at}.discount_id",
                f"{discount.discount_id!r} is used by another discount, the trial or the maximum spend.",
                "a discount_id of its own for every discount.",
            )
        seen.add(discount.discount_id)
        yield from _value_rules(discount, at, plans)
        yield from _scope_rules(discount, at, plans)
        yield from _window_rules(discount, at)


def _value_rules(discount: Discount, at: str, plans: Sequence[PricePlan]) -> Iterator[Issue]:
    given = [name for name in ("percent", "amount", "units") if getattr(discount, name) is not None]
    if len(given) != 1:
        yield Issue(
            "discount_value",
            at,
            f"The discount gives {' and '.join(given) or 'nothing'}.",
            "exactly one of percent, amount and units.",
        )
        return
    value = getattr(discount, given[0])
    if value <= 0 or (discount.percent is not None and value > _HUNDRED):
        yield Issue(
            "discount_out_of_range",
            f"{at}.{given[0]}",
            f"The discount is {decimal_text(value)}.",
            "a number above 0, and a percent of at most 100.",
        )
    if discount.amount is not None and plans:
        digits = MINOR_DIGITS.get(plans[0].currency, 2)
        if value != value.quantize(Decimal(1).scaleb(-digits)):
            yield Issue(
                "discount_finer_than_money",
                f"{at}.amount",
                f"{decimal_text(value)} {plans[0].currency} is finer than its minor unit.",
                f"an amount of at most {digits} fraction digits, so that it can be shared out to the cent.",
            )


def _scope_rules(discount: Discount, at: str, plans: Sequence[PricePlan]) -> Iterator[Issue]:
    charges: dict[str, Charge] = {charge.charge_id: charge for plan in plans for charge in plan.charges}
    for position, charge_id in enumerate(discount.charge_ids):
        if charges and charge_id not in charges:
            yield Issue(
                "unknown_charge",
                f"{at}.charge_ids[{position}]",
                f"The plan has no charge {charge_id!r}.",
                f"a charge_id of the plan, like {next(iter(charges))!r}.",
            )
        elif charges and charges[charge_id].kind == "item":
            yield Issue(
                "discount_of_items",
                f"{at}.charge_ids[{position}]",
                f"{charge_id!r} is a rate card: its items cost the rate agreed, and no discount lowers them.",
                "other charges here, and the lower rate as an override of the contract.",
            )
    if discount.units is None:
        return
    unfit = [
        charge_id
        for charge_id in discount.charge_ids
        if charge_id in charges and not _takes_units(charges[charge_id])
    ]
    if unfit or not discount.charge_ids:
        yield Issue(
            "discount_of_units",
            f"{at}.charge_ids",
            f"Units cannot be taken off {unfit[0]!r}." if unfit else "Units of what is not said.",
            "usage or licence charges by id; of a matrix each combination would get the units again, and a "
            "price by more than the quantity of the period takes none off.",
        )


def _takes_units(charge: Charge) -> bool:
    metered = bool(charge.meter_ids()) and not isinstance(charge.price, MatrixPrice)
    return metered and not is_special(charge)


def _window_rules(discount: Discount, at: str) -> Iterator[Issue]:
    start, until = discount.effective_from, discount.effective_until
    if discount.first_periods is not None and (start is not None or until is not None):
        yield Issue(
            "discount_window",
            f"{at}.first_periods",
            "The discount says both how many periods and which days it is for.",
            "first_periods, or effective_from and effective_until.",
        )
    if start is not None and until is not None and until <= start:
        yield Issue(
            "end_not_after_start",
            f"{at}.effective_until",
            f"The discount begins on {start} and ends on {until}.",
            "a day after effective_from; it is the first day no longer covered.",
        )
