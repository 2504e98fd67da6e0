"""Item lines: what the billable items of one group come to, priced as any line is.

A group is one charge (a rate card of the plan) and one set of values of the fields it groups and prices by.
Its quantity is the sum of its items', priced once and rounded once:

    37.25 hours x 84.00 = 3,129.00

Items that state their own price are lines of the charge ``stated-price``, which is in no plan: the price
stands among the line's dimensions, so that such a line too is explained and verified from itself alone.
Discounts, minimum and maximum spends are about usage and fees and leave items as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ingest.document import decimal_text
from rating.line_hash import hash_text
from rating.money import minor_digits
from rating.price_plan import Charge, PerUnitPrice, PricePlan
from rating.reference import applicable_price, cut_decimal, terms_of
from rating.special_price import NO_INPUTS, price_line
from rating.spend_ids import STATED_CHARGE_ID

ITEM_KIND: Final = "item"
STATED_PRICE: Final = "unit_price"
"""The dimension of a line of stated prices that holds the price."""
_STATED_NAME: Final = "Stated price"
_WHOLE: Final = Fraction(1)
_WORD_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """What one line is for. owner: the contract's id on the line. start, end: UTC, around the days of the
    items.
    tax_class, unit: of all of them. dimensions: the values of the fields that group and price them."""

    owner: str
    billing_date: date
    plan_version: int
    agreement: str
    start: datetime
    end: datetime
    tax_class: str
    dimensions: Mapping[str, str]
    unit: str
    quantity: Decimal
    item_count: int


def stated_charge(dimensions: Mapping[str, str], *, unit: str) -> Charge:
    """The charge of a line whose items state their price."""
    price = PerUnitPrice(model="per_unit", unit_price=Decimal(dict(dimensions)[STATED_PRICE]))
    return Charge(charge_id=STATED_CHARGE_ID, name=_STATED_NAME, kind="item", unit=unit, price=price)


def item_line(group: ItemGroup, *, plan: PricePlan, charge: Charge, run_id: str) -> dict[str, Any]:
    """One row of RATED_LINE_SCHEMA as Python values. plan: under its agreement. Raises Unrateable when the
    charge has no price for the group."""
    price = applicable_price(charge, group.dimensions)
    digits = minor_digits(plan.currency)
    terms = terms_of(charge, price, prorated=False, minor_digits=digits, rounding=plan.rounding)
    priced = price_line(
        terms, quantity=group.quantity, event_count=group.item_count, share=_WHOLE, inputs=NO_INPUTS
    )
    dimensions = sorted(group.dimensions.items())
    question = (
        group.owner,
        str(group.billing_date),
        charge.charge_id,
        plan.plan_id,
        str(group.plan_version),
        group.agreement,
        group.unit,
        group.tax_class,
        *(f"{name}={value}" for name, value in dimensions),
    )
    inputs = (decimal_text(group.quantity), str(group.item_count), price.model_dump_json())
    return {
        "line_id": _hash(("item", *question)),
        "run_id": run_id,
        "contract_id": group.owner,
        "plan_id": plan.plan_id,
        "plan_version": group.plan_version,
        "charge_id": charge.charge_id,
        "charge_kind": ITEM_KIND,
        "price_model": price.model,
        "meter_id": "",
        "unit": group.unit,
        "billing_date": group.billing_date,
        "period_start": group.start,
        "period_end": group.end,
        "days": 1,
        "full_days": 1,
        "dimensions": dimensions,
        "quantity": group.quantity,
        "rated_quantity": cut_decimal(priced.rated_quantity),
        "event_count": group.item_count,
        "tier_number": [tier.number for tier in priced.tiers],
        "tier_units": [cut_decimal(tier.units) for tier in priced.tiers],
        "tier_amount": [cut_decimal(amount) for amount in priced.tier_amounts()],
        "amount": cut_decimal(priced.amount),
        "amount_minor": priced.amount_minor,
        "currency": plan.currency,
        "input_hash": _hash(("item", *question, *inputs, plan.currency, plan.rounding)),
        "agreement": group.agreement,
        "discount_number": [],
        "discount_amount": [],
        "inputs": [],
    }


def _hash(words: tuple[str, ...]) -> bytes:
    return b"".join(word.to_bytes(_WORD_BYTES, "little") for word in hash_text("\x1f".join(words)))
