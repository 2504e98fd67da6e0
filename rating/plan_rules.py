"""What a price plan must keep beyond its field types; every broken rule names its path.

The rules refuse what would be billed wrongly or not at all: tiers with a hole, prices missing or
below zero, meters that do not exist, cells that can never match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from ingest.errors import Issue
from ingest.meter import Meter
from rating.advance_rules import advance_rules
from rating.amount_rules import fixed_amount_rules
from rating.discount_rules import discount_rules
from rating.event_rules import event_price_rules
from rating.formula_rules import formula_rules
from rating.group_minimum_rules import group_minimum_rules
from rating.item_charge_rules import group_by_unused, item_charge_rules
from rating.level_tiers import level_tier_rules
from rating.matrix_rules import matrix_rules
from rating.money import MINOR_DIGITS
from rating.price_plan import Charge, MatrixPrice, Price, PricePlan
from rating.price_rules import simple_price_rules
from rating.retainer import sells_credit
from rating.spend_ids import STATED_CHARGE_ID, is_minimum
from rating.steps import reads_level
from rating.term_commitment import TRUE_UP_CHARGE_ID
from rating.tier_rules import not_negative
from rating.wider_rules import pool_rules, wider_rules

CHARGES_MAX: Final = 1000
_RESERVED_IDS: Final = frozenset({TRUE_UP_CHARGE_ID, STATED_CHARGE_ID})
METERED_KINDS: Final = frozenset({"usage", "licence"})
FIXED_MODELS: Final = frozenset({"flat", "per_unit"})


def price_plan_rules(plan: PricePlan, *, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    """Every rule the plan breaks. meters: all meters on record, by id."""
    if plan.currency not in MINOR_DIGITS:
        yield Issue(
            "unknown_currency",
            "currency",
            f"{plan.currency!r} is not a current ISO 4217 currency code.",
            "a code like EUR or USD.",
        )
    yield from not_negative(plan.minimum_spend, "minimum_spend")
    yield from _spend_rules(plan)
    yield from group_minimum_rules(plan)
    yield from pool_rules(plan)
    if plan.proration_divisor != "billing_period" and plan.proration != "by_day":
        yield Issue(
            "divisor_unused",
            "proration_divisor",
            f"It is {plan.proration_divisor} and the plan prorates {plan.proration}.",
            "proration: by_day, or no proration_divisor.",
        )
    yield from fixed_amount_rules(plan)
    yield from discount_rules(plan.discounts, "discounts", plans=[plan])
    if not plan.charges or len(plan.charges) > CHARGES_MAX:
        yield Issue(
            "charge_count",
            "charges",
            f"The plan has {len(plan.charges)} charges.",
            f"1 to {CHARGES_MAX} charges.",
        )
    seen: set[str] = set()
    for position, charge in enumerate(plan.charges):
        pointer = f"charges[{position}]"
        reserved = charge.charge_id in _RESERVED_IDS or sells_credit(charge.charge_id)
        reserved = reserved or is_minimum(charge.charge_id)
        if charge.charge_id in seen or reserved:
            yield Issue(
                "charge_id_taken",
                f"{pointer}.charge_id",
                f"{charge.charge_id!r} is used by another charge, or by a minimum, term, retainer or item.",
                "a charge_id of its own for every charge.",
            )
        seen.add(charge.charge_id)
        yield from _charge_rules(charge, pointer, meters, currency=plan.currency)


def _spend_rules(plan: PricePlan) -> Iterator[Issue]:
    yield from not_negative(plan.maximum_spend, "maximum_spend")
    minimum, maximum = plan.minimum_spend, plan.maximum_spend
    if minimum is not None and maximum is not None and minimum > maximum:
        yield Issue(
            "minimum_above_maximum",
            "minimum_spend",
            f"The minimum {minimum} is above the maximum {maximum}.",
            "a minimum_spend of at most maximum_spend.",
        )


def _charge_rules(
    charge: Charge, pointer: str, meters: Mapping[str, Meter], *, currency: str
) -> Iterator[Issue]:
    if charge.kind in METERED_KINDS:
        yield from _metered_rules(charge, pointer, meters)
    elif charge.kind == "item":
        yield from item_charge_rules(charge, pointer)
    else:
        yield from _fixed_rules(charge, pointer)
    if charge.group_by and charge.kind != "item":
        yield group_by_unused(charge, pointer)
    yield from _step_rules(charge, pointer)
    yield from formula_rules(charge, pointer, meters)
    yield from wider_rules(charge, pointer, meters)
    yield from event_price_rules(charge, pointer, meters.get(charge.meter_id or ""))
    yield from level_tier_rules(charge, pointer, meters.get(charge.meter_id or ""))
    if isinstance(charge.price, MatrixPrice):
        meter = meters.get(charge.meter_id or "")
        yield from matrix_rules(charge.price, f"{pointer}.price", meter, currency=currency)
    else:
        yield from simple_price_rules(charge.price, f"{pointer}.price", currency=currency)


def _metered_rules(charge: Charge, pointer: str, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    meter = meters.get(charge.meter_id or "")
    if charge.meter_id is None and charge.formula is None:
        yield Issue(
            "meter_missing",
            f"{pointer}.meter_id",
            f"A {charge.kind} charge has no meter.",
            "the meter_id of the meter that counts its quantity.",
        )
    elif meter is None and charge.meter_id is not None:
        yield Issue(
            "unknown_meter",
            f"{pointer}.meter_id",
            f"{charge.meter_id!r} is not a meter on record.",
            "a meter saved before the plan; `ratemill meter list` shows them.",
        )
    elif meter is not None and charge.kind == "licence" and meter.aggregation != "time_weighted":
        yield Issue(
            "licence_meter",
            f"{pointer}.meter_id",
            f"Meter {charge.meter_id!r} counts by {meter.aggregation}; it must read a level.",
            "a time_weighted meter, or kind: usage.",
        )
    known = [meters[meter_id] for meter_id in charge.meter_ids() if meter_id in meters]
    unread = [one.meter_id for one in known if not _reads_peak(one)]
    if unread and "capacity" in _models(charge.price):
        yield Issue(
            "capacity_meter",
            f"{pointer}.meter_id",
            f"A capacity price needs the highest level, and meter {unread[0]!r} does not read it.",
            "a max meter, a time_weighted one with reading: peak, a highest_sum or highest_count one by day "
            "or hour, or model: volume.",
        )
    if charge.timing == "advance":
        yield from advance_rules(charge, pointer)
    if not charge.prorated:
        yield Issue(
            "step_not_for_kind",
            f"{pointer}.prorated",
            f"A {charge.kind} charge has what was used in the part of the period.",
            "no prorated, or kind: recurring.",
        )
    if charge.quantity is not None:
        yield Issue(
            "quantity_unused",
            f"{pointer}.quantity",
            f"The meter gives the quantity of a {charge.kind} charge.",
            "no quantity, or kind: recurring.",
        )


def _models(price: Price) -> set[str]:
    """The models of a price and of every cell in it."""
    if not isinstance(price, MatrixPrice):
        return {price.model}
    prices = [cell.price for cell in price.cells] + ([] if price.default is None else [price.default])
    return {cell.model for cell in prices}


def _reads_peak(meter: Meter) -> bool:
    busiest = meter.parts is not None and meter.parts.are_times and reads_level(meter)
    return busiest or meter.aggregation == "max" or meter.reading == "peak"


def _fixed_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    if charge.meter_id is not None:
        yield Issue(
            "meter_unused",
            f"{pointer}.meter_id",
            f"A {charge.kind} charge counts nothing.",
            "no meter_id, or kind: usage.",
        )
    if charge.price.model not in FIXED_MODELS:
        yield Issue(
            "model_not_for_kind",
            f"{pointer}.price.model",
            f"A {charge.kind} charge cannot be priced by {charge.price.model}.",
            "flat, or per_unit with a quantity.",
        )
    if (charge.price.model == "per_unit") != (charge.quantity is not None):
        yield Issue(
            "fixed_quantity",
            f"{pointer}.quantity",
            f"A {charge.kind} charge with a {charge.price.model} price has quantity {charge.quantity}.",
            "a quantity with a per_unit price, none with a flat one.",
        )
    yield from not_negative(charge.quantity, f"{pointer}.quantity")
    steps = {
        "unit_conversion": charge.unit_conversion is not None,
        "free_units": charge.free_units is not None,
        "zero_usage": charge.zero_usage == "charge",
    }
    for name, given in steps.items():
        if given:
            yield Issue(
                "step_not_for_kind",
                f"{pointer}.{name}",
                f"A {charge.kind} charge has a fixed quantity; nothing is converted, free or unused.",
                f"no {name}; write the quantity that is charged.",
            )


def _step_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    conversion = charge.unit_conversion
    if conversion is not None and conversion.factor <= 0:
        yield Issue(
            "factor_not_positive",
            f"{pointer}.unit_conversion.factor",
            f"The factor is {conversion.factor}.",
            "a factor above 0.",
        )
    yield from not_negative(charge.free_units, f"{pointer}.free_units")
    yield from not_negative(charge.minimum_amount, f"{pointer}.minimum_amount")
    yield from not_negative(charge.maximum_amount, f"{pointer}.maximum_amount")
    minimum, maximum = charge.minimum_amount, charge.maximum_amount
    if minimum is not None and maximum is not None and minimum > maximum:
        yield Issue(
            "minimum_above_maximum",
            f"{pointer}.minimum_amount",
            f"The minimum {minimum} is above the maximum {maximum}.",
            "a minimum_amount of at most maximum_amount.",
        )
    if (
        isinstance(charge.price, MatrixPrice)
        and charge.free_units is not None
        and charge.free_units > Decimal(0)
    ):
        yield Issue(
            "free_units_of_matrix",
            f"{pointer}.free_units",
            "Each combination is a line of its own and would get the free units again.",
            "no free_units on a matrix charge; give a cell a graduated price with a first tier at 0.",
        )
    if isinstance(charge.price, MatrixPrice) and charge.zero_usage == "charge":
        yield Issue(
            "zero_usage_of_matrix",
            f"{pointer}.zero_usage",
            "Without usage there is no combination, and so no cell to charge.",
            "no zero_usage on a matrix charge; use a recurring charge for what is due in any case.",
        )
