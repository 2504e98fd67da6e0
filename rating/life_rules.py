"""What phases, additions and quantities of a contract must keep.

The rules of a fee stand in ``plan_rules.py``; an added fee is put through them on each plan the contract has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Final

from ingest.errors import Issue
from ingest.meter import Meter
from rating.agreement import Agreement, agreed_plan
from rating.agreement_dates import phase_starts
from rating.contract import Contract
from rating.contract_life import Addition
from rating.dated_rules import overlap, window_rules
from rating.plan_rules import price_plan_rules
from rating.price_plan import Charge, PricePlan
from rollup.period import EVERY, MONTHS_MAX, billing_boundaries, cadence_step

_CHARGE_POINTER: Final = re.compile(r"charges\[\d+\]\.?")


def billing_rules(contract: Contract, *, calendars: Collection[str]) -> Iterator[Issue]:
    """Every rule that the interval and the invoice day break. calendars: ids of those on record."""
    billing = contract.billing
    unit, count = cadence_step(billing.interval) if billing.cadence in EVERY else ("", 0)
    if billing.every > 1 and billing.cadence not in EVERY:
        yield Issue(
            "interval_unit",
            "billing.every",
            f"Every {billing.every} periods of a {billing.cadence} contract.",
            "cadence weekly or monthly with every: 6 months are cadence monthly, every 6.",
        )
    elif unit == "months" and count > MONTHS_MAX:
        yield Issue(
            "interval_too_long",
            "billing.every",
            f"A period of {count} months.",
            f"at most {MONTHS_MAX} months (or 104 weeks).",
        )
    if billing.calendar_id is not None and billing.calendar_id not in calendars:
        yield Issue(
            "unknown_calendar",
            "billing.calendar_id",
            f"{billing.calendar_id!r} is not a holiday calendar on record.",
            "the calendar_id of a calendar saved before the contract; `ratemill calendar list` shows them.",
        )
    if billing.calendar_id is not None and billing.business_day == "none":
        yield Issue(
            "calendar_unused",
            "billing.calendar_id",
            "The contract is invoiced on its billing dates, whatever day that is.",
            "business_day next, previous or last, or no calendar_id.",
        )


def phase_rules(
    contract: Contract, *, first_days: Mapping[str, date], plans: Sequence[PricePlan]
) -> Iterator[Issue]:
    """Every rule the phases break. first_days: when the first version of each plan on record takes effect.
    plans: all versions of the contract's plans. The contract's dates are good."""
    before = contract.start_date
    for position, (day, plan_id) in enumerate(phase_starts(contract)[1:]):
        pointer = f"phases[{position}]"
        if day <= before or (contract.end_date is not None and day >= contract.end_date):
            yield Issue(
                "phase_order",
                f"{pointer}.effective_from",
                f"The phase begins on {day}; the contract, or the phase before, begins on {before}.",
                f"phases in the order they begin, each after {before} and before the contract ends.",
            )
        if plan_id not in first_days:
            yield Issue(
                "unknown_plan",
                f"{pointer}.plan_id",
                f"{plan_id!r} is not in the catalogue.",
                "the plan_id of a price plan that was saved before the contract.",
            )
        elif first_days[plan_id] > day:
            yield Issue(
                "plan_not_effective",
                f"{pointer}.effective_from",
                f"The phase begins on {day}, the first version of plan {plan_id!r} is effective from "
                f"{first_days[plan_id]}.",
                "a day on which the plan has prices, or a plan version effective from that day.",
            )
        before = day
    yield from _paid_twice(contract, plans)
    currencies = sorted({plan.currency for plan in plans})
    if len(currencies) > 1:
        yield Issue(
            "phase_currency",
            "phases",
            f"The plans are priced in {' and '.join(currencies)}.",
            "plans of one currency: an invoice has one. End the contract and make one in the other currency.",
        )


def _paid_twice(contract: Contract, plans: Sequence[PricePlan]) -> Iterator[Issue]:
    """Days that are paid in advance and not given back must not be in a fee in arrears as well."""
    billing = contract.billing
    if contract.unused != "none" or (billing.every > 1 and billing.cadence not in EVERY):
        return
    starts = list(phase_starts(contract))
    for position, ((_, before), (day, plan_id)) in enumerate(pairwise(starts)):
        edges = billing_boundaries(
            cadence=contract.billing.interval,
            anchor_date=contract.billing.anchor_date or contract.start_date,
            first=day,
            last=day,
        )
        inside = day not in edges
        if inside and _has_fee(plans, before, "advance") and _has_fee(plans, plan_id, "arrears"):
            yield Issue(
                "phase_paid_twice",
                f"phases[{position}].plan_id",
                f"The fees of {before!r} are paid in advance and, under unused: none, not given back; "
                f"{plan_id!r} has a fee in arrears for the same days from {day} on.",
                "change: at_period_end, unused: credit, or a plan with its fees in advance.",
            )


def _has_fee(plans: Sequence[PricePlan], plan_id: str, timing: str) -> bool:
    charges = (charge for plan in plans if plan.plan_id == plan_id for charge in plan.charges)
    return any(charge.kind in ("recurring", "licence") and charge.timing == timing for charge in charges)


def addition_rules(
    contract: Contract, *, plans: Sequence[PricePlan], meters: Mapping[str, Meter]
) -> Iterator[Issue]:
    """Every rule the additions break, with paths below ``additions``; plans as above."""
    said: set[tuple[str, str]] = set()
    for position, addition in enumerate(contract.additions):
        pointer, charge = f"additions[{position}]", addition.charge
        yield from window_rules(addition, contract, pointer)
        if charge.kind != "recurring":
            yield Issue(
                "addition_kind",
                f"{pointer}.charge.kind",
                f"A {charge.kind} charge cannot be added to a contract.",
                "kind: recurring. What is counted or due once comes with a plan: a phase, or a contract of "
                "its own for the same customer.",
            )
            continue
        taken = {entry.charge_id for plan in plans for entry in plan.charges}
        overlapping = any(_overlap(earlier, addition) for earlier in contract.additions[:position])
        if charge.charge_id in taken or overlapping:
            yield Issue(
                "charge_id_taken",
                f"{pointer}.charge.charge_id",
                f"{charge.charge_id!r} is a charge of the plan, or was added for the same days.",
                "a charge_id of its own; to change a charge of the plan use overrides or quantities.",
            )
            continue
        for plan in plans:
            laid_over = agreed_plan(plan, Agreement(additions=(charge,)))
            last = f"charges[{len(plan.charges)}]"
            for issue in price_plan_rules(laid_over, meters=meters):
                place = f"{pointer}.charge.{_CHARGE_POINTER.sub('', issue.pointer)}".rstrip(".")
                if issue.pointer.startswith(last) and (issue.reason_code, place) not in said:
                    said.add((issue.reason_code, place))
                    yield Issue(issue.reason_code, place, issue.message, issue.expected)


def quantity_rules(contract: Contract, *, plans: Sequence[PricePlan]) -> Iterator[Issue]:
    """Every rule the quantities break, with paths below ``quantities``; plans as above."""
    fees: dict[str, Charge] = {charge.charge_id: charge for plan in plans for charge in plan.charges}
    fees |= {addition.charge.charge_id: addition.charge for addition in contract.additions}
    seen: set[tuple[str, date]] = set()
    for position, entry in enumerate(contract.quantities):
        pointer, fee = f"quantities[{position}]", fees.get(entry.charge_id)
        if plans and (fee is None or fee.kind != "recurring" or fee.price.model != "per_unit"):
            yield Issue(
                "quantity_of_what",
                f"{pointer}.charge_id",
                f"{entry.charge_id!r} is no recurring charge with a price per unit.",
                "a recurring per_unit charge of the plan or of the additions.",
            )
        if entry.quantity < 0:
            yield Issue(
                "negative_quantity", f"{pointer}.quantity", f"It is {entry.quantity}.", "0 or a number above."
            )
        day = entry.effective_from or contract.start_date
        if day < contract.start_date:
            yield Issue(
                "before_contract",
                f"{pointer}.effective_from",
                f"It begins on {day}, the contract on {contract.start_date}.",
                f"a day from {contract.start_date} on, or no effective_from.",
            )
        if (entry.charge_id, day) in seen:
            yield Issue(
                "quantity_twice",
                pointer,
                f"{entry.charge_id!r} has two quantities from {day} on.",
                "one quantity of a charge a day.",
            )
        seen.add((entry.charge_id, day))


def _overlap(one: Addition, other: Addition) -> bool:
    return one.charge.charge_id == other.charge.charge_id and overlap(one, other)
