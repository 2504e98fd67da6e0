"""Prices a rated line again from the plan version it names: is the bill the menu?

A line carries all it was computed from but for one thing: whether its meter reads a level, whose
price is prorated (``rating/steps.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ingest.errors import BrokenState
from rating.adjustment_line import adjustment_follows, rated_again
from rating.agreement import Agreement
from rating.bill_rounding import ROUNDED_PART, part_follows
from rating.credit_line import credit_follows
from rating.formula import formula_quantity
from rating.item_line import ITEM_KIND, stated_charge
from rating.line_discounts import discounts_follow, list_amount
from rating.money import minor_digits, minor_to_decimal, round_to_minor
from rating.price_plan import Charge, PricePlan, SimplePrice
from rating.reference import (
    Priced,
    applicable_price,
    cut,
    cut_decimal,
    terms_of,
)
from rating.special_price import price_line
from rating.spend_ids import STATED_CHARGE_ID
from rating.steps import ADJUSTMENT_KIND, FEE_CREDIT_KIND, MINIMUM_SPEND_KIND
from rating.term_commitment import COMMITMENT, TRUE_UP_KIND, TermCommitment, true_up, unit_true_up
from rating.unrateable import Unrateable

_PRORATED: Final = {
    "recurring": (True,),
    "one_time": (False,),
    "licence": (True, False),
    "usage": (False, True),
    ITEM_KIND: (False,),
}
"""Charge kind -> whether its price is prorated, the likelier answer first."""


def reprice_line(line: Mapping[str, Any], plan: PricePlan, agreement: Agreement | None = None) -> Decimal:
    """The line's amount minus what its plan version gives: 0, or the bill is not the menu.

    line: one row of RATED_LINE_SCHEMA as Python values. plan: the version the line names, under its
    agreement; a true-up of a term needs the agreement itself. The exact
    amounts are compared first, then the rounded ones (in major units). Raises BrokenState when the
    version has no such charge or no price for the line's quantity and dimensions.
    """
    if line["charge_kind"] == ADJUSTMENT_KIND:
        again = rated_again(line, plan)
        if not adjustment_follows(line):
            return Decimal(line["amount"])
        return Decimal(0) if again is None else reprice_line(again, plan, agreement)
    if line["charge_kind"] == TRUE_UP_KIND:
        commitment = commitment_of_line(line, agreement)
        return (
            Decimal(0) if commitment and true_up_follows(line, plan, commitment) else Decimal(line["amount"])
        )
    if line["charge_kind"] == MINIMUM_SPEND_KIND:
        return Decimal(0) if minimum_required(line, plan) is not None else Decimal(line["amount"])
    charge = charge_of_line(line, plan)
    if line["charge_kind"] == FEE_CREDIT_KIND:
        return Decimal(0) if credit_follows(line, plan, charge) else Decimal(line["amount"])
    price = price_of_line(line, charge)
    if repriced(line, plan, charge, price) is not None:
        return Decimal(0)
    try:
        if charge.formula is not None:
            line = {**line, "quantity": formula_quantity(charge.formula, line["inputs"])}
        now = _price(line, plan, charge, price, prorated=_PRORATED[charge.kind][0])
    except Unrateable as error:
        raise BrokenState(f"a line of contract {line['contract_id']!r} has no price now: {error}") from error
    exact = cut_decimal(list_amount(line) - now.amount)
    minor = now.amount_minor
    if ROUNDED_PART in line["inputs"] and part_follows(line, plan):
        minor = line["amount_minor"]
    elif line["discount_amount"]:
        minor = round_to_minor(line["amount"], digits=minor_digits(plan.currency), mode=plan.rounding)
    return exact or minor_to_decimal(line["amount_minor"] - minor, plan.currency)


def price_of_line(line: Mapping[str, Any], charge: Charge) -> SimplePrice:
    """The price of the charge for the line's dimensions. Raises BrokenState when no cell matches."""
    try:
        return applicable_price(charge, dict(line["dimensions"]))
    except Unrateable as error:
        raise BrokenState(f"a line of contract {line['contract_id']!r} has no price now: {error}") from error


def charge_of_line(line: Mapping[str, Any], plan: PricePlan) -> Charge:
    """The charge the line names. Raises BrokenState when the plan does not have it."""
    if line["charge_id"] == STATED_CHARGE_ID:
        return stated_charge(line["dimensions"], unit=line["unit"])
    for charge in plan.charges:
        if charge.charge_id == line["charge_id"] and plan.plan_id == line["plan_id"]:
            return charge
    raise BrokenState(
        f"a line of contract {line['contract_id']!r} names charge {line['charge_id']!r} of plan "
        f"{line['plan_id']!r} version {line['plan_version']}, which that version does not have."
    )


def share_of(line: Mapping[str, Any]) -> Fraction:
    """The part of its billing period that the line covers, in (0, 1]."""
    return Fraction(line["days"], line["full_days"])


