"""What a contract must keep beyond its field types, and what it is compared with.

The rules read nothing: ``ContractSurroundings`` carries the plans and the other contracts that
hold the same subjects, so the same rules serve one contract and a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import orjson

from ingest.errors import InvalidInput, Issue
from ingest.meter import Meter
from rating.agreement import Agreement, agreed_plan
from rating.agreement_dates import plan_windows
from rating.agreement_rules import agreement_rules, commitment_rules
from rating.contract import Contract
from rating.discount_rules import discount_rules
from rating.entitlement_rules import entitlement_rules
from rating.formula import formula_meters
from rating.life_rules import addition_rules, billing_rules, phase_rules, quantity_rules
from rating.price_plan import PricePlan
from rating.retainer_rules import retainer_rules
from rating.term_commitment_rules import term_commitment_rules
from rollup.period import find_time_zone, local_midnight

FIRST_DATE: Final = date(1970, 1, 1)
LAST_DATE: Final = date(2199, 12, 31)
"""The days a contract may name: every period it has can be placed in time and stored."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a contract's rules need to know of a plan, over all its versions."""

    first_effective_from: date
    meter_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class SubjectHolder:
    """A contract that holds a subject, while it is on one plan; dates are ISO text local to ``time_zone``,
    ``end_date`` None when open."""

    subject: str
    contract_id: str
    plan_id: str
    start_date: str
    end_date: str | None
    time_zone: str

    def overlaps(self, other: SubjectHolder) -> bool:
        """Whether the two share an instant: the same local day is another time in another zone."""
        return self._begins_before_end_of(other) and other._begins_before_end_of(self)

    def _begins_before_end_of(self, other: SubjectHolder) -> bool:
        if other.end_date is None:
            return True
        start = local_midnight(date.fromisoformat(self.start_date), self.time_zone)
        return start < local_midnight(date.fromisoformat(other.end_date), other.time_zone)


@dataclass(frozen=True, slots=True)
class ContractSurroundings:
    """Plans by plan_id, and holders by subject. versions, meters: of the plans whose prices a contract
    overrides, all versions in the order saved, and all meters on record. calendars: ids of all holiday
    calendars."""

    plans: dict[str, PlanFacts]
    holders: dict[str, list[SubjectHolder]]
    versions: Mapping[str, Sequence[PricePlan]] = field(default_factory=dict)
    meters: Mapping[str, Meter] = field(default_factory=dict)
    calendars: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        *,
        plans: dict[str, PlanFacts],
        holders: Iterable[SubjectHolder],
        versions: Mapping[str, Sequence[PricePlan]],
        meters: Mapping[str, Meter],
        calendars: frozenset[str] = frozenset(),
    ) -> ContractSurroundings:
        """The surroundings, with the holders sorted into their subjects."""
        surroundings = cls(plans, {}, versions, meters, calendars)
        for holder in holders:
            surroundings.holders.setdefault(holder.subject, []).append(holder)
        return surroundings

    def add(self, contract: Contract) -> None:
        """Count ``contract`` among the holders of its subjects."""
        for subject in contract.subjects:
            self.holders.setdefault(subject, []).extend(_holders(contract, subject))


def _holders(contract: Contract, subject: str) -> Iterator[SubjectHolder]:
    if any(_date_rules(contract)):
        return
    for plan_id, start, end in plan_windows(contract):
        yield SubjectHolder(
            subject=subject,
            contract_id=contract.contract_id,
            plan_id=plan_id,
            start_date=start.isoformat(),
            end_date=end.isoformat() if end else None,
            time_zone=contract.time_zone,
        )


def plan_facts(documents: Iterable[str]) -> dict[str, PlanFacts]:
    """Facts per plan from the stored texts of all plan versions."""
    facts: dict[str, PlanFacts] = {}
    for text in documents:
        plan = orjson.loads(text)
        meter_ids = frozenset(meter_id for charge in plan["charges"] for meter_id in _meters_of(charge))
        effective_from = date.fromisoformat(plan["effective_from"])
        known = facts.get(plan["plan_id"])
        if known is not None:
            effective_from = min(effective_from, known.first_effective_from)
            meter_ids |= known.meter_ids
        facts[plan["plan_id"]] = PlanFacts(effective_from, meter_ids)
    return facts


def _meters_of(charge: Mapping[str, Any]) -> tuple[str, ...]:
    """The meters of a charge as it is stored."""
    return (charge["meter_id"],) if charge["meter_id"] else formula_meters(charge.get("formula"))


def contract_rules(contract: Contract, *, surroundings: ContractSurroundings) -> Iterator[Issue]:
    """Every rule the contract breaks, with the path of the field in the document."""
    if contract.end_date is not None and contract.end_date <= contract.start_date:
        yield Issue(
            "end_not_after_start",
            "end_date",
            f"The contract starts on {contract.start_date} and ends on {contract.end_date}.",
            "an end_date after start_date; it is the first day no longer covered.",
        )
    if not is_time_zone(contract.time_zone):
        yield Issue(
            "unknown_time_zone",
            "time_zone",
            f"{contract.time_zone!r} is not a time zone.",
            "a name of the IANA time zone database, like Europe/Berlin or UTC.",
        )
    yield from _date_rules(contract)
    yield from billing_rules(contract, calendars=surroundings.calendars)
    yield from _plan_rules(contract, surroundings)
    yield from _subject_rules(contract, surroundings)
    plans = [
        version for plan_id in plan_ids_of(contract) for version in surroundings.versions.get(plan_id, ())
    ]
    if not any(_date_rules(contract)):
        first_days = {plan_id: facts.first_effective_from for plan_id, facts in surroundings.plans.items()}
        yield from phase_rules(contract, first_days=first_days, plans=plans)
    yield from addition_rules(contract, plans=plans, meters=surroundings.meters)
    yield from quantity_rules(contract, plans=plans)
    yield from agreement_rules(contract, plans=plans, meters=surroundings.meters)
    yield from commitment_rules(contract, plans=plans, meters=surroundings.meters)
    yield from term_commitment_rules(contract, plans=plans)
    yield from retainer_rules(contract, plans=plans, meters=surroundings.meters)
    # What the contract adds has discounts like what its plan has.
    own = Agreement(additions=tuple(addition.charge for addition in contract.additions))
    yield from discount_rules(
        contract.discounts, "discounts", plans=[agreed_plan(plan, own) for plan in plans]
    )
    yield from entitlement_rules(contract.entitlements, meters=surroundings.meters)


