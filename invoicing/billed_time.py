"""What a contract may still change once time of it is billed, and until when it is billed.

A date that is settled is never billed again, so moving a contract's dates, zone, plan or subjects
behind its last bill would bill some time twice or never. Such a change is refused when it is saved
and, should it have come in another way, held by the run. The way out is always the same: end the
contract where its bills end and make a new one from there.

Free to change: terms, customer, notes, more subjects; and from the last billing date on the plan (by a
phase), prices, fees and their quantities, and the end. Of fees paid for already the next invoice has the
credit and the charge (``invoicing/amendment.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
import pyarrow as pa
from sqlalchemy import Connection, Engine, func, select

from ingest.errors import Issue
from invoicing.billed_agreement import agreement_changes_behind
from invoicing.billing_catalogue import load_last_settled
from invoicing.bulk import select_by_ids
from invoicing.tables import SETTLED_BILLING_DATES
from rating.agreement_dates import plan_on
from rating.catalogue import load_contracts, load_plan_versions
from rating.contract import Contract
from rating.contract_rules import plan_ids_of
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.tables import CONTRACT_SUBJECTS, CONTRACT_VERSIONS, CONTRACTS, PRICE_PLAN_VERSIONS
from rollup.period import billing_boundaries


@dataclass(frozen=True, slots=True)
class Billed:
    """A contract as it was when its last settled billing date was billed."""

    contract: Contract
    settled: date


def contract_change_issues(
    connection: Connection, contracts: Sequence[Contract]
) -> Mapping[str, Sequence[Issue]]:
    """Changes of ``contracts`` that would bill time twice or never, by contract_id.

    Contracts without a settled billing date have none. Read only.
    """
    table = SETTLED_BILLING_DATES
    statement = select(
        table.c.contract_id, func.max(table.c.billing_date), func.max(table.c.contract_version)
    ).group_by(table.c.contract_id)
    ids = sorted({contract.contract_id for contract in contracts})
    settled = {
        row[0]: (date.fromisoformat(row[1]), int(row[2]))
        for row in select_by_ids(connection, statement, table.c.contract_id, ids)
    }
    billed = load_billed(connection, settled)
    plan_versions = load_versions_of(
        connection,
        sorted({plan_id for entry in billed.values() for plan_id in plan_ids_of(entry.contract)}),
    )
    found: dict[str, list[Issue]] = {}
    for contract in contracts:
        before = billed.get(contract.contract_id)
        if before is not None:
            issues = change_issues(before, contract, plan_versions=plan_versions)
            found.setdefault(contract.contract_id, []).extend(issues)
    return found


def changed_behind_bill(
    connection: Connection,
    *,
    contracts: pa.Table,
    settled: pa.Table,
    plan_versions: Sequence[PlanVersion],
) -> Mapping[str, Sequence[Issue]]:
    """Contracts whose version in force changes what an earlier version was billed by, with the issues;
    and those that hold a subject which such a contract was billed for and has no more.

    The run's own defence, for a change that came while a run was at work: such contracts are held.
    contracts, settled: as in BillingCatalogue.
    """
    versions = pl.DataFrame(contracts.select(["contract_id", "version"]))
    moved = versions.join(pl.DataFrame(settled), on="contract_id").filter(
        pl.col("version") != pl.col("contract_version")
    )
    rows = list(moved.iter_rows(named=True))
    billed = load_billed(
        connection,
        {
            row["contract_id"]: (date.fromisoformat(row["billing_date"]), row["contract_version"])
            for row in rows
        },
    )
    in_force = load_contract_versions(connection, {row["contract_id"]: row["version"] for row in rows})
    issues: dict[str, list[Issue]] = {}
    for contract_id, before in billed.items():
        found = list(change_issues(before, in_force[contract_id], plan_versions=plan_versions))
        if found:
            issues[contract_id] = found
    for contract_id in list(issues):
        moved_away = set(billed[contract_id].contract.subjects) - set(in_force[contract_id].subjects)
        until = billed_until(billed[contract_id], plan_versions)
        for holder, subject in _holders(connection, sorted(moved_away)):
            found_there = f"{subject!r} is held here and was taken from contract {contract_id!r}"
            expected = f"a contract from {until} for it, or {subject!r} on {contract_id!r} as before."
            issues.setdefault(holder, []).append(_issue("subjects", found_there, until, expected))
    return issues


def all_changed_behind_bill(ledger: Engine, *, contracts_max: int) -> Mapping[str, Sequence[Issue]]:
    """``changed_behind_bill`` of all contracts, so many at a time. One that holds what another was billed for
    may be anywhere among them."""
    changed_once = select(CONTRACTS.c.contract_id).where(CONTRACTS.c.version > 1)
    with ledger.connect() as connection:
        contract_ids = sorted(connection.execute(changed_once).scalars())
    plan_versions = load_plan_versions(ledger) if contract_ids else ()
    found: dict[str, list[Issue]] = {}
    for first in range(0, len(contract_ids), contracts_max):
        part = contract_ids[first : first + contracts_max]
        contracts, settled = load_contracts(ledger, part), load_last_settled(ledger, part)
        with ledger.connect() as connection:
            changed = changed_behind_bill(
                connection, contracts=contracts, settled=settled, plan_versions=plan_versions
            )
        for contract_id, issues in changed.items():
            found.setdefault(contract_id, []).extend(issues)
    return found


def change_issues(
    billed: Billed, contract: Contract, *, plan_versions: Sequence[PlanVersion]
) -> Iterator[Issue]:
    """What ``contract`` changes and may not. Pure. plan_versions: at least those of the billed plan."""
    before = billed.contract
    until = billed_until(billed, plan_versions)
    over = before.end_date is not None and before.end_date <= until
    way_out = f"make a new contract from {until}" if over else _way_out(until)
    anchor, new_anchor = (_anchor(each) for each in (before, contract))
    if before.billing.anchor_date is None and contract.billing.anchor_date is None:
        new_anchor = anchor  # the start date says it already
    compared: Mapping[str, tuple[object, object]] = {
        "plan_id": (before.plan_id, contract.plan_id),
        "start_date": (before.start_date, contract.start_date),
        "pool_id": (before.pool_id, contract.pool_id),
        "time_zone": (before.time_zone, contract.time_zone),
        "billing.cadence": (before.billing.interval, contract.billing.interval),
        "billing.anchor_date": (anchor, new_anchor),
    }
    for pointer, (old, new) in compared.items():
        if old != new:
            yield _issue(pointer, f"It is {new} here and was {old}", until, f"{old}, or {way_out}.")
    for subject in before.subjects:
        if subject not in contract.subjects:
            yield _issue("subjects", f"{subject!r} is left out", until, f"{subject!r} as well, or {way_out}.")
    yield from _end_issues(billed, contract, until)
    yield from _agreement_issues(billed, contract, until, plan_versions)


def billed_until(billed: Billed, plan_versions: Sequence[PlanVersion]) -> date:
    """The first day nothing is billed for: past the advance period when one is billed."""
    contract, settled = billed.contract, billed.settled
    if contract.end_date is not None and settled >= contract.end_date:
        return settled
    following = next_billing_date(
        cadence=contract.billing.interval, anchor_date=_anchor(contract), after=settled
    )
    until = following if contract.end_date is None else min(following, contract.end_date)
    if has_retainer(contract, settled, following):
        return until
    for plan_id in {plan_on(contract, settled), plan_on(contract, until - timedelta(days=1))}:
        ours = [entry.plan for entry in plan_versions if entry.plan.plan_id == plan_id]
        if any(bills_in_advance(plan) for plan in in_force_between(ours, settled, until)):
            return until
    added = any(addition.charge.timing == "advance" for addition in contract.additions)
    return until if added else settled


def next_billing_date(*, cadence: str, anchor_date: date, after: date) -> date:
    """The first boundary of the cadence after a day; a contract may end before it."""
    return billing_boundaries(cadence=cadence, anchor_date=anchor_date, first=after, last=after)[1]


def in_force_between(plans: Sequence[PricePlan], start: date, end: date) -> list[PricePlan]:
    """The versions of one plan, in the order saved, that price a day of [start, end)."""
    by_date = {plan.effective_from: plan for plan in plans}
    begun = max((day for day in by_date if day <= start), default=start)
    return [plan for day, plan in by_date.items() if begun <= day < end]


def bills_in_advance(plan: PricePlan) -> bool:
    """Whether a fee or a licence of it covers time that has not begun."""
    return any(
        charge.kind in ("recurring", "licence") and charge.timing == "advance" for charge in plan.charges
    )


def has_retainer(contract: Contract, start: date, end: date) -> bool:
    """Whether a retainer is paid in advance for a day of [start, end)."""
    return any(
        (entry.effective_from or contract.start_date) < end
        and (entry.effective_until is None or entry.effective_until > start)
        for entry in contract.retainers
    )


def load_billed(connection: Connection, settled: Mapping[str, tuple[date, int]]) -> dict[str, Billed]:
    """settled: contract_id -> (last settled billing date, the contract version it was billed by)."""
    versions = {contract_id: version for contract_id, (_, version) in settled.items()}
    return {
        contract_id: Billed(contract, settled[contract_id][0])
        for contract_id, contract in load_contract_versions(connection, versions).items()
    }


def load_contract_versions(connection: Connection, versions: Mapping[str, int]) -> dict[str, Contract]:
    """The document of one version of each contract, by contract_id."""
    table = CONTRACT_VERSIONS
    statement = select(table.c.contract_id, table.c.version, table.c.document)
    return {
        row[0]: Contract.model_validate_json(row[2])
        for row in select_by_ids(connection, statement, table.c.contract_id, list(versions))
        if versions[row[0]] == row[1]
    }


def load_versions_of(connection: Connection, plan_ids: Sequence[str]) -> list[PlanVersion]:
    """Every version of the plans named, each plan's in the order saved."""
    table = PRICE_PLAN_VERSIONS
    statement = select(table.c.document, table.c.version).order_by(table.c.plan_id, table.c.version)
    return [
        PlanVersion(PricePlan.model_validate_json(text), version)
        for text, version in select_by_ids(connection, statement, table.c.plan_id, plan_ids)
    ]


