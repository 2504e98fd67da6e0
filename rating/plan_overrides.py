"""A new plan version must leave what contracts agree about its charges usable: prices, fees, retained units.

The twin of ``agreement_rules.py``, asked when the plan changes under the contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, select

from ingest.errors import Issue
from ingest.meter import Meter
from rating.agreement_rules import broken_by
from rating.agreement_store import load_agreements
from rating.price_plan import PricePlan
from rating.retainer import unit_price_of
from rating.tables import CONTRACT_AGREEMENTS


def overridden_charge_issues(
    connection: Connection, plan: PricePlan, *, meters: Mapping[str, Meter]
) -> Iterator[Issue]:
    """One issue for each charge of the version that a contract's override would make impossible, as a
    tiered price of usage would a charge that becomes a fee, and for each retainer of units that would
    have no price. Read only. What was agreed for days before the version alone stands in no way."""
    users = _users(connection, plan)
    places = {charge.charge_id: place for place, charge in enumerate(plan.charges)}
    said: set[str] = set()
    for key, agreement in sorted(load_agreements(connection, users).items()):
        for charge in agreement.additions:
            if charge.charge_id in places and charge.charge_id not in said:
                said.add(charge.charge_id)
                yield Issue(
                    "charge_id_taken",
                    f"charges[{places[charge.charge_id]}].charge_id",
                    f"Contract {users[key]!r} has a fee of its own called {charge.charge_id!r}; the plan "
                    "would take its place.",
                    "another charge_id, or end the fee on the contract first.",
                )
        for retainer in agreement.retainers:
            if retainer.units is None or unit_price_of(retainer, plan) is not None:
                continue
            if retainer.charge_id not in said:
                said.add(retainer.charge_id)
                yield Issue(
                    "retainer_broken",
                    "charges",
                    f"Contract {users[key]!r} retains units of {retainer.charge_ids[0]!r}, which would not "
                    "have one price a unit.",
                    "that charge with a per_unit price; or end the contract's retainer first.",
                )
        for override in agreement.overrides:
            found = broken_by(override, plan, meters=meters, discounts=agreement.discounts)
            broken = next(found, None)
            if broken is None or override.charge_id in said:
                continue
            said.add(override.charge_id)
            yield Issue(
                "override_broken",
                f"charges[{places[override.charge_id]}]",
                f"Contract {users[key]!r} has a price of its own for {override.charge_id!r} that does not go "
                f"with the charge as it is here ({broken.pointer}: {broken.message})",
                "a charge of the same kind, or another charge_id; or end the contract's override first.",
            )


def _users(connection: Connection, plan: PricePlan) -> dict[str, str]:
    """The agreements laid over the plan on a day the version may price, each with a contract that has it."""
    table, other = CONTRACT_AGREEMENTS, CONTRACT_AGREEMENTS.alias()
    on_plan = select(other.c.contract_id).where(other.c.plan_id == plan.plan_id)
    query = select(table.c.contract_id, table.c.effective_from, table.c.plan_id, table.c.agreement_key)
    query = query.where(table.c.contract_id.in_(on_plan)).order_by(
        table.c.contract_id, table.c.effective_from
    )
    rows = list(connection.execute(query))
    users: dict[str, str] = {}
    for place, (contract_id, _, plan_id, key) in enumerate(rows):
        following = rows[place + 1] if place + 1 < len(rows) else None
        is_over = (
            following is not None
            and following.contract_id == contract_id
            and following.effective_from <= plan.effective_from.isoformat()
        )
        if plan_id == plan.plan_id and not is_over:
            users.setdefault(key, contract_id)
    return users
