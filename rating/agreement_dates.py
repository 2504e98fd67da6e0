"""When which agreement of a contract holds: its document as segments in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from rating.agreement import (
    AgreedSegment,
    Agreement,
    ChargeOverride,
    Commitment,
    DatedOverride,
    SpendLimits,
)
from rating.contract import Contract
from rating.contract_life import Addition, ChargeQuantity, DatedQuantity
from rating.discount import TRIAL, Discount
from rating.retainer import DatedRetainer
from rating.term_commitment import TermCommitment
from rollup.period import billing_boundaries

_TRIAL: Final = Discount(
    discount_id=TRIAL,
    name="Trial",
    percent=Decimal(100),
    charge_kinds=("usage", "licence", "recurring"),
)


def terms_by_day(contract: Contract) -> list[tuple[date, str, Agreement]]:
    """(first day, plan_id and agreement in force from it on), from the contract's start, where one of the two
    changes. Overrides of one charge do not overlap (a rule)."""
    found: list[tuple[date, str, Agreement]] = []
    days = {contract.start_date, *agreement_changes(contract), *(day for day, _ in phase_starts(contract))}
    for day in sorted(day for day in days if day >= contract.start_date):
        plan_id = plan_on(contract, day)
        agreement = agreement_on(contract, day)
        if not found or found[-1][1:] != (plan_id, agreement):
            found.append((day, plan_id, agreement))
    return found


def agreements_by_day(contract: Contract) -> list[tuple[date, Agreement]]:
    """(first day, agreement in force from it on), as ``terms_by_day``. One entry of nothing when the contract
    agrees nothing and stays on its plan."""
    return [(day, agreement) for day, _, agreement in terms_by_day(contract)]


def phase_starts(contract: Contract) -> list[tuple[date, str]]:
    """(first day, plan_id) of each phase, the contract's own plan first. A phase that changes at the end of a
    period begins with the next one."""
    found = [(contract.start_date, contract.plan_id)]
    for phase in contract.phases:
        day = phase.effective_from
        if phase.change == "at_period_end":
            anchor = contract.billing.anchor_date or contract.start_date
            before, after = billing_boundaries(
                cadence=contract.billing.interval, anchor_date=anchor, first=day, last=day
            )[:2]
            day = day if before == day else after
        found.append((day, phase.plan_id))
    return found


def plan_on(contract: Contract, day: date) -> str:
    """The plan_id of a local day from the contract's first on."""
    return [contract.plan_id, *(plan_id for start, plan_id in phase_starts(contract) if start <= day)][-1]


def plan_windows(contract: Contract) -> list[tuple[str, date, date | None]]:
    """(plan_id, first day, first day no longer) of each phase, within the contract."""
    starts = [(day, plan) for day, plan in phase_starts(contract) if _inside(day, contract)]
    if not starts:
        return []
    ends = [*(day for day, _ in starts[1:]), contract.end_date]
    return [(plan, day, end) for (day, plan), end in zip(starts, ends, strict=True)]


def _inside(day: date, contract: Contract) -> bool:
    return contract.end_date is None or day < contract.end_date


def agreement_on(contract: Contract, day: date) -> Agreement:
    """What is agreed on a local day. In the trial nothing is committed yet. Overrides by charge, so that
    equal ones are equal in any order."""
    overrides = [override for override in contract.overrides if override.holds_on(day)]
    trial = day < trial_end(contract)
    limits = (
        SpendLimits(minimum_spend=entry.minimum_spend, maximum_spend=entry.maximum_spend)
        for entry in contract.commitments
        if entry.holds_on(day)
    )
    return Agreement(
        overrides=tuple(
            ChargeOverride(**{name: getattr(override, name) for name in ChargeOverride.model_fields})
            for override in sorted(overrides, key=lambda override: override.charge_id)
        ),
        discounts=(_TRIAL, *contract.discounts) if trial else contract.discounts,
        limits=SpendLimits(minimum_spend=Decimal(0)) if trial else next(limits, SpendLimits()),
        additions=tuple(addition.charge for addition in contract.additions if addition.holds_on(day)),
        quantities=_quantities_on(contract, day),
        retainers=tuple(
            entry.undated()
            for entry in sorted(contract.retainers, key=lambda entry: entry.retainer_id)
            if entry.holds_on(day)
        ),
        term_commitments=tuple(entry for entry in contract.term_commitments if entry.holds_on(day)),
    )


def _quantities_on(contract: Contract, day: date) -> tuple[ChargeQuantity, ...]:
    """The latest quantity of each charge that has begun, by charge."""
    latest: dict[str, DatedQuantity] = {}
    for entry in sorted(contract.quantities, key=lambda entry: entry.effective_from or date.min):
        if entry.effective_from is None or entry.effective_from <= day:
            latest[entry.charge_id] = entry
    return tuple(
        ChargeQuantity(charge_id=charge_id, quantity=entry.quantity)
        for charge_id, entry in sorted(latest.items())
    )


def trial_end(contract: Contract) -> date:
    """The first day that is no longer free; the contract's first day without a trial."""
    return contract.start_date + timedelta(days=contract.trial_days)


def agreed_segments(contract: Contract) -> list[AgreedSegment]:
    """The contract's segments as the ledger keeps them; none when it takes its plan as it is."""
    found = terms_by_day(contract)
    if not contract.phases and all(agreement == Agreement() for _, _, agreement in found):
        return []
    return [AgreedSegment(day, plan_id, agreement.key()) for day, plan_id, agreement in found]


def agreement_changes(contract: Contract) -> Iterator[date]:
    """Days inside the contract on which something that is agreed, or the trial, begins or ends, or a quantity
    begins."""
    if contract.trial_days:
        yield trial_end(contract)
    for quantity in contract.quantities:
        if quantity.effective_from is not None and quantity.effective_from > contract.start_date:
            yield quantity.effective_from
    dated: tuple[DatedOverride | Commitment | Addition | TermCommitment | DatedRetainer, ...] = (
        *contract.overrides,
        *contract.commitments,
        *contract.additions,
        *contract.term_commitments,
        *contract.retainers,
    )
    for entry in dated:
        for day in (entry.effective_from, entry.effective_until):
            if day is not None and day > contract.start_date:
                yield day
