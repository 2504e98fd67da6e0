"""How the verifier rounds amounts, lines and whole bills, with plain fractions; it needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

KEPT = 10**12
"""Amounts are shown with 12 fraction digits; what follows is cut, and counts for rounding."""


def rounded(amount: Fraction, inputs: Mapping[str, Any]) -> int:
    """The one rounding, to whole minor units: ties away from zero, or to even."""
    digits: int = inputs["minor_digits"]
    minor: Fraction = amount * 10**digits
    if inputs["rounding"] == "half_even":
        return round(minor)
    magnitude = int((2 * abs(minor) + 1) // 2)
    return magnitude if minor >= 0 else -magnitude


def cut(amount: Fraction) -> Fraction:
    """Without the digits past the twelfth."""
    kept = Fraction(abs(amount) * KEPT // 1, KEPT)
    return kept if amount >= 0 else -kept


def rounded_to(number: Fraction, digits: int, rounding: str) -> Fraction:
    """To so many digits: away from zero from the half on, always or never."""
    steps, rest = divmod(abs(number) * 10**digits, 1)
    if (rounding == "up" and rest) or (rounding == "half_up" and 2 * rest >= 1):
        steps += 1
    return Fraction(steps if number >= 0 else -steps, 10**digits)


def billed_part(amount: Fraction, inputs: Mapping[str, Any]) -> int:
    """The amount rounded, or where the lines of a bill were rounded together what the line got: whole minor
    units, less than one from the amount."""
    if "rounded_part" in inputs:
        minor = Fraction(inputs["rounded_part"]) * 10 ** inputs["minor_digits"]
        if minor.denominator == 1 and abs(minor - cut(amount) * 10 ** inputs["minor_digits"]) < 1:
            return int(minor)
    return rounded(amount, inputs)  # where the part cannot be right, the line's own figures will not agree


def bill_differences(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Of bills whose lines were rounded together, (bill, what is wrong with it or an empty text): their parts
    must sum to their rounded sum. Told of those bills of which all lines are here."""
    bills: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        inputs = line["inputs"]
        if "rounded_sum" in inputs and "billed_amount" not in inputs:
            bills.setdefault((inputs["bill"], inputs["rounded_sum"]), []).append(line)
    for (bill, total), own in bills.items():
        if sum(Fraction(line["amount"]) for line in own) == Fraction(total):
            said, found = (
                sum(line["amount_minor"] for line in own),
                rounded(Fraction(total), own[0]["inputs"]),
            )
            yield bill, "" if said == found else f"its lines sum to {said}, {total} is {found} rounded"


def decimal_words(number: Fraction, digits: int | None = None) -> str:
    """The number in decimal digits: exactly ``digits`` after the point, or as many as it has (up to 12)."""
    places = 12 if digits is None else digits
    whole = str(int(abs(number) * 10**places)).rjust(places + 1, "0")
    text = f"{whole[:-places]}.{whole[-places:]}" if places else whole
    if digits is None:
        text = text.rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 and text.strip("0.") else text
