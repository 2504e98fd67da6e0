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
from rating.discount import TRIAL, Discount
from rating.retainer import DatedRetainer
from rating.term_commitment import TermCommitment

_TRIAL: Final = Discount(
    discount_id=TRIAL,
    name="Trial",
    percent=Decimal(100),
    charge_kinds=("usage", "licence", "recurring"),
)


def agreements_by_day(contract: Contract) -> list[tuple[date, Agreement]]:
    """(first day, agreement in force from it on), from the contract's start, where it changes. One entry
    of nothing when the contract agrees nothing. Overrides of one charge do not overlap (a rule)."""
    found: list[tuple[date, Agreement]] = []
    for day in sorted({contract.start_date, *agreement_changes(contract)}):
        agreement = agreement_on(contract, day)
        if not found or found[-1][1] != agreement:
            found.append((day, agreement))
    return found


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
        retainers=tuple(
            entry.undated()
            for entry in sorted(contract.retainers, key=lambda entry: entry.retainer_id)
            if entry.holds_on(day)
        ),
        term_commitments=tuple(entry for entry in contract.term_commitments if entry.holds_on(day)),
    )


def trial_end(contract: Contract) -> date:
    """The first day that is no longer free; the contract's first day without a trial."""
    return contract.start_date + timedelta(days=contract.trial_days)


def agreed_segments(contract: Contract) -> list[AgreedSegment]:
    """The contract's segments as the ledger keeps them; none when it takes its plan as it is."""
    found = agreements_by_day(contract)
    if all(agreement == Agreement() for _, agreement in found):
        return []
    return [AgreedSegment(day, contract.plan_id, agreement.key()) for day, agreement in found]


def agreement_changes(contract: Contract) -> Iterator[date]:
    """Days inside the contract on which something that is agreed, or the trial, begins or ends."""
    if contract.trial_days:
        yield trial_end(contract)
    dated: tuple[DatedOverride | Commitment | TermCommitment | DatedRetainer, ...] = (
        *contract.overrides,
        *contract.commitments,
        *contract.term_commitments,
        *contract.retainers,
    )
    for entry in dated:
        for day in (entry.effective_from, entry.effective_until):
            if day is not None and day > contract.start_date:
                yield day
