"""Adjustment lines: a billed line as usage makes it now, less what was billed of it before.

An adjustment keeps the whole line as it is rated again (quantity, tiers, discounts, inputs), so that it is
priced, explained and verified as that line is. Only its amounts are the difference:

    amount = the line rated again, rounded - what was billed of it, adjustments before this one included

So a bill and its adjustments sum to what one bill would have come to that had known everything. A line that
is not due any more has no ``rated_amount`` and stands with nothing but what was billed of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from ingest.document import decimal_text
from rating.line_hash import hash_text
from rating.money import minor_digits, minor_to_decimal
from rating.price_plan import PricePlan
from rating.spend_ids import is_minimum
from rating.steps import ADJUSTMENT_KIND, MINIMUM_SPEND_KIND
from rating.term_commitment import TRUE_UP_CHARGE_ID, TRUE_UP_KIND

BILLED_AMOUNT: Final = "billed_amount"
BILLED_QUANTITY: Final = "billed_quantity"
RATED_AMOUNT: Final = "rated_amount"
ADJUSTED_FEE: Final = "adjusted_fee"
"""Stands on the adjustment of a fee: a commitment over a term counts it as the fee."""
_FEE_KINDS: Final = frozenset({"recurring", "one_time"})
_OWN_INPUTS: Final = frozenset({BILLED_AMOUNT, BILLED_QUANTITY, RATED_AMOUNT, ADJUSTED_FEE})
_WORD_BYTES: Final = 8


def adjustment_line(
    was: Mapping[str, Any] | None,
    now: Mapping[str, Any] | None,
    *,
    billed_minor: int,
    billing_date: date,
    run_id: str,
    second: bool = False,
) -> dict[str, Any]:
    """One row of RATED_LINE_SCHEMA as Python values.

    was: the line as it was billed or last adjusted, under the id it was billed by; None when nothing was.
    now: as rated again; None when it is not due any more. billed_minor: what was billed of it in all, in
    minor units. billing_date: of the invoice that carries the adjustment. second: it is the other of two.
    """
    part = ("second",) if second else ()
    line = _nothing(was or {}) if now is None else now
    adjusted = was or line
    currency = line["currency"]
    minor = (0 if now is None else now["amount_minor"]) - billed_minor
    own = {
        BILLED_AMOUNT: minor_to_decimal(billed_minor, currency),
        BILLED_QUANTITY: Decimal(0) if was is None else was["quantity"],
    }
    if now is not None:
        own[RATED_AMOUNT] = now["amount"]
    before = [f"{name} {decimal_text(number)}" for name, number in own.items()]
    if line["charge_kind"] in _FEE_KINDS:
        own[ADJUSTED_FEE] = Decimal(1)
    return {
        **line,
        "line_id": _hash("adjustment", adjusted["line_id"].hex(), str(billing_date), *part),
        "run_id": run_id,
        "charge_kind": ADJUSTMENT_KIND,
        "billing_date": billing_date,
        "amount": minor_to_decimal(minor, currency),
        "amount_minor": minor,
        "input_hash": _hash("adjustment", line["input_hash"].hex(), *before),
        "dimensions": list(line["dimensions"].items()),
        "inputs": [*line["inputs"].items(), *own.items()],
    }


def rated_again(line: Mapping[str, Any], plan: PricePlan) -> dict[str, Any] | None:
    """The line that an adjustment was rated again as; None for one that is not due any more. line: one row
    of RATED_LINE_SCHEMA as Python values. plan: the version it names, under its agreement."""
    if RATED_AMOUNT not in line["inputs"]:
        return None
    return {
        **line,
        "charge_kind": _kind(line["charge_id"], plan),
        "amount": line["inputs"][RATED_AMOUNT],
        "amount_minor": line["amount_minor"] + billed_minor_of(line),
        "inputs": own_inputs_removed(line["inputs"]),
    }


def adjustment_follows(line: Mapping[str, Any]) -> bool:
    """Whether both amounts of an adjustment are one, and of a line that is not due what was billed of it."""
    if RATED_AMOUNT not in line["inputs"] and line["amount_minor"] != -billed_minor_of(line):
        return False
    return bool(line["amount"] == minor_to_decimal(line["amount_minor"], line["currency"]))


def billed_minor_of(line: Mapping[str, Any]) -> int:
    """What had been billed of the adjusted line before, in minor units."""
    return int(line["inputs"][BILLED_AMOUNT].scaleb(minor_digits(line["currency"])))


def own_inputs_removed(inputs: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The inputs of the line as rated again."""
    return {name: number for name, number in inputs.items() if name not in _OWN_INPUTS}


def _nothing(was: Mapping[str, Any]) -> dict[str, Any]:
    """The billed line without what it was counted and priced from."""
    lists = ("tier_number", "tier_units", "tier_amount", "discount_number", "discount_amount")
    zero = Decimal(0)
    return {
        **was,
        "quantity": zero,
        "rated_quantity": zero,
        "event_count": 0,
        "inputs": {},
        **{name: [] for name in lists},
    }


def _kind(charge_id: str, plan: PricePlan) -> str:
    if is_minimum(charge_id):
        return MINIMUM_SPEND_KIND
    if charge_id == TRUE_UP_CHARGE_ID:
        return TRUE_UP_KIND
    kinds = [charge.kind for charge in plan.charges if charge.charge_id == charge_id]
    return kinds[0] if kinds else ADJUSTMENT_KIND


def _hash(*words: str) -> bytes:
    return b"".join(word.to_bytes(_WORD_BYTES, "little") for word in hash_text("\x1f".join(words)))