def repriced(
    line: Mapping[str, Any], plan: PricePlan, charge: Charge, price: SimplePrice
) -> tuple[Priced, bool] | None:
    """The pricing that gives the line's amounts, and whether it is prorated; None when there is none.

    A fee is always prorated. Of usage and licences the meter decides it, and the line does not carry
    the meter, so for them both are tried.
    """
    if charge.formula is not None and not _follows_formula(line, charge.formula):
        return None
    wanted = (
        list_amount(line),
        Fraction(line["rated_quantity"]),
        [Fraction(amount) for amount in line["tier_amount"]],
    )
    for prorated in _PRORATED[charge.kind]:
        try:
            priced = _price(line, plan, charge, price, prorated=prorated)
        except Unrateable:
            continue
        found = (priced.amount, priced.rated_quantity, priced.tier_amounts())
        if found == wanted and _rest_follows(line, plan, charge, price, priced, prorated=prorated):
            return priced, prorated
    return None


def _follows_formula(line: Mapping[str, Any], formula: str) -> bool:
    try:
        return bool(formula_quantity(formula, line["inputs"]) == line["quantity"])
    except Unrateable:
        return False


def _rest_follows(
    line: Mapping[str, Any],
    plan: PricePlan,
    charge: Charge,
    price: SimplePrice,
    priced: Priced,
    *,
    prorated: bool,
) -> bool:
    """Whether the discounts and the rounding after the list amount are right too."""
    if not line["discount_amount"]:
        if ROUNDED_PART in line["inputs"]:
            return part_follows(line, plan)
        return bool(line["amount_minor"] == priced.amount_minor)

    def price_with_free(units: Decimal) -> Fraction:
        freer = charge.model_copy(update={"free_units": (charge.free_units or Decimal(0)) + units})
        return _price(line, plan, freer, price, prorated=prorated).amount

    return discounts_follow(line, plan, price_with_free=price_with_free)


def commitment_of_line(line: Mapping[str, Any], agreement: Agreement | None) -> TermCommitment | None:
    """The commitment a true-up line names, None when nothing of that name is agreed."""
    wanted = dict(line["dimensions"]).get(COMMITMENT)
    entries = agreement.term_commitments if agreement else ()
    return next((entry for entry in entries if entry.commitment_id == wanted), None)


def true_up_follows(line: Mapping[str, Any], plan: PricePlan, commitment: TermCommitment) -> bool:
    """Whether the line is what the commitment lacks after what the line says was spent."""
    digits = minor_digits(plan.currency)
    if commitment.units is not None:
        return _unit_true_up_follows(line, plan, commitment)
    spent_minor = Fraction(line["quantity"]) * 10**digits
    days, full_days = line["days"], line["full_days"]
    term = (commitment.effective_until - commitment.effective_from).days
    if full_days != term or days > term or spent_minor.denominator != 1:
        return False
    found = true_up(
        commitment.amount or Decimal(0),
        spent_minor=int(spent_minor),
        days=days,
        full_days=full_days,
        digits=digits,
        rounding=plan.rounding,
    )
    said = (cut_decimal(found.required), cut_decimal(found.required - Fraction(line["quantity"])))
    return (*said, found.amount_minor) == (line["rated_quantity"], line["amount"], line["amount_minor"])


def _unit_true_up_follows(line: Mapping[str, Any], plan: PricePlan, commitment: TermCommitment) -> bool:
    term = (commitment.effective_until - commitment.effective_from).days
    if line["full_days"] != term or line["days"] > term:
        return False
    found = unit_true_up(
        commitment,
        used=line["quantity"],
        days=line["days"],
        full_days=term,
        digits=minor_digits(plan.currency),
        rounding=plan.rounding,
    )
    said = (cut_decimal(found.required), cut_decimal(found.amount), found.amount_minor)
    return said == (line["rated_quantity"], line["amount"], line["amount_minor"])


def minimum_required(line: Mapping[str, Any], plan: PricePlan) -> Fraction | None:
    """The minimum the line states, if the plan has it for the line's days; else None."""
    quantity, required = Fraction(line["quantity"]), Fraction(line["rated_quantity"])
    minimum = plan.minimum_of(line["charge_id"])
    if minimum is None or required - quantity != Fraction(line["amount"]):
        return None
    digits = minor_digits(plan.currency)
    exact = Fraction(minimum) * share_of(line)
    minor = round_to_minor(exact, digits=digits, mode=plan.rounding) - quantity * 10**digits
    return exact if cut(exact) == required and minor == line["amount_minor"] else None


def _price(
    line: Mapping[str, Any],
    plan: PricePlan,
    charge: Charge,
    price: SimplePrice,
    *,
    prorated: bool,
) -> Priced:
    terms = terms_of(
        charge, price, prorated=prorated, minor_digits=minor_digits(plan.currency), rounding=plan.rounding
    )
    return price_line(
        terms,
        quantity=line["quantity"],
        event_count=line["event_count"],
        share=share_of(line),
        inputs=line["inputs"],
    )
