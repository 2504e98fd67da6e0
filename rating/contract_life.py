"""What happens to a contract between its first and its last day, as a contract writes it.

A *phase* puts it on another plan, an *addition* adds a fee of its own, a *quantity* says how many units of
a fee are had from a day on. When each holds is in ``rating/agreement_dates.py``; what it does to a fee
that is paid for already, in ``invoicing/amendment.py``.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from ingest.document import Document, ExactDecimal
from ingest.meter import Key
from rating.price_plan import Charge

PlanChange = Literal["immediately", "at_period_end"]
Unused = Literal["credit", "none"]


class Phase(Document):
    """From ``effective_from`` (local day) on the contract is on this plan. change: ``at_period_end`` waits
    for the first billing period that begins on that day or later."""

    plan_id: Key
    effective_from: date
    change: PlanChange = "immediately"


class Addition(Document):
    """A recurring fee that is on no plan of the contract, for the days of [effective_from, effective_until).
    Left out: from the contract's first day, to its last."""

    charge: Charge
    effective_from: date | None = None
    effective_until: date | None = None

    def holds_on(self, day: date) -> bool:
        """Whether it is due for that day."""
        begun = self.effective_from is None or self.effective_from <= day
        return begun and (self.effective_until is None or day < self.effective_until)


class ChargeQuantity(Document):
    """How many units of a recurring fee."""

    charge_id: Key
    quantity: ExactDecimal


class DatedQuantity(ChargeQuantity):
    """From ``effective_from`` on, until the next one of the same charge. Left out: from the first day."""

    effective_from: date | None = None
