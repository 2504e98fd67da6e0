"""When which agreement of a contract holds: its document as segments in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from rating.agreement import (
    AgreedSegment,
    Agreement,
    ChargeOverride,
    Commitment,
    DatedOverride,
    SpendLimits,
)
from rating.contract import Contract


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
    """What is agreed on a local day. Overrides by charge, so that equal ones are equal in any order."""
    overrides = [override for override in contract.overrides if override.holds_on(day)]
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
        discounts=contract.discounts,
        limits=next(limits, SpendLimits()),
    )


def agreed_segments(contract: Contract) -> list[AgreedSegment]:
    """The contract's segments as the ledger keeps them; none when it takes its plan as it is."""
    found = agreements_by_day(contract)
    if all(agreement == Agreement() for _, agreement in found):
        return []
    return [AgreedSegment(day, contract.plan_id, agreement.key()) for day, agreement in found]


def agreement_changes(contract: Contract) -> Iterator[date]:
    """Days inside the contract on which an override or a commitment begins or ends."""
    dated: tuple[DatedOverride | Commitment, ...] = (*contract.overrides, *contract.commitments)
    for entry in dated:
        for day in (entry.effective_from, entry.effective_until):
            if day is not None and day > contract.start_date:
                yield day
