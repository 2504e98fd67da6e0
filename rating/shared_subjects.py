"""A new plan version must not charge for usage that another contract of the same subject pays for.

The twin of the rule for contracts in ``contract_rules.py``, asked when the plan changes under them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Subquery, select

from ingest.errors import Issue
from rating.contract_rules import SubjectHolder, plan_facts
from rating.price_plan import PricePlan
from rating.tables import CONTRACT_AGREEMENTS, CONTRACT_SUBJECTS, CONTRACTS, PRICE_PLAN_VERSIONS


def shared_subject_issues(connection: Connection, plan: PricePlan) -> Iterator[Issue]:
    """One issue for the first meter the version adds that another contract prices for a shared
    subject at the same time. Meters the plan had before are not looked at again."""
    documents = select(PRICE_PLAN_VERSIONS.c.document).order_by(PRICE_PLAN_VERSIONS.c.plan_id)
    facts = plan_facts(connection.execute(documents).scalars())
    known = facts[plan.plan_id].meter_ids if plan.plan_id in facts else frozenset[str]()
    added = {meter_id: place for place, charge in enumerate(plan.charges) for meter_id in charge.meter_ids()}
    added = {meter_id: place for meter_id, place in added.items() if meter_id not in known}
    if not added:
        return
    for own, other in _sharing(connection, plan.plan_id):
        priced = set(added) if other.plan_id == plan.plan_id else facts[other.plan_id].meter_ids & set(added)
        if priced and own.overlaps(other):
            meter_id = min(priced)
            yield Issue(
                "subject_billed_twice",
                f"charges[{added[meter_id]}].meter_id",
                f"{own.subject!r} is on contract {own.contract_id!r} of this plan and on contract "
                f"{other.contract_id!r} in the same time, whose plan charges for meter {meter_id!r} too.",
                "a meter no other contract of the subject is charged for; end one of the contracts first.",
            )
            return


def _sharing(connection: Connection, plan_id: str) -> Iterator[tuple[SubjectHolder, SubjectHolder]]:
    """Pairs of a contract on the plan and another contract with one of its subjects."""
    own, other = contract_plans("own"), contract_plans("other")
    own_subject, other_subject = CONTRACT_SUBJECTS.alias("own_subject"), CONTRACT_SUBJECTS.alias("held")
    fields = ("contract_id", "plan_id", "start_date", "end_date", "time_zone")
    query = (
        select(own_subject.c.subject, *(table.c[name] for table in (own, other) for name in fields))
        .select_from(own)
        .join(own_subject, own_subject.c.contract_id == own.c.contract_id)
        .join(other_subject, other_subject.c.subject == own_subject.c.subject)
        .join(other, other.c.contract_id == other_subject.c.contract_id)
        .distinct()
        .where(own.c.plan_id == plan_id, other.c.contract_id != own.c.contract_id)
        .order_by(own.c.contract_id, other.c.contract_id, own_subject.c.subject)
    )
    for subject, *values in connection.execute(query):
        yield SubjectHolder(subject, *values[: len(fields)]), SubjectHolder(subject, *values[len(fields) :])


def contract_plans(name: str) -> Subquery:
    """(contract_id, plan_id, start_date, end_date, time_zone) of every contract, once for each plan it is on
    in its life; the dates are the contract's."""
    columns = (CONTRACTS.c.start_date, CONTRACTS.c.end_date, CONTRACTS.c.time_zone)
    through_phases = select(CONTRACT_AGREEMENTS.c.contract_id, CONTRACT_AGREEMENTS.c.plan_id, *columns).join(
        CONTRACTS, CONTRACTS.c.contract_id == CONTRACT_AGREEMENTS.c.contract_id
    )
    return select(CONTRACTS.c.contract_id, CONTRACTS.c.plan_id, *columns).union(through_phases).subquery(name)
