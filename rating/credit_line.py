"""Credit lines: what is given back of a fee that was billed in advance and is not had.

A credit is part of what was billed, not a price of its own: ``quantity`` is the billed amount of the fee in
major units, ``rated_quantity`` how many of its units are given back, ``days`` for how many of the fee's
``full_days``. So a discount on the fee is given back with it, and no credit is more than its bill:

    amount = -(billed amount x units given back / units billed x days / full_days), rounded once

A line that is left with less (earlier credits of the same fee took the rest) has that rest as its billed
amount, whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from rating.bill_rounding import ROUNDED_PART
from rating.line_hash import hash_text
from rating.money import minor_digits, minor_to_decimal, round_to_minor
from rating.price_plan import Charge, PricePlan
from rating.reference import cut_decimal
from rating.steps import FEE_CREDIT_KIND

_WORD_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class UnusedTime:
    """What of a billed line is not had: ``units`` of it through [start, end), ``days`` of its own."""

    start: datetime
    end: datetime
    units: Decimal
    days: int


def credit_line(
    billed: Mapping[str, Any],
    unused: UnusedTime,
    *,
    plan: PricePlan,
    billing_date: date,
    run_id: str,
    left_minor: int,
) -> dict[str, Any]:
    """One row of RATED_LINE_SCHEMA as Python values. billed: the line given back of. plan: its agreed plan.
    left_minor: what earlier credits have left of it."""
    # Of a line that was rounded with its bill: what it got, so that no credit is more than that.
    base, units, of = billed["inputs"].get(ROUNDED_PART, billed["amount"]), unused.units, billed["quantity"]
    days, full_days = unused.days, billed["days"]
    exact = credit_amount(base, units=units, of=of, days=days, full_days=full_days)
    minor = _minor(exact, plan)
    if minor > left_minor:
        base, units, days, full_days = minor_to_decimal(left_minor, plan.currency), of, 1, 1
        exact, minor = Fraction(base), left_minor
    key = (
        billed["line_id"].hex(),
        str(billing_date),
        str(unused.start),
        str(unused.end),
        str(units.normalize()),
    )
    return {
        **billed,
        "line_id": _hash(("credit", *key)),
        "run_id": run_id,
        "charge_kind": FEE_CREDIT_KIND,
        "meter_id": "",
        "unit": plan.currency,
        "billing_date": billing_date,
        "period_start": unused.start,
        "period_end": unused.end,
        "days": days,
        "full_days": full_days,
        "quantity": base,
        "rated_quantity": units,
        "event_count": 0,
        "tier_number": [],
        "tier_units": [],
        "tier_amount": [],
        "amount": -cut_decimal(exact),
        "amount_minor": -minor,
        "input_hash": _hash(("credit", str(base), str(units), str(of), str(days), str(full_days))),
        "discount_number": [],
        "discount_amount": [],
        "dimensions": list(billed["dimensions"].items()),
        "inputs": [],
    }


def credit_amount(base: Decimal, *, units: Decimal, of: Decimal, days: int, full_days: int) -> Fraction:
    """What is given back, exactly and above zero; see the module."""
    return Fraction(base) * Fraction(units) / Fraction(of) * Fraction(days, full_days)


def credit_follows(line: Mapping[str, Any], plan: PricePlan, charge: Charge) -> bool:
    """Whether a credit line's amounts are those of what it says. plan, charge: as agreed when billed."""
    exact = credit_amount(
        line["quantity"],
        units=line["rated_quantity"],
        of=units_billed(charge),
        days=line["days"],
        full_days=line["full_days"],
    )
    return bool(line["amount"] == -cut_decimal(exact) and line["amount_minor"] == -_minor(exact, plan))


def units_billed(charge: Charge) -> Decimal:
    """How many units the fee was billed for: one of a flat fee."""
    return Decimal(1) if charge.quantity is None else charge.quantity


def _minor(exact: Fraction, plan: PricePlan) -> int:
    return round_to_minor(exact, digits=minor_digits(plan.currency), mode=plan.rounding)


def _hash(words: tuple[str, ...]) -> bytes:
    return b"".join(word.to_bytes(_WORD_BYTES, "little") for word in hash_text("\x1f".join(words)))
