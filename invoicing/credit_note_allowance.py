"""Promotional credit taken off lines before tax goes back when a credit note takes the lines back. Pure.

Of each line as much of it goes back as of the line's amount, counted from the running total, so that parts
sum to the whole; of a line that came to nothing all goes back when the invoice is voided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rating.money import round_to_minor


@dataclass(frozen=True, slots=True)
class PutBack:
    """What goes back to a grant for a line: ``amount_minor`` > 0, as the line is priced."""

    grant_id: str
    name: str
    line_id: str
    amount_minor: int


def put_back_with(
    invoice: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    taken: Sequence[int],
    left: Sequence[int],
    uncredited: Sequence[int],
    by_bills: Mapping[tuple[str, str], int],
) -> list[PutBack]:
    """What goes back with a credit note, in the order of lines. invoice, before: canonical documents, of the
    invoice and its credit notes so far. taken: what is taken back of each line; left: what was left of it;
    uncredited: that with what later bills gave back of it. by_bills: what of credit went back with that, by
    (grant_id, line_id), minor units above zero."""
    earlier: dict[tuple[str, str], int] = {}
    for back in (back for note in before for back in note.get("put_back_credit", ())):
        key = (back["grant_id"], back["line_id"])
        earlier[key] = earlier.get(key, 0) + back["amount_minor"]
    voids = list(taken) == list(left)
    found = []
    for line, now, rest, standing in zip(invoice["lines"], taken, left, uncredited, strict=True):
        whole = line["amount_minor"]
        if whole and not now:
            continue
        credited = whole - standing
        upto = Fraction(credited + now, credited + rest) if whole else Fraction(int(voids))
        for entry in line.get("allowances", ()):
            key = (entry["grant_id"], line["line_id"])
            stands = entry["amount_minor"] - by_bills.get(key, 0)
            amount = round_to_minor(stands * upto, digits=0, mode="half_up") - earlier.get(key, 0)
            if amount > 0:
                found.append(PutBack(entry["grant_id"], entry["name"], line["line_id"], amount))
    return found
