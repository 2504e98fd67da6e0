"""A new plan version must leave the prices that contracts have for its charges usable.

The twin of ``agreement_rules.py``, asked when the plan changes under the contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, select

from ingest.errors import Issue
from ingest.meter import Meter
from rating.agreement_rules import broken_by
from rating.agreement_store import load_agreements
from rating.price_plan import PricePlan
from rating.tables import CONTRACT_AGREEMENTS


def overridden_charge_issues(
    connection: Connection, plan: PricePlan, *, meters: Mapping[str, Meter]
) -> Iterator[Issue]:
    """One issue for each charge of the version that a contract's override would make impossible, as a
    tiered price of usage would a charge that becomes a fee. Read only."""
    table = CONTRACT_AGREEMENTS
    query = select(table.c.contract_id, table.c.agreement_key).where(table.c.plan_id == plan.plan_id)
    users: dict[str, str] = {}
    for contract_id, key in connection.execute(query.order_by(table.c.contract_id)):
        users.setdefault(key, contract_id)
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
