"""How the true-up of a commitment over a term came to be: the steps that ``rating/explain.py`` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ingest.document import decimal_text
from ingest.errors import BrokenState
from rating.explanation import ExplanationStep
from rating.money import exact_money, minor_digits
from rating.term_commitment import TermCommitment


def true_up_steps(
    line: Mapping[str, Any],
    commitment: TermCommitment,
    spent: Sequence[tuple[date, Decimal]],
    *,
    currency: str,
) -> Iterator[ExplanationStep]:
    """What each invoice counted, what they came to, and what was committed; in money, or in units.

    line: one row of RATED_LINE_SCHEMA as Python values. spent: (billing date, what it counted); none: not
    asked for. Raises BrokenState when these do not sum to what the line says.
    """

    def money(amount: Decimal | None) -> str:
        return f"{exact_money(amount or Decimal(0), digits=minor_digits(currency))} {currency}"

    def shown(number: Decimal) -> str:
        return money(number) if commitment.units is None else f"{decimal_text(number)} {line['unit']}"

    if spent and sum((amount for _, amount in spent), Decimal(0)) != line["quantity"]:
        line_id = line["line_id"].hex() if isinstance(line["line_id"], bytes) else line["line_id"]
        raise BrokenState(
            f"line {line_id} says {shown(line['quantity'])} were spent in its term, and the term's lines do "
            "not come to that. Restore the event store of the billing run's time."
        )
    running = Decimal(0)
    for billing_date, amount in spent:
        running += amount
        yield ExplanationStep("spent", f"billed on {billing_date}: {shown(amount)}", shown(running))
    term = f"{commitment.effective_from} to {commitment.effective_until}"
    yield ExplanationStep("quantity", f"spent from {term}", shown(line["quantity"]))
    committed = money(commitment.amount)
    if commitment.units is not None:
        committed = f"{shown(commitment.units)} at {money(commitment.unit_price)}"
    share = Fraction(line["days"], line["full_days"])
    owed = "" if share == 1 else f" x {share.numerator}/{share.denominator} of the term"
    yield ExplanationStep("commitment", f"committed {committed}{owed}", shown(line["rated_quantity"]))
