"""A sum, or a number of units, committed over a term: what counts towards it, and what a term cut short owes.

A commitment of 12,000 for a year is met by what is billed for the year's days. On the billing date that
bills the last of them one line, the true-up, raises what was billed to the committed sum; when it was
reached there is none. A commitment of 12,000 units is met by what is used, and the true-up bills the units
that are missing at their price.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal
from ingest.meter import Key
from rating.money import round_to_minor
from rating.price_plan import RoundingMode
from rating.retainer import sells_credit
from rating.steps import ADJUSTMENT_KIND, FEE_ADJUSTMENT, FEE_CREDIT_KIND

TRUE_UP_CHARGE_ID: Final = "commitment-true-up"
TRUE_UP_KIND: Final = "commitment_true_up"
COMMITMENT: Final = "commitment"
"""The dimension of a true-up line that names its commitment."""
_USAGE_KINDS: Final = frozenset({"usage", "licence", "minimum_spend", ADJUSTMENT_KIND})
_FEE_KINDS: Final = frozenset({"recurring", "one_time", FEE_CREDIT_KIND, FEE_ADJUSTMENT})
"""What is given back of a fee, and what adjusts it, counts as the fee did."""


class TermCommitment(Document):
    """For the days of [effective_from, effective_until), local to the contract: ``amount`` in the plan's
    currency, or ``units`` at ``unit_price`` (``unit``: what they are called) of the usage charges named.

    charge_ids: the charges that count, whatever their kind; none named: usage, licences and minimum
    spends, and with ``counts_fees`` recurring and one-time charges too. ended_early: what a contract that
    ends inside the term still owes, ``prorated`` by days or ``full``.
    """

    commitment_id: Key
    name: str = Field(default="Commitment", min_length=1, max_length=256)
    amount: ExactDecimal | None = None
    units: ExactDecimal | None = None
    unit_price: ExactDecimal | None = None
    unit: str | None = Field(default=None, min_length=1, max_length=64)
    effective_from: date
    effective_until: date
    charge_ids: tuple[Key, ...] = ()
    counts_fees: bool = False
    ended_early: Literal["prorated", "full"] = "prorated"

    def worth(self) -> Fraction:
        """What is committed for the whole term, in money."""
        if self.units is None:
            return Fraction(self.amount or 0)
        return Fraction(self.units) * Fraction(self.unit_price or 0)

    def holds_on(self, day: date) -> bool:
        """Whether the day is in the term."""
        return self.effective_from <= day < self.effective_until

    def covers(self, *, charge_id: str, charge_kind: str) -> bool:
        """Whether what a charge comes to counts."""
        if charge_kind == TRUE_UP_KIND or charge_id == TRUE_UP_CHARGE_ID or sells_credit(charge_id):
            return False  # usage that a retainer pays for counts as usage
        if self.charge_ids:
            return charge_id in self.charge_ids
        return charge_kind in _USAGE_KINDS or (self.counts_fees and charge_kind in _FEE_KINDS)

    def end(self, contract_end: date | None) -> date:
        """The first day that no more counts: the term's end, or the contract's if that comes first."""
        return self.effective_until if contract_end is None else min(self.effective_until, contract_end)

    def share(self, end: date) -> tuple[int, int]:
        """(days owed, days of the term) when the last day counted is the one before ``end``."""
        days = (self.effective_until - self.effective_from).days
        return ((end - self.effective_from).days if self.ended_early == "prorated" else days), days

    def overlaps(self, other: TermCommitment) -> bool:
        """Whether one line could count towards both."""
        if self.effective_from >= other.effective_until or other.effective_from >= self.effective_until:
            return False
        mine, others = set(self.charge_ids), set(other.charge_ids)
        return not mine or not others or bool(mine & others)


@dataclass(frozen=True, slots=True)
class TrueUp:
    """required: exact, in major units. required_minor: rounded. amount_minor: what is missing, 0 for
    nothing."""

    required: Fraction
    required_minor: int
    amount_minor: int


def true_up(
    amount: Decimal, *, spent_minor: int, days: int, full_days: int, digits: int, rounding: RoundingMode
) -> TrueUp:
    """What raises ``spent_minor`` to the commitment for ``days`` of ``full_days``. So what counts and
    the true-up together are the larger of what was committed and what was spent.

    >>> true_up(Decimal(1200), spent_minor=90000, days=365, full_days=365, digits=2, rounding="half_up")
    TrueUp(required=Fraction(1200, 1), required_minor=120000, amount_minor=30000)
    """
    required = Fraction(amount) * Fraction(days, full_days)
    required_minor = round_to_minor(required, digits=digits, mode=rounding)
    return TrueUp(required, required_minor, max(0, required_minor - spent_minor))


@dataclass(frozen=True, slots=True)
class UnitTrueUp:
    """required: units, exact. amount: of the missing ones, exact, in major units. amount_minor: rounded, 0
    for nothing."""

    required: Fraction
    amount: Fraction
    amount_minor: int


def unit_true_up(
    commitment: TermCommitment,
    *,
    used: Decimal,
    days: int,
    full_days: int,
    digits: int,
    rounding: RoundingMode,
) -> UnitTrueUp:
    """What the units cost that ``used`` lacks to the commitment of units for ``days`` of ``full_days``."""
    required = Fraction(commitment.units or 0) * Fraction(days, full_days)
    missing = max(Fraction(0), required - Fraction(used))
    amount = missing * Fraction(commitment.unit_price or 0)
    return UnitTrueUp(required, amount, round_to_minor(amount, digits=digits, mode=rounding))