def _date_rules(contract: Contract) -> Iterator[Issue]:
    dates = {
        "start_date": contract.start_date,
        "end_date": contract.end_date,
        "billing.anchor_date": contract.billing.anchor_date,
    }
    for position, override in enumerate(contract.overrides):
        dates[f"overrides[{position}].effective_from"] = override.effective_from
        dates[f"overrides[{position}].effective_until"] = override.effective_until
    for position, commitment in enumerate(contract.commitments):
        dates[f"commitments[{position}].effective_from"] = commitment.effective_from
        dates[f"commitments[{position}].effective_until"] = commitment.effective_until
    for position, term in enumerate(contract.term_commitments):
        dates[f"term_commitments[{position}].effective_from"] = term.effective_from
        dates[f"term_commitments[{position}].effective_until"] = term.effective_until
    for position, retainer in enumerate(contract.retainers):
        dates[f"retainers[{position}].effective_from"] = retainer.effective_from
        dates[f"retainers[{position}].effective_until"] = retainer.effective_until
    for position, discount in enumerate(contract.discounts):
        dates[f"discounts[{position}].effective_from"] = discount.effective_from
        dates[f"discounts[{position}].effective_until"] = discount.effective_until
    for position, phase in enumerate(contract.phases):
        dates[f"phases[{position}].effective_from"] = phase.effective_from
    for position, addition in enumerate(contract.additions):
        dates[f"additions[{position}].effective_from"] = addition.effective_from
        dates[f"additions[{position}].effective_until"] = addition.effective_until
    for position, quantity in enumerate(contract.quantities):
        dates[f"quantities[{position}].effective_from"] = quantity.effective_from
    for pointer, day in dates.items():
        if day is not None and not FIRST_DATE <= day <= LAST_DATE:
            yield Issue(
                "date_out_of_range",
                pointer,
                f"{day} is outside the days that can be billed.",
                f"a day from {FIRST_DATE} to {LAST_DATE}; a contract without an end has no end_date.",
            )


def _plan_rules(contract: Contract, surroundings: ContractSurroundings) -> Iterator[Issue]:
    plan = surroundings.plans.get(contract.plan_id)
    if plan is None:
        yield Issue(
            "unknown_plan",
            "plan_id",
            f"{contract.plan_id!r} is not in the catalogue.",
            "the plan_id of a price plan that was saved before the contract.",
        )
    elif plan.first_effective_from > contract.start_date:
        yield Issue(
            "plan_not_effective",
            "start_date",
            f"The contract starts on {contract.start_date}, the first version of plan "
            f"{contract.plan_id!r} is effective from {plan.first_effective_from}.",
            "a start_date on which the plan has prices, or a plan version effective from that day.",
        )


def _subject_rules(contract: Contract, surroundings: ContractSurroundings) -> Iterator[Issue]:
    seen: set[str] = set()
    for position, subject in enumerate(contract.subjects):
        pointer = f"subjects[{position}]"
        if not subject:
            yield Issue("empty_subject", pointer, "The subject is empty.", "the key the events carry.")
        elif subject in seen:
            yield Issue("subject_twice", pointer, f"{subject!r} is named twice.", "each subject once.")
        else:
            yield from _double_billing(contract, subject, pointer, surroundings)
        seen.add(subject)


def _double_billing(
    contract: Contract, subject: str, pointer: str, surroundings: ContractSurroundings
) -> Iterator[Issue]:
    """Two contracts may share a subject one after the other, or for different meters; the same
    usage on two invoices is refused."""
    if not is_time_zone(contract.time_zone) or any(_date_rules(contract)):
        return
    for own in _holders(contract, subject):
        plan = surroundings.plans.get(own.plan_id)
        if plan is None or not plan.meter_ids:
            continue
        for holder in surroundings.holders.get(subject, ()):
            other = surroundings.plans.get(holder.plan_id)
            shared = plan.meter_ids & other.meter_ids if other else frozenset()
            if holder.contract_id == contract.contract_id or not shared or not own.overlaps(holder):
                continue
            yield Issue(
                "subject_billed_twice",
                pointer,
                f"{subject!r} is on contract {holder.contract_id!r} in the same time and both plans charge "
                f"for meter {sorted(shared)[0]!r}.",
                "a subject on one contract at a time, or plans with different meters; end the other "
                "contract first.",
            )
            return


def plan_ids_of(contract: Contract) -> list[str]:
    """The plans the contract is on in its life, in order, each once."""
    return list(dict.fromkeys([contract.plan_id, *(phase.plan_id for phase in contract.phases)]))


def is_time_zone(name: str) -> bool:
    """Whether the pinned time zone rules know the name."""
    try:
        find_time_zone(name)
    except InvalidInput:
        return False
    return True
