"""What of a contract's plans, prices and discounts may still change once time of it is billed. Pure.

Usage is billed up to the settled date, fees in advance up to the date after it. What is agreed for the days
before the settled date is fixed; from there on it may change, and fees that are paid for get a credit and a
charge (``invoicing/amendment.py``). A discount is fixed for the billing periods that begin on billed days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from rating.agreement_dates import (
    agreement_changes,
    agreement_on,
    phase_starts,
    plan_on,
    trial_end,
)
from rating.contract import Contract
from rating.discount import Discount
from rating.price_plan import Charge
from rollup.period import billing_boundaries

_FIXED: Final = {"overrides": "A price", "additions": "A fee", "quantities": "A quantity"}


@dataclass(frozen=True, slots=True)
class BilledChange:
    """A change behind the bills: where in the document, what, and from which day it would be possible."""

    pointer: str
    what: str
    possible: date


def agreement_changes_behind(
    before: Contract, now: Contract, *, settled: date, until: date, charges: Collection[Charge]
) -> Iterator[BilledChange]:
    """The first plan, price or fee, the first sum paid or committed for, and the first discount that change
    for billed time, if any.

    settled, until: usage and fees in advance are billed up to them. charges: of all versions of the plans.
    """
    starts = (day for contract in (before, now) for day, _ in phase_starts(contract))
    days = sorted({before.start_date, *starts, *agreement_changes(before), *agreement_changes(now)})
    for day in (day for day in days if before.start_date <= day < settled):
        if before.plan_id == now.plan_id and plan_on(before, day) != plan_on(now, day):
            yield BilledChange("phases", f"The plan of {day} changes", settled)
            break
        old, new = (agreement_on(contract, day) for contract in (before, now))
        changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if changed:
            yield BilledChange(changed[0], f"{_FIXED[changed[0]]} agreed for {day} changes", settled)
            break
        limits = {agreement_on(contract, day).limits for contract in (before, now)}
        if len(limits) > 1 and trial_end(before) == trial_end(now):
            yield BilledChange("commitments", f"What was committed for {day} changes", settled)
            break
    for day in (day for day in days if before.start_date <= day < until):
        old, new = (agreement_on(contract, day) for contract in (before, now))
        if old.retainers != new.retainers:
            yield BilledChange("retainers", f"A retainer of {day} changes", until)
            break
        if old.term_commitments != new.term_commitments:
            yield BilledChange("term_commitments", f"What was committed for {day} changes", until)
            break
    ends = {trial_end(before), trial_end(now)}
    if before.trial_days != now.trial_days and min(ends) < until:
        yield BilledChange("trial_days", "The trial changes on days that are billed", until)
    for reach, covers_fees in ((settled, False), (until, True)):
        old_discounts, new_discounts = (
            [
                _so_far(discount, contract, reach)
                for discount in contract.discounts
                if _begins_before(discount, reach)
                and (not covers_fees or any(_is_fee(charge, discount) for charge in charges))
            ]
            for contract in (before, now)
        )
        if old_discounts != new_discounts:
            yield BilledChange("discounts", "A discount of what is billed changes", reach)
            break


def _is_fee(charge: Charge, discount: Discount) -> bool:
    return charge.timing == "advance" and discount.covers(charge.charge_id, charge.kind)


def _begins_before(discount: Discount, reach: date) -> bool:
    return discount.effective_from is None or discount.effective_from < reach


def _so_far(discount: Discount, contract: Contract, reach: date) -> Discount:
    """The discount as far as it has been felt: what it says of periods from ``reach`` on left out."""
    until, periods = discount.effective_until, discount.first_periods
    if periods is not None and periods >= _periods_begun(contract, reach):
        periods = None
    return discount.model_copy(
        update={
            "effective_until": until if until is not None and until < reach else None,
            "first_periods": periods,
        }
    )


def _periods_begun(contract: Contract, reach: date) -> int:
    """How many billing periods of the contract begin before a day."""
    anchor = contract.billing.anchor_date or contract.start_date
    edges = billing_boundaries(
        cadence=contract.billing.interval, anchor_date=anchor, first=contract.start_date, last=reach
    )
    return 1 + sum(contract.start_date < edge < reach for edge in edges)
