"""Discounts and promotions as people write them, on a plan or on a contract, and when they apply.

``percent`` and ``units`` take off what was had in a billing period, so they follow the period a line
is for. ``amount`` is taken off an invoice once, so it follows the billing date.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.meter import Key

DiscountedKind = Literal["usage", "licence", "recurring", "one_time"]
DiscountKind = Literal["units", "percentage", "amount"]

TRIAL: Final = "trial"
MAXIMUM_SPEND: Final = "maximum-spend"
RESERVED_IDS: Final = frozenset({TRIAL, MAXIMUM_SPEND})
"""Discount ids of what is shown like a discount and written otherwise."""
_ORDERS: Final[dict[str, tuple[DiscountKind, ...]]] = {
    "percentage_first": ("units", "percentage", "amount"),
    "amount_first": ("units", "amount", "percentage"),
}


class Discount(Document):
    """One of ``percent``, ``amount`` (major units of the plan's currency) and ``units`` (priced units).

    charge_ids, charge_kinds: what it is for; empty stands for all. first_periods: the first so many
    billing periods of the contract. effective_from, effective_until: billing periods that begin on a
    local day of [from, until). Neither: always.
    """

    discount_id: Key
    name: str = Field(min_length=1)
    percent: ExactDecimal | None = None
    amount: ExactDecimal | None = None
    units: ExactDecimal | None = None
    charge_ids: tuple[Key, ...] = ()
    charge_kinds: tuple[DiscountedKind, ...] = ()
    first_periods: int | None = Field(default=None, ge=1, le=10_000)
    effective_from: date | None = None
    effective_until: date | None = None

    @property
    def kind(self) -> DiscountKind:
        if self.percent is not None:
            return "percentage"
        return "amount" if self.amount is not None else "units"

    def covers(self, charge_id: str, charge_kind: str) -> bool:
        """Whether it is for the charge."""
        named = not self.charge_ids or charge_id in self.charge_ids
        return named and (not self.charge_kinds or charge_kind in self.charge_kinds)

    def holds_in(self, *, period_number: int, first_day: date) -> bool:
        """Whether it applies to a billing period: its number in the contract from 0, its first local day."""
        if self.first_periods is not None and period_number >= self.first_periods:
            return False
        begun = self.effective_from is None or self.effective_from <= first_day
        return begun and (self.effective_until is None or first_day < self.effective_until)

    def words(self) -> str:
        """``20 %``, ``50.00 off``, ``1000 units off``."""
        if self.percent is not None:
            return f"{decimal_text(self.percent)} %"
        if self.amount is not None:
            return f"{decimal_text(self.amount)} off the invoice"
        return f"{decimal_text(self.units or Decimal(0))} units off"


class MaximumSpend(Discount):
    """What a maximum spend takes off a line, shown like a discount; ``amount`` is the maximum."""

    def words(self) -> str:
        """``at most 500 a period``."""
        return f"at most {decimal_text(self.amount or Decimal(0))} a period"


class Discounting(Document):
    """How several discounts of a line go together.

    order: units always come first, because they are no money yet; then percentages and amounts, in
    the order said here, or all in the order written. mode: ``stacked`` percentages are each of what the
    last discount left, ``parallel`` ones of the list amount. rounding: ``once``, what is left when all are
    taken; ``each_step``, also each percentage, which then is one of a rounded amount.
    """

    order: Literal["percentage_first", "amount_first", "as_written"] = "percentage_first"
    mode: Literal["stacked", "parallel"] = "stacked"
    rounding: Literal["once", "each_step"] = "once"


def in_order(discounts: Iterable[Discount], discounting: Discounting) -> list[tuple[int, Discount]]:
    """(number from 1 as written, discount) in the order they apply. A trial comes before all: what costs
    nothing uses up no promise."""
    kinds = _ORDERS.get(discounting.order, ("units",))

    def rank(entry: tuple[int, Discount]) -> tuple[bool, int, int]:
        number, discount = entry
        place = kinds.index(discount.kind) if discount.kind in kinds else len(kinds)
        return discount.discount_id != TRIAL, place, number

    return sorted(enumerate(discounts, start=1), key=rank)