def _holders(connection: Connection, subjects: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(contract_id, subject) of the contracts that hold one of the subjects now."""
    table = CONTRACT_SUBJECTS
    statement = select(table.c.contract_id, table.c.subject).order_by(table.c.contract_id)
    for row in select_by_ids(connection, statement, table.c.subject, subjects):
        yield row[0], row[1]


def _end_issues(billed: Billed, contract: Contract, until: date) -> Iterator[Issue]:
    old, new = billed.contract.end_date, contract.end_date
    if old == new:
        return
    if old is not None and billed.settled >= old:
        expected = f"{old}; go on with a new contract from {old}."
        yield _issue("end_date", f"It is {new} here and the contract is billed to its end", until, expected)
        return
    # What is given back for days paid in advance stands on the last invoice, so one must be to come.
    first = billed.settled if until == billed.settled else billed.settled + timedelta(days=1)
    if new is not None and new < first:
        yield _issue("end_date", f"The contract would end on {new}", until, f"{first} or a later day.")
    elif new is not None and new <= billed.settled:
        for term in billed.contract.term_commitments:
            if term.effective_from < new < term.effective_until:
                what = f"The contract would end on {new}, inside the term of {term.commitment_id!r}, and the "
                what += "true-up needs a billing date"
                yield _issue("end_date", what, until, f"a day after {billed.settled}.")


def _agreement_issues(
    billed: Billed, contract: Contract, until: date, plan_versions: Sequence[PlanVersion]
) -> Iterator[Issue]:
    before = billed.contract
    charges = [
        charge
        for entry in plan_versions
        if entry.plan.plan_id in plan_ids_of(before)
        for charge in entry.plan.charges
    ]
    for change in agreement_changes_behind(
        before, contract, settled=billed.settled, until=until, charges=charges
    ):
        expected = f"{change.pointer} up to {change.possible} as they were, new ones from then on."
        yield _issue(change.pointer, change.what, change.possible, expected)


def _issue(pointer: str, what: str, until: date, expected: str) -> Issue:
    return Issue("contract_already_billed", pointer, f"{what}; it is billed up to {until}.", expected)


def _way_out(until: date) -> str:
    return f"end this contract on {until} and make a new one from {until}"


def _anchor(contract: Contract) -> date:
    return contract.billing.anchor_date or contract.start_date
