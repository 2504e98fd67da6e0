"""A retainer: a set sum a billing period, paid in advance, that the period's usage draws down.

It is two things. Its price is a fee like any other: laid over a plan it is one more recurring charge, so it
is prorated, discounted, explained and printed as fees are. And what it buys is credit for the
period it pays for (``invoicing/credit_sale.py``); usage beyond that is billed at the charge's own price.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

from pydantic import Field

from ingest.document import Document, ExactDecimal
from ingest.errors import BrokenState
from ingest.meter import Key
from rating.money import round_to_minor
from rating.price_plan import Charge, FlatPrice, PerUnitPrice, PricePlan

RETAINER_PREFIX: Final = "retainer:"
"""A charge_id that begins so is the price of a retainer; plans may not use it."""


class CarryOver(Document):
    """What is left of a period moves to the next: up to ``maximum`` of it (left out: all), to be used within
    ``days`` (left out: at any time)."""

    maximum: ExactDecimal | None = None
    days: int | None = Field(default=None, ge=1, le=3660)


class Retainer(Document):
    """``amount`` is the price of a whole billing period, in the plan's currency. What it buys is
    ``credit`` in money, or ``units`` of the one charge in ``charge_ids`` at its price; neither given: as
    much as it costs.

    charge_ids: what the credit pays for; none named: every line that is not itself the price of credit.
    statement_by: the group key by which statements add up usage, such as ``project``.
    """

    retainer_id: Key
    name: str = Field(default="Retainer", min_length=1, max_length=256)
    amount: ExactDecimal
    credit: ExactDecimal | None = None
    units: ExactDecimal | None = None
    charge_ids: tuple[Key, ...] = ()
    statement_by: str = ""
    carry_over: CarryOver | None = None
    priority: int = Field(default=100, ge=0, le=1000)

    @property
    def charge_id(self) -> str:
        """The id of its price among the charges of the agreed plan."""
        return f"{RETAINER_PREFIX}{self.retainer_id}"

    def charge(self) -> Charge:
        """Its price as a charge."""
        return Charge(
            charge_id=self.charge_id,
            name=self.name,
            kind="recurring",
            timing="advance",
            price=FlatPrice(model="flat", amount=self.amount),
        )

    def worth(self, plan: PricePlan) -> Decimal | Fraction:
        """What a whole period buys, in major units. plan: the agreed one, for the price of ``units``.
        Raises BrokenState when that has no charge with one price a unit."""
        if self.units is None:
            return self.amount if self.credit is None else self.credit
        price = unit_price_of(self, plan)
        if price is None:  # of versions saved before such a plan was refused (``retainer_broken``)
            raise BrokenState(
                f"retainer {self.retainer_id!r} buys units of {', '.join(self.charge_ids)}, and the version "
                f"of plan {plan.plan_id!r} from {plan.effective_from} has no such charge with one price a "
                "unit. Save a plan version with one for the same date, and bill again."
            )
        return Fraction(self.units) * Fraction(price)

    def credit_minor(self, plan: PricePlan, *, days: int, full_days: int, digits: int) -> int:
        """What ``days`` of ``full_days`` buy, rounded half up to minor units."""
        share = Fraction(self.worth(plan)) * Fraction(days, full_days)
        return round_to_minor(share, digits=digits, mode="half_up")


class DatedRetainer(Retainer):
    """A retainer as a contract writes it: for the days of [effective_from, effective_until). Left out: from
    its first day, to its last."""

    effective_from: date | None = None
    effective_until: date | None = None

    def holds_on(self, day: date) -> bool:
        """Whether it is agreed for that day."""
        begun = self.effective_from is None or self.effective_from <= day
        return begun and (self.effective_until is None or day < self.effective_until)

    def undated(self) -> Retainer:
        """What is agreed, whenever it is."""
        return Retainer(**{name: getattr(self, name) for name in Retainer.model_fields})


def sells_credit(charge_id: str) -> bool:
    """Whether a charge is the price of credit; such a line is never paid with credit."""
    return charge_id.startswith(RETAINER_PREFIX)


def unit_price_of(retainer: Retainer, plan: PricePlan) -> Decimal | None:
    """The one price a unit of the retainer's one charge, None when there is none."""
    for charge in plan.charges:
        if retainer.charge_ids == (charge.charge_id,) and isinstance(charge.price, PerUnitPrice):
            return charge.price.unit_price
    return None
