"""What a line was computed from, as plain JSON values: all that ``python -m rating.verify`` needs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ingest.document import decimal_text
from rating.bill_rounding import ROUNDED_PART, ROUNDED_SUM
from rating.formula import parse_formula, tree_to_json
from rating.item_line import ITEM_KIND
from rating.price_plan import Charge, is_licence_in_advance
from rating.reference import PriceTerms
from rating.term_commitment import TermCommitment

_OF_ROUNDING: Final = frozenset({ROUNDED_SUM, ROUNDED_PART})


def line_inputs(
    line: Mapping[str, Any], terms: PriceTerms, *, currency: str, formula: str | None
) -> dict[str, Any]:
    """The quantity, the days and the terms of a priced line; decimals as text, None for a step the
    charge does not have. line: one row of RATED_LINE_SCHEMA as Python values; discounts: what each took
    off it (a share of a larger amount cannot be told from one line, so it is an input). formula: what made
    the quantity, None for one meter."""
    conversion = terms.unit_conversion
    return {
        **_of_every_line(line, currency=currency, terms=terms),
        "event_count": line["event_count"],
        "unit_conversion": None if conversion is None else conversion.model_dump(mode="json"),
        "free_units": _text(terms.free_units),
        "zero_usage": "charge" if terms.zero_reaches else "skip",
        "price": terms.price.model_dump(mode="json"),
        "prorated": terms.prorated,
        "minimum_amount": _text(terms.minimum_amount),
        "maximum_amount": _text(terms.maximum_amount),
        **_beside(line),
        **_rounded(line),
        **({} if formula is None else {"formula": tree_to_json(parse_formula(formula))}),
        "discounts": [decimal_text(amount) for amount in line.get("discount_amount", ())],
    }


def _beside(line: Mapping[str, Any]) -> dict[str, Any]:
    """What the amount was computed from beside the quantity; an ordinary line has nothing of it."""
    found = {
        name: decimal_text(number) for name, number in line["inputs"].items() if name not in _OF_ROUNDING
    }
    return {"beside": found} if found else {}


def _rounded(line: Mapping[str, Any]) -> dict[str, Any]:
    """Of a line that was rounded with its bill: which, what was rounded, and what of it the line got."""
    if ROUNDED_PART not in line["inputs"]:
        return {}
    return {
        "bill": f"{line['contract_id']} {line['billing_date']}",
        "rounded_sum": decimal_text(line["inputs"][ROUNDED_SUM]),
        "rounded_part": decimal_text(line["inputs"][ROUNDED_PART]),
    }


def minimum_spend_inputs(line: Mapping[str, Any], terms: PriceTerms, *, currency: str) -> dict[str, Any]:
    """The same of a minimum spend line: ``quantity`` is what was reached. terms: of the minimum, which
    is a flat price."""
    return {
        **_of_every_line(line, currency=currency, terms=terms),
        "minimum_spend": terms.price.model_dump(mode="json")["amount"],
    }


def credit_inputs(
    line: Mapping[str, Any], *, units: Decimal, currency: str, minor_digits: int, rounding: str
) -> dict[str, Any]:
    """The same of a credit line: ``quantity`` is what was billed, for ``units``, of which ``credited_units``
    are given back."""
    return {
        **_of_money(line, currency, minor_digits, rounding),
        "credited_units": decimal_text(line["rated_quantity"]),
        "units": decimal_text(units),
    }


def true_up_inputs(
    line: Mapping[str, Any],
    commitment: TermCommitment,
    *,
    currency: str,
    minor_digits: int,
    rounding: str,
) -> dict[str, Any]:
    """The same of a line that trues up a commitment: ``quantity`` is what was spent, or used of units."""
    committed = {"committed_amount": decimal_text(commitment.amount or Decimal(0))}
    if commitment.units is not None:
        committed = {
            "committed_units": decimal_text(commitment.units),
            "unit_price": decimal_text(commitment.unit_price or Decimal(0)),
        }
    return {**_of_money(line, currency, minor_digits, rounding), **committed}


def nothing_due_inputs(
    line: Mapping[str, Any], *, currency: str, minor_digits: int, rounding: str
) -> dict[str, Any]:
    """The same of an adjustment whose line is not due any more."""
    return {**_of_money(line, currency, minor_digits, rounding), "nothing_due": True}


def _of_every_line(line: Mapping[str, Any], *, currency: str, terms: PriceTerms) -> dict[str, Any]:
    return _of_money(line, currency, terms.minor_digits, terms.rounding)


def _of_money(line: Mapping[str, Any], currency: str, minor_digits: int, rounding: str) -> dict[str, Any]:
    return {
        "quantity": decimal_text(line["quantity"]),
        "days": line["days"],
        "full_days": line["full_days"],
        "currency": currency,
        "minor_digits": minor_digits,
        "rounding": rounding,
    }


def _text(number: Decimal | None) -> str | None:
    return None if number is None else decimal_text(number)


def quantity_source(line: Mapping[str, Any], charge: Charge) -> str:
    """Where the quantity comes from."""
    if charge.kind == ITEM_KIND:
        return f"{line['event_count']} billable items"
    if charge.formula is not None:
        values = ", ".join(f"{name} {decimal_text(line['inputs'][name])}" for name in charge.meter_ids())
        return f"{charge.formula}, with {values}"
    if is_licence_in_advance(charge):
        return f"level of meter {charge.meter_id}, billed in advance"
    return f"meter {charge.meter_id}" if charge.meter_id else "fixed by the plan"
