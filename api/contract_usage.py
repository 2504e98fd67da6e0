"""What a contract has used in the billing period that is open now, by every meter its plan prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from api.state import Ratemill
from ingest.errors import Conflict
from rating.catalogue import get_plan_in_force
from rating.contract_period import billing_period, runs_on
from rating.contract_store import get_contract
from rollup.period import find_time_zone
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA


@dataclass(frozen=True, slots=True)
class ContractUsage:
    """usage: USAGE_SCHEMA, unusable: UNUSABLE_SCHEMA, of [period_start, period_end) in UTC."""

    period_start: datetime
    period_end: datetime
    usage: pa.Table
    unusable: pa.Table


def contract_usage(state: Ratemill, contract_id: str, *, at: datetime) -> ContractUsage:
    """Usage of the billing period that holds ``at``, counted as a billing run would count it.

    Raises NotFound, and Conflict when the contract does not run at that time.
    """
    contract = get_contract(state.ledger, contract_id)
    today = at.astimezone(find_time_zone(contract.time_zone)).date()
    if not runs_on(contract, today):
        raise Conflict(
            f"contract {contract_id!r} runs from {contract.start_date} to "
            f"{contract.end_date or 'further notice'} and not on {today}. Ask for a time inside with `at`.",
            reason_code="contract_not_running",
        )
    start, end = billing_period(contract, on=today)
    plan = get_plan_in_force(state.ledger, contract.plan_id, on=today).plan
    priced = {meter_id for charge in plan.charges for meter_id in charge.meter_ids()}
    subjects = list(contract.subjects)
    calendar = pa.table(
        [[0] * len(subjects), subjects, [start] * len(subjects), [end] * len(subjects)],
        schema=CALENDAR_SCHEMA,
    )
    meters = [meter for meter in state.meters.current() if meter.meter_id in priced]
    rolled = roll_up_usage(state.event_store, calendar=calendar, meters=meters)
    return ContractUsage(start, end, rolled.usage, rolled.unusable)
